// SPDX-License-Identifier: GPL-2.0-only
/*
 * PIDNS_REQ_GET_LAST_PID_VEC: the text, its buffer, and the numbers.
 *
 * GET ends at the caller's own level: the init of level 1 gets the nine
 * characters "1000:2000".
 */
#define _GNU_SOURCE
#include "last_pid_vec.h"

#define BUFFER		2000	/* bytes before the edge */

FIXTURE(buffer)
{
	struct stack s;
	char *edge;		/* of memory that the inits share */
};

FIXTURE_SETUP(buffer)
{
	const char *why = lacking_pid_ns();
	size_t page = sysconf(_SC_PAGESIZE);

	if (why)
		SKIP(return, "%s", why);
	self->edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->edge);
	self->edge += page;
	ASSERT_EQ(0, mprotect(self->edge, page, PROT_NONE));
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
	ASSERT_EQ(0, set_vec(self->s.level[0].fd, START));
	memset(self->edge - BUFFER, '#', BUFFER);
}

FIXTURE_TEARDOWN(buffer)
{
	stack_stop(&self->s);
}

/* GET of @level into @size bytes at @data, by the init of level 1. */
static int get_two(struct stack *s, int level, void *data, __u32 size)
{
	prepare_call(ALL_CAPS, s->level[level].fd, GET, data, size);
	return call_from(s, 1);
}

/* Have only the first @n bytes of the buffer been written? */
static bool rest_untouched(const char *buf, size_t n)
{
	for (; n < BUFFER; n++) {
		if (buf[n] != '#')
			return false;
	}
	return true;
}

TEST_F(buffer, only_the_text_is_written)
{
	const __u32 sizes[] = {
		10, 11, PIDNS_LAST_PID_VEC_MAX - 1, PIDNS_LAST_PID_VEC_MAX,
		PIDNS_LAST_PID_VEC_MAX + 1, BUFFER, BUFFER + 1, 1U << 16, 1U << 31, ~0U,
	};
	char *buf = self->edge - BUFFER;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(buf, '#', BUFFER);
		EXPECT_EQ(9, get_two(&self->s, 0, buf, sizes[i]))
			TH_LOG("size %u", sizes[i]);
		EXPECT_STREQ("1000:2000", buf);
		EXPECT_TRUE(rest_untouched(buf, 10));
		memset(buf, '#', BUFFER);
		EXPECT_EQ(4, get_two(&self->s, 1, buf, sizes[i]));
		EXPECT_STREQ("2000", buf);
		EXPECT_TRUE(rest_untouched(buf, 5));
	}
}

TEST_F(buffer, short_is_erange)
{
	const struct {
		const char *set;
		int len;
	} cases[] = { { START, 9 }, { "0:12345", 7 }, { "7:0", 3 }, { "30000:30000", 11 } };
	char *buf = self->edge - BUFFER;
	size_t i;
	int size;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(0, set_vec(self->s.level[0].fd, cases[i].set));
		memset(buf, '#', BUFFER);
		for (size = 0; size <= cases[i].len; size++) {
			EXPECT_EQ(-ERANGE, get_two(&self->s, 0, buf, size))
				TH_LOG("'%s' into %d bytes", cases[i].set, size);
			EXPECT_TRUE(rest_untouched(buf, 0));
			/* The size is checked before the address. */
			EXPECT_EQ(-ERANGE, get_two(&self->s, 0, NULL, size));
		}
		EXPECT_EQ(cases[i].len, get_two(&self->s, 0, buf, size));
	}
}

static long make_read_only(long page)
{
	return result(mprotect((void *)page, sysconf(_SC_PAGESIZE), PROT_READ));
}

TEST_F(buffer, unwritable_is_efault)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *edge = self->edge;

	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, NULL, 10));
	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, (void *)-1L, 10));
	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, edge, 10));
	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, edge - 1, 10));
	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, edge - 9, 10));
	EXPECT_EQ(9, get_two(&self->s, 0, edge - 10, 10));
	EXPECT_EQ(9, get_two(&self->s, 0, edge - 10, 4096));
	EXPECT_STREQ("1000:2000", edge - 10);

	memset(edge - BUFFER, '#', BUFFER);
	ASSERT_EQ(0, ask(&self->s, 1, make_read_only, (long)(edge - page)));
	EXPECT_EQ(-EFAULT, get_two(&self->s, 0, edge - BUFFER, BUFFER));
	EXPECT_TRUE(rest_untouched(edge - BUFFER, 0));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, set_takes_what_get_wrote)
{
	int len, nul;

	for (nul = 0; nul < 2; nul++) {
		len = get_from(&self->s, 2, ALL_CAPS, self->fd);
		ASSERT_EQ(14, len);
		ASSERT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
		EXPECT_EQ(0, request(self->fd, SET, shared->text, len + nul));
		EXPECT_UNCHANGED(&self->s);
	}
}

static long read_loadavg_pid(long unused)
{
	return read_number("/proc/loadavg", "%*s %*s %*s %*s %ld");
}

/* GET, ns_last_pid and loadavg on each level. */
static void expect_everywhere(struct __test_metadata *_metadata, struct stack *s,
			      const char *want)
{
	EXPECT_STREQ(want, last_pids(s->level[0].fd, 3));
	EXPECT_STREQ(want, ask_levels(s, 3, read_ns_last_pid));
	EXPECT_STREQ(want, ask_levels(s, 3, read_loadavg_pid));
}

TEST_F(nested, every_reader_says_the_same)
{
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	expect_everywhere(_metadata, &self->s, "4000:5000:6000");
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
	expect_everywhere(_metadata, &self->s, "4001:5001:6001");
	EXPECT_EQ(0, ask(&self->s, 0, write_ns_last_pid, 7000));
	EXPECT_EQ(0, ask(&self->s, 1, write_ns_last_pid, 8000));
	EXPECT_EQ(0, ask(&self->s, 2, write_ns_last_pid, 9000));
	expect_everywhere(_metadata, &self->s, "7000:8000:9000");
	EXPECT_STREQ("7001:8001:9001", next_pids(self->fd, 3));
}

/* A last pid below 0 is shown as 0, and one above pid_max as pid_max. */
TEST_F(nested, above_pid_max_is_shown_as_pid_max)
{
	const char *const shown[] = {
		"20000:30000:30000", "20000:20001:30000", "20000:20001:20002",
	};
	int i;

	ASSERT_EQ(0, set_vec(self->fd, "30000:30000:30000"));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, LOW_PID_MAX + i));
		EXPECT_STREQ(shown[i], last_pids(self->fd, 3));
	}
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "30000:30000:30000"));
	/* SET takes it, and allocation wraps. */
	EXPECT_EQ(0, set_vec(self->fd, last_pids(self->fd, 3)));
	EXPECT_STREQ("20000:20001:20002", last_pids(self->fd, 3));
	EXPECT_STREQ("300:300:300", next_pids(self->fd, 3));
	/* One below is shown as it is. */
	EXPECT_EQ(0, set_vec(self->fd, "19999:20000:20001"));
	EXPECT_STREQ("19999:20000:20001", last_pids(self->fd, 3));
}

TEST(below_zero_is_shown_as_zero)
{
	/* set_tid leaves the cursors where they are in a new namespace. */
	struct stack s = { .depth = 3, .set_tid = true };
	const char *why = lacking_pid_ns();
	int fd;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, stack_start(&s));
	fd = s.level[0].fd;
	EXPECT_STREQ("-1:-1:-1", ask_levels(&s, 3, read_ns_last_pid));
	EXPECT_STREQ("0:0:0", last_pids(fd, 3));
	EXPECT_EQ(0, set_vec(fd, last_pids(fd, 3)));
	EXPECT_STREQ("0:0:0", ask_levels(&s, 3, read_ns_last_pid));
	EXPECT_STREQ("2:3:4", next_pids(fd, 3));
	stack_stop(&s);
}

TEST_HARNESS_MAIN
