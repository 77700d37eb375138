// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Error, LastPids, error::cannot, raw, sys, vector::joined};
use rustix::{
    fs::fstat,
    io::Errno,
    process::{PidfdFlags, getpid, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic,
    path::Path,
    thread,
};

/// A pid namespace, held by a file descriptor.
///
/// The caller does not have to be in it. In C, `open("/proc/PID/ns/pid", O_RDONLY)` returns such a
/// file descriptor.
#[derive(Debug)]
pub struct PidNamespace(OwnedFd);

impl PidNamespace {
    /// Opens a namespace file: `/proc/PID/ns/pid`, `/proc/PID/ns/pid_for_children`, or a bind mount
    /// of one of them.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::NotAPidNamespace`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::Open {
            path: path.into(),
            source,
        })?;
        OwnedFd::from(file).try_into()
    }

    /// Opens the caller's own namespace, with or without a `/proc`.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] without a `/proc` that has the caller, if the kernel is older than 6.11.
    pub fn own() -> Result<Self, Error> {
        Self::open("/proc/self/ns/pid").or_else(|error| {
            let pidfd = pidfd_open(getpid(), PidfdFlags::empty());
            let own = pidfd.and_then(sys::pid_namespace);
            own.map(Self).map_err(|_| error)
        })
    }

    /// Opens the namespace of the process that has this pid in `/proc`.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/pid"))
    }

    /// Opens the namespace of the process behind a pidfd, by `PIDFD_GET_PID_NAMESPACE`.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the process has ended or may not be looked at, if it is not a pidfd, or
    /// if the kernel is older than 6.11.
    pub fn of_pidfd(pidfd: impl AsFd) -> Result<Self, Error> {
        let namespace = sys::pid_namespace(pidfd);
        Ok(Self(
            namespace.map_err(cannot("get the pid namespace of the process"))?,
        ))
    }

    /// Takes a duplicate of a file descriptor. `TryFrom<OwnedFd>` takes the file descriptor itself.
    ///
    /// # Errors
    ///
    /// [`Error::NotAPidNamespace`] if `NS_GET_NSTYPE` says so.
    pub fn from_fd(fd: impl AsFd) -> Result<Self, Error> {
        let fd = fd.as_fd().try_clone_to_owned();
        fd.map_err(cannot("duplicate the file descriptor"))?
            .try_into()
    }

    /// Opens the parent namespace, by `NS_GET_PARENT`. The kernel shows the caller no namespace
    /// above its own: the parent of that one is `None`.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn parent(&self) -> Result<Option<Self>, Error> {
        match sys::parent(self) {
            Ok(parent) => Ok(Some(Self(parent))),
            Err(Errno::PERM) => Ok(None),
            Err(errno) => Err(cannot("get the parent of the pid namespace")(errno)),
        }
    }

    /// Opens the namespaces above this one, the nearest first. The last one is the caller's own, if
    /// that is above.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn parents(&self) -> Result<Vec<Self>, Error> {
        let mut parents = Vec::new();
        while let Some(parent) = parents.last().unwrap_or(self).parent()? {
            parents.push(parent);
        }
        Ok(parents)
    }

    /// Is it the caller's own?
    ///
    /// # Errors
    ///
    /// As [`own`](Self::own), and [`Error::System`].
    pub fn is_own(&self) -> Result<bool, Error> {
        let identity = |namespace: &Self| {
            let stat = fstat(namespace).map_err(cannot("tell namespaces apart"))?;
            Ok((stat.st_dev, stat.st_ino))
        };
        Ok(identity(self)? == identity(&Self::own()?)?)
    }

    /// Reads `kernel.pid_max` of this namespace: each pid is below it.
    ///
    /// A task can read only the `pid_max` of the namespace that it is in. If this is not the
    /// caller's, a new process reads it, which is in this namespace for a moment. It gets a free pid
    /// up to 300 there, by `clone3()` with `set_tid`, so that allocation does not move. In the
    /// caller's own namespace its pid is the next one.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc/sys` cannot be read; for another namespace than the caller's, also
    /// if the calling process cannot `setns()` into it, or may not choose pids there.
    pub fn pid_max(&self) -> Result<u32, Error> {
        const READ: &str = "read the pid_max of the namespace";
        let text = if self.is_own()? {
            fs::read_to_string("/proc/sys/kernel/pid_max").map_err(cannot(READ))?
        } else {
            let levels = self.parents()?.len();
            in_thread(|| {
                self.enter()?;
                // No pid_max is below 301. Each of these pids can be in use.
                let mut texts = (2..=300)
                    .rev()
                    .map(|pid| sys::read_by_task(&vec![pid; levels], c"/proc/sys/kernel/pid_max"));
                let text = texts.find(|text| text.as_ref() != Err(&Errno::EXIST));
                text.unwrap_or(Err(Errno::EXIST)).map_err(cannot(READ))
            })?
        };
        let pid_max = text.trim().parse();
        pid_max.map_err(|_| cannot(READ)(io::ErrorKind::InvalidData))
    }

    /// The next children of the calling thread are created in this namespace.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(cannot("enter the pid namespace"))
    }

    /// Sets the last pids of this namespace and of its ancestors, as far as the vector goes: all of
    /// them at once, or none. The next task that is created here, by any call, gets the pids that
    /// follow, if they are free.
    ///
    /// In C: `ioctl(fd, NS_SPECIFIC_IOC, &req)` with `PIDNS_REQ_SET_LAST_PID_VEC`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], [`Error::NotPermitted`], [`Error::OutOfRange`], [`Error::NoInit`].
    pub fn set_last_pids(&self, last_pids: &LastPids) -> Result<(), Error> {
        let mut text = joined(last_pids.as_ref()).into_bytes();
        Request::Set.make(self, &mut text)
    }

    /// Reads the last pids of this namespace and of its ancestors, up to the caller's own namespace
    /// and as far as the caller may, all at once.
    ///
    /// In C: `ioctl(fd, NS_SPECIFIC_IOC, &req)` with `PIDNS_REQ_GET_LAST_PID_VEC`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`]; [`Error::NotPermitted`] and [`Error::NoInit`] for this namespace.
    pub fn last_pids(&self) -> Result<LastPids, Error> {
        let mut text = [0; raw::PIDNS_LAST_PID_VEC_MAX as usize];
        Request::Get.make(self, &mut text)?;
        let text = CStr::from_bytes_until_nul(&text)
            .ok()
            .and_then(|text| text.to_str().ok());
        let last_pids = text.and_then(|text| text.parse().ok());
        last_pids.ok_or_else(|| Request::Get.refused(Errno::ILSEQ))
    }

    /// Moves allocation in this namespace past `pid`, unless it is past `pid` already. Returns the
    /// last pid that it found, which is less than `pid` if it moved allocation.
    ///
    /// New tasks get no pid up to `pid` until allocation reaches `pid_max` and starts again from
    /// the bottom. Tasks that have such pids keep them.
    ///
    /// This makes two requests. If other tasks fork between them and allocation passes `pid`, the
    /// second request moves it back to `pid`.
    ///
    /// # Errors
    ///
    /// As [`last_pids`](Self::last_pids) and [`set_last_pids`](Self::set_last_pids).
    pub fn reserve(&self, pid: u32) -> Result<u32, Error> {
        let found = self.last_pids()?.as_ref()[0];
        if found < pid {
            let past = vec![pid].try_into();
            let past = past.map_err(|_| Request::Set.refused(Errno::INVAL))?;
            self.set_last_pids(&past)?;
        }
        Ok(found)
    }
}

impl AsFd for PidNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidNamespace> for OwnedFd {
    fn from(namespace: PidNamespace) -> Self {
        namespace.0
    }
}

/// Fails with [`Error::NotAPidNamespace`] if `NS_GET_NSTYPE` says so.
impl TryFrom<OwnedFd> for PidNamespace {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self, Error> {
        match sys::ns_type(&fd) {
            Ok(ns_type) if ns_type as u32 == LinkNameSpaceType::ProcessID as u32 => Ok(Self(fd)),
            Ok(_) => Err(Error::NotAPidNamespace { source: None }),
            Err(errno) => Err(Error::NotAPidNamespace {
                source: Some(errno.into()),
            }),
        }
    }
}

/// Runs `action` in a thread of its own: what it enters, the caller's other children do not.
pub(crate) fn in_thread<T: Send>(
    action: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, action);
        let thread = thread.map_err(cannot("create a thread"))?;
        thread
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// A request of the ioctl. A kernel can have one without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `PIDNS_REQ_SET_LAST_PID_VEC`, which [`PidNamespace::set_last_pids`] makes.
    Set,
    /// `PIDNS_REQ_GET_LAST_PID_VEC`, which [`PidNamespace::last_pids`] makes.
    Get,
}

impl Request {
    fn number(self) -> u32 {
        match self {
            Self::Set => raw::PIDNS_REQ_SET_LAST_PID_VEC,
            Self::Get => raw::PIDNS_REQ_GET_LAST_PID_VEC,
        }
    }

    fn make(self, namespace: &PidNamespace, data: &mut [u8]) -> Result<(), Error> {
        sys::ns_specific(namespace, self.number(), data).map_err(|errno| self.refused(errno))
    }

    fn refused(self, errno: Errno) -> Error {
        let source = errno.into();
        match errno {
            Errno::NOTTY | Errno::OPNOTSUPP => Error::Unsupported {
                request: self,
                source,
            },
            Errno::PERM => Error::NotPermitted { source },
            Errno::INVAL => Error::OutOfRange { source },
            Errno::SRCH => Error::NoInit { source },
            _ => cannot("make a request of the pid namespace")(errno),
        }
    }
}

/// Does this kernel have the request? Needs no capability, and changes nothing.
///
/// If it is `false`, the request fails with [`Error::Unsupported`].
///
/// ```
/// use ns_last_pid::{Request, is_supported};
///
/// if !is_supported(Request::Set)? {
///     println!("this kernel cannot set the last pids of a pid namespace from outside");
/// }
/// # Ok::<(), ns_last_pid::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`PidNamespace::own`]; another one if a seccomp filter answers, for example, and not the
/// kernel.
pub fn is_supported(request: Request) -> Result<bool, Error> {
    // A kernel that has the request refuses it without a buffer, after the number was looked up.
    match (request.make(&PidNamespace::own()?, &mut []), request) {
        (Err(Error::Unsupported { .. }), _) => Ok(false),
        (Err(Error::OutOfRange { .. }), Request::Set) => Ok(true),
        (Err(Error::NotPermitted { .. }), Request::Get) => Ok(true),
        (Err(Error::System { source, .. }), Request::Get)
            if source.raw_os_error() == Some(Errno::RANGE.raw_os_error()) =>
        {
            Ok(true)
        }
        (Err(error), _) => Err(error),
        (Ok(()), _) => Err(request.refused(Errno::ILSEQ)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    #[test]
    fn a_kernel_can_have_one_request_without_the_other() {
        for (request, errno, message) in [
            (
                Request::Set,
                Errno::NOTTY,
                "this kernel has no NS_SPECIFIC_IOC",
            ),
            (
                Request::Set,
                Errno::OPNOTSUPP,
                "this kernel has NS_SPECIFIC_IOC, and cannot set last pids by it",
            ),
            (
                Request::Get,
                Errno::OPNOTSUPP,
                "this kernel has NS_SPECIFIC_IOC, and cannot read last pids by it",
            ),
        ] {
            assert_eq!(request.refused(errno).to_string(), message);
        }
    }

    proptest! {
        /// Without the capability, the kernel answers `EPERM` to a vector and `EINVAL` to any other
        /// text.
        #[test]
        fn the_kernel_takes_the_same_text(
            text in "([0-9]{1,11}:){0,35}[0-9]{1,11}|[0-9:]{1,8}|[0-9: +x-]{1,8}|(0{1,200}1:){1,4}1",
        ) {
            if !is_supported(Request::Set).unwrap() {
                assert!(std::env::var_os("NS_LAST_PID_REQUIRED").is_none(), "not supported");
                println!("skipped: this kernel has no NS_SPECIFIC_IOC");
                return Ok(());
            }
            let mut sets = capabilities(None).unwrap();
            sets.effective = CapabilitySet::empty();
            set_capabilities(None, sets).unwrap();

            let own = PidNamespace::own().unwrap();
            let mut bytes = text.clone().into_bytes();
            let answer = sys::ns_specific(&own, raw::PIDNS_REQ_SET_LAST_PID_VEC, &mut bytes);
            let want = match text.parse::<LastPids>() {
                Ok(_) => Errno::PERM,
                Err(_) => Errno::INVAL,
            };
            prop_assert_eq!(answer, Err(want));
        }
    }
}
