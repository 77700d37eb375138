/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of PIDNS_REQ_SET_LAST_PID_VEC and PIDNS_REQ_GET_LAST_PID_VEC
 * are made of: the two requests, a stack of nested pid namespaces, tasks that
 * are created in it, and callers with fewer privileges.
 *
 * Vectors are text, "INNERMOST:PARENT:GRANDPARENT", as the kernel takes and
 * gives them. Whatever else is compared with one is brought into that form.
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

/* MAX_PID_NS_LEVEL of the kernel is the level of the deepest, counted from 0. */
#define MAX_LEVELS	33
#define MAX_NESTED	(MAX_LEVELS - 1)
#define TEXT_SIZE	(PIDNS_LAST_PID_VEC_MAX + 1)

#define CAP_BIT(cap)	(1ULL << (cap))
#define ALL_CAPS	(~0ULL)
#define NO_CAPS		0ULL

/* Memory that the test shares with its children. */
struct shared {
	pid_t init[MAX_NESTED];
	int ret;
	int stop;
	char text[TEXT_SIZE];
};

static struct shared *shared;

static inline int map_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? -errno : 0;
}

static inline int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

/*
 * The requests. All of them return what ioctl() does, or -errno.
 */

static inline int request(int fd, __u32 req, const void *data, __u32 size)
{
	struct ns_specific_req arg = {
		.req		= req,
		.data_size	= size,
		.data		= ptr_to_u64(data),
	};

	return result(ioctl(fd, NS_SPECIFIC_IOC, &arg));
}

static inline int set_bytes(int fd, const void *data, __u32 size)
{
	return request(fd, PIDNS_REQ_SET_LAST_PID_VEC, data, size);
}

static inline int set_vec(int fd, const char *text)
{
	return set_bytes(fd, text, strlen(text));
}

static inline int get_vec(int fd, void *buf, __u32 size)
{
	return request(fd, PIDNS_REQ_GET_LAST_PID_VEC, buf, size);
}

/* Cut a vector after its first @n numbers. */
static inline void cut_vec(char *text, int n)
{
	for (; *text; text++) {
		if (*text == ':' && !--n) {
			*text = '\0';
			return;
		}
	}
}

static inline int count_levels(const char *text)
{
	int n = 1;

	for (; *text; text++)
		n += *text == ':';
	return n;
}

/* What GET says of the first @n levels, or why it says nothing. */
static inline const char *last_pids(int fd, int n)
{
	static char text[TEXT_SIZE];
	int ret;

	ret = get_vec(fd, text, sizeof(text));
	if (ret < 0)
		snprintf(text, sizeof(text), "GET: %s", strerror(-ret));
	else
		cut_vec(text, n);
	return text;
}

/* Write a vector of @n levels: @first, @first + @step, and so on upward. */
static inline const char *make_vec(char *text, int n, int first, int step)
{
	size_t len = 0;
	int i;

	text[0] = '\0';
	for (i = 0; i < n; i++)
		len += snprintf(text + len, TEXT_SIZE - len, "%s%d",
				i ? ":" : "", first + i * step);
	return text;
}

/*
 * Callers. The capabilities are only dropped from the effective set, so the
 * test can have them back.
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

static inline int request_with_caps(__u64 caps, int fd, __u32 req,
				    const void *data, __u32 size)
{
	int ret, err;

	ret = keep_caps(caps);
	if (!ret)
		ret = request(fd, req, data, size);
	err = keep_caps(ALL_CAPS);
	return err ?: ret;
}

static inline int set_with_caps(__u64 caps, int fd, const char *text)
{
	return request_with_caps(caps, fd, PIDNS_REQ_SET_LAST_PID_VEC, text,
				 strlen(text));
}

/* Why the test cannot create pid namespaces and tasks in them, or NULL. */
static inline const char *lacking(void)
{
	const char *why = NULL;
	int own;

	if (geteuid())
		return "needs root to create pid namespaces";
	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own < 0 || setns(own, CLONE_NEWPID))
		why = "needs CAP_SYS_ADMIN over its own pid namespace";
	close(own);
	return why;
}

/* Fork a child of the test that is a task of the pid namespace @pidns_fd. */
static inline pid_t fork_into(int pidns_fd)
{
	pid_t pid = -1;
	int own;

	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -1;
	if (!setns(pidns_fd, CLONE_NEWPID)) {
		pid = fork();
		if (pid && setns(own, CLONE_NEWPID))
			perror("# cannot return to the test's own pid namespace");
	}
	close(own);
	return pid;
}

/* Who else makes a request: a child that first goes where this says. */
struct caller {
	int user_fd;		/* this user namespace, or -1: the test's own */
	int pid_fd;		/* this pid namespace, or -1: the test's own */
	bool new_user;		/* a user namespace that nobody else is in */
	__u64 caps;		/* the capabilities it keeps */
};

/* -ECHILD, which no request returns: the child did not get there. */
static inline int request_as(const struct caller *who, int fd, __u32 req,
			     const void *data, __u32 size)
{
	pid_t pid;

	shared->ret = -ECHILD;
	pid = who->pid_fd < 0 ? fork() : fork_into(who->pid_fd);
	if (!pid) {
		if (who->user_fd >= 0 && setns(who->user_fd, CLONE_NEWUSER))
			_exit(1);
		if (who->new_user && unshare(CLONE_NEWUSER))
			_exit(1);
		if (keep_caps(who->caps))
			_exit(1);
		shared->ret = request(fd, req, data, size);
		_exit(0);
	}
	if (pid > 0)
		wait_for_pid(pid);
	return shared->ret;
}

static inline int set_as(const struct caller *who, int fd, const char *text)
{
	return request_as(who, fd, PIDNS_REQ_SET_LAST_PID_VEC, text,
			  strlen(text));
}

/* GET into shared->text. */
static inline int get_as(const struct caller *who, int fd)
{
	return request_as(who, fd, PIDNS_REQ_GET_LAST_PID_VEC, shared->text,
			  sizeof(shared->text));
}

/*
 * A stack of nested pid namespaces. The init of each waits for orders: a
 * function that it runs where it is, so that nothing has to be forked there.
 * Level 0 is the innermost, as in a vector.
 */

typedef long (*order_fn)(long arg);

struct order {
	order_fn fn;
	long arg;
};

struct level {
	pid_t init;		/* as the test sees it */
	int fd;			/* the pid namespace */
	int orders[2];
};

struct stack {
	int depth;
	int user_levels;	/* so many are owned by a user namespace of their own */
	bool set_tid;		/* create every init with set_tid */
	int replies[2];
	struct level level[MAX_NESTED];
};

static inline pid_t self_in_proc(void)
{
	char buf[16] = "";

	if (readlink("/proc/self", buf, sizeof(buf) - 1) < 0)
		return -1;
	return atoi(buf);
}

static inline pid_t start_level(struct stack *s, int i);

static inline void __noreturn init_main(struct stack *s, int i)
{
	struct order order;
	long ret = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	shared->init[i] = self_in_proc();
	if (i > 0 && start_level(s, i - 1) < 0)
		ret = -errno;
	if (!i || ret)
		write_nointr(s->replies[1], &ret, sizeof(ret));

	for (;;) {
		if (read_nointr(s->level[i].orders[0], &order,
				sizeof(order)) != sizeof(order))
			_exit(1);
		ret = order.fn(order.arg);
		write_nointr(s->replies[1], &ret, sizeof(ret));
	}
}

static inline pid_t start_level(struct stack *s, int i)
{
	pid_t one = 1;
	struct __clone_args args = {
		.flags		= CLONE_NEWPID,
		.exit_signal	= SIGCHLD,
	};
	pid_t pid;

	if (i == s->user_levels - 1)
		args.flags |= CLONE_NEWUSER;
	if (s->set_tid) {
		args.set_tid = ptr_to_u64(&one);
		args.set_tid_size = 1;
	}
	pid = sys_clone3(&args, sizeof(args));
	if (!pid)
		init_main(s, i);
	return pid;
}

static inline int open_ns(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Returns 0 or -errno. s->depth and what else is wanted is set already. */
static inline int stack_start(struct stack *s)
{
	long ret;
	int i;

	/* The tests read /proc of the pid namespace that they run in. */
	if (self_in_proc() != getpid())
		return -ESRCH;
	if (pipe2(s->replies, O_CLOEXEC))
		return -errno;
	for (i = 0; i < s->depth; i++) {
		s->level[i].init = -1;
		s->level[i].fd = -1;
		if (pipe2(s->level[i].orders, O_CLOEXEC))
			return -errno;
	}

	s->level[s->depth - 1].init = start_level(s, s->depth - 1);
	if (s->level[s->depth - 1].init < 0)
		return -errno;
	if (read_nointr(s->replies[0], &ret, sizeof(ret)) != sizeof(ret))
		return -EPIPE;
	if (ret)
		return ret;

	for (i = 0; i < s->depth; i++) {
		s->level[i].init = shared->init[i];
		s->level[i].fd = open_ns(shared->init[i], "pid");
		if (s->level[i].fd < 0)
			return -errno;
	}
	return 0;
}

/*
 * The namespaces inside die with the outermost, and that with the last task in
 * it: children of the test that a failure has left there have to be reaped.
 */
static inline void stack_stop(struct stack *s)
{
	pid_t init = s->level[s->depth - 1].init, pid;
	int i;

	if (init > 0) {
		kill(init, SIGKILL);
		do {
			pid = waitpid(-1, NULL, 0);
		} while (pid != init && (pid > 0 || errno == EINTR));
	}
	for (i = 0; i < s->depth; i++) {
		close(s->level[i].fd);
		close(s->level[i].orders[0]);
		close(s->level[i].orders[1]);
	}
	close(s->replies[0]);
	close(s->replies[1]);
}

/* Let the init of level @i run fn(arg). */
static inline long ask(struct stack *s, int i, order_fn fn, long arg)
{
	struct order order = { .fn = fn, .arg = arg };
	long ret;

	if (write_nointr(s->level[i].orders[1], &order,
			 sizeof(order)) != sizeof(order) ||
	    read_nointr(s->replies[0], &ret, sizeof(ret)) != sizeof(ret))
		return LONG_MIN;
	return ret;
}

/* What fn(0) returns on each of the first @n levels, as a vector. */
static inline const char *ask_levels(struct stack *s, int n, order_fn fn)
{
	static char text[TEXT_SIZE];
	size_t len = 0;
	int i;

	for (i = 0; i < n; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s%ld",
				i ? ":" : "", ask(s, i, fn, 0));
	return text;
}

/*
 * Orders: the files that show the pid namespace of who opens them.
 */

static inline long read_number(const char *path, const char *format)
{
	long number;
	FILE *f;
	int n;

	f = fopen(path, "re");
	if (!f)
		return -errno;
	n = fscanf(f, format, &number);
	fclose(f);
	return n == 1 ? number : -EIO;
}

static inline long write_number(const char *path, long number)
{
	char buf[24];
	int fd, len;
	long ret;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(buf, sizeof(buf), "%ld", number);
	ret = write(fd, buf, len) == len ? 0 : -errno;
	close(fd);
	return ret;
}

static inline long read_ns_last_pid(long arg)
{
	return read_number("/proc/sys/kernel/ns_last_pid", "%ld");
}

static inline long write_ns_last_pid(long pid)
{
	return write_number("/proc/sys/kernel/ns_last_pid", pid);
}

static inline long read_loadavg_pid(long arg)
{
	return read_number("/proc/loadavg", "%*s %*s %*s %*s %ld");
}

static inline long read_pid_max(long arg)
{
	return read_number("/proc/sys/kernel/pid_max", "%ld");
}

static inline long write_pid_max(long pid_max)
{
	return write_number("/proc/sys/kernel/pid_max", pid_max);
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

/* The first @n levels of the NSpid line in a status file, as a vector. */
static inline const char *read_nspid(const char *path, int n)
{
	static char text[TEXT_SIZE];
	char *fields[MAX_LEVELS], *line = NULL, *save = NULL, *field;
	size_t size = 0, len = 0;
	int found = 0;
	FILE *f;

	snprintf(text, sizeof(text), "no NSpid in %s", path);
	f = fopen(path, "re");
	if (!f)
		return text;
	while (getline(&line, &size, f) > 0) {
		if (strncmp(line, "NSpid:", 6))
			continue;
		/* The file begins with the outermost. */
		field = strtok_r(line + 6, " \t\n", &save);
		while (field && found < MAX_LEVELS) {
			fields[found++] = field;
			field = strtok_r(NULL, " \t\n", &save);
		}
		while (found && n--)
			len += snprintf(text + len, sizeof(text) - len, "%s%s",
					len ? ":" : "", fields[--found]);
		break;
	}
	free(line);
	fclose(f);
	return text;
}

static inline const char *nspid(pid_t pid, int n)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return read_nspid(path, n);
}

/* The pids of the next task in the pid namespace @fd, which is gone then. */
static inline const char *next_pids(int fd, int n)
{
	const char *text;
	pid_t pid;

	pid = fork_into(fd);
	if (!pid)
		_exit(0);
	if (pid < 0)
		return strerror(errno);
	/* Nobody has waited for it, so its pids are still there. */
	text = nspid(pid, n);
	wait_for_pid(pid);
	return text;
}

/* Kill the init of level @i, and with it all that is below. */
static inline int kill_init(struct stack *s, int i)
{
	struct pollfd pfd = { .events = POLLIN };
	int ret;

	pfd.fd = sys_pidfd_open(s->level[i].init, 0);
	if (pfd.fd < 0)
		return -errno;
	if (sys_pidfd_send_signal(pfd.fd, SIGKILL, NULL, 0))
		ret = -errno;
	else
		ret = poll(&pfd, 1, -1) == 1 ? 0 : -EIO;
	close(pfd.fd);
	return ret;
}

#endif /* __LAST_PID_VEC_H */
