# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For scripts that run in the guest.

# overlay_root ROOT: mount a root file system at /run/over/root, with a tmpfs over ROOT, and change to it.
overlay_root() {
	mkdir /run/over
	mount -t tmpfs tmpfs /run/over
	cd /run/over || return
	mkdir upper work root
	mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay root ||
		die "overlayfs does not take $1 as its lower layer"
	cd root || return
	mount -t proc proc proc
	mount -t sysfs sysfs sys
	mount -t devtmpfs devtmpfs dev
	mount -t tmpfs tmpfs run
}
