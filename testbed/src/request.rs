// SPDX-License-Identifier: GPL-2.0-only

//! The requests as system calls, and their results.

use nix::{
    errno::Errno,
    libc::{self, c_int},
};
use ns_last_pid::raw;
use std::os::fd::AsRawFd;

pub const SET: u32 = raw::PIDNS_REQ_SET_LAST_PID_VEC;
pub const GET: u32 = raw::PIDNS_REQ_GET_LAST_PID_VEC;

/// The command of the C port of the request of 2017 (`ci/configs/c-port.patch`): `_IOWR(NSIO, 128, struct ns_specific_req)`.
pub const C_PORT: u32 = raw::NS_SPECIFIC_IOC & !0xff | 128;

/// Makes request `req` by the ioctl `cmd`.
///
/// # Safety
///
/// For GET the `data_size` bytes at `data` must be the caller's to write, or not be writable at all.
pub unsafe fn make(
    ns: &impl AsRawFd,
    cmd: u32,
    req: u32,
    data: u64,
    data_size: usize,
) -> Result<c_int, Errno> {
    let mut arg = raw::ns_specific_req {
        req,
        data_size: u32::try_from(data_size).map_err(|_| Errno::EOVERFLOW)?,
        data,
    };
    // SAFETY: The kernel reads `arg`. The caller promises that it may read or write `data`.
    Errno::result(unsafe { libc::ioctl(ns.as_raw_fd(), cmd as libc::Ioctl, &raw mut arg) })
}

pub fn set(ns: &impl AsRawFd, text: impl AsRef<[u8]>) -> Result<(), Errno> {
    set_by(raw::NS_SPECIFIC_IOC, ns, text)
}

/// As [`set`], by the ioctl `cmd`.
pub fn set_by(cmd: u32, ns: &impl AsRawFd, text: impl AsRef<[u8]>) -> Result<(), Errno> {
    let text = text.as_ref();
    let data = text.as_ptr().expose_provenance() as u64;
    // SAFETY: SET writes nothing.
    unsafe { make(ns, cmd, SET, data, text.len()) }.map(drop)
}

/// GET into `text`. Returns the length without the NUL.
pub fn get_into(ns: &impl AsRawFd, text: &mut [u8]) -> Result<usize, Errno> {
    let data = text.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: The buffer is borrowed mutably.
    let length = unsafe { make(ns, raw::NS_SPECIFIC_IOC, GET, data, text.len()) }?;
    Ok(length as usize)
}
