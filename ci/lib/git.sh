# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The patches, and git on the kernel's trees.

# git with the repository's own configuration only. It never asks for a password.
git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0 command git -c core.abbrev=12 "$@"
}

patches() { printf '%s\n' "$root"/patches/[0-9][0-9][0-9][0-9]-*.patch | grep -v '/0000-' || true; }

# A hash of the patches, without the cover letter.
series_key() {
	local list
	mapfile -t list < <(patches)
	[ -e "${list[0]-}" ] || return 0
	cat "${list[@]}" | sha256sum | cut -d' ' -f1
}

# checksums PATHSPEC…: print the checksums of these files of the repository, as they are now.
checksums() {
	(cd "$root" && git ls-files -z --cached --others --exclude-standard --error-unmatch -- "$@" | sort -z | xargs -0 sha256sum)
}

# commit_source DIR MESSAGE: make DIR a git repository with one commit, tagged base. Its id is the same on every machine.
commit_source() {
	git -C "$1" init -q -b source
	git -C "$1" config gc.auto 0
	git -C "$1" add -A -f
	GIT_AUTHOR_NAME=$project GIT_AUTHOR_EMAIL='<>' GIT_AUTHOR_DATE='@0 +0000' \
		GIT_COMMITTER_NAME=$project GIT_COMMITTER_EMAIL='<>' GIT_COMMITTER_DATE='@0 +0000' \
		git -C "$1" commit -q -m "$2"
	git -C "$1" tag base
}

# scratch REPO DIR COMMIT: make a worktree without files. git am checks out the few that it needs.
scratch() {
	rm -rf "$2"
	git -C "$1" worktree prune
	git -C "$1" worktree add -q --no-checkout --detach "$2" "$3"
	git -C "$2" read-tree "$3"
	# git diff chooses a hunk's headline by it.
	git -C "$2" checkout-index -q .gitattributes
}

# worktree WHAT REPO DIR: make a worktree at REPO's tag base, unless there is one.
worktree() {
	[ ! -e "$3/.git" ] || return 0
	git -C "$2" worktree prune
	step "$1: making a worktree" "$logs/$1-tree.log" git -C "$2" worktree add -f --detach "$3" base
}

# am DIR LOG PATCH…: plain git am, with the same committer everywhere. When it fails, DIR is as before.
am() {
	local dir=$1 log=$2
	shift 2
	GIT_COMMITTER_NAME=$project GIT_COMMITTER_EMAIL='<>' GIT_COMMITTER_DATE='@0 +0000' \
		git -C "$dir" am --no-3way --no-gpg-sign "$@" >"$log" 2>&1 </dev/null && return
	git -C "$dir" am --abort >/dev/null 2>&1 || true
	return 1
}

# am_cause LOG: print the patch that did not apply, and git's reason.
am_cause() {
	printf '%s: %s' "$(sed -n 's/^Patch failed at //p' "$1" | head -n 1)" \
		"$(grep -m1 -E '^(error|fatal):' "$1" || tail -n 1 "$1")"
}

# cover_end FILE: print the number of lines of a cover letter before its last shortlog.
cover_end() {
	awk '
		{ line[NR] = $0 }
		END {
			author = "^[^ ].* \\([0-9]+\\):$"
			last = NR
			while (last && (line[last] ~ author || line[last] ~ /^( .*)?$|^base-commit: /)) last--
			first = last + 1
			while (first <= NR && line[first] !~ author) first++
			print (first > NR ? last + 1 : first - 1)
		}' "$1"
}

tree_clean() {
	local gitdir
	gitdir=$(git -C "$1" rev-parse --absolute-git-dir)
	if [ -e "$gitdir/rebase-merge" ] || [ -e "$gitdir/rebase-apply" ]; then
		die "${1#"$root"/}: a rebase or am is under way there: end it first"
	fi
	git -C "$1" diff --quiet HEAD || die "${1#"$root"/}: there are changes that are not committed"
}
