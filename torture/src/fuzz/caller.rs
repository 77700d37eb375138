// SPDX-License-Identifier: GPL-2.0-only

//! The processes that make the calls: one outside, the others within the nests, in user namespaces chosen at random.

use super::model;
use anyhow::{Context, Result, ensure};
use bytemuck::{CheckedBitPattern, NoUninit, bytes_of, bytes_of_mut, checked::pod_read_unaligned};
use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};
use rustix::{
    process::Uid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_res_uid},
};
use std::{
    arch::asm,
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::exit,
};
use testbed::Nest;

/// The capabilities of a caller during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub enum Privilege {
    All,
    Nothing,
    CheckpointRestore,
    SysAdmin,
    TheseTwo,
    AllButThese,
    /// For callers in the initial user namespace only.
    OtherUser,
}

pub const OTHER_USER: u32 = 1000;

impl Privilege {
    /// A caller in these namespaces, as the model has it.
    pub fn caller(self, own: usize, user: usize) -> model::Caller {
        use Privilege::*;
        model::Caller {
            own,
            user,
            uid: if self == OtherUser { OTHER_USER } else { 0 },
            restore: matches!(self, All | CheckpointRestore | TheseTwo),
            admin: matches!(self, All | SysAdmin | TheseTwo),
        }
    }

    fn take(self, full: CapabilitySets) -> rustix::io::Result<()> {
        let (restore, admin) = (CapabilitySet::CHECKPOINT_RESTORE, CapabilitySet::SYS_ADMIN);
        let effective = match self {
            Privilege::All => full.effective,
            Privilege::Nothing => CapabilitySet::empty(),
            Privilege::CheckpointRestore => restore,
            Privilege::SysAdmin => admin,
            Privilege::TheseTwo => restore | admin,
            Privilege::AllButThese => full.effective - restore - admin,
            Privilege::OtherUser => {
                return set_thread_res_uid(None, Uid::from_raw(OTHER_USER), None);
            }
        };
        set_capabilities(None, CapabilitySets { effective, ..full })
    }
}

/// One system call.
#[derive(Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C, packed)]
pub struct Order {
    pub fd: i32,
    pub cmd: u32,
    pub arg: u64,
    /// By a 32-bit system call.
    pub compat: bool,
    pub privilege: Privilege,
}

impl Order {
    /// Returns what the kernel returned, errors as negative numbers.
    fn carry_out(&self, full: CapabilitySets) -> rustix::io::Result<i32> {
        self.privilege.take(full)?;
        let ret = match self.compat {
            true => compat_ioctl(self.fd, self.cmd, self.arg as u32),
            false => ioctl(self.fd, self.cmd, self.arg),
        };
        match self.privilege {
            Privilege::OtherUser => set_thread_res_uid(None, Uid::ROOT, None)?,
            _ => set_capabilities(None, full)?,
        }
        Ok(ret)
    }
}

/// A process that carries out orders. It has the files and the memory that existed when it was forked.
pub struct Worker {
    pub pid: Pid,
    orders: UnixStream,
}

impl Worker {
    /// Forks a worker in the namespace `depth` levels down, and in a user namespace if one is given.
    pub fn new(nest: &Nest, depth: usize, user: Option<&OwnedFd>) -> Result<Self> {
        let (orders, theirs) = UnixStream::pair()?;
        match fork_in(nest, depth, user)? {
            Some(pid) => Ok(Self { pid, orders }),
            None => {
                // The caller must read EOF when the fuzzer ends, so it keeps no copy of this end.
                drop(orders);
                exit(serve(theirs).is_err().into())
            }
        }
    }

    pub fn call(&self, order: &Order) -> Result<Result<i32, Errno>> {
        (&self.orders).write_all(bytes_of(order))?;
        let mut ret: i32 = 0;
        (&self.orders)
            .read_exact(bytes_of_mut(&mut ret))
            .with_context(|| format!("caller {} has ended", self.pid))?;
        if ret >= 0 {
            return Ok(Ok(ret));
        }
        let errno = Errno::from_raw(-ret);
        ensure!(errno != Errno::UnknownErrno, "the kernel returned {ret}");
        Ok(Err(errno))
    }
}

/// An init does not end before the last task of its namespace has been reaped.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// Carries out orders until EOF.
fn serve(mut orders: UnixStream) -> Result<()> {
    let full = capabilities(None)?;
    let mut message = [0; size_of::<Order>()];
    while orders.read_exact(&mut message).is_ok() {
        let order: Order = pod_read_unaligned(&message);
        let ret = order.carry_out(full)?;
        orders.write_all(bytes_of(&ret))?;
    }
    Ok(())
}

/// Creates a namespace below the one `depth` levels down, but never its init.
pub fn unborn(nest: &Nest, depth: usize, user: Option<&OwnedFd>) -> Result<File> {
    let (told, mut tell) = UnixStream::pair()?;
    match fork_in(nest, depth, user)? {
        None => {
            drop(told);
            let done = unshare(CloneFlags::CLONE_NEWPID);
            let _ = tell.write_all(&[u8::from(done.is_ok())]);
            let _ = tell.read(&mut [0]);
            exit(0)
        }
        Some(pid) => {
            drop(tell);
            let mut done = [0];
            (&told).read_exact(&mut done)?;
            ensure!(done == [1], "unshare below level {depth}");
            let ns = File::open(format!("/proc/{pid}/ns/pid_for_children"))?;
            drop(told);
            waitpid(pid, None)?;
            Ok(ns)
        }
    }
}

/// As `fork()`, with the child in the namespace `depth` levels down, and in a user namespace if one is given.
fn fork_in(nest: &Nest, depth: usize, user: Option<&OwnedFd>) -> Result<Option<Pid>> {
    nest.enter(depth)?;
    // SAFETY: This process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            nest.enter(0)?;
            Ok(Some(child))
        }
        ForkResult::Child => {
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            if let Some(Err(errno)) = user.map(|user| setns(user, CloneFlags::CLONE_NEWUSER)) {
                eprintln!("setns to a user namespace: {errno}");
                exit(1)
            }
            Ok(None)
        }
    }
}

fn ioctl(fd: i32, cmd: u32, arg: u64) -> i32 {
    // SAFETY: The kernel writes only into buffers that the callers have for it.
    match unsafe { libc::ioctl(fd, cmd as libc::Ioctl, arg) } {
        -1 => -Errno::last_raw(),
        ret => ret,
    }
}

/// Makes the call as a 32-bit program does.
fn compat_ioctl(fd: i32, cmd: u32, arg: u32) -> i32 {
    const IOCTL: u64 = 54;
    let mut ret = IOCTL;
    // SAFETY: As for `ioctl()`. The compiler reserves rbx, so the code restores it.
    unsafe {
        asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd) => _,
            inout("rax") ret,
            in("rcx") u64::from(cmd),
            in("rdx") u64::from(arg),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    ret as i32
}
