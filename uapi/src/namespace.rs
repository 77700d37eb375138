// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Error, LastPids, error::cannot, ioctl, raw};
use rustix::{io::Errno, thread::LinkNameSpaceType};
use std::{
    ffi::CStr,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
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
        Self::from_fd(file)
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
        let namespace = ioctl::pid_namespace(pidfd);
        Ok(Self(
            namespace.map_err(cannot("get the pid namespace of the process"))?,
        ))
    }

    /// Takes a duplicate of a file descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::NotAPidNamespace`] if `NS_GET_NSTYPE` says so.
    pub fn from_fd(fd: impl AsFd) -> Result<Self, Error> {
        let fd = fd.as_fd();
        match ioctl::ns_type(fd) {
            Ok(ns_type) if ns_type as u32 == LinkNameSpaceType::ProcessID as u32 => {}
            Ok(_) => return Err(Error::NotAPidNamespace { source: None }),
            Err(errno) => {
                return Err(Error::NotAPidNamespace {
                    source: Some(errno.into()),
                });
            }
        }
        Ok(Self(
            fd.try_clone_to_owned()
                .map_err(cannot("duplicate the file descriptor"))?,
        ))
    }

    /// Opens the parent namespace, by `NS_GET_PARENT`. The kernel shows the caller no namespace
    /// above its own: the parent of that one is `None`.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn parent(&self) -> Result<Option<Self>, Error> {
        match ioctl::parent(self) {
            Ok(parent) => Ok(Some(Self(parent))),
            Err(Errno::PERM) => Ok(None),
            Err(errno) => Err(cannot("get the parent of the pid namespace")(errno)),
        }
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
        let mut room = [0; raw::PIDNS_LAST_PID_VEC_MAX as usize];
        let text = last_pids.write_to(&mut room);
        ioctl::ns_specific(self, raw::PIDNS_REQ_SET_LAST_PID_VEC, text).map_err(refused)
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
        ioctl::ns_specific(self, raw::PIDNS_REQ_GET_LAST_PID_VEC, &mut text).map_err(refused)?;
        let text = CStr::from_bytes_until_nul(&text)
            .ok()
            .and_then(|text| text.to_str().ok());
        let last_pids = text.and_then(|text| text.parse().ok());
        last_pids.ok_or_else(|| refused(Errno::ILSEQ))
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
            let past = vec![pid].try_into().map_err(|_| refused(Errno::INVAL))?;
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

/// Does this kernel have the ioctl? Needs no capability, and changes nothing.
///
/// ```
/// if !ns_last_pid::is_supported()? {
///     println!("this kernel cannot set the last pids of a pid namespace from outside");
/// }
/// # Ok::<(), ns_last_pid::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Open`] if there is no `/proc`; another one if a seccomp filter answers, for example,
/// and not the kernel.
pub fn is_supported() -> Result<bool, Error> {
    let own = PidNamespace::open("/proc/self/ns/pid")?;
    // No request has this number: a kernel that has the ioctl says so.
    match ioctl::ns_specific(&own, 0, &mut []) {
        Err(Errno::OPNOTSUPP) => Ok(true),
        Err(Errno::NOTTY) => Ok(false),
        Err(errno) => Err(refused(errno)),
        Ok(()) => Err(refused(Errno::ILSEQ)),
    }
}

fn refused(errno: Errno) -> Error {
    let source = errno.into();
    match errno {
        Errno::NOTTY | Errno::OPNOTSUPP => Error::Unsupported { source },
        Errno::PERM => Error::NotPermitted { source },
        Errno::INVAL => Error::OutOfRange { source },
        Errno::SRCH => Error::NoInit { source },
        _ => cannot("make a request of the pid namespace")(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    proptest! {
        /// Without the capability, the kernel answers `EPERM` to a vector and `EINVAL` to any other
        /// text.
        #[test]
        fn the_kernel_takes_the_same_text(
            text in "([0-9]{1,11}:){0,35}[0-9]{1,11}|[0-9:]{1,8}|[0-9: +x-]{1,8}|(0{1,200}1:){1,4}1",
        ) {
            if !crate::is_supported().unwrap() {
                assert!(std::env::var_os("NS_LAST_PID_REQUIRED").is_none(), "not supported");
                println!("skipped: this kernel has no NS_SPECIFIC_IOC");
                return Ok(());
            }
            let mut sets = capabilities(None).unwrap();
            sets.effective = CapabilitySet::empty();
            set_capabilities(None, sets).unwrap();

            let own = PidNamespace::open("/proc/self/ns/pid").unwrap();
            let mut bytes = text.clone().into_bytes();
            let answer = ioctl::ns_specific(&own, raw::PIDNS_REQ_SET_LAST_PID_VEC, &mut bytes);
            let want = match text.parse::<LastPids>() {
                Ok(_) => Errno::PERM,
                Err(_) => Errno::INVAL,
            };
            prop_assert_eq!(answer, Err(want));
        }
    }
}
