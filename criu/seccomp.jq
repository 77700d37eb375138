# SPDX-License-Identifier: GPL-2.0-only
# jq --argjson caps '["CAP_…", …]' --arg kernel 7.2.0 -f criu/seccomp.jq PROFILE: from a seccomp profile in the format of
# moby and containers-common, make the linux.seccomp of an OCI runtime's config.json, as Docker and Podman do. A rule of a
# profile may depend on capabilities, the architecture and the kernel. The architecture is amd64.

def version: [scan("[0-9]+") | tonumber][:2];

# An excluded condition rules it out; each included one has to be met.
def applies:
	(.includes // {}) as $want | (.excludes // {}) as $not
	| ($want.caps // [] | all(IN($caps[])))
	and ($want.arches // ["amd64"] | any(. == "amd64"))
	and ($want.minKernel // "0.0" | version <= ($kernel | version))
	and ($not.caps // [] | any(IN($caps[])) | not)
	and ($not.arches // [] | any(. == "amd64") | not)
	and ($not.minKernel == null or ($not.minKernel | version > ($kernel | version)));

{
	defaultAction,
	defaultErrnoRet,
	architectures: (.archMap[] | select(.architecture == "SCMP_ARCH_X86_64") | [.architecture, .subArchitectures[]]),
	syscalls: [.syscalls[] | select(applies) | { names, action, errnoRet, args } | del(.[] | nulls)]
}
