# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154,SC2034
# For criu/demo-guest and criu/limits-guest, which get the arguments ROOT DIR: they run in the guest in a root of Debian's CRIU
# and crun, in a directory with the programs of criu/build-programs. Sourced after ci/lib.sh.
# shellcheck source=ci/lib/overlay.sh
. "$root/ci/lib/overlay.sh"
# A task that loses its parent is reaped late by the guest's init, and keeps its pid as long. Bash as the init of a pid
# namespace reaps it at once.
if [ -z "${PIDNS_CRIU_MOUNTS-}" ]; then
	PIDNS_CRIU_MOUNTS=1 exec unshare --mount --pid --fork "$0" "$@"
fi
from=$1 dir=$2

# Close all that was left open here, such as the console: tasks to be dumped must not hold it. (255 is bash's own.)
for fd in /proc/self/fd/*; do
	fd=${fd##*/}
	[ "$fd" -le 2 ] || [ "$fd" = 255 ] || exec {fd}>&-
done

# ROOT becomes the root, with a tmpfs over it: CRIU wants a root that is that of its mount namespace.
[ -x "$from/usr/sbin/criu" ] || die "there is no CRIU in $from, as the guest sees it"
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "${0%/*}" && pwd)
overlay_root "$from"
mkdir -p dev/pts
mount -t devpts -o ptmxmode=0666 devpts dev/pts
mount -t cgroup2 cgroup2 sys/fs/cgroup
# 9p reads a program anew each time it is run: the libraries and those that run often go into the tmpfs.
touch usr/bin/{bash,cat,crun,mawk,setsid,tail,timeout} usr/sbin/criu usr/lib/x86_64-linux-gnu/*.so*
mkdir run/demo run/root host
cp "$here/container-init" "$here/seccomp.jq" "$dir"/programs/* run/demo
cp "$dir"/lib/* usr/lib/x86_64-linux-gnu
pivot_root . host
cd /run/demo || exit
umount -l /host
mount --bind / /run/root
PATH=/run/demo:/usr/sbin:/usr/bin

# criu_cause LOG: the first error in it, without the time and the pid.
criu_cause() { grep -m1 -o 'Error (.*' "$1" || tail -n 1 "$1"; }

# gave_up WHAT LOG: the log is in the guest's memory: its end is shown before it is gone.
gave_up() {
	tail -n 15 "$2" | sed 's/^/  | /' >&2
	die "$1: $(criu_cause "$2")"
}

# tasks: the trees' tasks in the container with the root file system $inside, or here: pid, pid of the process, pid of the
# parent, as seen there.
inside=
tasks() {
	# A task may end before its file is read.
	{ cat "$inside/proc/"[0-9]*/task/*/status 2>/dev/null || true; } | mawk '
		/^Name:/ { name = $2 }
		/^Tgid:/ { process = $2 }
		/^Pid:/ { pid = $2 }
		/^PPid:/ && name == "criu-tree" { print pid, process, $2 }' | sort -n
}

# wait_for N: until there are N tasks. Fails if that takes long.
wait_for() {
	local n
	for _ in $(seq 300); do
		n=$(tasks | wc -l)
		[ "$n" != "$1" ] || return 0
		sleep 0.1
	done
	return 1
}

# end_trees: end all of them here.
end_trees() {
	local pids
	mapfile -t pids < <(tasks | mawk '{ print $2 }' | sort -u)
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}"
	wait_for 0 || die "trees did not end"
}

# start_tree PROCESSES THREADS [OPTION…]: start one in new namespaces, see unshare. Sets pid.
start_tree() {
	local processes=$1 threads=$2
	shift 2
	setsid unshare "$@" criu-tree "$processes" "$threads" </dev/null >/dev/null 2>&1 &
	pid=$!
	disown
}

# start_pidns SETUP: start a pid namespace, whose init runs SETUP, and then reaps. Sets init, its pid here, and inside, a root
# directory with its proc, which CRIU wants of trees to dump.
start_pidns() {
	local outer
	inside=$PWD/inside
	rm -rf inside
	mkdir -p inside/proc
	cp criu-tree inside
	mkfifo inside/never
	unshare --pid --fork bash -c "mount -t proc proc inside/proc; $1; exec 3<>inside/never; : >inside/up; read -r _ <&3" \
		</dev/null >/dev/null 2>&1 &
	outer=$!
	disown
	for _ in $(seq 300); do
		[ ! -e inside/up ] || break
		sleep 0.1
	done
	[ -e inside/up ] || die "a pid namespace did not come up"
	init=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
}

# start_inside PROCESSES THREADS: start a tree in a user namespace, in the pid namespace of init. Sets pid, as seen here, and
# external, the option of CRIU that says so.
start_inside() {
	local outer
	nsenter --pid="/proc/$init/ns/pid" setsid unshare --user --root=inside /criu-tree "$1" "$2" </dev/null >/dev/null 2>&1 &
	outer=$!
	disown
	wait_for $(($1 * ($2 + 1))) || die "a tree in another pid namespace did not come up"
	pid=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
	map_ids "$pid"
	external="pid[$(stat --dereference --format %i "/proc/$init/ns/pid")]:shared"
}

# end_pidns: end it and all in it.
end_pidns() {
	kill -KILL "$init"
	wait_for 0 || die "tasks of a pid namespace did not end"
	umount inside/proc
	inside=
}

# map_ids PID: CRIU restores the mapping of a user namespace and does not do without.
map_ids() {
	echo "0 0 65536" >"/proc/$1/uid_map"
	echo "0 0 65536" >"/proc/$1/gid_map"
}
