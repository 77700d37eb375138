// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls that no library has.

#![allow(unsafe_code)]

use crate::raw;
use rustix::{
    fs::{Mode, OFlags, open},
    io::{self, Errno, read, retry_on_intr, write},
    ioctl::{Ioctl, IoctlOutput, Opcode, Updater, ioctl, opcode},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};
use std::{
    ffi::{CStr, c_void},
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
};

/// From `linux/pidfd.h`.
const PIDFD_GET_PID_NAMESPACE: Opcode = opcode::none(0xff, 5);

/// An ioctl that takes a number and answers with its return value.
struct Number(Opcode, u32);

// SAFETY: The argument is a number, so that there is no memory that the kernel could read or write.
unsafe impl Ioctl for Number {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::without_provenance_mut(self.1 as usize)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> io::Result<IoctlOutput> {
        Ok(out)
    }
}

/// The type of the namespace: a `CLONE_NEW*` value.
pub(crate) fn ns_type(ns: impl AsFd) -> io::Result<IoctlOutput> {
    // SAFETY: NS_GET_NSTYPE takes no argument.
    unsafe { ioctl(ns, Number(raw::NS_GET_NSTYPE, 0)) }
}

/// The parent of a pid namespace.
pub(crate) fn parent(ns: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_PARENT takes no argument, and returns a new file descriptor.
    unsafe { ioctl(ns, Number(raw::NS_GET_PARENT, 0)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The pid namespace that a process is in.
pub(crate) fn pid_namespace(pidfd: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: PIDFD_GET_PID_NAMESPACE takes no argument, and returns a new file descriptor.
    unsafe { ioctl(pidfd, Number(PIDFD_GET_PID_NAMESPACE, 0)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The pid in `ns` of the task that has `pid` in the caller's pid namespace.
pub(crate) fn pid_in(ns: impl AsFd, pid: u32) -> io::Result<u32> {
    // SAFETY: NS_GET_PID_IN_PIDNS takes a number.
    unsafe { ioctl(ns, Number(raw::NS_GET_PID_IN_PIDNS, pid)).map(|pid| pid as u32) }
}

/// The pid in the caller's pid namespace of the task that has `pid` in `ns`.
pub(crate) fn pid_from(ns: impl AsFd, pid: u32) -> io::Result<u32> {
    // SAFETY: NS_GET_PID_FROM_PIDNS takes a number.
    unsafe { ioctl(ns, Number(raw::NS_GET_PID_FROM_PIDNS, pid)).map(|pid| pid as u32) }
}

/// Request number `req` of the namespace's type, with `data` for the kernel to read or write.
pub(crate) fn ns_specific(ns: impl AsFd, req: u32, data: &mut [u8]) -> io::Result<()> {
    let mut arg = raw::ns_specific_req {
        req,
        data_size: u32::try_from(data.len()).map_err(|_| Errno::INVAL)?,
        data: data.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: The kernel reads `arg` and may write it, and no request reads or writes more than the `data_size`
    // bytes at `data`, which are borrowed mutably here.
    unsafe {
        ioctl(
            ns,
            Updater::<{ raw::NS_SPECIFIC_IOC as Opcode }, _>::new(&mut arg),
        )
    }
}

/// From `linux/sched.h`, of Linux 5.5. The libc crate does not have it on each architecture.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// The first bytes of a file, read by a new process. It has these pids, the innermost level first, so
/// that pid allocation does not move on these levels. The caller gets no SIGCHLD.
pub(crate) fn read_by_task(pids: &[i32], path: &CStr) -> io::Result<String> {
    let mut text = [0; 64];
    let (from, to) = pipe_with(PipeFlags::CLOEXEC)?;
    let args = CloneArgs {
        set_tid: pids.as_ptr().expose_provenance() as u64,
        set_tid_size: pids.len() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: The kernel reads `args` and `pids`. As after a fork(), the child has a copy of the
    // memory. It makes only system calls, because another thread may have held a lock.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        0 => {
            let done = open(path, OFlags::RDONLY, Mode::empty())
                .and_then(|file| read(file, &mut text))
                .and_then(|length| write(to, text.get(..length).unwrap_or_default()));
            // SAFETY: It does not return.
            unsafe { libc::_exit(done.is_err().into()) }
        }
        child => {
            drop(to);
            // A child without a signal is waited for only with __WALL.
            let wall = WaitOptions::from_bits_retain(libc::__WALL as u32);
            retry_on_intr(|| waitpid(Pid::from_raw(child as i32), wall))?;
            let length = read(from, &mut text)?;
            Ok(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into())
        }
    }
}
