// SPDX-License-Identifier: GPL-2.0-only
/*
 * kernel.ns_last_pid: it sets one level, that of the writer, as a vector of one
 * number does. All but the last test need no requests.
 */
#define _GNU_SOURCE
#include <time.h>

#include "last_pid_vec.h"

#define NS_LAST_PID	"/proc/sys/kernel/ns_last_pid"

/* For so many rounds, or so many seconds on a slow machine. */
#define ROUNDS		20000
#define SECONDS		3
#define TIMEOUT		120	/* when nothing goes on at all */

/* An order: write shared->text, with the capabilities in shared->call. */
static long write_shared_text(long unused)
{
	int ret, err;

	ret = keep_caps(shared->call.caps);
	if (!ret)
		ret = write_text(NS_LAST_PID, shared->text);
	err = keep_caps(ALL_CAPS);
	return err ?: ret;
}

FIXTURE(levels)
{
	struct stack s;
};

FIXTURE_SETUP(levels)
{
	const char *why = lacking_rights();

	if (why)
		SKIP(return, "%s", why);
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
}

FIXTURE_TEARDOWN(levels)
{
	stack_stop(&self->s);
}

/* Set the levels to START, or return the first error. */
static long write_start(struct stack *s)
{
	return ask(s, 0, write_ns_last_pid, 1000) ?: ask(s, 1, write_ns_last_pid, 2000) ?:
	       ask(s, 2, write_ns_last_pid, 3000);
}

TEST_F(levels, bounds)
{
	const struct {
		__u64 caps;
		const char *text;
		int ret;
		const char *last_pids;
	} cases[] = {
		{ ALL_CAPS, "0", 0, "0:2000:3000" },
		{ ALL_CAPS, "1", 0, "1:2000:3000" },
		{ ALL_CAPS, "20000", 0, "20000:2000:3000" },
		{ ALL_CAPS, "4000\n", 0, "4000:2000:3000" },
		{ ALL_CAPS, " 4000 ", 0, "4000:2000:3000" },
		{ RESTORE_CAP, "4000", 0, "4000:2000:3000" },
		{ ADMIN_CAP, "4000", 0, "4000:2000:3000" },
		{ NO_CAPS, "4000", -EPERM, START },
		{ ALL_CAPS & ~(RESTORE_CAP | ADMIN_CAP), "4000", -EPERM, START },
		{ ALL_CAPS, "-1", -EINVAL, START },
		{ ALL_CAPS, "20001", -EINVAL, START },
		{ ALL_CAPS, "2147483647", -EINVAL, START },
		{ ALL_CAPS, "4294967297", -EINVAL, START },
		{ ALL_CAPS, "x", -EINVAL, START },
		{ ALL_CAPS, "4000:5000", -EINVAL, START },
		{ ALL_CAPS, "\n", -EINVAL, START },
		{ ALL_CAPS, "", 0, START },
	};
	size_t i;

	ASSERT_EQ(0, ask(&self->s, 0, write_pid_max, LOW_PID_MAX));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(0, write_start(&self->s));
		strcpy(shared->text, cases[i].text);
		shared->call.caps = cases[i].caps;
		EXPECT_EQ(cases[i].ret, ask(&self->s, 0, write_shared_text, 0))
			TH_LOG("'%s' with %llx", cases[i].text, cases[i].caps);
		EXPECT_STREQ(cases[i].last_pids, ask_levels(&self->s, 3, read_ns_last_pid))
			TH_LOG("'%s' with %llx", cases[i].text, cases[i].caps);
	}
}

static long set_ns_of_children(long fd)
{
	return result(setns(fd, CLONE_NEWPID));
}

/* The writer's active namespace, not that of its children. */
TEST_F(levels, write_sets_the_active_namespace)
{
	ASSERT_EQ(0, write_start(&self->s));
	ASSERT_EQ(0, ask(&self->s, 1, set_ns_of_children, self->s.level[0].fd));
	EXPECT_EQ(0, ask(&self->s, 1, write_ns_last_pid, 5000));
	EXPECT_STREQ("1000:5000:3000", ask_levels(&self->s, 3, read_ns_last_pid));
}

/*
 * Neighbours of the writer, until they are killed.
 */

static void fork_again_and_again(void)
{
	for (;;) {
		reap_child(create_by_fork(false));
		__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
	}
}

/* These writes store no number, because they begin behind the first. */
static void write_no_number(void)
{
	int fd = open(NS_LAST_PID, O_WRONLY | O_CLOEXEC);

	while (pwrite(fd, "7", 1, 1) == 1)
		__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
	_exit(1);
}

/* An order: write beside a neighbour. Returns how many writes were lost, or -errno. */
static long write_beside(long neighbour)
{
	time_t end = time(NULL) + SECONDS;
	long lost = 0, wrote, read;
	pid_t pid;
	int i;

	shared->count = 0;
	pid = fork();
	if (!pid)
		((void (*)(void))neighbour)();
	if (pid < 0)
		return -errno;
	while (!__atomic_load_n(&shared->count, __ATOMIC_RELAXED))
		sched_yield();
	for (i = 0; i < ROUNDS && !lost && time(NULL) <= end; i++) {
		wrote = i & 1 ? 10000 : 20000;
		if (write_ns_last_pid(wrote))
			return -EIO;
		/* Let the neighbour go on, if there is one CPU. */
		sched_yield();
		read = read_ns_last_pid(0);
		if (read < wrote || read >= wrote + 10000) {
			ksft_print_msg("round %d: wrote %ld, read %ld\n", i, wrote, read);
			lost++;
		}
	}
	kill(pid, SIGKILL);
	return WIFSIGNALED(reap_child(pid)) ? lost : -EIO;
}

/*
 * A fork reads the cursor, takes a pid and stores the cursor that follows: a
 * write in between, without the lock, is lost.
 */
TEST_F_TIMEOUT(levels, write_beside_forks_is_not_lost, TIMEOUT)
{
	EXPECT_EQ(0, ask(&self->s, 0, write_beside, (long)fork_again_and_again));
}

TEST_F_TIMEOUT(levels, write_beside_writes_of_no_number_is_not_lost, TIMEOUT)
{
	if (read_number("/proc/sys/kernel/sysctl_writes_strict", "%ld") != 1)
		SKIP(return, "kernel.sysctl_writes_strict is not 1");
	EXPECT_EQ(0, ask(&self->s, 0, write_beside, (long)write_no_number));
}

/*
 * The init of a pid namespace that dies kills all tasks there, in the order of
 * their pids. The last one has some time to see that its namespace is dead: SET
 * says so.
 */

#define CROWD		300
#define DEATHS		20
#define WRITTEN		1

static long start_crowd_and_writer(long unused)
{
	const struct sched_param param = { .sched_priority = 1 };
	int fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), i;
	int last_pid = open(NS_LAST_PID, O_WRONLY | O_CLOEXEC);
	pid_t pid = 0;
	long set, wrote;

	for (i = 0; i < CROWD; i++)
		pid = create_by_fork(true);
	if (pid > 0)
		pid = fork();
	if (pid)
		return result(pid);
	/* Tasks that are being killed must not take this one's CPU. */
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		sched_setscheduler(0, SCHED_FIFO, &param);
	do {
		__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
		set = set_vec(fd, "4000");
		wrote = result(pwrite(last_pid, "5000", 4, 0));
	} while (set != -ESRCH);
	shared->error = wrote < 0 ? wrote : WRITTEN;
	pause();
	_exit(1);
}

TEST_F_TIMEOUT(nested, write_in_a_dead_namespace_is_esrch, TIMEOUT)
{
	time_t end = time(NULL) + 4 * SECONDS;
	int seen = 0, i;

	for (i = 0; i < DEATHS && !seen && time(NULL) <= end; i++) {
		struct stack s = { .depth = 1 };

		ASSERT_EQ(0, stack_start(&s));
		shared->count = 0;
		shared->error = 0;
		ASSERT_LT(CROWD, ask(&s, 0, start_crowd_and_writer, 0));
		while (__atomic_load_n(&shared->count, __ATOMIC_RELAXED) < 2)
			sched_yield();
		stack_stop(&s);
		seen = shared->error;
	}
	if (!seen)
		SKIP(return, "the last task was killed before it could write, %d times", i);
	EXPECT_EQ(-ESRCH, seen);
}

TEST_HARNESS_MAIN
