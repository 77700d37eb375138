# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The kernels: their sources, their configurations, their builds.

known_kernel() {
	[[ " ${kernels[*]} " == *" $1 "* ]] || die "no such kernel: '$1' (there are ${kernels[*]})"
}

# Print the version in a kernel's Makefile on stdin, or nothing.
makefile_version() { sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' | paste -sd.; }

# Print the version of a kernel tree, or nothing. In a git repository HEAD counts, as in ci/kernel/fetch.
tree_version() {
	if [ -e "$1/.git" ]; then
		command git -C "$1" show HEAD:Makefile 2>/dev/null | makefile_version
	elif [ -e "$1/Makefile" ]; then
		makefile_version <"$1/Makefile"
	fi
}

# set_up KERNEL…: set up the tools and fetch these kernels. Two go side by side, because none needs another.
set_up() {
	"$root/ci/setup/packages"
	printf '%s\n' "$root/ci/setup/tools" "${@/#/"$root/ci/kernel/fetch "}" | xargs -P 2 -L 1 env ||
		die "the set-up or a fetch failed, see above"
}

# The kernel's make. It takes ARCH from the environment. -O keeps the lines of one job's output together, which
# ci/kernel/findings reads.
kmake() {
	make -O LLVM=1 LOCALVERSION= KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
		KBUILD_BUILD_USER="$project" KBUILD_BUILD_HOST="$project" "$@"
}

# source_of KERNEL CONFIG: a configuration with a patch of its own has a tree of its own.
source_of() {
	if [ -e "$root/ci/configs/$2.patch" ]; then
		echo "$build/$1/src-$2"
	else
		echo "$build/$1/src"
	fi
}

# fragments CONFIG: print its files. Configurations named small-… are based on small, all others on base.
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

# build_key KERNEL CONFIG: print a hash of the build's inputs: the tree, the configuration, the compilers.
build_key() {
	{
		git -C "$(source_of "$1" "$2")" rev-parse HEAD
		fragments "$2" | xargs -d '\n' cat
		compilers
	} | sha256sum | cut -d' ' -f1
}

# make_config SRC OUT FILE…: write OUT/.config.new. Kconfig works in another folder, so that OUT/.config stays.
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

# configure KERNEL CONFIG OUT [SRC]: write OUT/.config. Fails with the names of symbols that Kconfig has dropped.
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
		# A later fragment may override it. Before the patch that adds the symbol, Kconfig does not know it.
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
