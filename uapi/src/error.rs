// SPDX-License-Identifier: GPL-2.0-only

use crate::LEVELS_MAX;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What was wrong, in words. Where the kernel refused something, its errno is the
/// [source](std::error::Error::source), an [`io::Error`].
///
/// A level is counted from the namespace that was asked, which is 0; its parent is 1. When a
/// request fails, no level has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that stands for a namespace cannot be opened: there is no such process or file any
    /// more, or the caller may not look at it.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file descriptor is not one of a pid namespace.
    #[error("not a pid namespace")]
    NotAPidNamespace {
        /// What the kernel said, unless it is a namespace of another type.
        source: Option<io::Error>,
    },
    /// The kernel does not have the ioctl (`ENOTTY`), or does not have it for pid namespaces
    /// (`EOPNOTSUPP`).
    #[error("this kernel has no NS_SPECIFIC_IOC for pid namespaces")]
    Unsupported {
        /// The errno.
        source: io::Error,
    },
    /// A level may not be set or read by the caller (`EPERM`). It needs `CAP_CHECKPOINT_RESTORE` or
    /// `CAP_SYS_ADMIN` in the user namespace that owns this level.
    #[error("level {level}: neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN there")]
    NotPermitted {
        /// The first level that was refused.
        level: usize,
        /// The errno.
        source: io::Error,
    },
    /// The vector has more numbers than the namespace has levels (`EINVAL`).
    #[error("{numbers} numbers, and the namespace has {levels} level(s)")]
    NoSuchLevel {
        /// How many numbers there are.
        numbers: usize,
        /// How many levels there are, up to the initial namespace.
        levels: usize,
        /// The errno.
        source: io::Error,
    },
    /// A number is above the `pid_max` of its namespace (`EINVAL`).
    #[error("{}a number is above the pid_max of its namespace", at(*level))]
    AbovePidMax {
        /// The level, if that can be known: the kernel does not tell, and the `pid_max` of a
        /// namespace can be read only in it.
        level: Option<usize>,
        /// The errno.
        source: io::Error,
    },
    /// The namespace cannot create tasks: it has no init yet, or its init has died (`EINVAL`).
    #[error("the namespace has no init, or its init has died")]
    NoInit {
        /// The errno.
        source: io::Error,
    },
    /// A pid that no task can be spawned with: 0 does not exist, 1 belongs to the init that a
    /// namespace begins with, and the others are as for a [vector](crate::InvalidVector).
    #[error(
        "each level needs a pid from 2 to {max}, and there are 1 to {LEVELS_MAX} levels",
        max = i32::MAX
    )]
    InvalidPids,
    /// The command cannot be executed. The source's kind is [`io::ErrorKind::NotFound`] or
    /// [`io::ErrorKind::PermissionDenied`].
    #[error("cannot execute '{program}'", program = Path::new(program).display())]
    Command {
        /// The name that was to be looked for.
        program: OsString,
        /// Why.
        source: io::Error,
    },
    /// The tasks that were created all had other pids, and have been killed before they ran the
    /// command.
    #[error(
        "wanted the pids {wanted}, and the last of {tries} tries got {got}",
        wanted = joined(wanted),
        got = joined(got)
    )]
    OtherPids {
        /// The pids that were asked for.
        wanted: Vec<u32>,
        /// The pids of the last try.
        got: Vec<u32>,
        /// How often it was tried.
        tries: u32,
    },
    /// /proc shows fewer levels than there are pids, so that the pids cannot be verified.
    #[error("{wanted} pids, and /proc shows only {shown} level(s) of them")]
    Unverifiable {
        /// How many pids were asked for.
        wanted: usize,
        /// How many levels `NSpid` has.
        shown: usize,
    },
    /// Another system call failed.
    #[error("cannot {action}")]
    System {
        /// What could not be done.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn at(level: Option<usize>) -> String {
    level.map_or(String::new(), |level| format!("level {level}: "))
}

fn joined(pids: &[u32]) -> String {
    pids.iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(":")
}

/// For `map_err`.
pub(crate) fn cannot<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::System {
        action,
        source: error.into(),
    }
}
