# SPDX-License-Identifier: GPL-2.0-only
# The front door. Each script says at its top what it does; ci/README.md lists those in ci/.

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo
	@echo 'ci/vm -- CMD runs a command in the virtual machine. A target sets up what it needs.'
	@echo 'LINUX_SRC=DIR (or a tarball) takes the source of the pinned kernel from there.'
vm: ## fetch, patch, build and boot the kernel, restore tasks with chosen pids, run the kselftests
	@ci/make-vm
test: ## make check, then the tests of the series on the pinned kernel
	@ci/test
test-debug: ## tests on the newest kernel with all debugging, by another compiler; lint; builds of CRIU
	@ci/test-debug
test-full: ## make test, make test-debug, and what takes hours: fuzzing, architectures, planted bugs (resumes)
	@ci/test-full
check: ## the checks that need no kernel build
	@ci/check
shell: ## an interactive shell in the virtual machine
	@ci/vm
demo-criu: ## what fails or goes wrong in restores today, and passes with the series, with counts
	@criu/demo
install: ## the command ns-last-pid, static, its man pages, completions and hook (PREFIX=/usr/local, DESTDIR=)
	@ci/install
deb: ## Debian packages of the kernel with the series, in Debian's own configuration (FLAVOUR=cloud-amd64; long, resumes)
	@ci/deb
bench: ## what creating tasks with chosen pids costs, beside every other way (builds seven kernels first)
	@bench/run
tree: ## a git worktree of the kernel with the series as commits, in build/tree
	@ci/setup/tools && ci/kernel/fetch && ci/kernel/apply && ci/series/tree
export: ## write patches/ and the copies of its files from build/tree
	@ci/series/export
applies: ## does the series apply to a kernel tree of yours? (LINUX=DIR, COMMIT=HEAD)
	@ci/series/applies "$(LINUX)" $(COMMIT)
submission: ## the mails to the lists, checked, in build/submission; sends nothing (ARGS=--help)
	@ci/series/submission $(ARGS)

.PHONY: help vm test test-debug test-full check shell demo-criu install deb bench tree export applies submission
