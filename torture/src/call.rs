// SPDX-License-Identifier: GPL-2.0-only

//! The requests as system calls, and what they return.

use nix::{
    errno::Errno,
    libc::{c_int, c_ulong},
};
use ns_last_pid::raw;
use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    str,
};

mod ioctl {
    use ns_last_pid::raw;

    nix::ioctl_write_ptr!(
        ns_specific,
        raw::NSIO,
        raw::NS_SPECIFIC_IOC as u8,
        raw::ns_specific_req
    );
    nix::ioctl_none!(ns_get_parent, raw::NSIO, raw::NS_GET_PARENT as u8);
}

pub const SET: u32 = raw::PIDNS_REQ_SET_LAST_PID_VEC;
pub const GET: u32 = raw::PIDNS_REQ_GET_LAST_PID_VEC;

/// Makes request `req`.
///
/// # Safety
///
/// For GET the `data_size` bytes at `data` must be the caller's to write, or not be writable at all.
pub unsafe fn request(
    ns: &impl AsRawFd,
    req: u32,
    data: c_ulong,
    data_size: usize,
) -> Result<c_int, Errno> {
    let arg = raw::ns_specific_req {
        req,
        data_size: u32::try_from(data_size).map_err(|_| Errno::EOVERFLOW)?,
        data,
    };
    // SAFETY: The kernel reads `arg`; of `data` the caller says that it may be read or written.
    unsafe { ioctl::ns_specific(ns.as_raw_fd(), &arg) }
}

pub fn set(ns: &impl AsRawFd, text: impl AsRef<[u8]>) -> Result<(), Errno> {
    let text = text.as_ref();
    // SAFETY: SET writes nothing.
    unsafe {
        request(
            ns,
            SET,
            text.as_ptr().expose_provenance() as u64,
            text.len(),
        )
    }
    .map(drop)
}

/// Fails with EPROTO if what it got is not a vector.
pub fn get(ns: &impl AsRawFd) -> Result<Vec<i32>, Errno> {
    let mut text = [0xff; raw::PIDNS_LAST_PID_VEC_MAX as usize];
    let data = text.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: The buffer is borrowed mutably.
    let length = unsafe { request(ns, GET, data, text.len()) }?;
    let (vector, rest) = text.split_at(length as usize);
    if rest[0] != 0 || rest[1..].iter().any(|&byte| byte != 0xff) {
        return Err(Errno::EPROTO);
    }
    let numbers = str::from_utf8(vector)
        .map_err(|_| Errno::EPROTO)?
        .split(':');
    numbers
        .map(|number| number.parse().map_err(|_| Errno::EPROTO))
        .collect()
}

pub fn parent(ns: &impl AsRawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: There is no argument.
    let fd = unsafe { ioctl::ns_get_parent(ns.as_raw_fd()) }?;
    // SAFETY: The file descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The numbers as a vector's text.
pub fn vector(numbers: &[i32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    numbers.join(":")
}
