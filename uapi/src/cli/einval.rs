// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cause of EINVAL.

use crate::Failure;
use ns_last_pid::{Error, PidNamespace};
use rustix::fs::fstat;

/// The inode number of the initial pid namespace, from `linux/nsfs.h`.
const PID_NS_INIT_INO: u64 = 0xEFFF_FFFC;

/// No pid_max is higher than the kernel's PID_MAX_LIMIT.
const PID_MAX_LIMIT: u32 = 4 << 20;

/// Names the level and the bound, if the kernel has refused a vector by it.
pub fn explain(namespace: &PidNamespace, numbers: &[u32], error: Error) -> Failure {
    match &error {
        Error::OutOfRange { .. } => match cause(namespace, numbers) {
            Some(cause) => cause.into(),
            None => error.into(),
        },
        _ => error.into(),
    }
}

/// The kernel goes upward, too, and stops at the first level that it refuses.
fn cause(namespace: &PidNamespace, numbers: &[u32]) -> Option<String> {
    let parents = namespace.parents().ok()?;
    let levels = || std::iter::once(namespace).chain(&parents);
    for (level, (&number, namespace)) in numbers.iter().zip(levels()).enumerate() {
        match namespace.pid_max() {
            Ok(pid_max) if number > pid_max => {
                return Some(format!(
                    "level {level}: {number} is above pid_max, which is {pid_max} there"
                ));
            }
            Err(_) if number > PID_MAX_LIMIT => {
                return Some(format!(
                    "level {level}: {number} is above {PID_MAX_LIMIT}, the highest pid_max that \
                     there can be"
                ));
            }
            _ => {}
        }
    }
    let top = levels().last()?;
    if numbers.len() > levels().count() && fstat(top).ok()?.st_ino == PID_NS_INIT_INO {
        return Some(format!(
            "{} numbers, and only {} levels",
            numbers.len(),
            levels().count()
        ));
    }
    None
}
