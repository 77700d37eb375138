// SPDX-License-Identifier: GPL-2.0-only
/*
 * NS_SPECIFIC_IOC from a 32-bit program: the struct, the number and the
 * addresses in it mean the same as to a 64-bit one. The other programs test
 * what the requests do.
 *
 * This is built with nolibc, so that no 32-bit C library is needed.
 */
#include <linux/nsfs.h>
#include <linux/sched.h>

#include "kselftest.h"

#define SET		PIDNS_REQ_SET_LAST_PID_VEC
#define GET		PIDNS_REQ_GET_LAST_PID_VEC
#define START		"1000:2000"

/* Turns a good address into one above those of 32 bits. */
#define ABOVE_4G	0x100000000ULL

static int fd;
static int end[2];		/* the inits wait for the end of this pipe */

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

static __u64 address(const void *data)
{
	return (unsigned long)data;
}

static int request(__u32 req, __u64 data, __u32 size)
{
	struct ns_specific_req arg = {
		.req		= req,
		.data_size	= size,
		.data		= data,
	};

	return result(ioctl(fd, NS_SPECIFIC_IOC, &arg));
}

static int set_vec(const char *text)
{
	return request(SET, address(text), strlen(text));
}

#define READ_WRITE	(_IOC_READ | _IOC_WRITE)

static int ioctl_sized(unsigned int dir, unsigned int size, const void *arg)
{
	return result(ioctl(fd, _IOC(dir, NSIO, _IOC_NR(NS_SPECIFIC_IOC), size), arg));
}

/* Are the last pids of the two namespaces these? The one above varies. */
static bool last_pids_are(const char *text)
{
	char buf[PIDNS_LAST_PID_VEC_MAX];
	int len;

	len = request(GET, address(buf), sizeof(buf));
	return len > 0 && len == (int)strlen(buf) &&
	       !strncmp(buf, text, strlen(text)) && buf[strlen(text)] == ':';
}

static int open_ns(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY);
}

/* Create two nested pid namespaces, and return a descriptor of the inner one. */
static int create_namespaces(void)
{
	int ready[2];
	pid_t pid;
	char c = 0;

	if (pipe(ready) || pipe(end) || unshare(CLONE_NEWPID))
		ksft_exit_fail_perror("pipe or unshare");
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_perror("fork");
	if (!pid) {
		close(end[1]);
		if (unshare(CLONE_NEWPID) || fork() < 0)
			exit(1);
		/* Both are here, each is the init of its namespace. */
		write(ready[1], &c, 1);
		read(end[0], &c, 1);
		exit(0);
	}
	close(end[0]);
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1 || read(ready[0], &c, 1) != 1)
		ksft_exit_fail_msg("cannot create nested pid namespaces\n");
	return open_ns(pid, "pid_for_children");
}

/* Does the next task in the two namespaces have these pids? */
static bool next_pids_are(int inner, int outer)
{
	int parent = ioctl(fd, NS_GET_PARENT, 0);
	bool same;
	pid_t pid;

	if (setns(fd, CLONE_NEWPID))
		return false;
	pid = fork();
	if (!pid)
		exit(0);
	same = ioctl(fd, NS_GET_PID_IN_PIDNS, pid) == inner &&
	       ioctl(parent, NS_GET_PID_IN_PIDNS, pid) == outer;
	waitpid(pid, NULL, 0);
	return same;
}

int main(void)
{
	struct {
		struct ns_specific_req known;
		__u64 unknown;
	} big = {
		.known = {
			.req		= SET,
			.data_size	= 9,
			.data		= address("5000:6000"),
		},
	};
	const unsigned int number = NS_SPECIFIC_IOC;
	char buf[PIDNS_LAST_PID_VEC_MAX];
	int ret;

	ksft_print_header();
	fd = open_ns(getpid(), "pid");
	ret = request(GET, address(buf), sizeof(buf));
	close(fd);
	if (ret == -ENOTTY)
		ksft_exit_skip("this kernel has no NS_SPECIFIC_IOC\n");
	if (geteuid() || ret == -EPERM)
		ksft_exit_skip("needs root and CAP_SYS_ADMIN over its own pid namespace\n");
	fd = create_namespaces();
	if (fd < 0)
		ksft_exit_fail_perror("pid_for_children");
	ksft_set_plan(12);

	ksft_test_result(sizeof(void *) == 4 && sizeof(big.known) == 16 &&
			 number == _IOC(READ_WRITE, 0xb7, 14, 16),
			 "struct_is_that_of_64_bits\n");
	ret = set_vec("4000:5000");
	ksft_test_result(!ret && last_pids_are("4000:5000"), "set_and_get\n");
	ksft_test_result(next_pids_are(4001, 5001), "next_task_has_the_pids\n");

	set_vec(START);
	ret = ioctl_sized(READ_WRITE, sizeof(big), &big);
	ksft_test_result(!ret && last_pids_are("5000:6000"), "larger_struct\n");
	set_vec(START);
	big.unknown = ABOVE_4G;
	ret = ioctl_sized(READ_WRITE, sizeof(big), &big);
	ksft_test_result(ret == -E2BIG && last_pids_are(START),
			 "larger_struct_with_unknown_bits_is_e2big\n");
	ksft_test_result(ioctl_sized(READ_WRITE, 12, &big) == -ENOTTY &&
			 ioctl_sized(_IOC_READ, 16, &big) == -ENOTTY &&
			 ioctl_sized(_IOC_WRITE, 16, &big) == -ENOTTY &&
			 ioctl_sized(_IOC_NONE, 0, &big) == -ENOTTY && last_pids_are(START),
			 "other_size_or_direction_is_enotty\n");
	ksft_test_result(request(~0U, address("1"), 1) == -EOPNOTSUPP,
			 "unknown_request_is_eopnotsupp\n");
	ksft_test_result(ioctl_sized(READ_WRITE, 16, NULL) == -EFAULT &&
			 ioctl_sized(READ_WRITE, 16, (void *)-1) == -EFAULT,
			 "unreadable_struct_is_efault\n");

	/* The upper half of the address counts. */
	memset(buf, '#', sizeof(buf));
	ret = request(SET, address("5000:6000") | ABOVE_4G, 9);
	ksft_test_result(ret == -EFAULT && last_pids_are(START) &&
			 request(GET, address(buf) | ABOVE_4G, sizeof(buf)) == -EFAULT &&
			 buf[0] == '#',
			 "above_4g_is_efault\n");
	ksft_test_result(set_vec("5000:6000:") == -EINVAL &&
			 set_vec("5000:2147483648") == -EINVAL &&
			 set_vec("5000:2147483647") == -EINVAL &&
			 set_vec("") == -EINVAL && last_pids_are(START),
			 "refused_vector_is_einval\n");
	ksft_test_result(request(GET, address(buf), 9) == -ERANGE && buf[0] == '#',
			 "get_into_a_short_buffer_is_erange\n");

	close(fd);
	fd = open_ns(getpid(), "mnt");
	ksft_test_result(set_vec("1") == -EOPNOTSUPP &&
			 ioctl_sized(READ_WRITE, 16, NULL) == -EOPNOTSUPP,
			 "other_type_has_no_requests\n");
	close(end[1]);
	waitpid(-1, NULL, 0);
	ksft_finished();
}
