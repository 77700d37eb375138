// SPDX-License-Identifier: GPL-2.0-only
/*
 * NS_SPECIFIC_IOC on a pid namespace: PIDNS_REQ_SET_LAST_PID_VEC and
 * PIDNS_REQ_GET_LAST_PID_VEC, which set and read the last pids of a stack of
 * nested pid namespaces, from the one behind the file descriptor upward.
 *
 * Most tests work on three namespaces of their own, where nothing else forks.
 * The pid namespace that the test itself runs in is shared with the rest of
 * the system: what depends on its pids is tried more than once.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <time.h>

#include "last_pid_vec.h"
#include "kselftest_harness.h"

/* How often a pid of the test's own namespace may be taken by somebody else. */
#define TRIES		50

/* Numbers below 32768 are fine for every kernel's default pid_max. */
#define START		"1000:2000:3000"
#define LOW_PID_MAX	20000

/* The kernel does not go below this pid again when it wraps at pid_max. */
#define RESERVED_PIDS	300

#define NS_SPECIFIC_NR	_IOC_NR(NS_SPECIFIC_IOC)

/* The largest structure whose size fits into an ioctl number. */
#define MAX_SIZE	((1U << _IOC_SIZEBITS) - 1)

/* Does the test run where it may set each level there is? */
static bool in_initial_user_ns(void)
{
	struct stat st;

	return !stat("/proc/self/ns/user", &st) && st.st_ino == USER_NS_INIT_INO;
}

/* How many pid namespaces the test's own is made of, itself included. */
static int own_levels(void)
{
	char text[TEXT_SIZE];
	int fd, ret;

	fd = open_ns(getpid(), "pid");
	if (fd < 0)
		return -errno;
	ret = get_vec(fd, text, sizeof(text));
	close(fd);
	return ret < 0 ? ret : count_levels(text);
}

/* A page that ends where nothing can be read or written. */
static char *map_edge(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *mem;

	mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || mprotect(mem + page, page, PROT_NONE))
		return NULL;
	return mem + page;
}

/*
 * The request structure. The caller has no capabilities here, so that a
 * request that is understood ends in EPERM.
 */

FIXTURE(request)
{
	int fd;
	char *edge;
	char text[TEXT_SIZE];
	struct ns_specific_req get;
};

FIXTURE_SETUP(request)
{
	ASSERT_EQ(0, keep_caps(NO_CAPS));
	self->fd = open_ns(getpid(), "pid");
	ASSERT_GE(self->fd, 0);
	self->edge = map_edge();
	ASSERT_NE(NULL, self->edge);
	self->get.req = PIDNS_REQ_GET_LAST_PID_VEC;
	self->get.data_size = sizeof(self->text);
	self->get.data = ptr_to_u64(self->text);
}

FIXTURE_TEARDOWN(request)
{
	close(self->fd);
}

static int ioctl_sized(int fd, unsigned int size, const void *arg)
{
	unsigned long cmd = _IOC(_IOC_WRITE, NSIO, NS_SPECIFIC_NR, size);

	return result(ioctl(fd, cmd, arg));
}

TEST_F(request, structure_as_published)
{
	const unsigned long number = _IOC(_IOC_WRITE, 0xb7, 14, 16);

	EXPECT_EQ(16UL, sizeof(self->get));
	EXPECT_EQ(0UL, offsetof(struct ns_specific_req, req));
	EXPECT_EQ(4UL, offsetof(struct ns_specific_req, data_size));
	EXPECT_EQ(8UL, offsetof(struct ns_specific_req, data));
	EXPECT_EQ(16, NS_SPECIFIC_REQ_SIZE_VER0);
	EXPECT_EQ(number, NS_SPECIFIC_IOC);
	EXPECT_EQ(-EPERM, result(ioctl(self->fd, NS_SPECIFIC_IOC, &self->get)));
}

TEST_F(request, other_direction_is_enotty)
{
	const unsigned int dirs[] = {
		_IOC_NONE, _IOC_READ, _IOC_READ | _IOC_WRITE,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		unsigned long cmd;

		cmd = _IOC(dirs[i], NSIO, NS_SPECIFIC_NR, sizeof(self->get));
		EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, cmd, &self->get)));
	}
	EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, _IO(NSIO, NS_SPECIFIC_NR),
					&self->get)));
}

TEST_F(request, other_ioctl_type_is_enotty)
{
	EXPECT_EQ(-ENOTTY, result(ioctl(self->fd,
					_IOW(NSIO + 1, NS_SPECIFIC_NR,
					     struct ns_specific_req),
					&self->get)));
}

TEST_F(request, smaller_structure_is_enotty)
{
	unsigned int size;

	for (size = 0; size < NS_SPECIFIC_REQ_SIZE_VER0; size++) {
		EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, size, &self->get))
			TH_LOG("size %u", size);
	}
}

TEST_F(request, larger_structure_with_zero_tail)
{
	const unsigned int sizes[] = { 17, 20, 24, 32, 1000, 4096, 4097, MAX_SIZE };
	static char big[MAX_SIZE + 1];
	size_t i;

	memcpy(big, &self->get, sizeof(self->get));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(-EPERM, ioctl_sized(self->fd, sizes[i], big))
			TH_LOG("size %u", sizes[i]);
	}
}

TEST_F(request, larger_structure_with_unknown_bits_is_e2big)
{
	const unsigned int sizes[] = { 17, 20, 24, 32, 1000, 4096, MAX_SIZE };
	static char big[MAX_SIZE + 1];
	size_t i;

	memcpy(big, &self->get, sizeof(self->get));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		big[sizes[i] - 1] = 1;
		EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, sizes[i], big))
			TH_LOG("size %u, last byte", sizes[i]);
		big[sizes[i] - 1] = 0;

		big[sizeof(self->get)] = 0x80;
		EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, sizes[i], big))
			TH_LOG("size %u, first byte", sizes[i]);
		big[sizeof(self->get)] = 0;

		/* Past the end is not looked at. */
		big[sizes[i]] = 1;
		EXPECT_EQ(-EPERM, ioctl_sized(self->fd, sizes[i], big))
			TH_LOG("size %u, byte past the end", sizes[i]);
		big[sizes[i]] = 0;
	}
}

TEST_F(request, unreadable_structure_is_efault)
{
	char *edge = self->edge;
	size_t n;

	EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC, NULL)));
	EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC, -1L)));
	EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC, edge)));
	/* The first n bytes can be read. */
	for (n = 1; n < sizeof(self->get); n++) {
		memcpy(edge - n, &self->get, n);
		EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC,
						edge - n)))
			TH_LOG("%zu bytes readable", n);
	}
	/* All of them. */
	memcpy(edge - n, &self->get, n);
	EXPECT_EQ(-EPERM, result(ioctl(self->fd, NS_SPECIFIC_IOC, edge - n)));
	/* All that this kernel knows, and not what is said to follow. */
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, n + 8, edge - n));
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, 4096, edge - n));
}

TEST_F(request, misaligned_structure)
{
	char mem[sizeof(self->get) + 8];
	size_t i;

	for (i = 1; i < 8; i++) {
		memcpy(mem + i, &self->get, sizeof(self->get));
		EXPECT_EQ(-EPERM, result(ioctl(self->fd, NS_SPECIFIC_IOC,
					       mem + i)));
	}
}

TEST_F(request, unknown_request_is_eopnotsupp)
{
	const __u32 unknown[] = { 0, 3, 4, 255, 257, 258, 65537, 0x80000001, ~0U };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], "1", 1))
			TH_LOG("request %u", unknown[i]);
		/* Before anything is said about the data. */
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], NULL, 0));
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], NULL, 1));
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], NULL, ~0U));
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], "x", 1));
	}
}

TEST_F(request, structure_is_checked_before_the_request)
{
	struct {
		struct ns_specific_req known;
		__u64 unknown;
	} big = { .unknown = 1 };

	/* E2BIG and EFAULT come before EOPNOTSUPP, ... */
	EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, sizeof(big), &big));
	memset(self->edge - 8, 0, 8);
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, sizeof(big), self->edge - 8));
	/* ... and ENOTTY before them. */
	EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, 15, NULL));
	EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, _IO(NSIO, NS_SPECIFIC_NR),
					NULL)));
}

TEST_F(request, set_data_size_bounds_are_einval)
{
	char text[PIDNS_LAST_PID_VEC_MAX + 1];

	memset(text, '0', sizeof(text));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, 0));
	EXPECT_EQ(-EPERM, set_bytes(self->fd, text, 1));
	EXPECT_EQ(-EPERM, set_bytes(self->fd, text, PIDNS_LAST_PID_VEC_MAX));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, PIDNS_LAST_PID_VEC_MAX + 1));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, 1 << 16));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, (1 << 16) + 1));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, 0x80000000));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, ~0U));
	/* Before the data is looked at. */
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, NULL, 0));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, NULL, PIDNS_LAST_PID_VEC_MAX + 1));
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, NULL, ~0U));
	/* The NUL is counted. */
	text[PIDNS_LAST_PID_VEC_MAX - 1] = '\0';
	EXPECT_EQ(-EPERM, set_bytes(self->fd, text, PIDNS_LAST_PID_VEC_MAX));
	text[PIDNS_LAST_PID_VEC_MAX - 1] = '0';
	text[PIDNS_LAST_PID_VEC_MAX] = '\0';
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, PIDNS_LAST_PID_VEC_MAX + 1));
}

TEST_F(request, set_unreadable_data_is_efault)
{
	char *edge = self->edge;
	struct ns_specific_req set = {
		.req		= PIDNS_REQ_SET_LAST_PID_VEC,
		.data_size	= 1,
	};

	EXPECT_EQ(-EFAULT, set_bytes(self->fd, NULL, 1));
	EXPECT_EQ(-EFAULT, set_bytes(self->fd, edge, 1));
	EXPECT_EQ(-EFAULT, set_bytes(self->fd, edge, PIDNS_LAST_PID_VEC_MAX));
	/* Addresses that are no task's. */
	set.data = ~0ULL;
	EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC, &set)));
	set.data = 1ULL << 63;
	EXPECT_EQ(-EFAULT, result(ioctl(self->fd, NS_SPECIFIC_IOC, &set)));
	/* A part that can be read does not count, well formed or not. */
	memcpy(edge - 3, "1:2", 3);
	EXPECT_EQ(-EPERM, set_bytes(self->fd, edge - 3, 3));
	EXPECT_EQ(-EFAULT, set_bytes(self->fd, edge - 3, 4));
	EXPECT_EQ(-EFAULT, set_bytes(self->fd, edge - 3, PIDNS_LAST_PID_VEC_MAX));
	memcpy(edge - 3, ":x ", 3);
	EXPECT_EQ(-EINVAL, set_bytes(self->fd, edge - 3, 3));
	EXPECT_EQ(-EFAULT, set_bytes(self->fd, edge - 3, 4));
}

/*
 * Namespaces of the other types, which have no requests.
 */

FIXTURE(other_type)
{
	int fd;
};

FIXTURE_VARIANT(other_type)
{
	const char *name;
};

FIXTURE_VARIANT_ADD(other_type, cgroup) { .name = "cgroup", };
FIXTURE_VARIANT_ADD(other_type, ipc) { .name = "ipc", };
FIXTURE_VARIANT_ADD(other_type, mnt) { .name = "mnt", };
FIXTURE_VARIANT_ADD(other_type, net) { .name = "net", };
FIXTURE_VARIANT_ADD(other_type, time) { .name = "time", };
FIXTURE_VARIANT_ADD(other_type, user) { .name = "user", };
FIXTURE_VARIANT_ADD(other_type, uts) { .name = "uts", };

FIXTURE_SETUP(other_type)
{
	self->fd = open_ns(getpid(), variant->name);
	if (self->fd < 0 && errno == ENOENT)
		SKIP(return, "no %s namespaces in this kernel", variant->name);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(other_type)
{
	close(self->fd);
}

TEST_F(other_type, has_no_requests)
{
	char text[TEXT_SIZE];
	__u32 req;

	for (req = 0; req < 4; req++)
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, req, "1", 1));
	EXPECT_EQ(-EOPNOTSUPP, get_vec(self->fd, text, sizeof(text)));
	/* The argument is not touched. */
	EXPECT_EQ(-EOPNOTSUPP, result(ioctl(self->fd, NS_SPECIFIC_IOC, NULL)));
	EXPECT_EQ(-EOPNOTSUPP, result(ioctl(self->fd, NS_SPECIFIC_IOC, -1L)));
	EXPECT_EQ(-EOPNOTSUPP, ioctl_sized(self->fd, 4096, NULL));
	/* What is not this ioctl is nothing on any type. */
	EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, 15, NULL));
	EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, _IO(NSIO, NS_SPECIFIC_NR),
					NULL)));
}

/*
 * The text. A caller without capabilities is told EPERM for each well-formed
 * vector and EINVAL for each other, whatever the levels and pid_max are.
 */

struct text {
	const char *bytes;
	size_t size;
};

#define TEXT(literal) { literal, sizeof(literal) - 1 }

static const struct text well_formed[] = {
	TEXT("0"),
	TEXT("1"),
	TEXT("9"),
	TEXT("10"),
	TEXT("2147483647"),
	TEXT("1:2147483647"),
	TEXT("2147483647:1"),
	/* leading zeros */
	TEXT("00"),
	TEXT("007"),
	TEXT("00000000002147483647"),
	TEXT("000000000000000000000000000000000000000000000000000000000001:0002"),
	/* one counted NUL */
	TEXT("1\0"),
	TEXT("1:2\0"),
	TEXT("2147483647\0"),
};

static const struct text malformed[] = {
	/* no number */
	TEXT(":"),
	TEXT("::"),
	TEXT(":1"),
	TEXT("1:"),
	TEXT("1::2"),
	TEXT("1:2:"),
	TEXT(":1:2"),
	/* NUL */
	TEXT("\0"),
	TEXT("\0001"),
	TEXT("1\0002"),
	TEXT("1\0:2"),
	TEXT("1:\0"),
	TEXT("1:\0002"),
	TEXT("1\0\0"),
	TEXT("\0\0"),
	TEXT("1:2\0\0"),
	/* sign, space, newline, and other bytes that are no digits */
	TEXT("+1"),
	TEXT("-1"),
	TEXT("-0"),
	TEXT("1:-1"),
	TEXT("1:+2"),
	TEXT("1-"),
	TEXT(" 1"),
	TEXT("1 "),
	TEXT("1 :2"),
	TEXT("1: 2"),
	TEXT("\t1"),
	TEXT("1\t"),
	TEXT("1\n"),
	TEXT("1\n\0"),
	TEXT("1:2\n"),
	TEXT("\n1"),
	TEXT("1\r"),
	TEXT("1/"),
	TEXT("1;2"),
	TEXT("1,2"),
	TEXT("1.2"),
	TEXT("0x1"),
	TEXT("0b1"),
	TEXT("1e3"),
	TEXT("1_0"),
	TEXT("a"),
	TEXT("1a"),
	TEXT("1:a"),
	TEXT("\xb1"),
	TEXT("1\xff"),
	TEXT("\xd9\xa1"),
	/* more than an int holds */
	TEXT("2147483648"),
	TEXT("2147483650"),
	TEXT("1:2147483648"),
	TEXT("2147483648:1"),
	TEXT("0000000000002147483648"),
	TEXT("3000000000"),
	TEXT("4294967295"),
	TEXT("4294967296"),
	TEXT("4294967297"),
	TEXT("21474836470"),
	TEXT("9223372036854775807"),
	TEXT("9223372036854775808"),
	TEXT("18446744073709551615"),
	TEXT("18446744073709551616"),
	TEXT("18446744073709551617"),
	TEXT("340282366920938463463374607431768211457"),
	TEXT("1:340282366920938463463374607431768211457"),
};

FIXTURE(text)
{
	int fd;
};

FIXTURE_SETUP(text)
{
	ASSERT_EQ(0, keep_caps(NO_CAPS));
	self->fd = open_ns(getpid(), "pid");
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(text)
{
	close(self->fd);
}

TEST_F(text, well_formed)
{
	const struct text *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(well_formed); i++) {
		t = &well_formed[i];
		EXPECT_EQ(-EPERM, set_bytes(self->fd, t->bytes, t->size))
			TH_LOG("%zu bytes of '%s'", t->size, t->bytes);
	}
}

TEST_F(text, malformed_is_einval)
{
	const struct text *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(malformed); i++) {
		t = &malformed[i];
		EXPECT_EQ(-EINVAL, set_bytes(self->fd, t->bytes, t->size))
			TH_LOG("%zu bytes of '%s'", t->size, t->bytes);
	}
}

TEST_F(text, every_other_byte_is_einval)
{
	char text[5];
	int byte, i;

	for (byte = 0; byte < 256; byte++) {
		if ((byte >= '0' && byte <= '9') || byte == ':')
			continue;
		for (i = 0; i < 5; i++) {
			bool last = !byte && i == 4;	/* the counted NUL */

			memcpy(text, "12:34", 5);
			text[i] = byte;
			EXPECT_EQ(last ? -EPERM : -EINVAL,
				  set_bytes(self->fd, text, 5))
				TH_LOG("byte %#x at %d", byte, i);
		}
	}
}

static size_t repeat(char *text, const char *number, int n)
{
	size_t len = 0;

	while (n--)
		len += sprintf(text + len, "%s%s", number, n ? ":" : "");
	return len;
}

TEST_F(text, more_numbers_than_levels_can_exist_is_einval)
{
	const char *const numbers[] = { "1", "01", "30000", "2147483647" };
	char text[2 * PIDNS_LAST_PID_VEC_MAX];
	size_t i, size;
	int n;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (n = 1; n < PIDNS_LAST_PID_VEC_MAX; n++) {
			size = repeat(text, numbers[i], n);
			if (size >= PIDNS_LAST_PID_VEC_MAX)
				break;
			EXPECT_EQ(n <= MAX_LEVELS ? -EPERM : -EINVAL,
				  set_bytes(self->fd, text, size))
				TH_LOG("%d times %s", n, numbers[i]);
			EXPECT_EQ(n <= MAX_LEVELS ? -EPERM : -EINVAL,
				  set_bytes(self->fd, text, size + 1))
				TH_LOG("%d times %s, and NUL", n, numbers[i]);
			text[size - 1] = 'x';
			EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, size));
			text[size - 1] = ':';
			EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, size));
		}
		EXPECT_LT(MAX_LEVELS, n);
	}

	/* The most there can be, in the longest text. */
	memset(text, '0', sizeof(text));
	size = MAX_LEVELS * strlen("00000000000007:") - 1;
	repeat(text + PIDNS_LAST_PID_VEC_MAX - size, "00000000000007",
	       MAX_LEVELS);
	EXPECT_EQ(-EPERM, set_bytes(self->fd, text, PIDNS_LAST_PID_VEC_MAX))
		TH_LOG("%s", text);
}

TEST_F(text, every_length_up_to_the_longest)
{
	char text[PIDNS_LAST_PID_VEC_MAX + 1];
	int size;

	memset(text, '0', sizeof(text));
	for (size = 1; size <= PIDNS_LAST_PID_VEC_MAX; size++) {
		text[size - 1] = '7';
		EXPECT_EQ(-EPERM, set_bytes(self->fd, text, size))
			TH_LOG("%d bytes", size);
		text[size - 1] = 'x';
		EXPECT_EQ(-EINVAL, set_bytes(self->fd, text, size))
			TH_LOG("%d bytes, the last is wrong", size);
		text[size - 1] = '0';
	}
}

/*
 * Three pid namespaces below the test's own.
 */

FIXTURE(nested)
{
	struct stack s;
	int fd;
};

FIXTURE_SETUP(nested)
{
	if (lacking())
		SKIP(return, "%s", lacking());
	ASSERT_EQ(0, map_shared());
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
	self->fd = self->s.level[0].fd;
	ASSERT_EQ(0, set_vec(self->fd, START));
}

FIXTURE_TEARDOWN(nested)
{
	stack_stop(&self->s);
}

/* Neither by GET nor in the files inside has any level moved from START. */
static void expect_unchanged(struct __test_metadata *_metadata,
			     struct stack *s, int line)
{
	EXPECT_STREQ(START, last_pids(s->level[0].fd, 3)) {
		TH_LOG("seen by GET at line %d", line);
	}
	EXPECT_STREQ(START, ask_levels(s, 3, read_ns_last_pid)) {
		TH_LOG("seen inside at line %d", line);
	}
}

#define EXPECT_UNCHANGED(s)	expect_unchanged(_metadata, s, __LINE__)

TEST_F(nested, set_one_level)
{
	EXPECT_EQ(0, set_vec(self->fd, "4000"));
	EXPECT_STREQ("4000:2000:3000", last_pids(self->fd, 3));
	EXPECT_STREQ("4001:2001:3001", next_pids(self->fd, 3));
}

TEST_F(nested, set_short_vector)
{
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000"));
	EXPECT_STREQ("4000:5000:3000", last_pids(self->fd, 3));
	EXPECT_STREQ("4001:5001:3001", next_pids(self->fd, 3));
}

TEST_F(nested, set_three_levels)
{
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
	EXPECT_STREQ("4002:5002:6002", next_pids(self->fd, 3));
	EXPECT_STREQ("4002:5002:6002", last_pids(self->fd, 3));
	/* Backwards too. */
	EXPECT_EQ(0, set_vec(self->fd, "400:500:600"));
	EXPECT_STREQ("401:501:601", next_pids(self->fd, 3));
}

TEST_F(nested, set_begins_at_the_namespace_of_the_fd)
{
	EXPECT_EQ(0, set_vec(self->s.level[1].fd, "5000:6000"));
	EXPECT_STREQ("1000:5000:6000", last_pids(self->fd, 3));
	EXPECT_EQ(0, set_vec(self->s.level[2].fd, "7000"));
	EXPECT_STREQ("1000:5000:7000", last_pids(self->fd, 3));
	EXPECT_STREQ("5000:7000", last_pids(self->s.level[1].fd, 2));
	/* A task in the middle takes no pid below. */
	EXPECT_STREQ("5001:7001", next_pids(self->s.level[1].fd, 2));
	EXPECT_STREQ("1000:5001:7001", last_pids(self->fd, 3));
}

TEST_F(nested, set_every_level_up_to_the_tests_own)
{
	long mid = read_pid_max(0) / 2;
	char text[TEXT_SIZE], want[TEXT_SIZE];
	const char *got = "";
	int i;

	for (i = 0; i < TRIES; i++) {
		snprintf(text, sizeof(text), "4000:5000:6000:%ld", mid + 7 * i);
		snprintf(want, sizeof(want), "4001:5001:6001:%ld",
			 mid + 7 * i + 1);
		ASSERT_EQ(0, set_vec(self->fd, text));
		got = next_pids(self->fd, 4);
		if (!strcmp(want, got))
			break;
	}
	EXPECT_STREQ(want, got);
}

TEST_F(nested, set_takes_leading_zeros_and_the_counted_nul)
{
	char longest[PIDNS_LAST_PID_VEC_MAX];

	EXPECT_EQ(0, set_vec(self->fd, "0004000:005000:00000000000000006000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_EQ(0, set_bytes(self->fd, "4010:5010:6010", 15));
	EXPECT_STREQ("4010:5010:6010", last_pids(self->fd, 3));

	memset(longest, '0', sizeof(longest));
	memcpy(longest + sizeof(longest) - 14, "4020:5020:6020", 14);
	EXPECT_EQ(0, set_bytes(self->fd, longest, sizeof(longest)));
	EXPECT_STREQ("4020:5020:6020", last_pids(self->fd, 3));
}

TEST_F(nested, set_reads_no_further_than_data_size)
{
	EXPECT_EQ(0, set_bytes(self->fd, "40001:5000", 4));
	EXPECT_STREQ("4000:2000:3000", last_pids(self->fd, 3));
	EXPECT_EQ(0, set_bytes(self->fd, "4000:5000:x", 9));
	EXPECT_STREQ("4000:5000:3000", last_pids(self->fd, 3));
}

TEST_F(nested, set_through_a_larger_structure)
{
	struct {
		struct ns_specific_req known;
		char tail[100];
	} big = {
		.known = {
			.req		= PIDNS_REQ_SET_LAST_PID_VEC,
			.data_size	= 9,
			.data		= ptr_to_u64("4000:5000"),
		},
	};

	EXPECT_EQ(0, ioctl_sized(self->fd, sizeof(big), &big));
	EXPECT_STREQ("4000:5000:3000", last_pids(self->fd, 3));
	big.tail[99] = 1;
	big.known.data = ptr_to_u64("6000:7000");
	EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, sizeof(big), &big));
	EXPECT_STREQ("4000:5000:3000", last_pids(self->fd, 3));
}

TEST_F(nested, set_zero)
{
	/* The init has 1. */
	EXPECT_EQ(0, set_vec(self->fd, "0"));
	EXPECT_STREQ("0:2000:3000", last_pids(self->fd, 3));
	EXPECT_STREQ("2:2001:3001", next_pids(self->fd, 3));
	EXPECT_EQ(0, set_vec(self->fd, "1"));
	EXPECT_STREQ("2:2002:3002", next_pids(self->fd, 3));
	/* Below the reserved pids nothing is special as long as it is set. */
	EXPECT_EQ(0, set_vec(self->fd, "298"));
	EXPECT_STREQ("299:2003:3003", next_pids(self->fd, 3));
	EXPECT_STREQ("300:2004:3004", next_pids(self->fd, 3));
	EXPECT_STREQ("301:2005:3005", next_pids(self->fd, 3));
}

TEST_F(nested, set_skips_pids_that_are_taken)
{
	pid_t first, second;

	ASSERT_EQ(0, set_vec(self->fd, "4000:5000"));
	first = fork_into(self->fd);
	if (!first)
		_exit(0);
	ASSERT_GT(first, 0);
	ASSERT_EQ(0, set_vec(self->fd, "4001:6000"));
	second = fork_into(self->fd);
	if (!second)
		_exit(0);
	ASSERT_GT(second, 0);
	EXPECT_STREQ("4002:6001:3002", nspid(second, 3));

	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_STREQ("4003:5002:6001", next_pids(self->fd, 3));

	EXPECT_EQ(0, wait_for_pid(first));
	EXPECT_EQ(0, wait_for_pid(second));
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
}

TEST_F(nested, every_level_has_its_own_pid_max)
{
	const int levels[][3] = {
		{ LOW_PID_MAX, 30000, 30000 },
		{ 30000, LOW_PID_MAX + 1, 30000 },
		{ 30000, 30000, LOW_PID_MAX + 2 },
	};
	char text[TEXT_SIZE];
	int i, n[3];

	for (i = 0; i < 3; i++) {
		long old = ask(&self->s, i, read_pid_max, 0);

		/* What a new namespace has. */
		ASSERT_GT(old, 30000);
		snprintf(text, sizeof(text), "%ld", old);
		EXPECT_EQ(0, set_vec(self->s.level[i].fd, text));
		EXPECT_STREQ(text, last_pids(self->s.level[i].fd, 1));
		ASSERT_EQ(0, set_vec(self->fd, START));
		snprintf(text, sizeof(text), "%ld", old + 1);
		EXPECT_EQ(-EINVAL, set_vec(self->s.level[i].fd, text));
		EXPECT_EQ(-EINVAL, set_vec(self->s.level[i].fd, "2147483647"));
		EXPECT_UNCHANGED(&self->s);

		/* Lower, on this level alone. */
		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, levels[i][i]));
		memcpy(n, levels[i], sizeof(n));
		snprintf(text, sizeof(text), "%d:%d:%d", n[0], n[1], n[2]);
		EXPECT_EQ(0, set_vec(self->fd, text)) TH_LOG("%s", text);
		EXPECT_STREQ(text, last_pids(self->fd, 3));

		ASSERT_EQ(0, set_vec(self->fd, START));
		n[i]++;
		snprintf(text, sizeof(text), "%d:%d:%d", n[0], n[1], n[2]);
		EXPECT_EQ(-EINVAL, set_vec(self->fd, text)) TH_LOG("%s", text);
		EXPECT_UNCHANGED(&self->s);

		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, old));
	}
}

TEST_F(nested, the_bound_is_that_of_ns_last_pid)
{
	int i;

	for (i = 0; i < 3; i++) {
		int fd = self->s.level[i].fd;

		ASSERT_EQ(0, ask(&self->s, i, write_pid_max, LOW_PID_MAX));
		EXPECT_EQ(0, ask(&self->s, i, write_ns_last_pid, LOW_PID_MAX));
		EXPECT_EQ(0, set_vec(fd, "20000"));
		EXPECT_EQ(-EINVAL, ask(&self->s, i, write_ns_last_pid,
				       LOW_PID_MAX + 1));
		EXPECT_EQ(-EINVAL, set_vec(fd, "20001"));
	}
}

TEST_F(nested, allocation_wraps_at_pid_max)
{
	ASSERT_EQ(0, ask(&self->s, 0, write_pid_max, LOW_PID_MAX));
	EXPECT_EQ(0, set_vec(self->fd, "19998"));
	EXPECT_STREQ("19999:2001:3001", next_pids(self->fd, 3));
	EXPECT_STREQ("300:2002:3002", next_pids(self->fd, 3));
	EXPECT_EQ(0, set_vec(self->fd, "19999"));
	EXPECT_STREQ("300:2003:3003", next_pids(self->fd, 3));
	EXPECT_EQ(0, set_vec(self->fd, "20000"));
	EXPECT_STREQ("300:2004:3004", next_pids(self->fd, 3));
	EXPECT_STREQ("300:2004:3004", last_pids(self->fd, 3));
}

TEST_F(nested, malformed_text_changes_nothing)
{
	const struct text *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(malformed); i++) {
		t = &malformed[i];
		EXPECT_EQ(-EINVAL, set_bytes(self->fd, t->bytes, t->size));
		EXPECT_STREQ(START, last_pids(self->fd, 3))
			TH_LOG("%zu bytes of '%s'", t->size, t->bytes);
	}
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, failure_at_the_third_level_changes_nothing)
{
	char text[TEXT_SIZE];

	ASSERT_EQ(0, ask(&self->s, 2, write_pid_max, LOW_PID_MAX));
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:20001"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:2147483647"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:2147483648"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:x"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000:"));
	EXPECT_UNCHANGED(&self->s);
	/* One level further up: the test's own namespace. */
	snprintf(text, sizeof(text), "4000:5000:6000:%ld", read_pid_max(0) + 1);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, text));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, more_numbers_than_levels_is_einval)
{
	char text[TEXT_SIZE];
	int n;

	if (!in_initial_user_ns())
		SKIP(return, "needs to own each level there is");
	n = own_levels() + 3;
	ASSERT_GT(n, 3);
	if (n >= MAX_LEVELS)
		SKIP(return, "runs in the deepest pid namespaces");
	for (n++; n <= MAX_LEVELS; n++) {
		EXPECT_EQ(-EINVAL, set_vec(self->fd,
					   make_vec(text, n, 400, 1)))
			TH_LOG("%d numbers", n);
	}
	EXPECT_UNCHANGED(&self->s);
}

/* Without capabilities, whatever else is wrong with the levels. */
TEST_F(nested, permission_comes_before_level_and_pid_max)
{
	char text[TEXT_SIZE];

	EXPECT_EQ(-EPERM, set_with_caps(NO_CAPS, self->fd, "4000"));
	EXPECT_EQ(-EPERM, set_with_caps(NO_CAPS, self->fd, "2147483647"));
	EXPECT_EQ(-EPERM, set_with_caps(NO_CAPS, self->fd,
					make_vec(text, MAX_LEVELS, 400, 1)));
	/* And after everything about the text. */
	EXPECT_EQ(-EINVAL, set_with_caps(NO_CAPS, self->fd,
					 make_vec(text, MAX_LEVELS + 1, 1, 1)));
	EXPECT_EQ(-EINVAL, set_with_caps(NO_CAPS, self->fd, "2147483648"));
	EXPECT_EQ(-EINVAL, set_with_caps(NO_CAPS, self->fd, "4000:5000:x"));
	EXPECT_EQ(-EFAULT, request_with_caps(NO_CAPS, self->fd,
					     PIDNS_REQ_SET_LAST_PID_VEC,
					     NULL, 4));
	EXPECT_EQ(-EINVAL, set_with_caps(NO_CAPS, self->fd, ""));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, cap_checkpoint_restore_is_enough)
{
	__u64 caps = CAP_BIT(CAP_CHECKPOINT_RESTORE);
	char text[TEXT_SIZE];

	EXPECT_EQ(0, set_with_caps(caps, self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_LE(14, request_with_caps(caps, self->fd,
					PIDNS_REQ_GET_LAST_PID_VEC,
					text, sizeof(text)));
	cut_vec(text, 3);
	EXPECT_STREQ("4000:5000:6000", text);
}

TEST_F(nested, cap_sys_admin_is_enough)
{
	__u64 caps = CAP_BIT(CAP_SYS_ADMIN);
	char text[TEXT_SIZE];

	EXPECT_EQ(0, set_with_caps(caps, self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	EXPECT_LE(14, request_with_caps(caps, self->fd,
					PIDNS_REQ_GET_LAST_PID_VEC,
					text, sizeof(text)));
	cut_vec(text, 3);
	EXPECT_STREQ("4000:5000:6000", text);
}

TEST_F(nested, without_either_capability_is_eperm)
{
	const __u64 caps[] = {
		NO_CAPS,
		~(CAP_BIT(CAP_CHECKPOINT_RESTORE) | CAP_BIT(CAP_SYS_ADMIN)),
	};
	char text[TEXT_SIZE];
	size_t i;
	int l;

	for (i = 0; i < ARRAY_SIZE(caps); i++) {
		for (l = 0; l < 3; l++) {
			int fd = self->s.level[l].fd;

			EXPECT_EQ(-EPERM, set_with_caps(caps[i], fd, "4000"));
			memset(text, '#', sizeof(text));
			EXPECT_EQ(-EPERM,
				  request_with_caps(caps[i], fd,
						    PIDNS_REQ_GET_LAST_PID_VEC,
						    text, sizeof(text)));
			EXPECT_EQ('#', text[0]);
			/* Before the buffer is looked at. */
			EXPECT_EQ(-EPERM,
				  request_with_caps(caps[i], fd,
						    PIDNS_REQ_GET_LAST_PID_VEC,
						    NULL, 0));
			EXPECT_EQ(-EPERM,
				  request_with_caps(caps[i], fd,
						    PIDNS_REQ_GET_LAST_PID_VEC,
						    NULL, TEXT_SIZE));
		}
		EXPECT_EQ(-EPERM, set_with_caps(caps[i], self->fd,
						"4000:5000:6000"));
	}
	EXPECT_UNCHANGED(&self->s);
}

/* Capable of everything, in a user namespace that owns none of them. */
TEST_F(nested, capabilities_elsewhere_are_eperm)
{
	const struct caller stranger = {
		.user_fd = -1, .pid_fd = -1, .new_user = true, .caps = ALL_CAPS,
	};
	int ret;

	ret = set_as(&stranger, self->fd, "4000");
	if (ret == -ECHILD)
		SKIP(return, "cannot create a user namespace");
	EXPECT_EQ(-EPERM, ret);
	EXPECT_EQ(-EPERM, get_as(&stranger, self->fd));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(nested, caller_inside_sets_the_levels_above_itself)
{
	const struct caller inside = {
		.user_fd = -1, .pid_fd = self->fd, .caps = ALL_CAPS,
	};
	const struct caller restricted = {
		.user_fd = -1, .pid_fd = self->fd,
		.caps = CAP_BIT(CAP_CHECKPOINT_RESTORE),
	};
	char text[TEXT_SIZE];

	EXPECT_EQ(0, set_as(&inside, self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
	EXPECT_EQ(0, set_as(&restricted, self->fd, "4100:5100:6100"));
	EXPECT_STREQ("4101:5101:6101", next_pids(self->fd, 3));
	/* An ancestor alone, too. */
	EXPECT_EQ(0, set_as(&inside, self->s.level[2].fd, "6200"));
	EXPECT_STREQ("6200", last_pids(self->s.level[2].fd, 1));

	/* And sees them; its own creation took one pid on each level. */
	ASSERT_EQ(0, set_vec(self->fd, START));
	ASSERT_LE(14, get_as(&inside, self->fd));
	memcpy(text, shared->text, sizeof(text));
	cut_vec(text, 3);
	EXPECT_STREQ("1001:2001:3001", text);
	/* Up to the test's own namespace and above. */
	EXPECT_EQ(0, set_as(&inside, self->fd, shared->text));
	EXPECT_STREQ("1001:2001:3001", last_pids(self->fd, 3));
}

TEST_F(nested, every_reader_says_the_same)
{
	const char *want = "4000:5000:6000";

	/* SET, seen in the files inside. */
	EXPECT_EQ(0, set_vec(self->fd, want));
	EXPECT_STREQ(want, ask_levels(&self->s, 3, read_ns_last_pid));
	EXPECT_STREQ(want, ask_levels(&self->s, 3, read_loadavg_pid));

	/* A task, seen by all three. */
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
	want = "4001:5001:6001";
	EXPECT_STREQ(want, last_pids(self->fd, 3));
	EXPECT_STREQ(want, ask_levels(&self->s, 3, read_ns_last_pid));
	EXPECT_STREQ(want, ask_levels(&self->s, 3, read_loadavg_pid));

	/* Written inside, seen by GET. */
	EXPECT_EQ(0, ask(&self->s, 0, write_ns_last_pid, 7000));
	EXPECT_EQ(0, ask(&self->s, 1, write_ns_last_pid, 8000));
	EXPECT_EQ(0, ask(&self->s, 2, write_ns_last_pid, 9000));
	EXPECT_STREQ("7000:8000:9000", last_pids(self->fd, 3));
	EXPECT_STREQ("7001:8001:9001", next_pids(self->fd, 3));
}

/* Run in the init of the innermost namespace: a task with all pids chosen. */
static long create_by_set_tid(long arg)
{
	pid_t tids[] = { 4001, 5001, 6001 };
	struct __clone_args args = {
		.exit_signal	= SIGCHLD,
		.set_tid	= ptr_to_u64(tids),
		.set_tid_size	= ARRAY_SIZE(tids),
	};
	pid_t pid;

	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		_exit(0);
	return result(pid);
}

TEST_F(nested, set_tid_and_vector_agree)
{
	pid_t pid;

	/* set_tid leaves the last pids alone, ... */
	ASSERT_EQ(4001, ask(&self->s, 0, create_by_set_tid, 0));
	EXPECT_UNCHANGED(&self->s);
	pid = ioctl(self->fd, NS_GET_PID_FROM_PIDNS, 4001);
	ASSERT_GT(pid, 0);
	EXPECT_STREQ("4001:5001:6001", nspid(pid, 3));
	/* ... so tasks made otherwise can run into it; the vector steps over, */
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4002:5002:6002", next_pids(self->fd, 3));
	EXPECT_EQ(0, ask(&self->s, 0, reap_child, 4001));
	/* or makes the same task. */
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4001:5001:6001", next_pids(self->fd, 3));
}

TEST_F(nested, fd_from_proc_of_any_task_inside)
{
	pid_t pid;
	int fd;

	pid = fork_into(self->fd);
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_GT(pid, 0);
	fd = open_ns(pid, "pid");
	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, set_vec(fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_F(nested, fd_from_pid_for_children)
{
	int fd;

	/* The init of a level and its children are in the same namespace. */
	fd = open_ns(self->s.level[0].init, "pid_for_children");
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, set_vec(fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	close(fd);

	/* The test's children can be in another than the test. */
	ASSERT_EQ(0, setns(self->s.level[1].fd, CLONE_NEWPID));
	fd = open_ns(getpid(), "pid_for_children");
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, set_vec(fd, "7000:8000"));
	EXPECT_STREQ("4000:7000:8000", last_pids(self->fd, 3));
	close(fd);
}

TEST_F(nested, fd_from_ns_get_parent)
{
	int parent, grandparent, own;
	struct stat a, b;

	parent = ioctl(self->fd, NS_GET_PARENT);
	ASSERT_GE(parent, 0);
	EXPECT_EQ(0, set_vec(parent, "5000:6000"));
	EXPECT_STREQ("1000:5000:6000", last_pids(self->fd, 3));
	grandparent = ioctl(parent, NS_GET_PARENT);
	ASSERT_GE(grandparent, 0);
	EXPECT_EQ(0, set_vec(grandparent, "7000"));
	EXPECT_STREQ("1000:5000:7000", last_pids(self->fd, 3));
	own = ioctl(grandparent, NS_GET_PARENT);
	ASSERT_GE(own, 0);
	ASSERT_EQ(0, fstat(own, &a));
	ASSERT_EQ(0, stat("/proc/self/ns/pid", &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(0, set_vec(own, last_pids(own, 1)));
}

TEST_F(nested, fd_from_a_pidfd)
{
	int pidfd, fd;

	pidfd = sys_pidfd_open(self->s.level[0].init, 0);
	ASSERT_GE(pidfd, 0);
	fd = ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, set_vec(fd, "4000:5000:6000"));
	EXPECT_STREQ("4000:5000:6000", last_pids(self->fd, 3));
	close(fd);
	fd = ioctl(pidfd, PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, set_vec(fd, "7000:8000:9000"));
	EXPECT_STREQ("7000:8000:9000", last_pids(self->fd, 3));
	close(fd);
	/* A pidfd is no namespace. */
	EXPECT_NE(0, set_vec(pidfd, "4000"));
	close(pidfd);
}

/* Run in the init of the innermost namespace. */
static long unshare_pid_ns(long arg)
{
	return result(unshare(CLONE_NEWPID));
}

static long create_waiting_child(long arg)
{
	pid_t pid;

	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	return result(pid);
}

TEST_F(nested, namespace_without_init_is_einval)
{
	char text[TEXT_SIZE];
	pid_t pid;
	int fd;

	ASSERT_EQ(0, ask(&self->s, 0, unshare_pid_ns, 0));
	fd = open_ns(self->s.level[0].init, "pid_for_children");
	ASSERT_GE(fd, 0);

	EXPECT_EQ(-EINVAL, set_vec(fd, "10"));
	EXPECT_EQ(-EINVAL, set_vec(fd, "0"));
	EXPECT_EQ(-EINVAL, set_vec(fd, "10:4000:5000:6000"));
	EXPECT_UNCHANGED(&self->s);
	memset(text, '#', sizeof(text));
	EXPECT_EQ(-EINVAL, get_vec(fd, text, sizeof(text)));
	EXPECT_EQ('#', text[0]);
	/* The capability comes first, the buffer later. */
	EXPECT_EQ(-EPERM, set_with_caps(NO_CAPS, fd, "10"));
	EXPECT_EQ(-EPERM, request_with_caps(NO_CAPS, fd,
					    PIDNS_REQ_GET_LAST_PID_VEC,
					    text, sizeof(text)));
	EXPECT_EQ(-EINVAL, get_vec(fd, text, 0));
	EXPECT_EQ(-EINVAL, get_vec(fd, NULL, sizeof(text)));

	/* Its first task is the init all the same, and then it is like others. */
	ASSERT_LT(0, ask(&self->s, 0, create_waiting_child, 0));
	EXPECT_STREQ("1:1001:2001:3001", last_pids(fd, 4));
	EXPECT_EQ(0, set_vec(fd, "10:4000:5000:6000"));
	EXPECT_STREQ("11:4001:5001:6001", next_pids(fd, 4));

	/* Until that is gone. */
	pid = ioctl(fd, NS_GET_PID_FROM_PIDNS, 1);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ask(&self->s, 0, reap_child, 1001);
	EXPECT_EQ(-EINVAL, set_vec(fd, "10"));
	close(fd);
}

TEST_F(nested, namespace_whose_init_has_died_is_einval)
{
	char text[TEXT_SIZE];
	int i;

	/* In the middle: what is above goes on. */
	ASSERT_EQ(0, kill_init(&self->s, 1));
	for (i = 0; i < 2; i++) {
		int fd = self->s.level[i].fd;

		EXPECT_EQ(-EINVAL, set_vec(fd, "4000"));
		EXPECT_EQ(-EINVAL, set_vec(fd, "4000:5000"));
		memset(text, '#', sizeof(text));
		EXPECT_EQ(-EINVAL, get_vec(fd, text, sizeof(text)));
		EXPECT_EQ('#', text[0]);
		EXPECT_EQ(-EPERM, set_with_caps(NO_CAPS, fd, "4000"));
		EXPECT_EQ(-EINVAL, get_vec(fd, NULL, 0));
	}
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));

	/* Waited for, too. */
	EXPECT_LT(0, shared->init[1]);
	ask(&self->s, 2, reap_child, 2);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EINVAL, set_vec(self->s.level[1].fd, "5000:6000"));
	EXPECT_EQ(-EINVAL, get_vec(self->fd, text, sizeof(text)));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));

	EXPECT_EQ(0, set_vec(self->s.level[2].fd, "6000"));
	EXPECT_STREQ("6001", next_pids(self->s.level[2].fd, 1));
}

TEST_F(nested, namespace_whose_init_is_dying_is_einval)
{
	char text[TEXT_SIZE];
	siginfo_t info;
	pid_t pid;

	/* A child of the test is killed by the init, and holds it up unreaped. */
	pid = fork_into(self->fd);
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, set_vec(self->fd, START));
	ASSERT_EQ(0, kill(self->s.level[0].init, SIGKILL));
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));

	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000"));
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EINVAL, get_vec(self->fd, text, sizeof(text)));
	EXPECT_STREQ("2000:3000", last_pids(self->s.level[1].fd, 2));
	waitpid(pid, NULL, 0);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("2000:3000", last_pids(self->s.level[1].fd, 2));
}

TEST_F(nested, ancestor_whose_init_is_dying_is_einval)
{
	pid_t init = self->s.level[0].init;
	char text[TEXT_SIZE];
	int status;

	/*
	 * The init of level 1 dies, and kills that of level 0. A tracer can
	 * stop a task that is about to exit: level 0 is as alive as ever then.
	 */
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, init, NULL, PTRACE_O_TRACEEXIT));
	ASSERT_EQ(0, kill(self->s.level[1].init, SIGKILL));
	ASSERT_EQ(init, waitpid(init, &status, __WALL));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);

	EXPECT_EQ(-EINVAL, set_vec(self->s.level[1].fd, "5000"));
	EXPECT_EQ(-EINVAL, get_vec(self->s.level[1].fd, text, sizeof(text)));
	/* All or nothing, when the capabilities and the bounds are fine. */
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000"));
	EXPECT_STREQ("1000", last_pids(self->fd, 1));
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("1000", last_pids(self->fd, 1));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));
	/* What does not go that far is not concerned. */
	EXPECT_EQ(0, set_vec(self->fd, "4000"));
	EXPECT_EQ(4, get_vec(self->fd, text, sizeof(text)));
	EXPECT_STREQ("4000", text);
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, init, NULL, NULL));
}

/*
 * Three levels again: the two inside are owned by a child user namespace.
 */

FIXTURE(owned)
{
	struct stack s;
	int fd;
	int user_fd;
	struct caller owner;
};

FIXTURE_SETUP(owned)
{
	int ret;

	if (lacking())
		SKIP(return, "%s", lacking());
	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "no user namespaces in this kernel");
	ASSERT_EQ(0, map_shared());
	self->s.depth = 3;
	self->s.user_levels = 2;
	ret = stack_start(&self->s);
	if (ret == -ENOSPC || ret == -EPERM)
		SKIP(return, "cannot create a user namespace");
	ASSERT_EQ(0, ret);
	self->fd = self->s.level[0].fd;
	self->user_fd = open_ns(self->s.level[0].init, "user");
	ASSERT_GE(self->user_fd, 0);
	self->owner.user_fd = self->user_fd;
	self->owner.pid_fd = -1;
	self->owner.caps = ALL_CAPS;
	ASSERT_EQ(0, set_vec(self->fd, START));
}

FIXTURE_TEARDOWN(owned)
{
	stack_stop(&self->s);
	close(self->user_fd);
}

TEST_F(owned, set_stops_at_the_levels_above)
{
	EXPECT_EQ(0, set_as(&self->owner, self->fd, "4000"));
	EXPECT_STREQ("4000:2000:3000", last_pids(self->fd, 3));
	EXPECT_EQ(0, set_as(&self->owner, self->fd, "4000:5000"));
	EXPECT_STREQ("4000:5000:3000", last_pids(self->fd, 3));
	EXPECT_EQ(0, set_as(&self->owner, self->s.level[1].fd, "6000"));
	EXPECT_STREQ("4000:6000:3000", last_pids(self->fd, 3));
	EXPECT_STREQ("4001:6001:3001", next_pids(self->fd, 3));

	/* All or nothing. */
	ASSERT_EQ(0, set_vec(self->fd, START));
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->fd, "4000:5000:6000"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->fd, "4000:5000:6000:7000"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->s.level[1].fd, "5000:6000"));
	EXPECT_UNCHANGED(&self->s);
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->s.level[2].fd, "6000"));
	EXPECT_UNCHANGED(&self->s);
	/* The same value is no exception. */
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->fd, START));
}

TEST_F(owned, get_stops_at_the_levels_above)
{
	EXPECT_EQ(9, get_as(&self->owner, self->fd));
	EXPECT_STREQ("1000:2000", shared->text);
	EXPECT_EQ(4, get_as(&self->owner, self->s.level[1].fd));
	EXPECT_STREQ("2000", shared->text);
	EXPECT_EQ(-EPERM, get_as(&self->owner, self->s.level[2].fd));
	/* The test sees all that it may set. */
	EXPECT_LT(14, get_vec(self->fd, shared->text, TEXT_SIZE));
	EXPECT_LT(3, count_levels(shared->text));
}

TEST_F(owned, levels_are_checked_upward_one_by_one)
{
	char text[TEXT_SIZE];
	int fd = self->fd;

	ASSERT_EQ(0, ask(&self->s, 0, write_pid_max, LOW_PID_MAX));
	ASSERT_EQ(0, ask(&self->s, 1, write_pid_max, LOW_PID_MAX + 1));

	/* pid_max of a level comes before the capability on the next, */
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd, "20001:5000:6000"));
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd, "4000:20002:6000"));
	EXPECT_EQ(-EPERM, set_as(&self->owner, fd, "20000:20001:6000"));
	/* the capability on a level before its pid_max and before the next, */
	EXPECT_EQ(-EPERM, set_as(&self->owner, fd, "4000:5000:2147483647"));
	EXPECT_EQ(-EPERM, set_as(&self->owner, fd,
				 make_vec(text, MAX_LEVELS, 400, 1)));
	/* and the text before all of them. */
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd, "4000:5000:6000:x"));
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd, "4000:5000:2147483648"));
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd,
				  make_vec(text, MAX_LEVELS + 1, 400, 1)));
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(owned, levels_are_checked_before_the_init)
{
	int fd;

	ASSERT_EQ(0, ask(&self->s, 0, unshare_pid_ns, 0));
	fd = open_ns(self->s.level[0].init, "pid_for_children");
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EINVAL, set_as(&self->owner, fd, "10:4000:5000"));
	EXPECT_EQ(-EPERM, set_as(&self->owner, fd, "10:4000:5000:6000"));
	EXPECT_EQ(-EINVAL, get_as(&self->owner, fd));
	EXPECT_UNCHANGED(&self->s);
	close(fd);

	ASSERT_EQ(0, kill_init(&self->s, 0));
	EXPECT_EQ(-EINVAL, set_as(&self->owner, self->fd, "4000:5000"));
	EXPECT_EQ(-EPERM, set_as(&self->owner, self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EINVAL, get_as(&self->owner, self->fd));
	EXPECT_STREQ("2000:3000", last_pids(self->s.level[1].fd, 2));
}

TEST_F(owned, capabilities_count_where_the_owner_is)
{
	const __u64 enough[] = {
		CAP_BIT(CAP_CHECKPOINT_RESTORE), CAP_BIT(CAP_SYS_ADMIN),
	};
	struct caller who = self->owner;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(enough); i++) {
		who.caps = enough[i];
		EXPECT_EQ(0, set_as(&who, self->fd, "4000:5000"));
		EXPECT_EQ(-EPERM, set_as(&who, self->fd, "4000:5000:6000"));
		EXPECT_EQ(9, get_as(&who, self->fd));
	}
	ASSERT_EQ(0, set_vec(self->fd, START));
	who.caps = ~(enough[0] | enough[1]);
	EXPECT_EQ(-EPERM, set_as(&who, self->fd, "4000"));
	EXPECT_EQ(-EPERM, get_as(&who, self->fd));
	who.caps = NO_CAPS;
	EXPECT_EQ(-EPERM, set_as(&who, self->fd, "4000"));
	EXPECT_EQ(-EPERM, get_as(&who, self->fd));
	EXPECT_UNCHANGED(&self->s);
}

/* In the pid namespace and in the user namespace, as in a container. */
TEST_F(owned, caller_inside_both_namespaces)
{
	struct caller who = self->owner;

	who.pid_fd = self->fd;
	EXPECT_EQ(0, set_as(&who, self->fd, "4000:5000"));
	EXPECT_STREQ("4000:5000:3001", last_pids(self->fd, 3));
	EXPECT_EQ(9, get_as(&who, self->fd));
	EXPECT_STREQ("4001:5001", shared->text);
	EXPECT_EQ(-EPERM, set_as(&who, self->fd, "4000:5000:6000"));
	EXPECT_STREQ("4002:5002:3003", last_pids(self->fd, 3));
}

/*
 * The buffer of GET. Who sees two levels gets the nine characters "1000:2000"; the
 * creator of a user namespace may do anything to what it owns, and nothing
 * above, when it has no capabilities of its own.
 */

static int get_two(int fd, void *buf, __u32 size)
{
	return request_with_caps(NO_CAPS, fd, PIDNS_REQ_GET_LAST_PID_VEC, buf,
				 size);
}

TEST_F(owned, get_returns_the_length_and_writes_no_more)
{
	char buf[4096];
	size_t i;

	memset(buf, '#', sizeof(buf));
	EXPECT_EQ(9, get_two(self->fd, buf, sizeof(buf)));
	EXPECT_EQ(0, memcmp(buf, "1000:2000", 10));
	for (i = 10; i < sizeof(buf) && buf[i] == '#'; i++)
		;
	EXPECT_EQ(sizeof(buf), i);

	/* Only the text has to fit. */
	memset(buf, '#', sizeof(buf));
	EXPECT_EQ(9, get_two(self->fd, buf, ~0U));
	EXPECT_EQ(0, memcmp(buf, "1000:2000", 10));
	EXPECT_EQ('#', buf[10]);
	EXPECT_EQ(4, get_two(self->s.level[1].fd, buf, 5));
	EXPECT_STREQ("2000", buf);
}

TEST_F(owned, get_into_a_short_buffer_is_erange)
{
	char buf[32];
	int size;

	for (size = 0; size < 10; size++) {
		memset(buf, '#', sizeof(buf));
		EXPECT_EQ(-ERANGE, get_two(self->fd, buf, size))
			TH_LOG("%d bytes", size);
		EXPECT_EQ('#', buf[0]);
		EXPECT_EQ(0, memcmp(buf, buf + 1, sizeof(buf) - 1));
		/* The size is looked at before the address. */
		EXPECT_EQ(-ERANGE, get_two(self->fd, NULL, size));
	}
	EXPECT_EQ(9, get_two(self->fd, buf, size));
	EXPECT_EQ(0, memcmp(buf, "1000:2000\0#", 11));

	/* Fewer and more digits. */
	ASSERT_EQ(0, set_vec(self->fd, "0:12345"));
	EXPECT_EQ(-ERANGE, get_two(self->fd, buf, 7));
	EXPECT_EQ(7, get_two(self->fd, buf, 8));
	EXPECT_STREQ("0:12345", buf);
}

TEST_F(owned, get_into_an_unwritable_buffer_is_efault)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *edge = map_edge();

	ASSERT_NE(NULL, edge);
	EXPECT_EQ(-EFAULT, get_two(self->fd, NULL, 10));
	EXPECT_EQ(-EFAULT, get_two(self->fd, edge, 10));
	EXPECT_EQ(-EFAULT, get_two(self->fd, (void *)-1L, 10));
	EXPECT_EQ(9, get_two(self->fd, edge - 10, 10));
	EXPECT_EQ(9, get_two(self->fd, edge - 10, 4096));
	EXPECT_STREQ("1000:2000", edge - 10);
	EXPECT_EQ(-EFAULT, get_two(self->fd, edge - 9, 10));
	EXPECT_EQ(-EFAULT, get_two(self->fd, edge - 1, 10));

	memset(edge - page, '#', page);
	ASSERT_EQ(0, mprotect(edge - page, page, PROT_READ));
	EXPECT_EQ(-EFAULT, get_two(self->fd, edge - page, page));
	EXPECT_EQ('#', edge[-(int)page]);
	EXPECT_UNCHANGED(&self->s);
}

TEST_F(owned, set_takes_what_get_wrote)
{
	char buf[TEXT_SIZE];
	int len;

	len = get_two(self->fd, buf, sizeof(buf));
	ASSERT_EQ(9, len);
	ASSERT_EQ(0, set_vec(self->fd, "4000:5000"));
	EXPECT_EQ(0, set_bytes(self->fd, buf, len));
	EXPECT_UNCHANGED(&self->s);
	ASSERT_EQ(0, set_vec(self->fd, "4000:5000"));
	EXPECT_EQ(0, set_bytes(self->fd, buf, len + 1));
	EXPECT_UNCHANGED(&self->s);
}

/*
 * GET shows a cursor that is out of range as the nearer end of the range.
 */

TEST_F(nested, get_clamps_to_pid_max)
{
	ASSERT_EQ(0, set_vec(self->fd, "30000:30000:30000"));
	ASSERT_EQ(0, ask(&self->s, 1, write_pid_max, LOW_PID_MAX));
	EXPECT_STREQ("30000:20000:30000", last_pids(self->fd, 3));
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "30000:30000:30000"));
	EXPECT_EQ(0, set_vec(self->fd, last_pids(self->fd, 3)));
	EXPECT_STREQ("30000:20000:30000", last_pids(self->fd, 3));
	EXPECT_STREQ("30001:300:30001", next_pids(self->fd, 3));
}

TEST(get_clamps_to_zero)
{
	/* An init that set_tid gave its pid leaves the cursor where it was. */
	struct stack s = { .depth = 2, .set_tid = true };

	if (lacking())
		SKIP(return, "%s", lacking());
	ASSERT_EQ(0, map_shared());
	ASSERT_EQ(0, stack_start(&s));
	EXPECT_EQ(-1, ask(&s, 0, read_ns_last_pid, 0));
	EXPECT_STREQ("0", last_pids(s.level[0].fd, 1));
	EXPECT_EQ(0, set_vec(s.level[0].fd, last_pids(s.level[0].fd, 2)));
	EXPECT_EQ(0, ask(&s, 0, read_ns_last_pid, 0));
	EXPECT_STREQ("2", next_pids(s.level[0].fd, 1));
	stack_stop(&s);
}

/*
 * The task that follows a SET, by all means of creating one.
 */

static sem_t thread_runs, thread_ends;
static pthread_t thread;
static pid_t thread_tid;

static void *thread_main(void *arg)
{
	thread_tid = syscall(__NR_gettid);
	sem_post(&thread_runs);
	sem_wait(&thread_ends);
	return NULL;
}

static long create_by_pthread(long arg)
{
	int err;

	sem_init(&thread_runs, 0, 0);
	sem_init(&thread_ends, 0, 0);
	err = pthread_create(&thread, NULL, thread_main, NULL);
	if (err)
		return -err;
	sem_wait(&thread_runs);
	return thread_tid;
}

static long reap_thread(long tid)
{
	sem_post(&thread_ends);
	return -pthread_join(thread, NULL);
}

static long create_by_fork(long arg)
{
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(0);
	return result(pid);
}

static long create_by_vfork(long arg)
{
	pid_t pid;

	pid = vfork();
	if (!pid)
		_exit(0);
	return result(pid);
}

static long create_by_posix_spawn(long arg)
{
	char *const argv[] = { "last_pid_vec", "--exit", NULL };
	char *const envp[] = { NULL };
	pid_t pid;
	int err;

	err = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, envp);
	return err ? -err : pid;
}

static int clone_main(void *arg)
{
	return 0;
}

static long create_by_clone(long arg)
{
	static __u64 stack[8 * 1024];

	return result(clone(clone_main, stack + ARRAY_SIZE(stack), SIGCHLD,
			    NULL));
}

static long create_by_clone3(long arg)
{
	struct __clone_args args = { .exit_signal = SIGCHLD };
	pid_t pid;

	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		_exit(0);
	return result(pid);
}

FIXTURE(create)
{
	struct stack s;
};

FIXTURE_VARIANT(create)
{
	order_fn create;
	bool thread;
};

FIXTURE_VARIANT_ADD(create, fork) { .create = create_by_fork, };
FIXTURE_VARIANT_ADD(create, vfork) { .create = create_by_vfork, };
FIXTURE_VARIANT_ADD(create, posix_spawn) { .create = create_by_posix_spawn, };
FIXTURE_VARIANT_ADD(create, clone) { .create = create_by_clone, };
FIXTURE_VARIANT_ADD(create, clone3) { .create = create_by_clone3, };
FIXTURE_VARIANT_ADD(create, pthread_create) {
	.create = create_by_pthread,
	.thread = true,
};

FIXTURE_SETUP(create)
{
	if (lacking())
		SKIP(return, "%s", lacking());
	ASSERT_EQ(0, map_shared());
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
}

FIXTURE_TEARDOWN(create)
{
	stack_stop(&self->s);
}

TEST_F(create, has_the_pids_after_the_vector)
{
	pid_t init = self->s.level[0].init;
	int fd = self->s.level[0].fd;
	char path[64];
	pid_t pid;
	int i;

	/*
	 * The second time with pids that have been used. Not those of a thread:
	 * pthread_join() can return before they are free again.
	 */
	for (i = 0; i < (variant->thread ? 1 : 2); i++) {
		ASSERT_EQ(0, set_vec(fd, "4000:5000:6000"));
		ASSERT_EQ(4001, ask(&self->s, 0, variant->create, 0));
		/* It has ended, or waits, but nobody has waited for it. */
		pid = ioctl(fd, NS_GET_PID_FROM_PIDNS, 4001);
		ASSERT_GT(pid, 0);
		if (variant->thread)
			snprintf(path, sizeof(path), "/proc/%d/task/%d/status",
				 init, pid);
		else
			snprintf(path, sizeof(path), "/proc/%d/status", pid);
		EXPECT_STREQ("4001:5001:6001", read_nspid(path, 3));
		EXPECT_STREQ("4001:5001:6001", last_pids(fd, 3));
		EXPECT_EQ(0, ask(&self->s, 0, variant->thread ? reap_thread :
				 reap_child, 4001));
	}
}

/* Run in the innermost namespace: the init of yet another one. */
static long create_init(long arg)
{
	struct __clone_args args = {
		.flags		= CLONE_NEWPID,
		.exit_signal	= SIGCHLD,
	};
	pid_t pid;

	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		_exit(0);
	return result(pid);
}

TEST_F(nested, next_task_is_the_init_of_another_namespace)
{
	pid_t pid;

	ASSERT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	ASSERT_EQ(4001, ask(&self->s, 0, create_init, 0));
	pid = ioctl(self->fd, NS_GET_PID_FROM_PIDNS, 4001);
	ASSERT_GT(pid, 0);
	EXPECT_STREQ("1:4001:5001:6001", nspid(pid, 4));
	EXPECT_EQ(0, ask(&self->s, 0, reap_child, 4001));
}

/*
 * As many levels as the kernel has.
 */

FIXTURE(deepest)
{
	struct stack s;
	int fd;
};

FIXTURE_SETUP(deepest)
{
	int levels;

	if (lacking())
		SKIP(return, "%s", lacking());
	if (!in_initial_user_ns())
		SKIP(return, "needs to own each level there is");
	levels = own_levels();
	ASSERT_GT(levels, 0);
	if (levels == MAX_LEVELS)
		SKIP(return, "runs in the deepest pid namespace");
	ASSERT_EQ(0, map_shared());
	self->s.depth = MAX_LEVELS - levels;
	ASSERT_EQ(0, stack_start(&self->s));
	self->fd = self->s.level[0].fd;
}

FIXTURE_TEARDOWN(deepest)
{
	stack_stop(&self->s);
}

TEST_F(deepest, is_the_deepest)
{
	EXPECT_EQ(-ENOSPC, ask(&self->s, 0, create_init, 0));
}

TEST_F(deepest, set_and_get_every_level)
{
	char text[TEXT_SIZE], got[TEXT_SIZE], want[TEXT_SIZE];
	long mid = read_pid_max(0) / 2;
	int depth = self->s.depth, levels, i;
	size_t len;

	/* Above the test's own namespace nothing is changed. */
	make_vec(want, depth, 4001, 10);
	for (i = 0; i < TRIES; i++) {
		make_vec(text, depth, 4000, 10);
		len = strlen(text);
		snprintf(text + len, sizeof(text) - len, ":%ld", mid + 7 * i);
		ASSERT_EQ(0, set_vec(self->fd, text));
		ASSERT_LT(0, get_vec(self->fd, got, sizeof(got)));
		levels = count_levels(got);
		cut_vec(got, depth + 1);
		if (strcmp(text, got))
			continue;

		len = strlen(want);
		snprintf(want + len, sizeof(want) - len, ":%ld", mid + 7 * i + 1);
		snprintf(got, sizeof(got), "%s", next_pids(self->fd, depth + 1));
		if (!strcmp(want, got))
			break;
		want[len] = '\0';
	}
	EXPECT_EQ(MAX_LEVELS, levels);
	EXPECT_LT(i, TRIES)
		TH_LOG("asked for '%s', got '%s'", text, got);
}

TEST_F(deepest, set_what_get_wrote)
{
	char text[TEXT_SIZE], own[TEXT_SIZE];
	int depth = self->s.depth, len;

	make_vec(own, depth, 20000, 1);
	ASSERT_EQ(0, set_vec(self->fd, own));
	len = get_vec(self->fd, text, sizeof(text));
	ASSERT_LT(0, len);
	EXPECT_EQ(MAX_LEVELS, count_levels(text));
	EXPECT_EQ(0, set_bytes(self->fd, text, len + 1));
	EXPECT_STREQ(own, last_pids(self->fd, depth));
	EXPECT_STREQ(own, ask_levels(&self->s, depth, read_ns_last_pid));
}

TEST_F(deepest, one_number_more_is_einval)
{
	char text[TEXT_SIZE], own[TEXT_SIZE];
	int depth = self->s.depth;

	make_vec(own, depth, 20000, 1);
	ASSERT_EQ(0, set_vec(self->fd, own));
	EXPECT_EQ(-EINVAL, set_vec(self->fd,
				   make_vec(text, MAX_LEVELS + 1, 400, 1)));
	EXPECT_STREQ(own, last_pids(self->fd, depth));
}

TEST_F(deepest, failure_at_the_last_level_changes_nothing)
{
	char text[TEXT_SIZE], own[TEXT_SIZE];
	int depth = self->s.depth;
	size_t len;

	make_vec(own, depth, 20000, 1);
	ASSERT_EQ(0, set_vec(self->fd, own));
	make_vec(text, depth, 400, 1);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ":%ld", read_pid_max(0) + 1);
	EXPECT_EQ(-EINVAL, set_vec(self->fd, text));
	EXPECT_STREQ(own, last_pids(self->fd, depth));
	EXPECT_STREQ(own, ask_levels(&self->s, depth, read_ns_last_pid));
}

/*
 * At the same time: so many rounds, or so many seconds on a slow machine.
 */

#define GET_ROUNDS	20000
#define FORK_ROUNDS	500
#define DEATH_ROUNDS	20
#define SECONDS		3
#define TIMEOUT		120	/* when nothing goes on at all */

static bool in_time(time_t *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!*start)
		*start = now.tv_sec;
	return now.tv_sec - *start <= SECONDS;
}

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static void stop_all(void)
{
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
}

static void count_set(void)
{
	__atomic_add_fetch(&shared->ret, 1, __ATOMIC_RELAXED);
}

static void wait_for_sets(int count)
{
	while (__atomic_load_n(&shared->ret, __ATOMIC_RELAXED) < count)
		sched_yield();
}

/* What the processes do to the levels of @fd. */
struct race {
	int fd;
	int depth;
	char a[TEXT_SIZE], b[TEXT_SIZE];	/* SET by turns */
	char refused[TEXT_SIZE];		/* for its last number only */
};

static void make_race(struct race *r, struct stack *s)
{
	r->fd = s->level[0].fd;
	r->depth = s->depth;
	make_vec(r->a, s->depth, 10000, 0);
	make_vec(r->b, s->depth, 20000, 0);
	make_vec(r->refused, s->depth - 1, 15000, 0);
	strcat(r->refused, ":2147483647");
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

/* SET in a process of its own, over and over. */
static pid_t start_setter(const struct race *r)
{
	pid_t pid;
	int i;

	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; !stopped(); i++) {
		if (set_vec(r->fd, i & 1 ? r->a : r->b))
			_exit(1);
		count_set();
		/* There may be fewer CPUs than processes. */
		sched_yield();
	}
	_exit(0);
}

/*
 * SET and GET at moments when another process is in the kernel for the same,
 * on its way from one level to the next: a realtime task runs at once when its
 * time has come, unless who has the CPU holds a lock.
 */
static pid_t start_interrupter(const struct race *r, bool get)
{
	const struct sched_param param = { .sched_priority = 1 };
	struct timespec time = { };
	pid_t pid;
	int i;

	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Without the permission it is one more setter. */
	sched_setscheduler(0, SCHED_FIFO, &param);
	for (i = 0; !stopped(); i++) {
		/* Keep out of step with the others. */
		time.tv_nsec = 20000 + i % 97 * 1000;
		nanosleep(&time, NULL);
		if (get && get_is_mixed(r))
			_exit(1);
		if (set_vec(r->fd, i & 1 ? r->a : r->b) ||
		    set_vec(r->fd, r->refused) != -EINVAL)
			_exit(2);
		count_set();
	}
	_exit(0);
}

static void get_beside_sets(struct __test_metadata *_metadata, struct stack *s)
{
	pid_t setter, interrupter;
	bool mixed = false;
	time_t start = 0;
	struct race r;
	int i;

	make_race(&r, s);
	ASSERT_EQ(0, set_vec(r.fd, r.a));
	setter = start_setter(&r);
	interrupter = start_interrupter(&r, true);
	wait_for_sets(10);
	for (i = 0; i < GET_ROUNDS && !mixed && in_time(&start); i++)
		mixed = get_is_mixed(&r);
	EXPECT_FALSE(mixed);
	stop_all();
	EXPECT_EQ(0, wait_for_pid(setter));
	EXPECT_EQ(0, wait_for_pid(interrupter));
}

TEST_F_TIMEOUT(nested, get_beside_sets_never_sees_a_mix, TIMEOUT)
{
	get_beside_sets(_metadata, &self->s);
}

/* The more levels, the longer would a mix last. */
TEST_F_TIMEOUT(deepest, get_beside_sets_never_sees_a_mix, TIMEOUT)
{
	get_beside_sets(_metadata, &self->s);
}

/* Do all numbers of a vector have the same value? */
static bool all_equal(const char *text)
{
	const char *first = text;
	size_t len = strcspn(first, ":");

	for (text += len; *text == ':'; text += len + 1) {
		if (strncmp(first, text + 1, len))
			return false;
	}
	return !*text;
}

/*
 * When all levels are always set to one and the same number, every task has
 * the same pid on all of them, unless it saw one vector on one level and
 * another one on the next.
 */
static bool task_is_mixed(const struct race *r)
{
	const char *got = next_pids(r->fd, r->depth);

	/* Few tasks follow a SET before the next one. */
	if (all_equal(got) && (!strncmp(got, "10", 2) || !strncmp(got, "20", 2)))
		return false;
	ksft_print_msg("a task got %s\n", got);
	return true;
}

static void tasks_beside_sets(struct __test_metadata *_metadata,
			      struct stack *s)
{
	pid_t setter, interrupter, forker;
	bool mixed = false;
	time_t start = 0;
	struct race r;
	int i;

	make_race(&r, s);
	ASSERT_EQ(0, set_vec(r.fd, r.a));
	setter = start_setter(&r);
	interrupter = start_interrupter(&r, false);
	wait_for_sets(10);
	forker = fork();
	if (!forker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!stopped()) {
			if (task_is_mixed(&r))
				_exit(1);
		}
		_exit(0);
	}
	for (i = 0; i < FORK_ROUNDS && !mixed && in_time(&start); i++)
		mixed = task_is_mixed(&r);
	EXPECT_FALSE(mixed);
	stop_all();
	EXPECT_EQ(0, wait_for_pid(forker));
	EXPECT_EQ(0, wait_for_pid(setter));
	EXPECT_EQ(0, wait_for_pid(interrupter));
}

TEST_F_TIMEOUT(nested, tasks_beside_sets_never_have_a_mix, TIMEOUT)
{
	tasks_beside_sets(_metadata, &self->s);
}

TEST_F_TIMEOUT(deepest, tasks_beside_sets_never_have_a_mix, TIMEOUT)
{
	tasks_beside_sets(_metadata, &self->s);
}

TEST_F_TIMEOUT(nested, requests_beside_a_dying_init, TIMEOUT)
{
	time_t start = 0;
	int i;

	for (i = 0; i < DEATH_ROUNDS && in_time(&start); i++) {
		struct stack s = { .depth = 2 };
		char text[TEXT_SIZE];
		pid_t setter;
		int ret;

		ASSERT_EQ(0, stack_start(&s));
		shared->ret = 0;
		setter = fork();
		if (!setter) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			do {
				ret = set_vec(s.level[0].fd, "4000:5000");
				count_set();
				if (!ret)
					ret = get_vec(s.level[0].fd, text,
						      sizeof(text));
			} while (ret >= 0);
			_exit(ret == -EINVAL ? 0 : 1);
		}
		wait_for_sets(2);
		EXPECT_EQ(0, kill(s.level[i & 1].init, SIGKILL));
		EXPECT_EQ(0, wait_for_pid(setter));
		stack_stop(&s);
	}
}

int main(int argc, char **argv)
{
	char text[TEXT_SIZE];
	int fd;

	/* What create_by_posix_spawn() spawns. */
	if (argc == 2 && !strcmp(argv[1], "--exit"))
		return 0;

	fd = open_ns(getpid(), "pid");
	if (fd < 0 || get_vec(fd, text, sizeof(text)) == -ENOTTY) {
		ksft_print_header();
		ksft_exit_skip("this kernel has no NS_SPECIFIC_IOC on pid namespaces: %s\n",
			       strerror(errno));
	}
	close(fd);
	return test_harness_run(argc, argv);
}
