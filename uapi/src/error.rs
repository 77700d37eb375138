// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{LEVELS_MAX, Reason, Request, vector::joined};
use rustix::io::Errno;
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
    /// The kernel does not have the ioctl (`ENOTTY`), or does not have this request of pid namespaces
    /// (`EOPNOTSUPP`).
    #[error("{}", lacking(*.request, source))]
    Unsupported {
        /// The request.
        request: Request,
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
    /// Allocation ends below the namespace's `pid_max`, so that no task can have this pid.
    #[error("level {level}: there is no pid {pid}, because pid_max is {pid_max} there")]
    NoSuchPid {
        /// Counted from the innermost level, which is 0.
        level: usize,
        /// The pid that was asked for.
        pid: u32,
        /// The `pid_max` of the level.
        pid_max: u32,
    },
    /// Each task that was created had other pids, and ended before it ran the command.
    #[error(
        "level {level}: pid {pid} was not given: {reason} (wanted {wanted}, got {got} in the last of {tries} tries)",
        pid = wanted.get(*level).unwrap_or(&0),
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
        /// The innermost level on which they differ. The innermost of all is 0.
        level: usize,
        /// Why the task did not get the pid that was asked for on this level.
        reason: Reason,
    },
    /// There are more pids than levels that the caller can look at: its own pid namespace is the
    /// last one. On a level above, a task cannot be asked for its pid.
    #[error("{wanted} pids, and only {levels} levels up to the caller's own pid namespace")]
    Unverifiable {
        /// The number of pids that were asked for.
        wanted: usize,
        /// The number of levels.
        levels: usize,
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

fn lacking(request: Request, source: &io::Error) -> String {
    if source.raw_os_error() == Some(Errno::NOTTY.raw_os_error()) {
        return "this kernel has no NS_SPECIFIC_IOC".into();
    }
    let verb = match request {
        Request::Set => "set",
        Request::Get => "read",
    };
    format!("this kernel has NS_SPECIFIC_IOC, and cannot {verb} last pids by it")
}

/// For `map_err`.
pub(crate) fn cannot<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::System {
        action,
        source: error.into(),
    }
}
