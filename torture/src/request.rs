// SPDX-License-Identifier: GPL-2.0-only

//! The requests, with the result of GET checked and parsed.

use nix::errno::Errno;
use ns_last_pid::raw;
use std::os::fd::AsRawFd;
use testbed::request::get_into;

pub use testbed::request::{C_PORT, GET, SET, make, set};

/// The text of GET. Fails with EPROTO if there is no NUL after it, or anything after that.
pub fn get_text(ns: &impl AsRawFd) -> Result<String, Errno> {
    let mut text = [0xff; raw::PIDNS_LAST_PID_VEC_MAX as usize];
    let length = get_into(ns, &mut text)?;
    let (vector, rest) = text.split_at(length);
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

/// The numbers as a vector's text.
pub fn vector(numbers: &[i32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    numbers.join(":")
}
