/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the tests of PIDNS_REQ_SET_LAST_PID_VEC and
 * PIDNS_REQ_GET_LAST_PID_VEC: the two requests, a stack of nested pid
 * namespaces, callers on its levels, and the pids of tasks there.
 *
 * Vectors are text, "INNERMOST:PARENT:GRANDPARENT", as the kernel takes and
 * gives them. Everything that is compared with a vector is brought into that
 * form.
 */
#ifndef __LAST_PID_VEC_H
#define __LAST_PID_VEC_H

#include <linux/capability.h>
#include <linux/nsfs.h>
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "../pidfd/pidfd.h"
#include "kselftest_harness.h"

/* The kernel's MAX_PID_NS_LEVEL is the level of the deepest, counted from 0. */
#define MAX_LEVELS	33
#define MAX_NESTED	(MAX_LEVELS - 1)
#define TEXT_SIZE	(PIDNS_LAST_PID_VEC_MAX + 1)

#define SET		PIDNS_REQ_SET_LAST_PID_VEC
#define GET		PIDNS_REQ_GET_LAST_PID_VEC

#define NO_CAPS		0ULL
#define ALL_CAPS	(~0ULL)
#define RESTORE_CAP	((__u64)1 << CAP_CHECKPOINT_RESTORE)
#define ADMIN_CAP	((__u64)1 << CAP_SYS_ADMIN)

/* Memory that a test shares with its children. */
struct shared {
	pid_t init[MAX_NESTED];		/* as the test sees them */
	struct {
		__u64 caps;
		int fd;
		__u32 req;
		void *data;
		__u32 size;
	} call;
	char text[TEXT_SIZE];		/* the data of most calls */
	int count;
	int error;			/* that a child has seen */
	bool stop;
};

static struct shared *shared;

static inline int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

/*
 * The requests. They return the result of ioctl(), or -errno.
 */

/* The number of NS_SPECIFIC_IOC with the size of a larger or smaller struct. */
static inline int ioctl_sized(int fd, unsigned int size, const void *arg)
{
	const unsigned int dir = _IOC_READ | _IOC_WRITE;

	return result(ioctl(fd, _IOC(dir, NSIO, _IOC_NR(NS_SPECIFIC_IOC), size), arg));
}

static inline int request(int fd, __u32 req, const void *data, __u32 size)
{
	struct ns_specific_req arg = {
		.req		= req,
		.data_size	= size,
		.data		= ptr_to_u64(data),
	};

	return result(ioctl(fd, NS_SPECIFIC_IOC, &arg));
}

static inline int set_vec(int fd, const char *text)
{
	return request(fd, SET, text, strlen(text));
}

/*
 * Vectors.
 */

/* Write a vector of @n levels: @first, @first + @step, and so on upward. */
static inline char *make_vec(char *text, int n, int first, int step)
{
	size_t len = 0;
	int i;

	text[0] = '\0';
	for (i = 0; i < n; i++)
		len += sprintf(text + len, "%s%d", i ? ":" : "", first + i * step);
	return text;
}

/* Cut a vector after its first @n numbers, and return how many it had. */
static inline int cut_vec(char *text, int n)
{
	int found = 1;

	for (; *text; text++) {
		if (*text == ':' && found++ == n)
			*text = '\0';
	}
	return found;
}

/* The first @n numbers that GET writes, or the error. */
static inline const char *last_pids(int fd, int n)
{
	static char text[TEXT_SIZE];
	int ret;

	ret = request(fd, GET, text, sizeof(text));
	if (ret < 0)
		sprintf(text, "GET: %s", strerror(-ret));
	else
		cut_vec(text, n);
	return text;
}

/*
 * Files in /proc.
 */

static inline int open_ns(pid_t pid, const char *name)
{
	char path[64];

	sprintf(path, "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static inline pid_t self_in_proc(void)
{
	char buf[16] = "";

	return readlink("/proc/self", buf, sizeof(buf) - 1) < 0 ? -1 : atoi(buf);
}

static inline long read_number(const char *path, const char *format)
{
	long number;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fscanf(f, format, &number) != 1)
		number = -EIO;
	fclose(f);
	return number;
}

static inline long write_text(const char *path, const char *text)
{
	int fd, ret;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = result(write(fd, text, strlen(text)));
	close(fd);
	return ret < 0 ? ret : 0;
}

static inline long write_number(const char *path, long number)
{
	char text[24];

	sprintf(text, "%ld", number);
	return write_text(path, text);
}

/*
 * The reason why a test cannot run, or NULL.
 */

static inline const char *lacking_requests(void)
{
	int own = open_ns(self_in_proc(), "pid");
	bool missing = request(own, GET, NULL, 0) == -ENOTTY;

	close(own);
	return missing ? "this kernel has no NS_SPECIFIC_IOC" : NULL;
}

static inline const char *lacking_rights(void)
{
	int own = open_ns(getpid(), "pid"), ret = result(setns(own, CLONE_NEWPID));

	close(own);
	if (geteuid() || ret == -EPERM)
		return "needs root and CAP_SYS_ADMIN over its own pid namespace";
	return ret ? "needs the /proc of its own pid namespace" : NULL;
}

static inline const char *lacking_pid_ns(void)
{
	return lacking_requests() ?: lacking_rights();
}

static inline const char *lacking_user_ns(void)
{
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(unshare(CLONE_NEWUSER) ? 1 : 0);
	waitpid(pid, &status, 0);
	return status ? "cannot create user namespaces" : NULL;
}

/* Is the test in the initial namespace of a type? Else there are levels above. */
static inline bool in_initial_ns(const char *path, ino_t initial)
{
	struct stat st;

	/* A kernel without such namespaces has no such file. */
	if (stat(path, &st))
		return errno == ENOENT;
	return st.st_ino == initial;
}

/* Does the test own each level there is, with all capabilities, and is the uppermost its own? */
static inline bool owns_each_level(void)
{
	return in_initial_ns("/proc/self/ns/user", USER_NS_INIT_INO) &&
	       in_initial_ns("/proc/self/ns/pid", PID_NS_INIT_INO);
}

/*
 * A stack of nested pid namespaces. Level 0 is the innermost, as in a vector.
 * The init of each level waits for orders: a function that it runs on its
 * level, without a fork that would take pids. All inits share the test's file
 * descriptors.
 */

typedef long (*order_fn)(long arg);

struct order {
	order_fn fn;
	long arg;
};

struct stack {
	int depth;
	unsigned int new_user;		/* bit i: level i begins a user namespace */
	bool set_tid;			/* choose all pids of the inits, on up to 3 levels */
	int replies[2];
	struct {
		pid_t init;		/* as the test sees it */
		int fd;			/* the pid namespace */
		int orders[2];
	} level[MAX_NESTED];
};

static inline pid_t start_level(struct stack *s, int i);

static inline void __noreturn init_main(struct stack *s, int i)
{
	struct order order;
	long ret = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	shared->init[i] = self_in_proc();
	/* Only a mapped user can create the next user namespace. */
	if (s->new_user & 1 << i)
		ret = write_text("/proc/self/uid_map", "0 0 1") ?:
		      write_text("/proc/self/setgroups", "deny") ?:
		      write_text("/proc/self/gid_map", "0 0 1");
	if (!ret && i > 0 && start_level(s, i - 1) < 0)
		ret = -errno;
	if (!i || ret)
		write_nointr(s->replies[1], &ret, sizeof(ret));

	while (read_nointr(s->level[i].orders[0], &order, sizeof(order)) == sizeof(order)) {
		ret = order.fn(order.arg);
		write_nointr(s->replies[1], &ret, sizeof(ret));
	}
	_exit(1);
}

static inline pid_t start_level(struct stack *s, int i)
{
	pid_t tids[] = { 1, 2, 3 }, pid;
	struct __clone_args args = {
		.flags		= CLONE_NEWPID | CLONE_FILES |
				  (s->new_user & 1 << i ? CLONE_NEWUSER : 0),
		.exit_signal	= SIGCHLD,
		.set_tid	= s->set_tid ? ptr_to_u64(tids) : 0,
		.set_tid_size	= s->set_tid ? s->depth - i : 0,
	};

	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		init_main(s, i);
	return pid;
}

static inline bool give_order(struct stack *s, int i, order_fn fn, long arg)
{
	struct order order = { .fn = fn, .arg = arg };

	return write_nointr(s->level[i].orders[1], &order, sizeof(order)) == sizeof(order);
}

static inline long take_reply(struct stack *s)
{
	long ret;

	return read_nointr(s->replies[0], &ret, sizeof(ret)) == sizeof(ret) ? ret : LONG_MIN;
}

/* Let the init of level @i run fn(arg). */
static inline long ask(struct stack *s, int i, order_fn fn, long arg)
{
	return give_order(s, i, fn, arg) ? take_reply(s) : LONG_MIN;
}

/* The results of fn(0) on each of the first @n levels, as a vector. */
static inline const char *ask_levels(struct stack *s, int n, order_fn fn)
{
	static char text[TEXT_SIZE];
	size_t len = 0;
	int i;

	for (i = 0; i < n; i++)
		len += sprintf(text + len, "%s%ld", i ? ":" : "", ask(s, i, fn, 0));
	return text;
}

/* Returns 0 or -errno. s->depth and the wishes beside it are set already. */
static inline int stack_start(struct stack *s)
{
	long ret;
	int i;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe2(s->replies, O_CLOEXEC))
		return -errno;
	for (i = 0; i < s->depth; i++) {
		if (pipe2(s->level[i].orders, O_CLOEXEC))
			return -errno;
	}
	s->level[s->depth - 1].init = start_level(s, s->depth - 1);
	if (s->level[s->depth - 1].init < 0)
		return -errno;
	ret = take_reply(s);
	for (i = 0; i < s->depth && !ret; i++) {
		s->level[i].init = shared->init[i];
		s->level[i].fd = open_ns(shared->init[i], "pid");
		if (s->level[i].fd < 0)
			ret = -errno;
	}
	return ret;
}

/*
 * The namespaces inside die with the outermost, and that dies with the last
 * task in it: children of the test that a failure has left there have to be
 * reaped. All descriptors are closed when the test ends.
 */
static inline void stack_stop(struct stack *s)
{
	pid_t init = s->level[s->depth - 1].init, pid;

	if (init <= 0)
		return;
	kill(init, SIGKILL);
	do {
		pid = waitpid(-1, NULL, 0);
	} while (pid != init && (pid > 0 || errno == EINTR));
}

/*
 * Callers. Capabilities are dropped from the effective set alone, so that the
 * caller can have them back.
 */

static inline int keep_caps(__u64 caps)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(__NR_capget, &hdr, data))
		return -errno;
	data[0].effective = data[0].permitted & caps;
	data[1].effective = data[1].permitted & (caps >> 32);
	return result(syscall(__NR_capset, &hdr, data));
}

static inline void prepare_call(__u64 caps, int fd, __u32 req, void *data, __u32 size)
{
	shared->call.caps = caps;
	shared->call.fd = fd;
	shared->call.req = req;
	shared->call.data = data;
	shared->call.size = size;
}

/* An order: the request that the test has prepared. */
static inline long make_call(long unused)
{
	int ret, err;

	ret = keep_caps(shared->call.caps);
	if (!ret)
		ret = request(shared->call.fd, shared->call.req, shared->call.data,
			      shared->call.size);
	err = keep_caps(ALL_CAPS);
	return err ?: ret;
}

/* The caller is on level @i. The test itself is on level s->depth. */
static inline long call_from(struct stack *s, int i)
{
	return i < s->depth ? ask(s, i, make_call, 0) : make_call(0);
}

static inline void prepare_set(__u64 caps, int fd, const char *text)
{
	memcpy(shared->text, text, strlen(text) + 1);
	prepare_call(caps, fd, SET, shared->text, strlen(text));
}

static inline void prepare_get(__u64 caps, int fd)
{
	memset(shared->text, '#', sizeof(shared->text));
	prepare_call(caps, fd, GET, shared->text, sizeof(shared->text));
}

static inline long set_from(struct stack *s, int i, __u64 caps, int fd, const char *text)
{
	prepare_set(caps, fd, text);
	return call_from(s, i);
}

/* GET into shared->text. */
static inline long get_from(struct stack *s, int i, __u64 caps, int fd)
{
	prepare_get(caps, fd);
	return call_from(s, i);
}

/*
 * Orders: the files that show the pid namespace of the task that opens them,
 * and children.
 */

static inline long read_ns_last_pid(long unused)
{
	return read_number("/proc/sys/kernel/ns_last_pid", "%ld");
}

static inline long write_ns_last_pid(long pid)
{
	return write_number("/proc/sys/kernel/ns_last_pid", pid);
}

static inline long read_pid_max(long unused)
{
	return read_number("/proc/sys/kernel/pid_max", "%ld");
}

static inline long write_pid_max(long pid_max)
{
	return write_number("/proc/sys/kernel/pid_max", pid_max);
}

static inline long unshare_pid_ns(long unused)
{
	return result(unshare(CLONE_NEWPID));
}

static inline long create_by_fork(long wait)
{
	pid_t pid;

	pid = fork();
	if (pid)
		return result(pid);
	if (wait)
		pause();
	_exit(0);
}

/* Returns the wait status, 0 when the child has ended by itself. */
static inline long reap_child(long pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid ? status : -errno;
}

/*
 * The pids that tasks got.
 */

/* Those of @pid on @n levels from the pid namespace @fd on, as a vector. */
static inline const char *pids_of(pid_t pid, int fd, int n)
{
	static char text[TEXT_SIZE];
	size_t len = 0;
	int i, parent;

	for (i = 0; i < n; i++) {
		len += sprintf(text + len, "%s%d", i ? ":" : "",
			       ioctl(fd, NS_GET_PID_IN_PIDNS, pid));
		parent = ioctl(fd, NS_GET_PARENT);
		if (i)
			close(fd);
		fd = parent;
	}
	close(fd);
	return text;
}

/* Fork a child of the test that is a task of the pid namespace @fd. */
static inline pid_t fork_into(int fd, bool wait)
{
	int own = open_ns(getpid(), "pid");
	pid_t pid = -1;

	if (!setns(fd, CLONE_NEWPID))
		pid = create_by_fork(wait);
	if (setns(own, CLONE_NEWPID))
		perror("# cannot return to the test's own pid namespace");
	close(own);
	return pid;
}

/* The pids of the next task in the pid namespace @fd. It is gone afterwards. */
static inline const char *next_pids(int fd, int n)
{
	const char *text;
	pid_t pid;

	pid = fork_into(fd, false);
	/* Nobody has waited for it, so its pids are still there. */
	text = pids_of(pid, fd, n);
	wait_for_pid(pid);
	return text;
}

/*
 * Three pid namespaces below the test's own, where nothing else forks.
 */

/* Numbers below 32768 are fine: a new pid namespace starts with the largest pid_max. */
#define START		"1000:2000:3000"
#define LOW_PID_MAX	20000

/* Neither by GET nor in the files inside has any level moved from START. */
static inline void expect_unchanged(struct __test_metadata *_metadata,
				    struct stack *s, int line)
{
	EXPECT_STREQ(START, last_pids(s->level[0].fd, 3))
		TH_LOG("seen by GET at line %d", line);
	EXPECT_STREQ(START, ask_levels(s, 3, read_ns_last_pid))
		TH_LOG("seen inside at line %d", line);
}

#define EXPECT_UNCHANGED(s)	expect_unchanged(_metadata, s, __LINE__)

FIXTURE(nested)
{
	struct stack s;
	int fd;				/* of level 0 */
};

FIXTURE_SETUP(nested)
{
	const char *why = lacking_pid_ns();

	if (why)
		SKIP(return, "%s", why);
	self->s.depth = 3;
	ASSERT_EQ(0, stack_start(&self->s));
	self->fd = self->s.level[0].fd;
	ASSERT_EQ(0, set_vec(self->fd, START));
}

FIXTURE_TEARDOWN(nested)
{
	stack_stop(&self->s);
}

#endif /* __LAST_PID_VEC_H */
