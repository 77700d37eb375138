// SPDX-License-Identifier: GPL-2.0-only

use crate::{Error, LastPids, error::cannot, ioctl, raw};
use rustix::{io::Errno, thread::LinkNameSpaceType};
use std::{
    ffi::CStr,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// No `pid_max` is larger, on any architecture.
const PID_MAX_LIMIT: u32 = 4 * 1024 * 1024;

/// No `pid_max` is smaller.
const PID_MAX_MIN: u32 = 301;

/// A vector with this number is always refused.
const NEVER_A_PID: u32 = i32::MAX as u32;

/// A pid namespace, held by a file descriptor.
///
/// The caller does not have to be in it. In C it is what `open("/proc/PID/ns/pid", O_RDONLY)`
/// returns.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ns_last_pid::PidNamespace;
///
/// let namespace = PidNamespace::of_process(4321)?;
/// println!("last pids: {}", namespace.last_pids()?);
/// // The next task there has the pids 100 and, in the parent namespace, 2000.
/// namespace.set_last_pids(&"99:1999".parse()?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PidNamespace(OwnedFd);

impl PidNamespace {
    /// Opens a namespace file: `/proc/PID/ns/pid`, `/proc/PID/ns/pid_for_children`, or what one of
    /// them was bind-mounted on.
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

    /// Opens the namespace of the process that has this pid where `/proc` was mounted.
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

    /// Opens the parent namespace, by `NS_GET_PARENT`. There is none for who is not above it: the
    /// caller's own namespace has no parent here.
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
    /// them at once, or none. The next task that is created here gets the pids that follow, by
    /// whatever call it is created, if they are free.
    ///
    /// In C: `ioctl(fd, NS_SPECIFIC_IOC, &req)` with `PIDNS_REQ_SET_LAST_PID_VEC`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], [`Error::NotPermitted`], [`Error::NoSuchLevel`],
    /// [`Error::AbovePidMax`], [`Error::NoInit`]. The kernel only says `EPERM` or `EINVAL`; which
    /// of them it is is found out afterwards, by requests that change nothing.
    pub fn set_last_pids(&self, last_pids: &LastPids) -> Result<(), Error> {
        self.request_set(last_pids)
            .map_err(|errno| self.why_not_set(last_pids, errno))
    }

    /// Reads the last pids of this namespace and of its ancestors, as many levels as the caller may
    /// set, all at once.
    ///
    /// In C: `ioctl(fd, NS_SPECIFIC_IOC, &req)` with `PIDNS_REQ_GET_LAST_PID_VEC`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], [`Error::NotPermitted`] for level 0, [`Error::NoInit`].
    pub fn last_pids(&self) -> Result<LastPids, Error> {
        let mut text = [0; raw::PIDNS_LAST_PID_VEC_MAX as usize];
        match ioctl::ns_specific(self, raw::PIDNS_REQ_GET_LAST_PID_VEC, &mut text) {
            Ok(()) => {}
            Err(errno @ Errno::PERM) => {
                return Err(Error::NotPermitted {
                    level: 0,
                    source: errno.into(),
                });
            }
            Err(errno @ Errno::INVAL) => {
                return Err(Error::NoInit {
                    source: errno.into(),
                });
            }
            Err(errno) => return Err(unexpected(errno)),
        }
        let text = CStr::from_bytes_until_nul(&text)
            .ok()
            .and_then(|text| text.to_str().ok());
        let last_pids = text.and_then(|text| text.parse().ok());
        last_pids.ok_or_else(|| unexpected(Errno::ILSEQ))
    }

    /// Moves allocation in this namespace past `pid`, if it is not there already: never backwards.
    /// Returns the last pid that it found, which is less than `pid` if allocation was moved.
    ///
    /// Pids up to `pid` are then given to nobody until allocation has come to `pid_max` and starts
    /// again from the bottom. Tasks that have such pids keep them.
    ///
    /// This is two requests. Should others create tasks between them so fast that allocation passes
    /// `pid`, it is moved back to `pid`.
    ///
    /// # Errors
    ///
    /// As [`last_pids`](Self::last_pids) and [`set_last_pids`](Self::set_last_pids), and
    /// [`Error::AbovePidMax`] if `pid` is above 2147483647.
    pub fn reserve(&self, pid: u32) -> Result<u32, Error> {
        let found = self.last_pids()?.as_ref()[0];
        if found < pid {
            let source = Errno::INVAL.into();
            let past = vec![pid].try_into();
            let past = past.map_err(|_| Error::AbovePidMax {
                level: Some(0),
                source,
            })?;
            self.set_last_pids(&past)?;
        }
        Ok(found)
    }

    fn request_set(&self, last_pids: &LastPids) -> Result<(), Errno> {
        let mut room = [0; raw::PIDNS_LAST_PID_VEC_MAX as usize];
        let text = last_pids.write_to(&mut room);
        ioctl::ns_specific(self, raw::PIDNS_REQ_SET_LAST_PID_VEC, text)
    }

    fn why_not_set(&self, last_pids: &LastPids, errno: Errno) -> Error {
        let source = errno.into();
        let numbers = last_pids.as_ref().len();
        if ![Errno::PERM, Errno::INVAL].contains(&errno) {
            return unexpected(errno);
        }
        let readable = match self.last_pids() {
            Ok(readable) => readable,
            Err(error) => return error,
        };
        let levels = readable.as_ref().len();
        if errno == Errno::PERM {
            return Error::NotPermitted {
                level: levels,
                source,
            };
        }
        if numbers > levels && !self.has_more_levels(readable) {
            return Error::NoSuchLevel {
                numbers,
                levels,
                source,
            };
        }
        let mut suspects = (0..numbers).filter(|&level| last_pids.as_ref()[level] > PID_MAX_MIN);
        let level = match (suspects.next(), suspects.next()) {
            (Some(level), None) => Some(level),
            _ => last_pids
                .as_ref()
                .iter()
                .position(|&number| number > PID_MAX_LIMIT),
        };
        Error::AbovePidMax { level, source }
    }

    /// Is there a level above those that the caller may read? One more number is then refused for
    /// the permission, and else because there is no such level. It changes nothing either way.
    fn has_more_levels(&self, readable: LastPids) -> bool {
        let numbers = [readable.as_ref(), &[NEVER_A_PID]].concat();
        match LastPids::try_from(numbers) {
            Ok(one_more) => self.request_set(&one_more) == Err(Errno::PERM),
            Err(_) => false,
        }
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
/// [`Error::Open`] if there is no `/proc`; [`Error::System`] if the kernel's answer is unexpected,
/// as that of a seccomp filter would be.
pub fn is_supported() -> Result<bool, Error> {
    let own = PidNamespace::open("/proc/self/ns/pid")?;
    // No request has this number: a kernel that has the ioctl says so.
    match ioctl::ns_specific(&own, 0, &mut []) {
        Err(Errno::OPNOTSUPP) => Ok(true),
        Err(Errno::NOTTY) => Ok(false),
        Err(errno) => Err(unexpected(errno)),
        Ok(()) => Err(unexpected(Errno::ILSEQ)),
    }
}

fn unexpected(errno: Errno) -> Error {
    match errno {
        Errno::NOTTY | Errno::OPNOTSUPP => Error::Unsupported {
            source: errno.into(),
        },
        _ => cannot("make a request of the pid namespace")(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    proptest! {
        /// Without the capability, the kernel answers `EPERM` to a vector and `EINVAL` to what is
        /// none.
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
