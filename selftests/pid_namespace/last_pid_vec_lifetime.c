// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pid namespaces that cannot create tasks: they have no init yet, or their init
 * has died. SET and GET fail with ESRCH there. And forks that fail after they
 * have taken pids.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <time.h>

#include "last_pid_vec.h"

/* SET and GET on @fd are ESRCH, after everything else that can be wrong. */
static void expect_esrch(struct __test_metadata *_metadata, int fd, int line)
{
	const struct {
		__u64 caps;
		const char *text;
		int ret;
	} cases[] = {
		{ ALL_CAPS, "0", -ESRCH },
		{ ALL_CAPS, "10", -ESRCH },
		{ ALL_CAPS, "10:4000", -ESRCH },
		{ NO_CAPS, "10", -EPERM },
		{ ALL_CAPS, "10:", -EINVAL },
		{ ALL_CAPS, "2147483647", -EINVAL },
		{ ALL_CAPS, "10:2147483647", -EINVAL },
	};
	char text[TEXT_SIZE];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare_set(cases[i].caps, fd, cases[i].text);
		EXPECT_EQ(cases[i].ret, make_call(0))
			TH_LOG("'%s' with %llx at line %d", cases[i].text, cases[i].caps, line);
	}
	/* There are not as many levels. */
	if (owns_each_level())
		EXPECT_EQ(-EINVAL, set_vec(fd, make_vec(text, MAX_LEVELS, 400, 1)));
	prepare_get(NO_CAPS, fd);
	EXPECT_EQ(-EPERM, make_call(0));
	prepare_get(ALL_CAPS, fd);
	EXPECT_EQ(-ESRCH, make_call(0))
		TH_LOG("at line %d", line);
	EXPECT_EQ('#', shared->text[0]);
	/* The buffer comes later. */
	EXPECT_EQ(-ESRCH, request(fd, GET, NULL, 0));
	EXPECT_EQ(-ESRCH, request(fd, GET, NULL, TEXT_SIZE));
}

#define EXPECT_ESRCH(fd)	expect_esrch(_metadata, fd, __LINE__)

/* Kill the init of level @i, and with it all that is below, and wait for the end. */
static int kill_init(struct stack *s, int i)
{
	struct pollfd pfd = { .fd = sys_pidfd_open(s->level[i].init, 0), .events = POLLIN };

	return sys_pidfd_send_signal(pfd.fd, SIGKILL, NULL, 0) ?: poll(&pfd, 1, -1) - 1;
}

/* A namespace below level 0: the next task that level 0's init creates is its init. */
static int open_without_init(struct stack *s)
{
	long ret = ask(s, 0, unshare_pid_ns, 0);

	return ret ?: open_ns(s->level[0].init, "pid_for_children");
}

/* The namespace @fd below level 0 of START has its init. */
static void expect_alive(struct __test_metadata *_metadata, int fd)
{
	EXPECT_STREQ("1:1001:2001:3001", last_pids(fd, 4));
	EXPECT_EQ(0, set_vec(fd, "10:4000:5000:6000"));
	EXPECT_STREQ("11:4001:5001:6001", next_pids(fd, 4));
}

TEST_F(nested, without_init)
{
	pid_t pid;
	int fd;

	fd = open_without_init(&self->s);
	ASSERT_GE(fd, 0);
	EXPECT_ESRCH(fd);
	EXPECT_EQ(-ESRCH, set_vec(fd, "10:4000:5000:6000"));
	/* Levels are all checked before: the caller on level 1 may not set 2. */
	EXPECT_EQ(-ESRCH, set_from(&self->s, 1, RESTORE_CAP, fd, "10:4000:5000"));
	EXPECT_EQ(-EPERM, set_from(&self->s, 1, RESTORE_CAP, fd, "10:4000:5000:6000"));
	EXPECT_EQ(-ESRCH, get_from(&self->s, 1, RESTORE_CAP, fd));
	EXPECT_UNCHANGED(&self->s);

	ASSERT_EQ(1001, ask(&self->s, 0, create_by_fork, true));
	expect_alive(_metadata, fd);

	pid = ioctl(fd, NS_GET_PID_FROM_PIDNS, 1);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ask(&self->s, 0, reap_child, 1001);
	EXPECT_ESRCH(fd);
	EXPECT_STREQ("4001:5001:6001", last_pids(self->fd, 3));
	close(fd);
}

/*
 * Between the allocation of pid 1 and the moment when its task is the reaper,
 * the fork can still fail. The write of the pidfd lies between, and a page that
 * userfaultfd serves holds it up.
 */

static int *pidfd_page;		/* MAP_PRIVATE: each process has its own */

static long open_userfaultfd(long unused)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = {
			.start	= ptr_to_u64(pidfd_page),
			.len	= sysconf(_SC_PAGESIZE),
		},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd;

	/* The fault is in kernel mode. */
	fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

static long create_held_child(long unused)
{
	struct __clone_args args = {
		.flags		= CLONE_PIDFD,
		.exit_signal	= SIGCHLD,
		.pidfd		= ptr_to_u64(pidfd_page),
	};
	pid_t pid;

	pid = sys_clone3(&args, sizeof(args));
	if (!pid) {
		pause();
		_exit(0);
	}
	return result(pid);
}

FIXTURE(window)
{
	struct stack s;
	int fd;
	int uffd;
};

FIXTURE_SETUP(window)
{
	const char *why = lacking_pid_ns();

	if (why)
		SKIP(return, "%s", why);
	pidfd_page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, pidfd_page);
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
	ASSERT_EQ(0, set_vec(self->s.level[0].fd, START));
	self->uffd = ask(&self->s, 0, open_userfaultfd, 0);
	if (self->uffd < 0) {
		stack_stop(&self->s);
		SKIP(return, "needs userfaultfd for faults in kernel mode: %s",
		     strerror(-self->uffd));
	}
	self->fd = open_without_init(&self->s);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(window)
{
	stack_stop(&self->s);
}

TEST_F(window, from_pid_1_to_its_reaper)
{
	struct pollfd pfd = { .fd = self->uffd, .events = POLLIN };
	struct uffdio_zeropage zero = { .range.len = sysconf(_SC_PAGESIZE) };
	struct uffd_msg msg;

	ASSERT_TRUE(give_order(&self->s, 0, create_held_child, 0));
	ASSERT_EQ(1, poll(&pfd, 1, 10000));
	ASSERT_EQ(sizeof(msg), read(self->uffd, &msg, sizeof(msg)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	/* Pids have been taken. */
	EXPECT_STREQ("1001:2001:3001", last_pids(self->s.level[0].fd, 3));
	EXPECT_ESRCH(self->fd);
	EXPECT_EQ(-ESRCH, set_vec(self->fd, "10:4000:5000:6000"));
	EXPECT_STREQ("1001:2001:3001", last_pids(self->s.level[0].fd, 3));

	zero.range.start = msg.arg.pagefault.address & -zero.range.len;
	EXPECT_EQ(0, ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(1001, take_reply(&self->s));
	expect_alive(_metadata, self->fd);
}

/*
 * Deaths.
 */

TEST_F(nested, init_has_died)
{
	int i;

	/* In the middle: the level above goes on. */
	ASSERT_EQ(0, kill_init(&self->s, 1));
	for (i = 0; i < 2; i++)
		EXPECT_ESRCH(self->s.level[i].fd);
	EXPECT_EQ(-ESRCH, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EPERM, set_from(&self->s, 2, RESTORE_CAP, self->fd, "4000:5000:6000:7000"));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));

	/* Waited for, too. */
	EXPECT_LT(0, ask(&self->s, 2, reap_child, 2));
	for (i = 0; i < 2; i++)
		EXPECT_ESRCH(self->s.level[i].fd);
	EXPECT_EQ(-ESRCH, set_vec(self->s.level[1].fd, "5000:6000"));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));

	EXPECT_EQ(0, set_vec(self->s.level[2].fd, "6000"));
	EXPECT_STREQ("6001", next_pids(self->s.level[2].fd, 1));
}

TEST_F(nested, init_is_dying)
{
	siginfo_t info;
	pid_t pid;

	/* A child of the test is killed by the init, and holds it up unreaped. */
	pid = fork_into(self->fd, true);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, set_vec(self->fd, START));
	ASSERT_EQ(0, kill(self->s.level[0].init, SIGKILL));
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));

	EXPECT_ESRCH(self->fd);
	EXPECT_EQ(-ESRCH, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_STREQ("2000:3000", last_pids(self->s.level[1].fd, 2));
	waitpid(pid, NULL, 0);
	EXPECT_ESRCH(self->fd);
	EXPECT_STREQ("2000:3000", last_pids(self->s.level[1].fd, 2));
}

TEST_F(nested, init_of_an_ancestor_is_dying)
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

	EXPECT_ESRCH(self->s.level[1].fd);
	/* All or nothing, when the capabilities and the bounds are fine. */
	EXPECT_EQ(-ESRCH, set_vec(self->fd, "4000:5000"));
	EXPECT_EQ(-ESRCH, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EINVAL, set_vec(self->fd, "4000:5000:2147483647"));
	EXPECT_STREQ("1000", last_pids(self->fd, 1));
	EXPECT_STREQ("3000", last_pids(self->s.level[2].fd, 1));
	/* A vector that does not go that far is taken, and GET ends before. */
	EXPECT_EQ(0, set_vec(self->fd, "4000"));
	EXPECT_EQ(4, request(self->fd, GET, text, sizeof(text)));
	EXPECT_STREQ("4000", text);
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, init, NULL, NULL));
}

/* For so many rounds, or so many seconds on a slow machine. */
#define DEATH_ROUNDS	20
#define SECONDS		3

TEST_F_TIMEOUT(nested, requests_beside_a_dying_init, 120)
{
	time_t start = time(NULL);
	int i;

	for (i = 0; i < DEATH_ROUNDS && time(NULL) - start <= SECONDS; i++) {
		struct stack s = { .depth = 2 };
		char text[TEXT_SIZE];
		pid_t setter;
		int ret;

		ASSERT_EQ(0, stack_start(&s));
		shared->count = 0;
		setter = fork();
		if (!setter) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			do {
				ret = set_vec(s.level[0].fd, "4000:5000");
				__atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
				if (!ret)
					ret = request(s.level[0].fd, GET, text, sizeof(text));
			} while (ret >= 0);
			_exit(ret == -ESRCH ? 0 : 1);
		}
		while (__atomic_load_n(&shared->count, __ATOMIC_RELAXED) < 2)
			sched_yield();
		/* SET stops when either is dying, and so does GET for level 0. */
		EXPECT_EQ(0, kill(s.level[i & 1].init, SIGKILL));
		EXPECT_EQ(0, wait_for_pid(setter));
		stack_stop(&s);
	}
}

/*
 * A fork that pids.max refuses may have used the numbers up.
 */

#define CGROUP_ROOT	"/tmp"		/* in a mount namespace of the test */
#define CGROUP		CGROUP_ROOT "/last_pid_vec"
#define CGROUP_CONTROL	CGROUP_ROOT "/cgroup.subtree_control"

static bool cgroup_made, pids_enabled;	/* by this test */

/* Move a task into a cgroup of its own, or return why that is impossible. */
static const char *make_cgroup(pid_t pid)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("cgroup", CGROUP_ROOT, "cgroup2", 0, NULL))
		return "cannot mount cgroup2";
	if (mkdir(CGROUP, 0755) && errno != EEXIST)
		return "cannot create a cgroup";
	cgroup_made = true;
	if (access(CGROUP "/pids.max", F_OK)) {
		if (write_text(CGROUP_CONTROL, "+pids"))
			return "no pids controller in cgroup2";
		pids_enabled = true;
	}
	if (write_number(CGROUP "/cgroup.procs", pid))
		return "cannot move a task into a cgroup";
	return NULL;
}

static int remove_cgroup(void)
{
	int ret = cgroup_made ? result(rmdir(CGROUP)) : 0;

	if (!ret && pids_enabled)
		ret = write_text(CGROUP_CONTROL, "-pids");
	return ret;
}

FIXTURE(pids_max)
{
	struct stack s;
	int fd;
};

FIXTURE_SETUP(pids_max)
{
	const char *why = lacking_pid_ns();

	if (why)
		SKIP(return, "%s", why);
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
	self->fd = self->s.level[0].fd;
	ASSERT_EQ(0, set_vec(self->fd, START));
	why = make_cgroup(self->s.level[0].init);
	if (why) {
		stack_stop(&self->s);
		remove_cgroup();
		SKIP(return, "%s", why);
	}
	ASSERT_EQ(0, write_text(CGROUP "/pids.max", "1"));
}

FIXTURE_TEARDOWN(pids_max)
{
	stack_stop(&self->s);
	EXPECT_EQ(0, remove_cgroup());
}

TEST_F(pids_max, numbers_are_set_again_after_a_failed_fork)
{
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(-EAGAIN, ask(&self->s, 0, create_by_fork, false));

	ASSERT_EQ(0, write_text(CGROUP "/pids.max", "max"));
	EXPECT_EQ(0, set_vec(self->fd, "4000:5000:6000"));
	EXPECT_EQ(4001, ask(&self->s, 0, create_by_fork, false));
	EXPECT_STREQ("4001:5001:6001", last_pids(self->fd, 3));
	EXPECT_EQ(0, ask(&self->s, 0, reap_child, 4001));
}

TEST_F(pids_max, failed_init_is_no_init)
{
	int fd;

	fd = open_without_init(&self->s);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EAGAIN, ask(&self->s, 0, create_by_fork, true));
	EXPECT_ESRCH(fd);

	ASSERT_EQ(0, write_text(CGROUP "/pids.max", "max"));
	ASSERT_EQ(0, set_vec(self->fd, START));
	EXPECT_EQ(1001, ask(&self->s, 0, create_by_fork, true));
	expect_alive(_metadata, fd);
	close(fd);
}

TEST_HARNESS_MAIN
