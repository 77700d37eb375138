# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# The kernels: their sources, their configurations, their builds.

known_kernel() {
	[[ " ${kernels[*]} " == *" $1 "* ]] || die "no such kernel: '$1' (there are ${kernels[*]})"
}

# Print the version in a kernel's Makefile on stdin, or nothing.
makefile_version() { sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' | paste -sd.; }

# set_up KERNEL…: set up the tools and fetch these kernels. Two go side by side, because none needs another.
set_up() {
	"$root/ci/setup/packages"
	printf '%s\n' "$root/ci/setup/tools" "${@/#/"$root/ci/kernel/fetch "}" | xargs -P 2 -L 1 env ||
		die "the set-up or a fetch failed, see above"
}

# config_field CONFIG FIELD: print the second or third field of its line in ci/configs/list.
config_field() {
	awk -v config="$1" -v field="$2" '$1 == config { print $field; found = 1 } END { exit !found }' "$root/ci/configs/list" ||
		die "no such configuration: '$1' (ci/configs/list has all)"
}

# kmake CONFIG ARGUMENT…: the kernel's make, with this configuration's compiler. It takes ARCH from the environment. -O
# keeps the lines of one job's output together, which ci/judge/findings reads.
kmake() {
	local compiler flags=()
	compiler=$(config_field "$1" 2)
	shift
	[ "$compiler" = gcc ] || flags=(LLVM=1)
	make -O "${flags[@]}" LOCALVERSION= KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
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

# fragments CONFIG: print its files.
fragments() {
	local first=base
	[[ $1 != small-* ]] || first=small
	echo "$root/ci/configs/$first.config"
	[ ! -e "$root/ci/configs/$1.config" ] || [ "$1" = base ] || echo "$root/ci/configs/$1.config"
}

compilers() {
	gcc --version
	clang --version
	rustc --version
	bindgen --version
}

# build_key CONFIG SRC: print a hash of a build's inputs: the tree without its pages, the configuration, the compilers.
build_key() {
	{
		git -C "$2" ls-tree -r HEAD | grep -vE $'\t(Documentation/|MAINTAINERS$)'
		fragments "$1" | xargs -d '\n' cat
		"$(config_field "$1" 2)" --version
		rustc --version
		bindgen --version
	} | sha256sum | cut -d' ' -f1
}

# is_built CONFIG SRC OUT, after machine(): OUT has this build.
is_built() { [ -e "$3/$image" ] && fresh "$3/built" "$(build_key "$1" "$2")"; }

# copy_build FROM OUT: let OUT start from another build, of the same source by the same compiler. Then make builds only the
# files that differ.
copy_build() {
	rm -rf "$2.part"
	step "build: ${2##*/}, a copy of ${1##*/}" "$logs/copy-${2##*/}.log" cp -a --reflink=auto "$1" "$2.part"
	rm -rf "$2.part"/{built,kselftest,selftests*,kunit*,vm.*}
	mv "$2.part" "$2"
}

# build_kernel CONFIG SRC OUT, after machine(): configure and build.
build_kernel() {
	local config=$1 src=$2 out=$3 version
	version=$(makefile_version <"$src/Makefile")
	need_space 2 "$build"
	mkdir -p "$out"
	rm -f "$out/built"
	configure "$config" "$src" "$out"
	step "build: Linux $version, $config, $(nproc) jobs" "$logs/build-$version-${out##*/}.log" \
		kmake "$config" -C "$src" O="$out" -j"$(nproc)" "$target"
	stamp "$out/built" "$(build_key "$config" "$src")"
}

# tests_built SRC LIST LOG [PROGRAM]: the list that kselftest has installed has all kselftests of pid namespaces of SRC, but
# for PROGRAM. When one does not compile, kselftest goes on, and leaves it out.
tests_built() {
	local program
	for program in "$1"/tools/testing/selftests/pid_namespace/*.c; do
		program=${program##*/} program=${program%.c}
		[ "$program" = "${4-}" ] || grep -qx "pid_namespace:$program" "$2" || die "$program did not build: $(cause "$3")" "$3"
	done
}

# make_config CONFIG SRC OUT FILE…: write OUT/.config.new. Kconfig works in another folder, so that OUT/.config stays.
make_config() {
	local config=$1 src=$2 out=$3 new=$3/config.new
	shift 3
	rm -rf "$new"
	mkdir "$new"
	kmake "$config" -C "$src" O="$new" tinyconfig
	(cd "$src" && scripts/kconfig/merge_config.sh -m -O "$new" "$new/.config" "$@")
	kmake "$config" -C "$src" O="$new" olddefconfig
	mv "$new/.config" "$out/.config.new"
	rm -rf "$new"
}

# configure CONFIG SRC OUT: write OUT/.config. Fails with the names of symbols that Kconfig has dropped.
configure() {
	local config=$1 src=$2 out=$3 log line name lost=() fragments version
	version=$(makefile_version <"$src/Makefile")
	log=$logs/config-$version-${out##*/}.log
	mapfile -t fragments < <(fragments "$config")
	mkdir -p "$out" "$logs"
	step "config: Linux $version, $config" "$log" make_config "$config" "$src" "$out" "${fragments[@]}"
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
		kmake "$config" -C "$src" O="$out" rustavailable >>"$log" 2>&1 || true
	fi
	[ ${#lost[@]} = 0 ] || die "Linux $version, $config: lost to unmet dependencies: ${lost[*]}" "$log"
	if cmp -s "$out/.config.new" "$out/.config"; then
		rm "$out/.config.new"
	else
		mv "$out/.config.new" "$out/.config"
	fi
}
