// SPDX-License-Identifier: GPL-2.0-only
/*
 * criu-refuse request|clone3 ERRNO CMD…: run CMD under a seccomp filter that answers the request, or clone3(), with ERRNO.
 * ENOTTY (25) is a kernel without the request, ENOSYS (38) one without clone3(), EPERM (1) one that refuses either.
 */
#include <linux/filter.h>
#include <linux/nsfs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The low half of an argument on a little-endian machine */
#define ARG(n) offsetof(struct seccomp_data, args[n])

int main(int argc, char **argv)
{
	if (argc < 4 || (strcmp(argv[1], "request") && strcmp(argv[1], "clone3"))) {
		fprintf(stderr, "usage: criu-refuse request|clone3 ERRNO CMD…\n");
		return 2;
	}

	int clone3 = !strcmp(argv[1], "clone3");
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, clone3 ? __NR_clone3 : __NR_ioctl, clone3 ? 2 : 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(1)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NS_SPECIFIC_IOC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(argv[2])),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("seccomp");
		return 1;
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return 1;
}
