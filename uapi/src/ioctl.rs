// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ioctls on namespace file descriptors that no library has. All `unsafe` of the crate is here.

#![allow(unsafe_code)]

use crate::raw;
use rustix::{
    io,
    ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode},
};
use std::{
    ffi::c_void,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
};

// raw.rs holds the numbers of one architecture. Only their lowest byte is the same on all.
const NS_GET_PARENT: Opcode = opcode::none(raw::NSIO as u8, raw::NS_GET_PARENT as u8);
const NS_GET_NSTYPE: Opcode = opcode::none(raw::NSIO as u8, raw::NS_GET_NSTYPE as u8);
const NS_SPECIFIC_IOC: Opcode =
    opcode::read_write::<raw::ns_specific_req>(raw::NSIO as u8, raw::NS_SPECIFIC_IOC as u8);
/// From `linux/pidfd.h`.
const PIDFD_GET_PID_NAMESPACE: Opcode = opcode::none(0xff, 5);

const _: () = assert!(size_of::<raw::ns_specific_req>() == raw::NS_SPECIFIC_REQ_SIZE_VER0 as usize);

/// An ioctl that takes no argument and answers with its return value.
struct NoArgument(Opcode);

// SAFETY: There is no argument that the kernel could read or write.
unsafe impl Ioctl for NoArgument {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> io::Result<IoctlOutput> {
        Ok(out)
    }
}

/// The type of the namespace: a `CLONE_NEW*` value.
pub(crate) fn ns_type(ns: impl AsFd) -> io::Result<IoctlOutput> {
    // SAFETY: NS_GET_NSTYPE takes no argument.
    unsafe { ioctl(ns, NoArgument(NS_GET_NSTYPE)) }
}

/// The parent of a pid namespace.
pub(crate) fn parent(ns: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_PARENT takes no argument, and returns a new file descriptor.
    unsafe { ioctl(ns, NoArgument(NS_GET_PARENT)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The pid namespace that a process is in.
pub(crate) fn pid_namespace(pidfd: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: PIDFD_GET_PID_NAMESPACE takes no argument, and returns a new file descriptor.
    unsafe { ioctl(pidfd, NoArgument(PIDFD_GET_PID_NAMESPACE)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Request number `req` of the namespace's type, with `data` for the kernel to read or write.
pub(crate) fn ns_specific(ns: impl AsFd, req: u32, data: &mut [u8]) -> io::Result<()> {
    let arg = raw::ns_specific_req {
        req,
        data_size: u32::try_from(data.len()).map_err(|_| io::Errno::INVAL)?,
        data: data.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: The kernel reads `arg`, and no request reads or writes more than the `data_size`
    // bytes at `data`, which are borrowed mutably here.
    unsafe { ioctl(ns, Setter::<NS_SPECIFIC_IOC, _>::new(arg)) }
}
