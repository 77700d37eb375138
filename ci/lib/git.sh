# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The patches, and git on the kernel's trees.

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

tree_clean() {
	local gitdir
	gitdir=$(git -C "$1" rev-parse --absolute-git-dir)
	if [ -e "$gitdir/rebase-merge" ] || [ -e "$gitdir/rebase-apply" ]; then
		die "${1#"$root"/}: a rebase or am is under way there: end it first"
	fi
	git -C "$1" diff --quiet HEAD || die "${1#"$root"/}: there are changes that are not committed"
}
