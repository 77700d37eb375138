// SPDX-License-Identifier: GPL-2.0-only
/*
 * kernel.ns_last_pid beside the requests: it sets one level, that of the
 * writer, as a vector of one number does.
 */
#define _GNU_SOURCE
#include <time.h>

#include "last_pid_vec.h"

#define NS_LAST_PID	"/proc/sys/kernel/ns_last_pid"

/* For so many rounds, or so many seconds on a slow machine. */
#define ROUNDS		20000
#define SECONDS		3
#define TIMEOUT		120	/* when nothing goes on at all */

/* An order: write shared->text. */
static long write_shared_text(long caps)
{
	int ret, err;

	ret = keep_caps(caps);
	if (!ret)
		ret = write_text(NS_LAST_PID, shared->text);
	err = keep_caps(ALL_CAPS);
	return err ?: ret;
}

TEST_F(nested, bounds)
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
		ASSERT_EQ(0, set_vec(self->fd, START));
		strcpy(shared->text, cases[i].text);
		EXPECT_EQ(cases[i].ret, ask(&self->s, 0, write_shared_text, cases[i].caps))
			TH_LOG("'%s' with %llx", cases[i].text, cases[i].caps);
		EXPECT_STREQ(cases[i].last_pids, last_pids(self->fd, 3))
			TH_LOG("'%s' with %llx", cases[i].text, cases[i].caps);
	}
}

static long set_ns_of_children(long fd)
{
	return result(setns(fd, CLONE_NEWPID));
}

/* The writer's active namespace, not that of its children. */
TEST_F(nested, write_sets_the_active_namespace)
{
	ASSERT_EQ(0, ask(&self->s, 1, set_ns_of_children, self->fd));
	EXPECT_EQ(0, ask(&self->s, 1, write_ns_last_pid, 5000));
	EXPECT_STREQ("1000:5000:3000", last_pids(self->fd, 3));
	EXPECT_EQ(5000, ask(&self->s, 1, read_ns_last_pid, 0));
}

/* An order: writes that store no number, because they begin behind the first. */
static long write_no_number(long unused)
{
	long ret = 0;
	int fd;

	fd = open(NS_LAST_PID, O_WRONLY | O_CLOEXEC);
	while (ret >= 0 && !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		ret = result(pwrite(fd, "7", 1, 1));
		__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	return ret;
}

TEST_F_TIMEOUT(nested, write_of_no_number_beside_sets_changes_nothing, TIMEOUT)
{
	time_t end = time(NULL) + SECONDS;
	char text[TEXT_SIZE];
	bool same = true;
	int i;

	if (read_number("/proc/sys/kernel/sysctl_writes_strict", "%ld") != 1)
		SKIP(return, "kernel.sysctl_writes_strict is not 1");
	ASSERT_TRUE(give_order(&self->s, 0, write_no_number, 0));
	while (!__atomic_load_n(&shared->count, __ATOMIC_RELAXED))
		sched_yield();
	for (i = 0; i < ROUNDS && same && time(NULL) <= end; i++) {
		make_vec(text, 3, 4000 + i % 1000, 1000);
		ASSERT_EQ(0, set_vec(self->fd, text));
		/* Let the writer go on, if there is one CPU. */
		sched_yield();
		same = !strcmp(text, last_pids(self->fd, 3));
	}
	EXPECT_TRUE(same)
		TH_LOG("round %d: set %s, got %s", i, text, last_pids(self->fd, 3));
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	EXPECT_EQ(1, take_reply(&self->s));
}

/*
 * An order: write while a child forks. A fork reads the cursor, takes a pid and
 * stores the cursor that follows: a write in between, without the lock, is lost.
 * Returns the number of lost writes.
 */
static long write_beside_forks(long unused)
{
	time_t end = time(NULL) + SECONDS;
	long lost = 0, wrote, read;
	pid_t forker;
	int i;

	forker = fork();
	if (!forker) {
		for (;;)
			reap_child(create_by_fork(false));
	}
	if (forker < 0)
		return -errno;
	for (i = 0; i < ROUNDS && !lost && time(NULL) <= end; i++) {
		wrote = i & 1 ? 10000 : 20000;
		if (write_ns_last_pid(wrote))
			return -EIO;
		read = read_ns_last_pid(0);
		if (read < wrote || read >= wrote + 10000) {
			ksft_print_msg("round %d: wrote %ld, read %ld\n", i, wrote, read);
			lost++;
		}
	}
	kill(forker, SIGKILL);
	waitpid(forker, NULL, 0);
	return lost;
}

TEST_F_TIMEOUT(nested, write_beside_forks_is_not_lost, TIMEOUT)
{
	EXPECT_EQ(0, ask(&self->s, 0, write_beside_forks, 0));
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
