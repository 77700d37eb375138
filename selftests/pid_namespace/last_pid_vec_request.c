// SPDX-License-Identifier: GPL-2.0-only
/*
 * NS_SPECIFIC_IOC up to the first look at a namespace: the struct, the request,
 * the size and the address of the data, and the text of a vector.
 *
 * The caller has no capabilities here, so that each request that is understood
 * ends in EPERM, and changes nothing.
 */
#define _GNU_SOURCE
#include <stddef.h>

#include "last_pid_vec.h"

#define NR		_IOC_NR(NS_SPECIFIC_IOC)

/* The largest struct whose size fits into an ioctl number. */
#define MAX_SIZE	((1U << _IOC_SIZEBITS) - 1)

FIXTURE(request)
{
	int fd;
	char *edge;		/* of a page that is followed by an inaccessible one */
	struct ns_specific_req set;
};

FIXTURE_SETUP(request)
{
	const char *why = lacking_requests();
	size_t page = sysconf(_SC_PAGESIZE);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, keep_caps(NO_CAPS));
	self->fd = open_ns(self_in_proc(), "pid");
	ASSERT_GE(self->fd, 0);
	self->edge = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->edge);
	self->edge += page;
	ASSERT_EQ(0, mprotect(self->edge, page, PROT_NONE));
	self->set.req = SET;
	self->set.data_size = 3;
	self->set.data = ptr_to_u64("1:2");
}

FIXTURE_TEARDOWN(request)
{
}

TEST_F(request, struct_as_published)
{
	const unsigned long number = _IOC(_IOC_READ | _IOC_WRITE, 0xb7, 14, 16);
	char misaligned[sizeof(self->set) + 1];

	EXPECT_EQ(16UL, sizeof(self->set));
	EXPECT_EQ(0UL, offsetof(struct ns_specific_req, req));
	EXPECT_EQ(4UL, offsetof(struct ns_specific_req, data_size));
	EXPECT_EQ(8UL, offsetof(struct ns_specific_req, data));
	EXPECT_EQ(16, NS_SPECIFIC_REQ_SIZE_VER0);
	EXPECT_EQ(512, PIDNS_LAST_PID_VEC_MAX);
	EXPECT_EQ(number, NS_SPECIFIC_IOC);
	EXPECT_EQ(-EPERM, ioctl_sized(self->fd, 16, &self->set));
	memcpy(misaligned + 1, &self->set, sizeof(self->set));
	EXPECT_EQ(-EPERM, ioctl_sized(self->fd, 16, misaligned + 1));
}

TEST_F(request, other_number_is_enotty)
{
	const unsigned long numbers[] = {
		_IO(NSIO, NR),
		_IOR(NSIO, NR, struct ns_specific_req),
		_IOW(NSIO, NR, struct ns_specific_req),
		_IOC(_IOC_NONE, NSIO, NR, sizeof(struct ns_specific_req)),
		_IOWR(NSIO + 1, NR, struct ns_specific_req),
	};
	unsigned int size;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, numbers[i], &self->set)))
			TH_LOG("number %#lx", numbers[i]);
		/* The struct is not read. */
		EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, numbers[i], NULL)));
	}
	for (size = 0; size < NS_SPECIFIC_REQ_SIZE_VER0; size++) {
		EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, size, &self->set))
			TH_LOG("size %u", size);
		EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, size, NULL));
	}
}

TEST_F(request, larger_struct)
{
	const unsigned int sizes[] = { 17, 20, 24, 32, 1000, 4096, 4097, MAX_SIZE };
	const unsigned int known = sizeof(self->set);
	static char big[MAX_SIZE + 1];
	size_t i, j;

	memcpy(big, &self->set, known);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		/* The byte past the end is not looked at. */
		const unsigned int bytes[] = {
			known, (known + sizes[i]) / 2, sizes[i] - 1, sizes[i],
		};

		EXPECT_EQ(-EPERM, ioctl_sized(self->fd, sizes[i], big))
			TH_LOG("size %u", sizes[i]);
		for (j = 0; j < ARRAY_SIZE(bytes); j++) {
			big[bytes[j]] = 0x80;
			EXPECT_EQ(bytes[j] < sizes[i] ? -E2BIG : -EPERM,
				  ioctl_sized(self->fd, sizes[i], big))
				TH_LOG("size %u, byte %u", sizes[i], bytes[j]);
			big[bytes[j]] = 0;
		}
	}

	/* Unknown bytes are refused before the request is looked at. */
	memset(big, 0, known);
	big[known] = 1;
	EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, 24, big));
}

TEST_F(request, unreadable_struct_is_efault)
{
	const size_t known = sizeof(self->set);
	char *edge = self->edge;
	size_t n;

	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known, NULL));
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known, (void *)-1L));
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known, edge));
	/* Only the first n bytes can be read. */
	for (n = 1; n < known; n++) {
		memcpy(edge - n, &self->set, n);
		EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known, edge - n))
			TH_LOG("%zu bytes readable", n);
	}
	/* All of them. */
	memcpy(edge - known, &self->set, known);
	EXPECT_EQ(-EPERM, ioctl_sized(self->fd, known, edge - known));
	/* All that this kernel knows, but not the bytes that follow. */
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known + 8, edge - known));
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, 4096, edge - known));
	/* EFAULT comes before anything about the request. */
	memset(edge - known, 0, known);
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, known + 8, edge - known));
}

/* copy_struct_from_user() checks the unknown bytes before it reads the known. */
TEST_F(request, e2big_or_efault_in_the_order_of_reading)
{
	char *low = self->edge, *high = low + sysconf(_SC_PAGESIZE);

	/* The known bytes are unreadable. */
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, 24, high - 16));
	high[0] = 1;
	EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, 24, high - 16));

	/* The unknown bytes are readable up to low. */
	memcpy(low - 32, &self->set, sizeof(self->set));
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, 64, low - 32));
	low[-16] = 1;
	EXPECT_EQ(-E2BIG, ioctl_sized(self->fd, 64, low - 32));
}

TEST_F(request, unknown_request_is_eopnotsupp)
{
	const __u32 unknown[] = { 0, 255, 257, 258, 65537, 0x80000001, ~0U };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], "1", 1))
			TH_LOG("request %u", unknown[i]);
		/* The data does not matter. */
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], "x", 0));
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, unknown[i], NULL, ~0U));
	}
}

TEST_F(request, set_data_size)
{
	const __u32 good[] = { 1, 2, 511, 512 };
	const __u32 bad[] = { 0, 513, 1 << 16, (1 << 16) + 1, 1U << 31, ~0U };
	char text[PIDNS_LAST_PID_VEC_MAX + 1];
	size_t i;

	memset(text, '0', sizeof(text));
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(-EPERM, request(self->fd, SET, text, good[i]))
			TH_LOG("size %u", good[i]);
		EXPECT_EQ(-EFAULT, request(self->fd, SET, NULL, good[i]));
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, request(self->fd, SET, text, bad[i]))
			TH_LOG("size %u", bad[i]);
		/* The size is checked before the data is read. */
		EXPECT_EQ(-EINVAL, request(self->fd, SET, NULL, bad[i]));
	}
	/* The NUL is counted. */
	text[511] = '\0';
	EXPECT_EQ(-EPERM, request(self->fd, SET, text, 512));
	text[511] = '0';
	text[512] = '\0';
	EXPECT_EQ(-EINVAL, request(self->fd, SET, text, 513));
}

TEST_F(request, set_unreadable_data_is_efault)
{
	char *edge = self->edge;

	EXPECT_EQ(-EFAULT, request(self->fd, SET, (void *)-1L, 1));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, (void *)LONG_MIN, 1));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, edge, 1));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, edge, 512));
	/* A part that can be read does not count, well formed or not. */
	memcpy(edge - 3, "1:2", 3);
	EXPECT_EQ(-EPERM, request(self->fd, SET, edge - 3, 3));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, edge - 3, 4));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, edge - 3, 512));
	memcpy(edge - 3, ":x ", 3);
	EXPECT_EQ(-EINVAL, request(self->fd, SET, edge - 3, 3));
	EXPECT_EQ(-EFAULT, request(self->fd, SET, edge - 3, 4));
	/* An address past those of 32 bits, and past any user's on 64 bits. */
	self->set.data |= 1ULL << 63;
	EXPECT_EQ(-EFAULT, ioctl_sized(self->fd, sizeof(self->set), &self->set));
}

/*
 * The text: EPERM for each well-formed vector, EINVAL for each other, whatever
 * the levels and their pid_max are.
 */

#define TEXT(literal) { literal, sizeof(literal) - 1 }

static const struct {
	const char *bytes;
	size_t size;
} well_formed[] = {
	TEXT("0"), TEXT("1"), TEXT("9"), TEXT("10"), TEXT("2147483647"),
	TEXT("1:2147483647"), TEXT("2147483647:1"),
	/* leading zeros */
	TEXT("00"), TEXT("007"), TEXT("00000000002147483647"),
	TEXT("000000000000000000000000000000000000000000000000000000000001:0002"),
	/* one counted NUL */
	TEXT("1\0"), TEXT("1:2\0"), TEXT("2147483647\0"),
}, malformed[] = {
	/* no number */
	TEXT(":"), TEXT("::"), TEXT(":1"), TEXT("1:"), TEXT("1::2"), TEXT("1:2:"), TEXT(":1:2"),
	/* NUL */
	TEXT("\0"), TEXT("\0001"), TEXT("1\0002"), TEXT("1\0:2"), TEXT("1:\0"), TEXT("1:\0002"),
	TEXT("1\0\0"), TEXT("\0\0"), TEXT("1:2\0\0"),
	/* sign, space, newline, and other notations */
	TEXT("+1"), TEXT("-1"), TEXT("-0"), TEXT("1:-1"), TEXT("1:+2"), TEXT("1-"),
	TEXT(" 1"), TEXT("1 "), TEXT("1 :2"), TEXT("1: 2"), TEXT("\t1"), TEXT("1\t"),
	TEXT("1\n"), TEXT("1\n\0"), TEXT("1:2\n"), TEXT("\n1"), TEXT("1\r"),
	TEXT("1;2"), TEXT("1,2"), TEXT("1.2"), TEXT("0x1"), TEXT("0b1"), TEXT("1e3"), TEXT("1_0"),
	TEXT("a"), TEXT("1a"), TEXT("1:a"), TEXT("\xd9\xa1"),
	/* more than an int holds */
	TEXT("2147483648"), TEXT("2147483650"), TEXT("1:2147483648"), TEXT("2147483648:1"),
	TEXT("0000000000002147483648"), TEXT("3000000000"), TEXT("4294967295"),
	TEXT("4294967296"), TEXT("4294967297"), TEXT("21474836470"),
	TEXT("9223372036854775807"), TEXT("9223372036854775808"),
	TEXT("18446744073709551615"), TEXT("18446744073709551616"),
	TEXT("18446744073709551617"), TEXT("340282366920938463463374607431768211457"),
	TEXT("1:340282366920938463463374607431768211457"),
};

TEST_F(request, text_well_formed_or_not)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(well_formed); i++) {
		EXPECT_EQ(-EPERM, request(self->fd, SET, well_formed[i].bytes, well_formed[i].size))
			TH_LOG("%zu bytes of '%s'", well_formed[i].size, well_formed[i].bytes);
	}
	for (i = 0; i < ARRAY_SIZE(malformed); i++) {
		EXPECT_EQ(-EINVAL, request(self->fd, SET, malformed[i].bytes, malformed[i].size))
			TH_LOG("%zu bytes of '%s'", malformed[i].size, malformed[i].bytes);
	}
}

TEST_F(request, text_with_any_other_byte_is_einval)
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
			EXPECT_EQ(last ? -EPERM : -EINVAL, request(self->fd, SET, text, 5))
				TH_LOG("byte %#x at %d", byte, i);
		}
	}
}

TEST_F(request, more_numbers_than_levels_can_exist_is_einval)
{
	const char *const numbers[] = { "1", "01", "30000", "2147483647" };
	char text[PIDNS_LAST_PID_VEC_MAX + 12];
	size_t i, size;
	int n;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		size = 0;
		for (n = 1; ; n++) {
			size += sprintf(text + size, "%s%s", n > 1 ? ":" : "", numbers[i]);
			if (size >= PIDNS_LAST_PID_VEC_MAX)
				break;
			/* Without the NUL and with it. */
			EXPECT_EQ(n <= MAX_LEVELS ? -EPERM : -EINVAL,
				  request(self->fd, SET, text, size))
				TH_LOG("%d times %s", n, numbers[i]);
			EXPECT_EQ(n <= MAX_LEVELS ? -EPERM : -EINVAL,
				  request(self->fd, SET, text, size + 1))
				TH_LOG("%d times %s, and NUL", n, numbers[i]);
		}
		EXPECT_LT(MAX_LEVELS, n);
	}

	/* The most there can be, in the longest text. */
	size = sprintf(text, "%032d", 7);
	for (n = 1; n < MAX_LEVELS; n++)
		size += sprintf(text + size, ":%014d", 7);
	EXPECT_EQ(PIDNS_LAST_PID_VEC_MAX, size);
	EXPECT_EQ(-EPERM, request(self->fd, SET, text, size));
}

/*
 * Namespaces of the other types. They have no requests.
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
	const char *why = lacking_requests();

	if (why)
		SKIP(return, "%s", why);
	self->fd = open_ns(self_in_proc(), variant->name);
	if (self->fd < 0 && errno == ENOENT)
		SKIP(return, "no %s namespaces in this kernel", variant->name);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(other_type)
{
}

TEST_F(other_type, has_no_requests)
{
	char text[TEXT_SIZE];
	__u32 req;

	for (req = 0; req < 4; req++)
		EXPECT_EQ(-EOPNOTSUPP, request(self->fd, req, "1", 1));
	EXPECT_EQ(-EOPNOTSUPP, request(self->fd, GET, text, sizeof(text)));
	/* The argument is not touched. */
	EXPECT_EQ(-EOPNOTSUPP, ioctl_sized(self->fd, 16, NULL));
	EXPECT_EQ(-EOPNOTSUPP, ioctl_sized(self->fd, 16, (void *)-1L));
	EXPECT_EQ(-EOPNOTSUPP, ioctl_sized(self->fd, 4096, NULL));
	/* Another ioctl number is unknown on any type. */
	EXPECT_EQ(-ENOTTY, ioctl_sized(self->fd, 15, NULL));
	EXPECT_EQ(-ENOTTY, result(ioctl(self->fd, _IO(NSIO, NR), NULL)));
}

TEST_HARNESS_MAIN
