// SPDX-License-Identifier: GPL-2.0-only
/*
 * PIDNS_REQ_SET_LAST_PID_VEC: which levels it sets, which numbers it takes,
 * how allocation goes on, and that it sets all levels at once or none.
 *
 * The test's own pid namespace is shared with the rest of the system: what
 * depends on its pids is tried more than once.
 */
#define _GNU_SOURCE
#include <time.h>

#include "last_pid_vec.h"

/* How often a pid of the test's own namespace may be taken by somebody else. */
#define TRIES		50

/* How many pid namespaces can be nested below the test's own? */
static int nestable(void)
{
	int *count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	bool test = pid;

	while (!pid && !unshare(CLONE_NEWPID)) {
		++*count;
		pid = fork();
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	if (!test)
		_exit(0);
	return *count;
}

TEST_F(nested, levels)
{
	const struct {
		int level;		/* of the descriptor */
		const char *set, *last_pids, *next;
	} cases[] = {
		{ 0, "4000", "4000:2000:3000", "4001:2001:3001" },
		{ 0, "4000:5000", "4000:5000:3000", "4001:5001:3001" },
		{ 0, "4000:5000:6000", "4000:5000:6000", "4001:5001:6001" },
		{ 1, "5000", "1000:5000:3000", "1001:5001:3001" },
		{ 1, "5000:6000", "1000:5000:6000", "1001:5001:6001" },
		{ 2, "6000", "1000:2000:6000", "1001:2001:6001" },
		/* backwards */
		{ 0, "400:500:600", "400:500:600", "401:501:601" },
		/* leading zeros */
		{ 0, "0004000:005000:00000000000000006000", "4000:5000:6000", "4001:5001:6001" },
		/* The init has 1. */
		{ 0, "0", "0:2000:3000", "2:2001:3001" },
		{ 0, "1", "1:2000:3000", "2:2001:3001" },
		{ 0, "0:0:0", "0:0:0", "2:3:4" },
		/* The pids below 300 are reserved only when allocation wraps. */
		{ 0, "298", "298:2000:3000", "299:2001:3001" },
		{ 0, "299", "299:2000:3000", "300:2001:3001" },
		{ 0, "300", "300:2000:3000", "301:2001:3001" },
		{ 0, "301", "301:2000:3000", "302:2001:3001" },
	};
	char longest[PIDNS_LAST_PID_VEC_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(0, set_vec(self->fd, START));
		EXPECT_EQ(0, set_vec(self->s.level[cases[i].level].fd, cases[i].set))
			TH_LOG("'%s' on level %d", cases[i].set, cases[i].level);
		EXPECT_STREQ(cases[i].last_pids, last_pids(self->fd, 3));
		EXPECT_STREQ(cases[i].last_pids, ask_levels(&self->s, 3, read_ns_last_pid));
		EXPECT_STREQ(cases[i].next, next_pids(self->fd, 3));
	}

	/* A task in the middle takes no pid below. */
	ASSERT_EQ(0, set_vec(self->fd, START));
	EXPECT_STREQ("2001:3001", next_pids(self->s.level[1].fd, 2));
	EXPECT_STREQ("1000:2001:3001", last_pids(self->fd, 3));

	/* data_size ends the text, and may count a NUL. */
	EXPECT_EQ(0, request(self->fd, SET, "4010:5010:6010", 15));
	EXPECT_STREQ("4010:5010:6010", last_pids(self->fd, 3));
	EXPECT_EQ(0, request(self->fd, SET, "40201:5000", 4));
	EXPECT_STREQ("4020:5010:6010", last_pids(self->fd, 3));
	EXPECT_EQ(0, request(self->fd, SET, "4030:5030:x", 9));
	EXPECT_STREQ("4030:5030:6010", last_pids(self->fd, 3));
	memset(longest, '0', sizeof(longest));
	memcpy(longest + sizeof(longest) - 14, "4040:5040:6040", 14);
	EXPECT_EQ(0, request(self->fd, SET, longest, sizeof(longest)));
	EXPECT_STREQ("4040:5040:6040", last_pids(self->fd, 3));
}

/* All or nothing: the third number or the text behind it is wrong. */
TEST_F(nested, failure_changes_no_level)
{
	const char *const refused[] = {
		"20001", "2000:20002", "4000:5000:20003", "4000:5000:2147483647",
		"4000:5000:2147483648", "4000:5000:", "4000:5000:x", "4000:5000:6000:",
		"4000:5000:6000\n", ":4000:5000", "-1:5000:6000", "4000::6000",
	};
	char text[TEXT_SIZE];
	size_t i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, LOW_PID_MAX + i));
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		EXPECT_EQ(-EINVAL, set_vec(self->fd, refused[i]))
			TH_LOG("'%s'", refused[i]);
		EXPECT_UNCHANGED(&self->s);
	}
	/* The fourth level is the test's own. */
	snprintf(text, sizeof(text), "4000:5000:6000:%ld", read_pid_max(0) + 1);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, text));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, more_numbers_than_levels_is_einval)
{
	char text[TEXT_SIZE];
	int n;

	if (!owns_each_level())
		SKIP(return, "needs to own each level there is");
	/* Levels that exist: three, the test's own, and those above it. */
	n = 3 + MAX_LEVELS - nestable();
	if (n >= MAX_LEVELS)
		SKIP(return, "runs in the deepest pid namespaces");
	for (n++; n <= MAX_LEVELS; n++) {
		EXPECT_EQ(-EINVAL, set_vec(self->fd, make_vec(text, n, 400, 1)))
			TH_LOG("%d numbers", n);
	}
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, every_level_has_its_own_pid_max)
{
	char text[TEXT_SIZE];
	int i, j;

	for (i = 0; i < 3; i++) {
		long old = ask(&self->s, i, read_pid_max, 0);
		/* That of a new namespace, and a lower one on this level alone. */
		const long pid_max[] = { old, LOW_PID_MAX + i };
		int n[] = { 30000, 30000, 30000 };
		int fd = self->s.level[i].fd;

		for (j = 0; j < 2; j++) {
			ASSERT_LT(0, pid_max[j]);
			ASSERT_EQ(0, ask(&self->s, i, write_pid_max, pid_max[j]));
			ASSERT_EQ(0, set_vec(self->fd, START));
			EXPECT_EQ(-EINVAL, set_vec(fd, make_vec(text, 1, pid_max[j] + 1, 0)));
			EXPECT_UNCHANGED(&self->s);
			EXPECT_EQ(0, set_vec(fd, make_vec(text, 1, pid_max[j], 0)));
			EXPECT_STREQ(text, last_pids(fd, 1));
			/* As ns_last_pid has it. */
			EXPECT_EQ(-EINVAL, ask(&self->s, i, write_ns_last_pid, pid_max[j] + 1));
			EXPECT_EQ(0, ask(&self->s, i, write_ns_last_pid, pid_max[j]));
		}

		/* The other levels have theirs still. */
		n[i] = LOW_PID_MAX + i;
		snprintf(text, sizeof(text), "%d:%d:%d", n[0], n[1], n[2]);
		EXPECT_EQ(0, set_vec(self->fd, text));
		EXPECT_STREQ(text, last_pids(self->fd, 3));
		ASSERT_EQ(0, set_vec(self->fd, START));
		n[i]++;
		snprintf(text, sizeof(text), "%d:%d:%d", n[0], n[1], n[2]);
		EXPECT_EQ(-EINVAL, set_vec(self->fd, text));
		EXPECT_UNCHANGED(&self->s);
		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, old));
	}
}

TEST_F(nested, allocation_wraps_at_pid_max)
{
	const struct {
		const char *set, *next;
	} cases[] = {
		{ "19998", "19999" }, { "19999", "300" }, { "20000", "300" },
	};
	size_t i;

	ASSERT_EQ(0, ask(&self->s, 0, write_pid_max, LOW_PID_MAX));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(0, set_vec(self->fd, cases[i].set));
		EXPECT_STREQ(cases[i].next, next_pids(self->fd, 1));
		EXPECT_STREQ(cases[i].next, last_pids(self->fd, 1));
	}
}

TEST_F(nested, allocation_skips_pids_that_are_taken)
{
	pid_t first, second;

	ASSERT_EQ(0, set_vec(self->fd, "4000:5000"));
	first = fork_into(self->fd, false);
	ASSERT_GT(first, 0);
	ASSERT_EQ(0, set_vec(self->fd, "4001:6000"));
	second = fork_into(self->fd, false);
	ASSERT_GT(second, 0);
	EXPECT_STREQ("4002:6001:3002", pids_of(second, self->fd, 3));

	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_STREQ("4003:5002:6001", next_pids(self->fd, 3));

	EXPECT_EQ(0, wait_for_pid(first));
	EXPECT_EQ(0, wait_for_pid(second));
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
}

/* Descriptors of the same namespaces, by all the ways there are. */
TEST_F(nested, descriptors)
{
	int pidfd = sys_pidfd_open(self->s.level[0].init, 0);
	int parent = ioctl(self->fd, NS_GET_PARENT);
	struct {
		int fd;
		const char *set, *last_pids;
	} cases[] = {
		{ open_ns(self->s.level[0].init, "pid_for_children"), "1:2:3", "1:2:3" },
		{ ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0), "4:5:6", "4:5:6" },
		{ ioctl(pidfd, PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE, 0), "7:8:9", "7:8:9" },
		{ parent, "10:11", "7:10:11" },
		{ ioctl(parent, NS_GET_PARENT), "12", "7:10:12" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(0, set_vec(cases[i].fd, cases[i].set))
			TH_LOG("'%s'", cases[i].set);
		EXPECT_STREQ(cases[i].last_pids, last_pids(self->fd, 3));
		close(cases[i].fd);
	}
	/* A pidfd is no namespace. */
	EXPECT_EQ(-ENOTTY, set_vec(pidfd, "4000"));
	close(pidfd);
}

/*
 * As many levels as the kernel has.
 */

FIXTURE(deepest)
{
	struct stack s;
	int fd;
	char start[TEXT_SIZE];
};

FIXTURE_SETUP(deepest)
{
	const char *why = lacking_pid_ns();

	if (why)
		SKIP(return, "%s", why);
	self->s.depth = nestable();
	if (!self->s.depth)
		SKIP(return, "runs in the deepest pid namespace");
	ASSERT_EQ(0, stack_start(&self->s));
	self->fd = self->s.level[0].fd;
	ASSERT_EQ(0, set_vec(self->fd, make_vec(self->start, self->s.depth, 20000, 1)));
}

FIXTURE_TEARDOWN(deepest)
{
	stack_stop(&self->s);
}

TEST_F(deepest, every_level)
{
	char before[TEXT_SIZE], text[TEXT_SIZE], want[TEXT_SIZE];
	int depth = self->s.depth, len, i;
	const char *got = "";

	EXPECT_EQ(-ENOSPC, ask(&self->s, 0, unshare_pid_ns, 0));
	EXPECT_STREQ(self->start, last_pids(self->fd, depth));
	EXPECT_STREQ(self->start, ask_levels(&self->s, depth, read_ns_last_pid));

	/* SET takes all that GET wrote: up to the test's own. */
	len = request(self->fd, GET, text, PIDNS_LAST_PID_VEC_MAX);
	ASSERT_LT(0, len);
	EXPECT_EQ(0, request(self->fd, SET, text, len + 1));
	memcpy(before, text, len + 1);
	EXPECT_EQ(depth + 1, cut_vec(text, depth));
	EXPECT_STREQ(self->start, text);
	EXPECT_STREQ(self->start, last_pids(self->fd, depth));

	/*
	 * Up to the test's own level, where others fork, too: so there are several tries. Its
	 * pid_max may be 4096.
	 */
	for (i = 0; i < TRIES; i++) {
		int first = 1500 + 50 * i;

		ASSERT_EQ(0, set_vec(self->fd, make_vec(text, depth + 1, first, 1)));
		make_vec(want, depth + 1, first + 1, 1);
		got = next_pids(self->fd, depth + 1);
		if (!strcmp(want, got))
			break;
	}
	EXPECT_STREQ(want, got);
	EXPECT_EQ(0, set_vec(self->fd, before));
}

/* A new pid namespace starts with the largest pid_max that there is. */
TEST_F(deepest, largest_numbers)
{
	long pid_max = ask(&self->s, 0, read_pid_max, 0);
	char text[TEXT_SIZE];

	make_vec(text, self->s.depth, pid_max, 0);
	EXPECT_EQ(0, set_vec(self->fd, text));
	EXPECT_STREQ(text, last_pids(self->fd, self->s.depth));
}

TEST_F(deepest, failure_changes_no_level)
{
	int depth = self->s.depth, i;
	char text[TEXT_SIZE];

	/* One number more than levels can exist. */
	EXPECT_EQ(-EINVAL, set_vec(self->fd, make_vec(text, MAX_LEVELS + 1, 400, 1)));
	EXPECT_STREQ(self->start, last_pids(self->fd, depth));
	/* A number too large, on each level up to the test's own. */
	for (i = 1; i <= depth + 1; i++) {
		make_vec(text, i - 1, 400, 1);
		strcat(text, i > 1 ? ":2147483647" : "2147483647");
		EXPECT_EQ(-EINVAL, set_vec(self->fd, text))
			TH_LOG("'%s'", text);
		EXPECT_STREQ(self->start, last_pids(self->fd, depth));
	}
	EXPECT_STREQ(self->start, ask_levels(&self->s, depth, read_ns_last_pid));
}

/*
 * At the same time: so many rounds, or so many seconds on a slow machine.
 */

#define ROUNDS		200000
#define SECONDS		3
#define TIMEOUT		120	/* when nothing goes on at all */

/* The processes take turns at these vectors. */
struct race {
	int fd;
	int depth;
	char a[TEXT_SIZE], b[TEXT_SIZE];
	char refused[TEXT_SIZE];		/* for its last number only */
};

static int race_set(const struct race *r, int i)
{
	__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
	return set_vec(r->fd, i & 1 ? r->a : r->b);
}

/* GET must see one of the two vectors. */
static bool get_is_mixed(const struct race *r)
{
	const char *got = last_pids(r->fd, r->depth);

	if (!strcmp(r->a, got) || !strcmp(r->b, got))
		return false;
	ksft_print_msg("GET saw %s\n", got);
	return true;
}

/* The three kinds of racers: what they do at round @i. */

static bool setter(const struct race *r, int i)
{
	/* There may be fewer CPUs than processes. */
	sched_yield();
	return !race_set(r, i);
}

/*
 * SET and GET at moments when another process is in the kernel for the same,
 * on its way from one level to the next: a realtime task runs at once when its
 * time has come, unless the task on the CPU holds a lock.
 */
static bool interrupter(const struct race *r, int i)
{
	const struct sched_param param = { .sched_priority = 1 };
	/* Keep out of step with the others. */
	const struct timespec time = { .tv_nsec = 20000 + i % 97 * 1000 };

	/* Without the permission it is one more setter. */
	if (!i)
		sched_setscheduler(0, SCHED_FIFO, &param);
	nanosleep(&time, NULL);
	if (get_is_mixed(r))
		return false;
	return !race_set(r, i) && set_vec(r->fd, r->refused) == -EINVAL;
}

static bool looker(const struct race *r, int i)
{
	return !get_is_mixed(r);
}

static pid_t start(const struct race *r, bool (*racer)(const struct race *r, int i))
{
	pid_t pid;
	int i;

	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED); i++) {
		if (!racer(r, i))
			_exit(1);
	}
	_exit(0);
}

static void expect_no_mix(struct __test_metadata *_metadata, struct stack *s)
{
	struct race r = { .fd = s->level[0].fd, .depth = s->depth };
	bool clean = true;
	pid_t pids[3];
	time_t end;
	int i;

	make_vec(r.a, s->depth, 10000, 0);
	make_vec(r.b, s->depth, 20000, 0);
	make_vec(r.refused, s->depth - 1, 15000, 0);
	strcat(r.refused, ":2147483647");
	ASSERT_EQ(0, set_vec(r.fd, r.a));

	pids[0] = start(&r, setter);
	pids[1] = start(&r, interrupter);
	pids[2] = start(&r, looker);
	while (__atomic_load_n(&shared->count, __ATOMIC_RELAXED) < 10)
		sched_yield();
	end = time(NULL) + SECONDS;
	for (i = 0; i < ROUNDS && clean && time(NULL) <= end; i++)
		clean = looker(&r, i);
	EXPECT_TRUE(clean);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, wait_for_pid(pids[i]));
}

TEST_F_TIMEOUT(nested, get_beside_sets_never_sees_a_mix, TIMEOUT)
{
	expect_no_mix(_metadata, &self->s);
}

/* The more levels, the longer would a mix last. */
TEST_F_TIMEOUT(deepest, get_beside_sets_never_sees_a_mix, TIMEOUT)
{
	expect_no_mix(_metadata, &self->s);
}

TEST_HARNESS_MAIN
