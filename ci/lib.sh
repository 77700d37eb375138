# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# Every script sources this file: paths, steps, errors, locks. ci/lib/ has the rest.

set -euo pipefail

# In a hook of git, or in git rebase --exec, these name another repository.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
unset GIT_NAMESPACE GIT_PREFIX CDPATH

project=rust-pidns
root=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
me=$(cd "${0%/*}" && pwd -P)/${0##*/}
me=${me#"$root"/}
build=$root/build
logs=$build/logs
cache=${XDG_CACHE_HOME:-$HOME/.cache}/$project
# shellcheck source=ci/pins
. "$root/ci/pins"
pinned=${kernels[0]}
newest=${kernels[-1]}
llvm=/usr/lib/llvm-$llvm_version

# die CAUSE [LOG]: print one line and exit. Name a log only if it says more than the line. A table of results repeats the
# line (see ci/lib/table.sh).
die() {
	local line="$me: $1${2:+ (log: ${2#"$root"/})}"
	printf '%s\n' "$line" >&2
	[ ! -d "$build" ] || printf '%s\n' "$line" 2>/dev/null >"$build/cause" || true
	exit 1
}

say() { printf '%s\n' "$*"; }

# step WHAT LOG CMD…: run CMD with its output in LOG. Print a line at the start, every 30 s and at the end.
step() {
	local what=$1 log=$2 start=$SECONDS ticker status
	shift 2
	mkdir -p "${log%/*}"
	: >"$log"
	printf '%s\n' "$what"
	(
		exec 8>&- 9>&-
		while { sleep 30 && kill -0 $$; } >/dev/null 2>&1; do
			lines=$(grep -cE '^  [A-Z]{2,} ' "$log") || lines=
			printf '  … %s: %d s%s\n' "${what%%:*}" $((SECONDS - start)) "${lines:+, $lines files so far}"
		done
	) &
	ticker=$!
	# Not "|| status=$?": that would switch errexit off inside CMD, which may be a function.
	set +e
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null
	status=$?
	set -e
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	if [ $status != 0 ]; then
		die "${what#*: }: failed: $(cause "$log")" "$log"
	fi
	printf '  %s: done in %d s\n' "${what%%:*}" $((SECONDS - start))
}

# The line of a log that names the fault: the first error, else the first warning, else the last line.
cause() {
	local line
	line=$(grep -m1 -iE '(^|[^a-z])error(\[E[0-9]+\])?: |^fatal: |^E: |no space left' "$1") ||
		line=$(grep -m1 -iE '^(warning|check):' "$1") || line=$(grep -v '^ *$' "$1" | tail -n 1) || true
	# A script's own complaint begins with its name.
	[[ ! $line =~ ^(ci|criu|bench|man-pages)/[a-z/-]+:\ (.*) ]] || line=${BASH_REMATCH[2]}
	printf '%s' "${line:-no output}" | tr -s ' \t' ' ' | cut -c1-300
}

# A file that remembers the inputs of what was made, or of what has passed: stamp FILE KEY; fresh FILE KEY says whether
# they are the same still.
stamp() { echo "$2" >"$1"; }
fresh() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# Only one run at a time works on build/. Scripts that the holder of the lock starts pass.
lock() {
	[ -z "${PIDNS_LOCKED-}" ] || return 0
	mkdir -p "$build"
	exec 9>>"$build/lock"
	if ! flock -n 9; then
		die "another run is at work in this clone (process $(cat "$build/lock.pid" 2>/dev/null || echo unknown)): wait until it has ended"
	fi
	echo $$ >"$build/lock.pid"
	export PIDNS_LOCKED=$$
}

# lock_cache PART: all clones of one user share the cache. Each script that fills a part of it locks that part.
lock_cache() {
	mkdir -p "$cache"
	exec 8>>"$cache/$1.lock"
	if ! flock -n 8; then
		say "waiting: another run is filling $cache ($1)"
		flock 8
	fi
}

# need_space GB DIR
need_space() {
	local have
	mkdir -p "$2"
	have=$(df -Pk "$2" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$have" -ge "$1" ] || die "disk: $1 GB are needed under $2, $have GB are free"
}

for path in "$root" "$cache"; do
	case $path in
	*[][:space:]:,=\'\"\`\&\;\(\)\$\\\|\<\>*?#[]*)
		die "this path has a space, a quote or one of :,=&;()\$|<>*?#[] in it, which make, QEMU or virtme-ng does not take: $path"
		;;
	esac
done

# The virtual environment comes last, so that no other script gets its python3.
export PATH=$llvm/bin:$cache/bindgen-$bindgen_version/bin:$PATH:$cache/venv/bin
export LIBCLANG_PATH=$llvm/lib LC_ALL=C.UTF-8
# All crates build here, wherever cargo is started.
export CARGO_TARGET_DIR=$build/cargo CARGO_TERM_COLOR=never
# cargo_static ARGUMENT…: build static programs, which run in any guest, in $static/debug or $static/release. With
# --target, cargo does not pass the flag to build scripts and macros.
static=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu
cargo_static() { RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --target "${static##*/}" "$@"; }
# ci/setup/tools writes this file: the path of the Rust library's source, if it is not in rustc's own tree.
if [ -e "$cache/env" ]; then
	# shellcheck source=/dev/null
	. "$cache/env"
fi
# A make that calls these scripts must not pass them its job server or its variables.
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES

# shellcheck source=ci/lib/git.sh
. "$root/ci/lib/git.sh"
# shellcheck source=ci/lib/kernel.sh
. "$root/ci/lib/kernel.sh"
# shellcheck source=ci/lib/machines.sh
. "$root/ci/lib/machines.sh"
# shellcheck source=ci/lib/table.sh
. "$root/ci/lib/table.sh"
