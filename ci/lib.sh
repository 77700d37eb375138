# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# What all scripts share: where things are, how steps are told, how errors end, the lock. Sourced, not run.

set -euo pipefail

project=rust-pidns
me=ci/${0##*/}
root=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
build=$root/build
logs=$build/logs
cache=${XDG_CACHE_HOME:-$HOME/.cache}/$project
pinned=7.2
base_commit=8d3ae59288f1e7d58d76558a6ee96d533bc5019f
bindgen_version=0.72.1
vng_version=1.42
b4_version=0.16.0
llvm=/usr/lib/llvm-19

# die CAUSE [LOG]: one line, then out. A log is named only where it says more than the line.
die() {
	printf '%s: %s%s\n' "$me" "$1" "${2:+ (log: ${2#"$root"/})}" >&2
	exit 1
}

say() { printf '%s\n' "$*"; }

# step WHAT LOG CMD…: run CMD with its output in LOG; say what is done, that it goes on, how long it took.
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
			printf '  … %d s%s\n' $((SECONDS - start)) "${lines:+, $lines files so far}"
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
	printf '  done in %d s\n' $((SECONDS - start))
}

# The line of a log that names the fault: the first error, else the first warning, else the last line.
cause() {
	local line
	line=$(grep -m1 -iE '(^|[^a-z])error(\[E[0-9]+\])?: |^fatal: |^E: |no space left' "$1") ||
		line=$(grep -m1 -iE '^(warning|check):' "$1") || line=$(grep -v '^ *$' "$1" | tail -n 1) || true
	line=${line#ci/*: }
	printf '%s' "${line:-no output}" | tr -s ' \t' ' ' | cut -c1-300
}

# One run at a time works on build/. Scripts started by the one that holds the lock pass.
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

# The cache is shared by all clones of one user.
lock_cache() {
	mkdir -p "$cache"
	exec 8>>"$cache/lock"
	if ! flock -n 8; then
		say "waiting: another run is filling $cache"
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

known_kernel() {
	case $1 in
	7.2 | 7.3) ;;
	*) die "no such kernel: '$1' (there are 7.2 and 7.3)" ;;
	esac
}

# git that sees no configuration but the repository's own, and never asks.
git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0 command git -c core.abbrev=12 "$@"
}

patches() { printf '%s\n' "$root"/patches/[0-9][0-9][0-9][0-9]-*.patch | grep -v '/0000-' || true; }

# What the series is: the contents of its patches, the cover letter aside.
series_key() {
	local list
	mapfile -t list < <(patches)
	[ -e "${list[0]-}" ] || return 0
	cat "${list[@]}" | sha256sum | cut -d' ' -f1
}

# For another architecture, ARCH is in the environment.
kmake() {
	make LLVM=1 LOCALVERSION= KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
		KBUILD_BUILD_USER=$project KBUILD_BUILD_HOST=$project "$@"
}

case $root in
*[[:space:]:]*) die "the path of this clone has a space or a colon in it, which the kernel's build does not take: $root" ;;
esac

# The virtual environment comes last: its python3 is not for others.
export PATH=$llvm/bin:$cache/bindgen-$bindgen_version/bin:$PATH:$cache/venv/bin
export LIBCLANG_PATH=$llvm/lib LC_ALL=C.UTF-8
# Written by ci/setup: where the Rust library's source is, when it is not in rustc's own tree.
if [ -e "$cache/env" ]; then
	# shellcheck source=/dev/null
	. "$cache/env"
fi
# A make that calls these scripts must not lend them its job server or its variables.
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES CDPATH

# scratch REPO DIR COMMIT: a worktree without files; git am checks out the few it needs.
scratch() {
	rm -rf "$2"
	git -C "$1" worktree prune
	git -C "$1" worktree add -q --no-checkout --detach "$2" "$3"
	git -C "$2" read-tree "$3"
	# It tells git diff what the headline of a hunk is, by language.
	git -C "$2" checkout-index -q .gitattributes
}

# am DIR LOG PATCH…: plain git am, with a committer who is the same everywhere. Leaves nothing half done.
am() {
	local dir=$1 log=$2
	shift 2
	GIT_COMMITTER_NAME=$project GIT_COMMITTER_EMAIL='<>' GIT_COMMITTER_DATE='@0 +0000' \
		git -C "$dir" am --no-3way --no-gpg-sign "$@" >"$log" 2>&1 </dev/null && return
	git -C "$dir" am --abort >/dev/null 2>&1 || true
	return 1
}

# Which patch, and git's word on why.
am_cause() {
	printf '%s: %s' "$(sed -n 's/^Patch failed at //p' "$1" | head -n 1)" \
		"$(grep -m1 -E '^(error|fatal):' "$1" || tail -n 1 "$1")"
}

# source_of KERNEL CONFIG: a configuration with a patch of its own has a tree of its own.
source_of() {
	if [ -e "$root/ci/configs/$2.patch" ]; then
		echo "$build/$1/src-$2"
	else
		echo "$build/$1/src"
	fi
}

# fragments CONFIG: the files it consists of. What is called small-… stands on small, all else on base.
fragments() {
	local first=base
	[[ $1 != small* ]] || first=small
	echo "$root/ci/configs/$first.config"
	[ "$1" = $first ] || echo "$root/ci/configs/$1.config"
}

compilers() {
	clang --version
	rustc --version
	bindgen --version
}

# What a build depends on: the tree, the configuration, the compilers.
build_key() {
	{
		git -C "$(source_of "$1" "$2")" rev-parse HEAD
		fragments "$2" | xargs -d '\n' cat
		compilers
	} | sha256sum | cut -d' ' -f1
}

# make_config SRC OUT FILE…: OUT/.config.new, through a folder of its own: the .config of the last build stays whole.
make_config() {
	local src=$1 out=$2 new=$2/config.new
	shift 2
	rm -rf "$new"
	mkdir "$new"
	kmake -C "$src" O="$new" tinyconfig
	(cd "$src" && scripts/kconfig/merge_config.sh -m -O "$new" "$new/.config" "$@")
	kmake -C "$src" O="$new" olddefconfig
	mv "$new/.config" "$out/.config.new"
	rm -rf "$new"
}

# configure KERNEL CONFIG OUT [SRC]: fails by name when a symbol that was asked for did not survive.
configure() {
	local src out=$3 log=$logs/config-$1-${3##*/}.log line name lost=() fragments
	src=${4:-$(source_of "$1" "$2")}
	mapfile -t fragments < <(fragments "$2")
	mkdir -p "$out" "$logs"
	step "config: Linux $1, $2" "$log" make_config "$src" "$out" "${fragments[@]}"
	while read -r line; do
		case $line in
		CONFIG_*=*) grep -qxF "$line" "$out/.config.new" && continue ;;
		'# CONFIG_'*' is not set') ! grep -q "^${line:2:-11}=" "$out/.config.new" && continue ;;
		*) continue ;;
		esac
		name=${line#\# } name=${name%%[= ]*} name=${name#CONFIG_}
		# A fragment later in the list may have said otherwise, and a patch may not have brought the symbol yet.
		grep -qE "^(# )?CONFIG_${name}[= ]" "${fragments[@]:1}" /dev/null && grep -qxF "$line" "${fragments[0]}" && continue
		grep -rqE "^[[:space:]]*(menu)?config $name\$" --include='Kconfig*' "$src" || continue
		lost+=("${line%=y}")
	done < <(cat "${fragments[@]}")
	if [[ " ${lost[*]} " == *" CONFIG_RUST "* ]]; then
		kmake -C "$src" O="$out" rustavailable >>"$log" 2>&1 || true
	fi
	[ ${#lost[@]} = 0 ] || die "Linux $1, $2: lost to unmet dependencies: ${lost[*]}" "$log"
	if cmp -s "$out/.config.new" "$out/.config"; then
		rm "$out/.config.new"
	else
		mv "$out/.config.new" "$out/.config"
	fi
}

# The program of the crate torture/, static: torture is its path.
build_torture() {
	local target=x86_64-unknown-linux-gnu
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$build/cargo step "torture: building the program" \
		"$logs/torture-build.log" \
		cargo build --locked --release --target $target --manifest-path "$root/torture/Cargo.toml"
	torture=$build/cargo/$target/release/torture
}

tree_clean() {
	local gitdir
	gitdir=$(git -C "$1" rev-parse --absolute-git-dir)
	if [ -e "$gitdir/rebase-merge" ] || [ -e "$gitdir/rebase-apply" ]; then
		die "${1#"$root"/}: a rebase or am is under way there: end it first"
	fi
	git -C "$1" diff --quiet HEAD || die "${1#"$root"/}: there are changes that are not committed"
}

# row WHAT CMD…: one row of a table; a failure is noted, and the next row runs all the same. CMD may leave the number
# of test cases that passed and failed in the file build/cases; else the row itself is one.
# quiet_row: the same for what says nothing of use while it works: its output goes to a log.
row() {
	local what=$1 start=$SECONDS status passed failed
	shift
	rm -f "$build/cases"
	set +e
	(
		set -e
		"$@"
	)
	status=$?
	set -e
	if read -r passed failed 2>/dev/null <"$build/cases"; then
		if [ $status != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
	else
		passed=$((status == 0)) failed=$((status != 0))
	fi
	printf '%s|%s|%d|%d|%d\n' "$what" "$([ $status = 0 ] && echo passed || echo FAILED)" \
		$((SECONDS - start)) "$passed" "$failed" >>"$build/table"
	row_status=$status
}

quiet_row() {
	local what=$1 log=$logs/${1//[^a-zA-Z0-9.]/-}.log
	row "$@" >"$log" 2>&1 </dev/null
	if [ $row_status = 0 ]; then
		say "$what: passed"
	else
		say "$what: FAILED: $(cause "$log") (log: ${log#"$root"/})"
	fi
}

# The table, cargo's own last words, the sums. Fails when a row did.
show_table() {
	say
	awk -F'|' '{ printf "%-52s %-6s %5d s\n", $1, $2, $3 }' "$build/table"
	say
	cat "$logs"/cargo.result 2>/dev/null || true
	awk -F'|' '{ p += $4; f += $5 } END { printf "%d passed, %d failed\n", p, f; exit f != 0 }' "$build/table"
}
