// SPDX-License-Identifier: MIT OR Apache-2.0

#![allow(unsafe_code, reason = "pre_exec()")]

use crate::{
    Error, LEVELS_MAX, LastPids, PidNamespace, Reason, error::cannot, namespace::in_thread, sys,
};
use rustix::{
    io::{Errno, read, write},
    pipe::{PipeFlags, pipe_with},
    process::getpid,
};
use std::{
    ffi::OsStr,
    io,
    ops::Range,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command},
    sync::{Arc, Mutex, PoisonError},
};

/// A command that can be spawned with chosen pids, and does not run unless it has them.
///
/// The child compares its pids on each level with the wanted ones before it becomes the command. It
/// asks the kernel for them, and not `/proc`.
#[derive(Debug)]
pub struct GatedCommand {
    command: Command,
    gate: Arc<Mutex<Option<Arc<Gate>>>>,
}

#[derive(Debug)]
struct Gate {
    wanted: Vec<u32>,
    /// The namespace of each wanted pid.
    levels: Vec<PidNamespace>,
    /// A pipe for the pids that the child has.
    report: OwnedFd,
}

type Report = [[u8; 4]; LEVELS_MAX];

impl Gate {
    /// Opens if the child has the wanted pids. It runs in the child after fork(), and makes only
    /// system calls.
    fn pass(&self) -> io::Result<()> {
        let own = getpid().as_raw_pid() as u32;
        let mut report: Report = [[0; 4]; LEVELS_MAX];
        let mut has = true;
        for (got, (level, &wanted)) in report.iter_mut().zip(self.levels.iter().zip(&self.wanted)) {
            let pid = sys::pid_in(level, own)?;
            *got = pid.to_ne_bytes();
            has &= pid == wanted;
        }
        write(&self.report, report.as_flattened())?;
        match has {
            true => Ok(()),
            false => Err(Errno::CANCELED.into()),
        }
    }
}

impl GatedCommand {
    /// Takes the name of a program, looked up as by [`Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        let gate = Arc::new(Mutex::new(None::<Arc<Gate>>));
        let in_child = Arc::clone(&gate);
        let pass = move || match in_child.try_lock().as_deref() {
            Ok(Some(gate)) => gate.pass(),
            // The caller spawned the command inside, and wants no pids.
            Ok(None) => Ok(()),
            Err(_) => Err(Errno::DEADLK.into()),
        };
        // SAFETY: The closure makes only system calls, and takes a lock that nobody holds: only
        // spawn() does, which borrows the command exclusively, and not at a fork.
        unsafe { command.pre_exec(pass) };
        Self { command, gate }
    }

    /// Gives access to the arguments, environment, working directory and standard streams.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Spawns the command in `namespace` with these pids: the first in `namespace`, the next in its
    /// parent, and so on upward, in the order of a vector of last pids. On further levels the kernel
    /// chooses.
    ///
    /// The command runs only if the task has these pids. If it has others, because another task was
    /// created at the same moment or because a pid is in use, the task ends, and is created again, in
    /// at most `tries` tries (at least one). The caller waits for the child that is returned. Other
    /// children of the caller stay in their namespace. The command can be spawned again.
    ///
    /// Each try runs in a thread of its own, which calls `setns(fd, CLONE_NEWPID)`, makes
    /// `PIDNS_REQ_SET_LAST_PID_VEC` with each pid less one, forks, and ends. The kernel sends a
    /// parent-death signal that was asked for in [`pre_exec`](CommandExt::pre_exec) at that end.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidPids`]: a pid is 0 or 1. A namespace without an init refuses a vector, so
    ///   that its init cannot be spawned this way.
    /// - [`Error::NoSuchPid`]: a pid is not below the `pid_max` of its level, as far as
    ///   [`PidNamespace::pid_max`] can read that. There is no second try then.
    /// - [`Error::Unverifiable`]: a level is above the caller's own pid namespace, or does not exist.
    /// - [`Error::Command`]: the program does not exist, or cannot be executed.
    /// - [`Error::OtherPids`]: no try gave these pids.
    /// - [`Error::System`]: the calling process cannot `setns()` into the namespace. It needs
    ///   `CAP_SYS_ADMIN` for it there and in its own user namespace, and to be in the namespace or
    ///   in an ancestor.
    /// - those of [`PidNamespace::set_last_pids`].
    pub fn spawn(
        &mut self,
        namespace: &PidNamespace,
        pids: &[u32],
        tries: u32,
    ) -> Result<Child, Error> {
        if !pids.iter().all(|pid| (2..=i32::MAX as u32).contains(pid)) {
            return Err(Error::InvalidPids);
        }
        let before: Vec<u32> = pids.iter().map(|pid| pid - 1).collect();
        let before = before.try_into().map_err(|_| Error::InvalidPids)?;

        let mut levels = vec![PidNamespace::from_fd(namespace)?];
        levels.extend(namespace.parents()?);
        if pids.len() > levels.len() {
            return Err(Error::Unverifiable {
                wanted: pids.len(),
                levels: levels.len(),
            });
        }
        levels.truncate(pids.len());
        let (reports, report) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(cannot("create a pipe"))?;
        let gate = Arc::new(Gate {
            wanted: pids.into(),
            levels,
            report,
        });

        self.set_gate(Some(Arc::clone(&gate)));
        let child = self.try_spawn(&gate, &before, tries.max(1), &reports);
        self.set_gate(None);
        child
    }

    fn set_gate(&self, gate: Option<Arc<Gate>>) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    fn try_spawn(
        &mut self,
        gate: &Gate,
        before: &LastPids,
        tries: u32,
        reports: &OwnedFd,
    ) -> Result<Child, Error> {
        let count = gate.wanted.len();
        let mut got = Vec::new();
        let mut level = 0;
        for tried in 0..tries {
            let spawned = in_thread(|| {
                gate.levels[0].enter()?;
                gate.levels[0].set_last_pids(before)?;
                Ok(self.command.spawn())
            });
            let spawned = match spawned {
                Err(refused @ Error::OutOfRange { .. }) => {
                    return Err(gate.no_such_pid(0..count).unwrap_or(refused));
                }
                spawned => spawned?,
            };
            let mut report: Report = [[0; 4]; LEVELS_MAX];
            // Without a report, the pipe has nothing to read, and the zeros stay.
            let _ = read(reports, report.as_flattened_mut());
            got = report[..count]
                .iter()
                .map(|&pid| u32::from_ne_bytes(pid))
                .collect();
            let source = match spawned {
                Ok(child) => return Ok(child),
                Err(source) => source,
            };
            if got[0] == 0 {
                return Err(cannot("create a task")(source));
            }
            level = match (0..count).find(|&level| got[level] != gate.wanted[level]) {
                Some(level) => level,
                None => {
                    let program = self.command.get_program().into();
                    return Err(Error::Command { program, source });
                }
            };
            if let (0, Some(error)) = (tried, gate.no_such_pid(level..level + 1)) {
                return Err(error);
            }
        }
        Err(Error::OtherPids {
            wanted: gate.wanted.clone(),
            got,
            tries,
            level,
            reason: Reason::find(&gate.levels[level], gate.wanted[level]),
        })
    }
}

impl Gate {
    fn no_such_pid(&self, mut levels: Range<usize>) -> Option<Error> {
        levels.find_map(|level| {
            let pid = self.wanted[level];
            let pid_max = self.levels[level].pid_max().ok()?;
            (pid >= pid_max).then_some(Error::NoSuchPid {
                level,
                pid,
                pid_max,
            })
        })
    }
}
