// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cases that the vector is for: the task that creates a restored one may
 * not choose its pids by clone3(set_tid), or nothing but an ioctl is left to a
 * restorer. SET and any call that creates a task give the pids all the same.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/mount.h>

#include "last_pid_vec.h"

/*
 * Orders: the ways to create a task. They return its pid as the caller sees it.
 */

static sem_t thread_runs, thread_ends;
static pthread_t thread;
static pid_t thread_tid;

static void *thread_main(void *unused)
{
	thread_tid = syscall(__NR_gettid);
	sem_post(&thread_runs);
	sem_wait(&thread_ends);
	return NULL;
}

static long create_by_pthread(long unused)
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

static long create_by_vfork(long unused)
{
	pid_t pid;

	pid = vfork();
	if (!pid)
		_exit(0);
	return result(pid);
}

static long create_by_posix_spawn(long unused)
{
	char *const argv[] = { "true", NULL };
	pid_t pid;
	int err;

	err = posix_spawnp(&pid, "true", NULL, NULL, argv, environ);
	return err ? -err : pid;
}

static int clone_main(void *unused)
{
	return 0;
}

static long create_by_clone(long unused)
{
	static __u64 stack[8 * 1024];

	return result(clone(clone_main, stack + ARRAY_SIZE(stack), SIGCHLD, NULL));
}

/* By clone3() with @n pids of 4001:5001:6001, or without. */
static long create_by_clone3(long n)
{
	pid_t tids[] = { 4001, 5001, 6001 };
	struct __clone_args args = {
		.exit_signal	= SIGCHLD,
		.set_tid	= n ? ptr_to_u64(tids) : 0,
		.set_tid_size	= n,
	};
	pid_t pid;

	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		_exit(0);
	return result(pid);
}

static const struct {
	const char *name;
	order_fn create;
	order_fn reap;
} ways[] = {
	{ "fork", create_by_fork, reap_child },
	{ "vfork", create_by_vfork, reap_child },
	{ "posix_spawn", create_by_posix_spawn, reap_child },
	{ "clone", create_by_clone, reap_child },
	{ "clone3", create_by_clone3, reap_child },
	{ "pthread_create", create_by_pthread, reap_thread },
};

/*
 * An outsider sets, and the init of level 0 is the parent. It is in a nested
 * user namespace that owns fewer levels than there are.
 */

FIXTURE(parent)
{
	struct stack s;
};

FIXTURE_VARIANT(parent)
{
	int depth;
	unsigned int new_user;
	bool unshare_user;
	int may_choose;		/* so many levels by set_tid */
};

FIXTURE_VARIANT_ADD(parent, privileged) {
	.depth = 3, .may_choose = 3,
};

/* The pid namespace is owned further out. */
FIXTURE_VARIANT_ADD(parent, in_a_shared_pid_ns) {
	.depth = 1, .unshare_user = true, .may_choose = 0,
};

FIXTURE_VARIANT_ADD(parent, in_its_own_pid_ns) {
	.depth = 2, .new_user = 1 << 0, .may_choose = 1,
};

FIXTURE_VARIANT_ADD(parent, two_user_ns_deep) {
	.depth = 3, .new_user = 1 << 0 | 1 << 1, .may_choose = 1,
};

FIXTURE_SETUP(parent)
{
	const char *why = lacking_pid_ns();

	if (!why && (variant->new_user || variant->unshare_user))
		why = lacking_user_ns();
	if (why)
		SKIP(return, "%s", why);
	self->s.depth = variant->depth;
	self->s.new_user = variant->new_user;
	ASSERT_EQ(0, stack_start(&self->s));
}

FIXTURE_TEARDOWN(parent)
{
	stack_stop(&self->s);
}

static long unshare_user_ns(long unused)
{
	return result(unshare(CLONE_NEWUSER));
}

TEST_F(parent, gets_children_with_the_pids)
{
	struct stack *s = &self->s;
	int fd = s->level[0].fd, n = variant->depth;
	char text[TEXT_SIZE], want[TEXT_SIZE];
	pid_t pid;
	size_t i;
	int j;

	if (variant->unshare_user)
		ASSERT_EQ(0, ask(s, 0, unshare_user_ns, 0));
	for (j = 1; j <= n; j++) {
		bool may = j <= variant->may_choose;

		EXPECT_EQ(may ? 4001 : -EPERM, ask(s, 0, create_by_clone3, j))
			TH_LOG("clone3 with %d pids", j);
		if (may)
			ask(s, 0, reap_child, 4001);
	}

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		/*
		 * The second time with pids that have been used. Not those of a
		 * thread: pthread_join() can return before they are free again.
		 */
		for (j = 0; j < (ways[i].reap == reap_thread ? 1 : 2); j++) {
			make_vec(text, n, 4000 + 10 * i, 1000);
			make_vec(want, n, 4001 + 10 * i, 1000);
			ASSERT_EQ(0, set_vec(fd, text));
			ASSERT_EQ(4001 + 10 * i, ask(s, 0, ways[i].create, 0))
				TH_LOG("%s", ways[i].name);
			/* It has ended, or waits, but nobody has waited for it. */
			pid = ioctl(fd, NS_GET_PID_FROM_PIDNS, 4001 + 10 * i);
			EXPECT_STREQ(want, pids_of(pid, fd, n))
				TH_LOG("%s", ways[i].name);
			EXPECT_STREQ(want, last_pids(fd, n));
			EXPECT_EQ(0, ask(s, 0, ways[i].reap, 4001 + 10 * i));
		}
	}
}

/*
 * Capabilities belong to a thread. Those of the thread that makes the request
 * count.
 */

static void *make_call_main(void *unused)
{
	return (void *)make_call(0);
}

static long call_from_thread(void)
{
	void *ret;
	int err;

	err = pthread_create(&thread, NULL, make_call_main, NULL);
	if (!err)
		err = pthread_join(thread, &ret);
	return err ? -err : (long)ret;
}

TEST_F(nested, capabilities_are_those_of_the_thread)
{
	prepare_set(NO_CAPS, self->fd, "4000");
	EXPECT_EQ(-EPERM, call_from_thread());
	prepare_get(NO_CAPS, self->fd);
	EXPECT_EQ(-EPERM, call_from_thread());
	EXPECT_UNCHANGED(&self->s);

	/* The thread group's leader has none, and the thread takes its own. */
	ASSERT_EQ(0, keep_caps(NO_CAPS));
	prepare_set(RESTORE_CAP, self->fd, "4000");
	EXPECT_EQ(0, call_from_thread());
	prepare_get(RESTORE_CAP, self->fd);
	EXPECT_LT(0, call_from_thread());
	ASSERT_EQ(0, keep_caps(ALL_CAPS));
	EXPECT_STREQ("4000:2000:3000", last_pids(self->fd, 3));
}

/*
 * A restorer in a container: seccomp answers clone3() as a kernel that does not
 * have it and refuses setns() and unshare(), /proc/sys is read-only, and
 * CAP_CHECKPOINT_RESTORE is the only capability.
 */

static int unknown_call(void)
{
	return result(syscall(0xffff));
}

static long enter_container(long unused)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone3, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_setns, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_unshare, 2, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | -unknown_call()),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog prog = { .len = ARRAY_SIZE(filter), .filter = filter };

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) ||
	    mount(NULL, "/proc/sys", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0))
		return -errno;
	return keep_caps(RESTORE_CAP);
}

static long set_own_last_pid(long pid)
{
	int fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), ret;
	char text[TEXT_SIZE];

	ret = set_vec(fd, make_vec(text, 1, pid, 0));
	close(fd);
	return ret;
}

TEST(restorer_in_a_container)
{
	struct stack s = { .depth = 2 };
	const char *why = lacking_pid_ns();
	size_t i;
	long pid;

	if (why)
		SKIP(return, "%s", why);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) && errno == EINVAL)
		SKIP(return, "no seccomp filters in this kernel");
	ASSERT_EQ(0, stack_start(&s));
	ASSERT_EQ(0, ask(&s, 0, enter_container, 0));

	EXPECT_EQ(unknown_call(), ask(&s, 0, create_by_clone3, 0));
	EXPECT_EQ(-EPERM, ask(&s, 0, unshare_pid_ns, 0));
	EXPECT_EQ(-EROFS, ask(&s, 0, write_ns_last_pid, 4000));

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (ways[i].create == create_by_clone3)
			continue;
		pid = 4001 + 10 * i;
		EXPECT_EQ(0, ask(&s, 0, set_own_last_pid, pid - 1));
		EXPECT_EQ(pid, ask(&s, 0, ways[i].create, 0))
			TH_LOG("%s", ways[i].name);
		EXPECT_EQ(0, ask(&s, 0, ways[i].reap, pid));
	}
	stack_stop(&s);
}

TEST_HARNESS_MAIN
