# SPDX-License-Identifier: GPL-2.0-only
# The front door. Each target is one script, which says at its top what it does; ci/README.md lists them.

help:
	@echo 'make vm         fetch, patch, build and boot the kernel, restore a task with chosen pids, run the kselftests'
	@echo 'make test       make check, then build, boot and test 7.2, and 7.3 with debugging options (what CI runs)'
	@echo 'make test-full  make test, then fuzzing, races, architectures, each patch by itself, planted bugs (hours; resumes)'
	@echo 'make check      the checks that need no kernel build (two minutes after the set-up)'
	@echo 'make shell      an interactive shell in the virtual machine'
	@echo 'make demo-criu  what fails or goes wrong in restores today, and passes with the series, with counts'
	@echo 'make install    the command ns-last-pid, static, its man pages, completions and hook (PREFIX=/usr/local, DESTDIR)'
	@echo 'make bench      what creating tasks with chosen pids costs, beside every other way (builds four kernels, then an hour)'
	@echo 'make tree       a git worktree of the kernel with the series as commits, in build/tree'
	@echo 'make export     write patches/ and the copies of its files from build/tree'
	@echo 'make submission the mails to the lists, checked, in build/submission; sends nothing (ARGS=--help)'
	@echo
	@echo 'ci/vm -- CMD runs a command in the virtual machine. Setting up is part of every target.'
	@echo 'LINUX_SRC=DIR (or a tarball) takes the pinned kernel from there. With any other kernel tree in DIR,'
	@echo 'LINUX_SRC=DIR make check tells whether the series applies to it (ci/series/applies DIR COMMIT: to a branch).'

vm:
	@ci/main
test:
	@ci/test
test-full:
	@ci/test-full
check:
	@ci/check
shell:
	@ci/vm
demo-criu:
	@criu/demo
install:
	@ci/install
bench:
	@bench/run
tree:
	@ci/setup/tools && ci/kernel/fetch && ci/kernel/apply && ci/series/tree
export:
	@ci/series/export
submission:
	@ci/series/submission $(ARGS)

.PHONY: help vm test test-full check shell demo-criu install bench tree export submission
