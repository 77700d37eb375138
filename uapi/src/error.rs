// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::LEVELS_MAX;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The cause of a failure. If the kernel refused a request, its errno is the
/// [source](std::error::Error::source), an [`io::Error`], and no level has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The namespace file cannot be opened: the process or the file does not exist any more, or the
    /// caller may not look at it.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// The file descriptor does not refer to a pid namespace.
    #[error("not a pid namespace")]
    NotAPidNamespace {
        /// The kernel's errno; none for a namespace of another type.
        source: Option<io::Error>,
    },
    /// The kernel does not have the ioctl (`ENOTTY`), or does not have it for pid namespaces
    /// (`EOPNOTSUPP`).
    #[error("this kernel has no NS_SPECIFIC_IOC for pid namespaces")]
    Unsupported {
        /// The errno.
        source: io::Error,
    },
    /// The caller may not set or read one of the levels (`EPERM`). The [crate](crate#rights) says
    /// who may.
    #[error("the caller may not set or read one of these levels")]
    NotPermitted {
        /// The errno.
        source: io::Error,
    },
    /// The vector has more numbers than there are levels, or a number above the `pid_max` of its
    /// namespace (`EINVAL`).
    #[error("more numbers than levels, or a number above the pid_max of its namespace")]
    OutOfRange {
        /// The errno.
        source: io::Error,
    },
    /// One of the namespaces cannot create tasks: it has no init yet, or its init has died
    /// (`ESRCH`).
    #[error("a namespace has no init yet, or its init has died")]
    NoInit {
        /// The errno.
        source: io::Error,
    },
    /// No task can be spawned with such pids. Pid 0 does not exist, pid 1 belongs to the init of
    /// the namespace, and [`InvalidVector`](crate::InvalidVector) has the other rules.
    #[error(
        "each level needs a pid from 2 to {max}, and there are 1 to {LEVELS_MAX} levels",
        max = i32::MAX
    )]
    InvalidPids,
    /// The command cannot be executed. The source's kind is [`io::ErrorKind::NotFound`] or
    /// [`io::ErrorKind::PermissionDenied`].
    #[error("cannot execute '{program}'", program = Path::new(program).display())]
    Command {
        /// Its name.
        program: OsString,
        /// The errno.
        source: io::Error,
    },
    /// Each task that was created had other pids, and was killed before it ran the command.
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
        /// The number of tries.
        tries: u32,
    },
    /// `/proc` shows fewer levels than there are pids, so that the pids cannot be verified.
    #[error("/proc shows {shown} of {wanted} levels, so the pids cannot be verified")]
    Unverifiable {
        /// The number of pids that were asked for.
        wanted: usize,
        /// The number of pids in `NSpid`.
        shown: usize,
    },
    /// Another system call failed.
    #[error("cannot {action}")]
    System {
        /// The action, as in "cannot create a pipe".
        action: &'static str,
        /// The errno.
        source: io::Error,
    },
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
