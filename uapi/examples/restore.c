// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Restore a task with chosen pids, on every level of a stack of nested pid
 * namespaces, by an ordinary fork(). It needs the header of the series and
 * nothing else:
 *
 *	cc -I HEADERS -o example THIS_FILE && sudo ./example
 *
 * Other tasks take pids in the namespace that this program runs in. If one is
 * created between the ioctl and the fork, the restored task has another pid
 * there: its NSpid line shows it. The program then ends that task and tries
 * again, up to TRIES times, with the same pids, because a restored task needs
 * those that it had.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/nsfs.h>

#define TRIES	20

static int ready[2], end[2];	/* pipes */

/* Create @depth nested pid namespaces; the innermost init tells its pid. */
static void nest(int depth)
{
	char self[16] = "";

	if (!depth) {
		/* /proc belongs to the outermost namespace, and so does this pid. */
		if (readlink("/proc/self", self, sizeof(self) - 1) < 0 ||
		    write(ready[1], self, sizeof(self)) < 0)
			err(1, "cannot tell the pid of the innermost init");
		return;
	}
	if (unshare(CLONE_NEWPID))
		err(1, "cannot create a pid namespace");
	switch (fork()) {
	case -1:
		err(1, "cannot create the init of a pid namespace");
	case 0:
		close(end[1]);
		nest(depth - 1);
		close(ready[1]);
		/* An init waits until the program at the top has ended. */
		exit(read(end[0], self, 1) < 0);
	}
}

static int pidns_request(int ns, __u32 req, char *data, size_t size)
{
	struct ns_specific_req arg = {
		.req		= req,
		.data_size	= size,
		.data		= (unsigned long)data,
	};

	return ioctl(ns, NS_SPECIFIC_IOC, &arg);
}

/* Set the last pids, fork, and read what the task got. */
static void restore(int ns, char *vector, char *nspid, size_t size)
{
	char path[32], line[256];
	pid_t pid;
	FILE *f;

	if (pidns_request(ns, PIDNS_REQ_SET_LAST_PID_VEC, vector,
			  strlen(vector))) {
		if (errno == ENOTTY)
			errx(1, "this kernel has no NS_SPECIFIC_IOC");
		if (errno == EPERM)
			errx(1, "no CAP_CHECKPOINT_RESTORE on one of the levels");
		err(1, "cannot set the last pids to %s", vector);
	}
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid)
		_exit(0);

	/* Not waited for yet, so it still has its pids. */
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	if (!f)
		err(1, "%s", path);
	*nspid = '\0';
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "NSpid:\t", 7))
			snprintf(nspid, size, "%.*s",
				 (int)strcspn(line + 7, "\n"), line + 7);
	}
	fclose(f);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	char vector[PIDNS_LAST_PID_VEC_MAX], want[64], got[64];
	int ns, try, own, pid_max;
	char path[64], init[16];
	FILE *f;

	f = fopen("/proc/sys/kernel/pid_max", "r");
	if (!f || fscanf(f, "%d", &pid_max) != 1)
		err(1, "cannot read pid_max");
	fclose(f);

	if (pipe(ready) || pipe(end))
		err(1, "pipe");
	nest(3);
	close(ready[1]);
	if (read(ready[0], init, sizeof(init)) != sizeof(init))
		errx(1, "cannot create three nested pid namespaces");
	snprintf(path, sizeof(path), "/proc/%s/ns/pid", init);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		err(1, "%s", path);
	/* From now on our children are created in the innermost namespace. */
	if (setns(ns, CLONE_NEWPID))
		err(1, "setns");

	own = pid_max / 2;
	/* The innermost comes first here, and last in the NSpid line. */
	snprintf(vector, sizeof(vector), "400:500:600:%d", own);
	snprintf(want, sizeof(want), "%d\t601\t501\t401", own + 1);
	for (try = 0; try < TRIES; try++) {
		restore(ns, vector, got, sizeof(got));
		printf("asked for NSpid\t%s\nrestored NSpid\t%s\n", want, got);
		if (!strcmp(want, got))
			break;
		printf("another task has one of these pids; again\n");
	}
	if (try == TRIES)
		errx(1, "not restored in %d tries", TRIES);

	if (pidns_request(ns, PIDNS_REQ_GET_LAST_PID_VEC, vector,
			  sizeof(vector)) < 0)
		err(1, "cannot get the last pids");
	printf("last pids now\t%s\n", vector);
	return 0;
}
