// SPDX-License-Identifier: GPL-2.0-only

//! The requests as system calls, and their results.

use nix::{
    errno::Errno,
    libc::{c_int, c_ulong},
};
use ns_last_pid::raw;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

mod ioctl {
    use ns_last_pid::raw;

    nix::ioctl_readwrite!(
        ns_specific,
        raw::NSIO,
        raw::NS_SPECIFIC_IOC as u8,
        raw::ns_specific_req
    );
    // NS_GET_USERNS
    nix::ioctl_none!(ns_get_userns, raw::NSIO, 1);
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
    let mut arg = raw::ns_specific_req {
        req,
        data_size: u32::try_from(data_size).map_err(|_| Errno::EOVERFLOW)?,
        data,
    };
    // SAFETY: The kernel reads `arg`. The caller promises that it may read or write `data`.
    unsafe { ioctl::ns_specific(ns.as_raw_fd(), &raw mut arg) }
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

/// The text of GET. Fails with EPROTO if there is no NUL after it, or anything after that.
pub fn get_text(ns: &impl AsRawFd) -> Result<String, Errno> {
    let mut text = [0xff; raw::PIDNS_LAST_PID_VEC_MAX as usize];
    let data = text.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: The buffer is borrowed mutably.
    let length = unsafe { request(ns, GET, data, text.len()) }?;
    let (vector, rest) = text.split_at(length as usize);
    if rest[0] != 0 || rest[1..].iter().any(|&byte| byte != 0xff) {
        return Err(Errno::EPROTO);
    }
    String::from_utf8(vector.into()).map_err(|_| Errno::EPROTO)
}

/// The numbers of GET, or EPROTO if it wrote anything else.
pub fn get(ns: &impl AsRawFd) -> Result<Vec<i32>, Errno> {
    let text = get_text(ns)?;
    let numbers = text.split(':').map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|_| Errno::EPROTO)
}

/// The user namespace that owns a namespace.
pub fn owner(ns: &impl AsRawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: There is no argument.
    let fd = unsafe { ioctl::ns_get_userns(ns.as_raw_fd()) }?;
    // SAFETY: The file descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The numbers as a vector's text.
pub fn vector(numbers: &[i32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    numbers.join(":")
}
