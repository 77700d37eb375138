// SPDX-License-Identifier: GPL-2.0-only
/*
 * The permission to set and get the last pids of each level, and the order in
 * which the levels are checked.
 *
 * A level is the caller's own if it is the caller's active pid namespace, below
 * if it descends from that, above if it is an ancestor of it, else beside.
 */
#define _GNU_SOURCE
#include "last_pid_vec.h"

#define DEPTH		3
#define OTHER_CAPS	(~(RESTORE_CAP | ADMIN_CAP))

/*
 * Callers on all levels and on the test's own, with all sets of capabilities,
 * for all vectors.
 */

FIXTURE(reach)
{
	struct stack s;
};

/* Bit i: level i begins a user namespace. It owns the levels down to the next. */
FIXTURE_VARIANT(reach)
{
	unsigned int new_user;
};

FIXTURE_VARIANT_ADD(reach, one_owner) { .new_user = 0, };
FIXTURE_VARIANT_ADD(reach, innermost_owned_apart) { .new_user = 1 << 0, };
FIXTURE_VARIANT_ADD(reach, two_owned_apart) { .new_user = 1 << 1, };
FIXTURE_VARIANT_ADD(reach, all_owned_apart) { .new_user = 1 << 2, };
FIXTURE_VARIANT_ADD(reach, two_owners_inside) { .new_user = 1 << 0 | 1 << 1, };
FIXTURE_VARIANT_ADD(reach, an_owner_for_each) { .new_user = 1 << 0 | 1 << 1 | 1 << 2, };

FIXTURE_SETUP(reach)
{
	const char *why = lacking_pid_ns();

	if (!why && variant->new_user)
		why = lacking_user_ns();
	if (why)
		SKIP(return, "%s", why);
	self->s.depth = DEPTH;
	self->s.new_user = variant->new_user;
	ASSERT_EQ(0, stack_start(&self->s));
	ASSERT_EQ(0, set_vec(self->s.level[0].fd, START));
}

FIXTURE_TEARDOWN(reach)
{
	stack_stop(&self->s);
}

/*
 * Is one of @caps, which a caller on @caller has in its own user namespace,
 * enough over @level? Its user has all capabilities over the user namespaces
 * below, since it has created them, and none over those above.
 */
static bool capable_over(const struct stack *s, int caller, int level, __u64 caps, __u64 wanted)
{
	int i;

	for (i = level; i < caller; i++) {
		if (s->new_user & 1 << i)
			return true;
	}
	for (i = caller; i < level; i++) {
		if (s->new_user & 1 << i)
			return false;
	}
	return caps & wanted;
}

static bool may_get(const struct stack *s, int caller, int level, __u64 caps)
{
	return level <= caller && capable_over(s, caller, level, caps, RESTORE_CAP | ADMIN_CAP);
}

static bool may_set(const struct stack *s, int caller, int level, __u64 caps)
{
	return may_get(s, caller, level, caps) ||
	       (level > caller && capable_over(s, caller, level, caps, ADMIN_CAP));
}

/* START with the @n numbers from @level on replaced by those of 4000:5000:6000. */
static const char *replace(char *text, int level, int n)
{
	int number[DEPTH], i;

	for (i = 0; i < DEPTH; i++)
		number[i] = (i < level || i >= level + n ? 1000 : 4000) + i * 1000;
	sprintf(text, "%d:%d:%d", number[0], number[1], number[2]);
	return text;
}

/* A caller on @caller with @caps makes all requests that begin at @level. */
static void expect_reach(struct __test_metadata *_metadata, struct stack *s, int caller,
			 __u64 caps, int level)
{
	char text[TEXT_SIZE], want[TEXT_SIZE];
	int fd = s->level[level].fd, n, ret;
	bool may = true;

	for (n = 1; level + n <= DEPTH; n++) {
		may &= may_set(s, caller, level + n - 1, caps);
		make_vec(text, n, 4000 + level * 1000, 1000);
		EXPECT_EQ(may ? 0 : -EPERM, set_from(s, caller, caps, fd, text))
			TH_LOG("caller on %d with %llx sets %s on %d", caller, caps, text, level);
		EXPECT_STREQ(replace(want, level, may ? n : 0), last_pids(s->level[0].fd, DEPTH))
			TH_LOG("caller on %d with %llx sets %s on %d", caller, caps, text, level);
		ASSERT_EQ(0, set_vec(s->level[0].fd, START));
	}

	for (n = 0; level + n <= DEPTH && may_get(s, caller, level + n, caps); n++)
		;
	ret = get_from(s, caller, caps, fd);
	if (!n) {
		EXPECT_EQ(-EPERM, ret)
			TH_LOG("caller on %d with %llx gets %d", caller, caps, level);
		EXPECT_EQ('#', shared->text[0]);
		return;
	}
	/* The test's own number varies. */
	EXPECT_EQ(n, cut_vec(shared->text, DEPTH - level))
		TH_LOG("caller on %d with %llx gets %d", caller, caps, level);
	n -= level + n > DEPTH;
	EXPECT_STREQ(make_vec(want, n, 1000 + level * 1000, 1000), shared->text);
}

TEST_F(reach, of_every_caller)
{
	const __u64 sets_of_caps[] = {
		NO_CAPS, RESTORE_CAP, ADMIN_CAP, RESTORE_CAP | ADMIN_CAP, OTHER_CAPS, ALL_CAPS,
	};
	int caller, level;
	size_t c;

	for (caller = 0; caller <= DEPTH; caller++) {
		for (c = 0; c < ARRAY_SIZE(sets_of_caps); c++) {
			for (level = 0; level < DEPTH; level++)
				expect_reach(_metadata, &self->s, caller, sets_of_caps[c], level);
		}
	}
	EXPECT_UNCHANGED(&self->s);
}

/* The prepared call, by a child that has entered a user namespace, or a new one. */
static long call_in_user_ns(int user_fd)
{
	pid_t pid;

	shared->count = -ECHILD;
	pid = fork();
	if (!pid) {
		if (user_fd < 0 ? unshare(CLONE_NEWUSER) : setns(user_fd, CLONE_NEWUSER))
			_exit(1);
		shared->count = make_call(0);
		_exit(0);
	}
	return wait_for_pid(pid) ? -ECHILD : shared->count;
}

TEST(user_elsewhere)
{
	struct stack s = { .depth = DEPTH, .new_user = 1 << 1 };
	const char *why = lacking_pid_ns() ?: lacking_user_ns();
	int user_fd, fd, i;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, stack_start(&s));
	fd = s.level[0].fd;
	ASSERT_EQ(0, set_vec(fd, START));
	/* With all capabilities in a user namespace that owns nothing. */
	for (i = 0; i < DEPTH; i++) {
		prepare_set(ALL_CAPS, s.level[i].fd, "4000");
		EXPECT_EQ(-EPERM, call_in_user_ns(-1));
		prepare_get(ALL_CAPS, s.level[i].fd);
		EXPECT_EQ(-EPERM, call_in_user_ns(-1));
	}

	/* In the owner of levels 0 and 1, but in the test's own pid namespace. */
	user_fd = open_ns(s.level[1].init, "user");
	prepare_set(ALL_CAPS, fd, "4000:5000:6000");
	EXPECT_EQ(-EPERM, call_in_user_ns(user_fd));
	prepare_set(ALL_CAPS, s.level[2].fd, "6000");
	EXPECT_EQ(-EPERM, call_in_user_ns(user_fd));
	prepare_get(ALL_CAPS, s.level[2].fd);
	EXPECT_EQ(-EPERM, call_in_user_ns(user_fd));
	EXPECT_UNCHANGED(&s);
	prepare_get(ALL_CAPS, fd);
	EXPECT_EQ(9, call_in_user_ns(user_fd));
	EXPECT_STREQ("1000:2000", shared->text);
	prepare_set(RESTORE_CAP, fd, "4000:5000");
	EXPECT_EQ(0, call_in_user_ns(user_fd));
	EXPECT_STREQ("4000:5000:3000", last_pids(fd, 3));
	stack_stop(&s);
}

/*
 * Two stacks in the test's pid namespace. Level 0 of the one is as deep as
 * level 1 of the other, which goes one level deeper.
 */
TEST(beside_is_eperm)
{
	const __u64 caps[] = { ALL_CAPS, ADMIN_CAP, RESTORE_CAP, NO_CAPS };
	struct stack one = { .depth = 1 }, two = { .depth = 2 };
	const struct {
		struct stack *caller;
		int caller_level;
		struct stack *stack;
		int level;
	} cases[] = {
		{ &one, 0, &two, 0 }, { &one, 0, &two, 1 },
		{ &two, 0, &one, 0 }, { &two, 1, &one, 0 },
	};
	const char *why = lacking_pid_ns();
	char text[TEXT_SIZE];
	size_t i, c;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, stack_start(&one));
	ASSERT_EQ(0, stack_start(&two));
	ASSERT_EQ(0, set_vec(one.level[0].fd, "1000"));
	ASSERT_EQ(0, set_vec(two.level[0].fd, "1000:2000"));
	/* One level, and on upward to a common ancestor. */
	make_vec(text, MAX_LEVELS, 400, 1);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = cases[i].stack->level[cases[i].level].fd;
		int level = cases[i].caller_level;

		for (c = 0; c < ARRAY_SIZE(caps); c++) {
			EXPECT_EQ(-EPERM, set_from(cases[i].caller, level, caps[c], fd, "4000"))
				TH_LOG("case %zu with %llx", i, caps[c]);
			EXPECT_EQ(-EPERM, set_from(cases[i].caller, level, caps[c], fd, text));
			EXPECT_EQ(-EPERM, get_from(cases[i].caller, level, caps[c], fd));
			EXPECT_EQ('#', shared->text[0]);
		}
	}
	EXPECT_STREQ("1000", last_pids(one.level[0].fd, 1));
	EXPECT_STREQ("1000:2000", last_pids(two.level[0].fd, 2));
	stack_stop(&one);
	stack_stop(&two);
}

/* The caller's own level is its active namespace, not that of its children. */
TEST_F(nested, own_is_the_active_namespace)
{
	struct stack *s = &self->s;
	pid_t pid;
	int fd;

	/* The next child of level 1's init is in a new sibling of level 0. */
	ASSERT_EQ(0, ask(s, 1, unshare_pid_ns, 0));
	ASSERT_LT(0, ask(s, 1, create_by_fork, true));
	fd = open_ns(s->level[1].init, "pid_for_children");
	ASSERT_EQ(0, set_vec(fd, "100:2000:3000"));

	EXPECT_EQ(0, set_from(s, 1, RESTORE_CAP, fd, "200:4000"));
	EXPECT_EQ(-EPERM, set_from(s, 1, RESTORE_CAP, fd, "200:4000:5000"));
	EXPECT_EQ(0, set_from(s, 1, RESTORE_CAP, s->level[1].fd, "2000"));
	EXPECT_EQ(8, get_from(s, 1, RESTORE_CAP, fd));
	EXPECT_STREQ("200:2000", shared->text);
	EXPECT_EQ(4, get_from(s, 1, RESTORE_CAP, s->level[1].fd));
	/* The sibling is not beside, as it would be for level 0. */
	EXPECT_EQ(9, get_from(s, 1, RESTORE_CAP, self->fd));
	EXPECT_EQ(-EPERM, get_from(s, 0, ALL_CAPS, fd));
	EXPECT_EQ(-EPERM, set_from(s, 0, ALL_CAPS, fd, "300"));
	EXPECT_STREQ("200:2000:3000", last_pids(fd, 3));
	close(fd);
	EXPECT_UNCHANGED(s);

	/* setns() moves the children of the test, and leaves the test. */
	ASSERT_EQ(0, setns(self->fd, CLONE_NEWPID));
	EXPECT_EQ(0, set_from(s, DEPTH, RESTORE_CAP, self->fd, "4000:5000:6000"));
	EXPECT_LT(14, get_from(s, DEPTH, RESTORE_CAP, self->fd));
	EXPECT_EQ(4, cut_vec(shared->text, 3));
	EXPECT_STREQ("4000:5000:6000", shared->text);
	pid = fork();
	if (!pid)
		_exit(0);
	EXPECT_STREQ("4001:5001:6001", pids_of(pid, self->fd, 3));
	wait_for_pid(pid);
}

static long open_own_pid_ns_without_caps(long unused)
{
	int ret, fd;

	ret = keep_caps(NO_CAPS);
	if (ret)
		return ret;
	fd = result(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
	ret = keep_caps(ALL_CAPS);
	return ret ?: fd;
}

/* The credentials that count are those of the call. */
TEST_F(nested, opener_does_not_matter)
{
	int fd;

	fd = ask(&self->s, 0, open_own_pid_ns_without_caps, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EPERM, set_from(&self->s, 0, NO_CAPS, fd, "4000"));
	EXPECT_EQ(0, set_from(&self->s, 0, RESTORE_CAP, fd, "4000"));
	EXPECT_EQ(4, get_from(&self->s, 0, RESTORE_CAP, fd));
	/* The test may go further with it, since it is further out. */
	EXPECT_EQ(0, set_from(&self->s, DEPTH, RESTORE_CAP, fd, START));
	EXPECT_EQ(-EPERM, set_from(&self->s, DEPTH, NO_CAPS, fd, START));
	EXPECT_EQ(-EPERM, get_from(&self->s, DEPTH, NO_CAPS, fd));
	close(fd);
	EXPECT_UNCHANGED(&self->s);
}

/*
 * Levels are checked upward one by one: whether there is such a level, whether
 * the caller may, whether the number is above pid_max. The init of level 1 may
 * set levels 0 and 1 with CAP_CHECKPOINT_RESTORE.
 */
TEST_F(nested, order_of_the_checks)
{
	const struct {
		__u64 caps;
		const char *text;
		int ret;
	} cases[] = {
		/* The text comes before everything, */
		{ NO_CAPS, "", -EINVAL },
		{ NO_CAPS, "2147483648", -EINVAL },
		{ NO_CAPS, "4000:5000:x", -EINVAL },
		{ RESTORE_CAP, "4000:5000:6000:x", -EINVAL },
		{ RESTORE_CAP, "4000:5000:2147483648", -EINVAL },
		/* the capability on a level before its pid_max, */
		{ NO_CAPS, "20001", -EPERM },
		{ NO_CAPS, "2147483647:5000", -EPERM },
		{ RESTORE_CAP, "4000:5000:20003", -EPERM },
		{ RESTORE_CAP, "4000:5000:2147483647", -EPERM },
		{ RESTORE_CAP, "4000:5000:6000:2147483647", -EPERM },
		/* and its pid_max before the capability on the next. */
		{ RESTORE_CAP, "20001:5000:6000", -EINVAL },
		{ RESTORE_CAP, "4000:20002:6000", -EINVAL },
		{ RESTORE_CAP, "20000:20001:6000", -EPERM },
		{ ADMIN_CAP, "4000:5000:20003", -EINVAL },
		{ ADMIN_CAP, "20000:20001:20002", 0 },
		{ ADMIN_CAP, "20000:20001", 0 },
	};
	struct stack *s = &self->s;
	char text[TEXT_SIZE];
	size_t i;

	for (i = 0; i < DEPTH; i++)
		ASSERT_EQ(0, ask(s, i, write_pid_max, LOW_PID_MAX + i));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(cases[i].ret, set_from(s, 1, cases[i].caps, self->fd, cases[i].text))
			TH_LOG("'%s' with %llx", cases[i].text, cases[i].caps);
		if (!cases[i].ret)
			ASSERT_EQ(0, set_vec(self->fd, START));
		EXPECT_UNCHANGED(s);
	}
	/* A level that there is not comes after those that there are. */
	make_vec(text, MAX_LEVELS, 400, 1);
	EXPECT_EQ(-EPERM, set_from(s, 1, NO_CAPS, self->fd, text));
	EXPECT_EQ(-EPERM, set_from(s, 1, RESTORE_CAP, self->fd, text));
	make_vec(text, MAX_LEVELS + 1, 400, 1);
	EXPECT_EQ(-EINVAL, set_from(s, 1, NO_CAPS, self->fd, text));
	EXPECT_UNCHANGED(s);

	/* Unreadable data comes first too; GET looks at its buffer last. */
	prepare_call(NO_CAPS, self->fd, SET, NULL, 4);
	EXPECT_EQ(-EFAULT, make_call(0));
	prepare_call(NO_CAPS, self->fd, GET, NULL, 0);
	EXPECT_EQ(-EPERM, make_call(0));
	prepare_call(NO_CAPS, self->fd, GET, NULL, TEXT_SIZE);
	EXPECT_EQ(-EPERM, make_call(0));
}

TEST_HARNESS_MAIN
