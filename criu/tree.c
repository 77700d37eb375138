// SPDX-License-Identifier: GPL-2.0-only
/*
 * criu-tree PROCESSES THREADS: something to dump. A tree of PROCESSES processes, of which number n is the parent of 2n
 * and 2n + 1, each with THREADS threads besides its first. They do nothing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *nothing(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	int processes, threads, self = 1;
	pthread_t thread;

	if (argc != 3) {
		fprintf(stderr, "usage: criu-tree PROCESSES THREADS\n");
		return 2;
	}
	processes = atoi(argv[1]);
	threads = atoi(argv[2]);

	for (int child = 2 * self; child <= 2 * self + 1 && child <= processes; child++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0) {
			self = child;
			child = 2 * self - 1;
		}
	}
	for (int i = 0; i < threads; i++) {
		if (pthread_create(&thread, NULL, nothing, NULL)) {
			fprintf(stderr, "no thread\n");
			return 1;
		}
	}
	nothing(NULL);
}
