# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2154
# The architectures: what a kernel and its guest are built and booted with.

# machine NAME: set
#   ARCH         the kernel's name of it
#   target       what make builds
#   image        what boots, in the output folder
#   guest_arch   the kernel's name of the architecture of the guest's programs
#   debian       Debian's name of that
#   cross        the prefix of the C compiler, where clang's own choice is wrong
#   needs        packages of the distribution
#   emulator     the command that boots, up to the kernel; and the kernel's arguments, in append
machine() {
	local gcc options=(-m 512 -smp 2 -nodefaults -no-reboot -display none -serial stdio)
	gcc=$(gcc -dumpversion)
	gcc=${gcc%%.*}
	ARCH=$1 target=bzImage image='' guest_arch=$1 debian=$1 cross='' needs=() emulator=() append=
	case $1 in
	x86_64)
		image=arch/x86/boot/bzImage debian=amd64
		emulator=(qemu-system-x86_64 "${options[@]}")
		# Without ACPI the tick is the kernel's only clock, and no sleep of the tests is shorter than a tick. Given a
		# frequency, the kernel uses the TSC. A wrong frequency only makes the guest's seconds longer or shorter.
		append="tsc_early_khz=2500000 tsc=reliable console=ttyS0"
		;;
	arm64)
		target=Image image=arch/arm64/boot/Image
		needs=(qemu-system-arm libc6-dev-arm64-cross "libgcc-$gcc-dev-arm64-cross")
		emulator=(qemu-system-aarch64 -M virt -cpu cortex-a57 "${options[@]}")
		append="earlycon console=ttyAMA0"
		;;
	arm)
		# By itself lib.mk would build for the ABI without floating point.
		target=zImage image=arch/arm/boot/zImage debian=armhf cross=arm-linux-gnueabihf-
		needs=(qemu-system-arm libc6-dev-armhf-cross "libgcc-$gcc-dev-armhf-cross")
		emulator=(qemu-system-arm -M virt -cpu cortex-a15 "${options[@]}")
		append="earlycon console=ttyAMA0"
		;;
	riscv64)
		ARCH=riscv target=Image image=arch/riscv/boot/Image guest_arch=riscv
		needs=(qemu-system-misc opensbi libc6-dev-riscv64-cross "libgcc-$gcc-dev-riscv64-cross")
		emulator=(qemu-system-riscv64 -M virt "${options[@]}")
		append="earlycon console=ttyS0"
		;;
	s390)
		image=arch/s390/boot/bzImage debian=s390x
		needs=(qemu-system-misc libc6-dev-s390x-cross "libgcc-$gcc-dev-s390x-cross")
		emulator=(qemu-system-s390x "${options[@]}")
		append=console=ttysclp0
		;;
	loongarch)
		target=vmlinux.elf image=arch/loongarch/boot/vmlinux.elf debian=loong64 cross=loongarch64-linux-gnu-
		needs=(qemu-system-misc)
		emulator=(qemu-system-loongarch64 -M virt "${options[@]}")
		append="earlycon console=ttyS0"
		;;
	um)
		# UML is a process of this machine. With two CPUs it needs seccomp instead of ptrace.
		target=linux image=linux guest_arch=x86_64 debian=amd64
		append="mem=1G ncpus=2 seccomp=on con=none con0=fd:0,fd:1 console=tty0"
		;;
	*) die "unknown architecture '$1' (there are x86_64, arm64, riscv64, arm, s390, loongarch and um)" ;;
	esac
	export ARCH
}
