# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The table of results that ci/check, ci/test and others print at the end.

# begin_table: a script that another one calls adds its rows to the table of that one, which shows it.
begin_table() {
	mkdir -p "$build" "$logs"
	if [ -z "${PIDNS_TABLE-}" ]; then
		export PIDNS_TABLE=$$
		rm -f "$build/table" "$logs/cargo.result"
	fi
}

# row WHAT CMD…: run CMD and add a row to the table. A failure does not end the script. CMD may write the numbers of
# test cases that passed and failed to build/cases; else the row counts as one.
# quiet_row WHAT CMD…: the same, with the output in a log.
row() {
	local what=$1 start=$SECONDS status result=passed passed failed cause=
	shift
	rm -f "$build/cases" "$build/unchanged" "$build/cause"
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
	if [ $status != 0 ]; then
		result=FAILED cause=$(tr '|' '/' 2>/dev/null <"$build/cause") || true
	elif [ -e "$build/unchanged" ]; then
		result=$(<"$build/unchanged")
		[[ $result != SKIP* ]] || passed=0
	fi
	printf '%s|%s|%d|%d|%d|%s\n' "$what" "$result" $((SECONDS - start)) "$passed" "$failed" "$cause" >>"$build/table"
	row_status=$status row_result=$result
}

quiet_row() {
	local what=$1 log=$logs/${1//[^a-zA-Z0-9.]/-}.log
	row "$@" >"$log" 2>&1 </dev/null
	if [ $row_status = 0 ]; then
		say "$what: $row_result"
	else
		say "$what: FAILED: $(cause "$log") (log: ${log#"$root"/})"
	fi
}

# once WHAT CMD…: run CMD unless it has passed and nothing has changed since: no file of the repository except its
# pages, no source of the kernel, no compiler, no emulator. With PIDNS_ALL set, run it always.
once() {
	local what=$1 passed=$build/passed/${1//[^a-zA-Z0-9.]/-} files key was date cases
	shift
	files=$(checksums . ':!linux' ':!*.md' ':!*.svg') || die "git cannot list the files of this clone"
	key=$({
		echo "$files"
		cat "$build"/*/fetched
		compilers
		vng --version
		qemu-system-x86_64 --version
	} | sha256sum | cut -d' ' -f1)
	if [ -z "${PIDNS_ALL-}" ] && IFS='|' read -r was date cases 2>/dev/null <"$passed" && [ "$was" = "$key" ]; then
		say "$what: unchanged since it passed on $date"
		echo "unchanged since $date" >"$build/unchanged"
		echo "$cases" >"$build/cases"
		return
	fi
	mkdir -p "$build/passed"
	rm -f "$passed"
	"$@" || return
	# A SKIP is no result.
	[ ! -e "$build/unchanged" ] || return 0
	cases=$(cat "$build/cases" 2>/dev/null) || cases="1 0"
	echo "$key|$(date '+%F %R')|$cases" >"$passed"
}

# once_row WHAT CMD…, quiet_once_row WHAT CMD…: a row that runs CMD so.
once_row() { row "$1" once "$@"; }
quiet_once_row() { quiet_row "$1" once "$@"; }

# Print the table with the causes of failures, the results of cargo test by crate, and the sums. Fail if a row failed.
show_table() {
	[ "$PIDNS_TABLE" = $$ ] || return 0
	say
	awk -F'|' '{ printf "%-52s %-6s %5d s\n%s", $1, $2, $3, $6 == "" ? "" : "  " $6 "\n" }' "$build/table"
	say
	cat "$logs"/cargo.result 2>/dev/null || true
	awk -F'|' '{ p += $4; f += $5 } END { printf "%d passed, %d failed\n", p, f; exit f != 0 }' "$build/table"
}
