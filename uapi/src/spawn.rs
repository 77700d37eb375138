// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{Error, LastPids, PidNamespace, error::cannot};
use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    panic,
    path::Path,
    process::{Child, Command},
    thread,
};
use which::which_in;

/// The shell waits for a line before it becomes the command. If the caller dies, the shell reads
/// EOF and ends.
const GATE: &str = r#"read -r _ <&9 && exec "$@" 9<&-"#;
const GATE_FD: i32 = 9;

/// A command that can be spawned with chosen pids, and does not run unless it has them.
///
/// The task begins as a `/bin/sh`, which waits on file descriptor 9 and then becomes the command.
/// This has two side effects. The shell adds `PWD` (some shells also `SHLVL`) to the environment,
/// and drops variables whose names it does not accept. File descriptor 9 is closed.
#[derive(Debug)]
pub struct GatedCommand {
    program: OsString,
    command: Command,
}

impl GatedCommand {
    /// Takes the name of a program, looked up as by [`Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "sh"]).arg(program);
        Self {
            program: program.into(),
            command,
        }
    }

    /// Gives access to the arguments, environment, working directory and standard streams.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Spawns the command in `namespace` with these pids: the first in `namespace`, the next in its
    /// parent, and so on upward, in the order of a vector of last pids. On further levels the kernel
    /// chooses.
    ///
    /// The command runs when `NSpid` shows that the task has these pids. If it has others, because
    /// another task was created at the same moment or because a pid is in use, it is killed and
    /// created again, in at most `tries` tries (at least one). The caller waits for the child. Other
    /// children of the caller stay in their namespace.
    ///
    /// Each try runs in a thread of its own, which calls `setns(fd, CLONE_NEWPID)`, makes
    /// `PIDNS_REQ_SET_LAST_PID_VEC` with each pid less one, and forks.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidPids`]: a pid is 0 or 1. A namespace without an init refuses a vector, so
    ///   that its init cannot be spawned this way.
    /// - [`Error::Command`]: there is no such program. If only its execution fails, because the
    ///   interpreter of a script is missing for example, the shell says so on standard error and the
    ///   child's exit status is 126 or 127.
    /// - [`Error::System`]: the calling process cannot `setns()` into the namespace. It needs
    ///   `CAP_SYS_ADMIN` for it there and in its own user namespace, and to be in the namespace or
    ///   in an ancestor.
    /// - [`Error::OtherPids`]: no try gave these pids.
    /// - [`Error::Unverifiable`]: `/proc` belongs to a namespace below the last level given.
    /// - those of [`PidNamespace::set_last_pids`].
    pub fn spawn(
        mut self,
        namespace: &PidNamespace,
        pids: &[u32],
        tries: u32,
    ) -> Result<Child, Error> {
        if !pids.iter().all(|pid| (2..=i32::MAX as u32).contains(pid)) {
            return Err(Error::InvalidPids);
        }
        let before = pids.iter().map(|pid| pid - 1).collect::<Vec<_>>();
        let before = before.try_into().map_err(|_| Error::InvalidPids)?;
        self.look_up()?;

        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(cannot("create a pipe"))?;
        let gate = FdMapping {
            parent_fd: read,
            child_fd: GATE_FD,
        };
        self.command
            .fd_mappings(vec![gate])
            .expect("there is only one");

        let tries = tries.max(1);
        let mut got = Vec::new();
        for _ in 0..tries {
            let mut child = self.create(namespace, &before)?;
            match nspid(&child) {
                Ok(actual) if actual.starts_with(pids) => {
                    open_gate(write).map_err(cannot("let the command run"))?;
                    return Ok(child);
                }
                result => {
                    child
                        .kill()
                        .and_then(|()| child.wait())
                        .map_err(cannot("kill the task"))?;
                    got = result.map_err(cannot("read the NSpid of the task"))?;
                }
            }
            if got.len() < pids.len() {
                return Err(Error::Unverifiable {
                    wanted: pids.len(),
                    shown: got.len(),
                });
            }
        }
        got.truncate(pids.len());
        Err(Error::OtherPids {
            wanted: pids.into(),
            got,
            tries,
        })
    }

    /// One try. Its thread ends with it, so that it does not hold a pid that the next try needs.
    fn create(&mut self, namespace: &PidNamespace, before: &LastPids) -> Result<Child, Error> {
        let create = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))
                .map_err(cannot("enter the pid namespace"))?;
            namespace.set_last_pids(before)?;
            self.command.spawn().map_err(cannot("create a task"))
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, create);
            let thread = thread.map_err(cannot("create a thread"))?;
            thread
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    fn look_up(&self) -> Result<(), Error> {
        let path = self.command.get_envs().find(|(name, _)| *name == "PATH");
        let path = path.map_or_else(|| env::var_os("PATH"), |(_, path)| path.map(Into::into));
        let dir = self.command.get_current_dir().unwrap_or(Path::new("."));
        if which_in(&self.program, path, dir).is_ok() {
            return Ok(());
        }
        let named = self.program.as_encoded_bytes().contains(&b'/');
        let source = match named && dir.join(&self.program).exists() {
            true => Errno::ACCESS.into(),
            false => Errno::NOENT.into(),
        };
        Err(Error::Command {
            program: self.program.clone(),
            source,
        })
    }
}

/// The pids of a child that was not waited for, the innermost level first.
fn nspid(child: &Child) -> io::Result<Vec<u32>> {
    // /proc may belong to another namespace, where another task has this pid: ask by a pidfd.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pids = info.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pids = pids
        .ok_or(io::ErrorKind::InvalidData)?
        .split_whitespace()
        .rev();
    pids.map(|pid| pid.parse().map_err(io::Error::other))
        .collect()
}

fn open_gate(write: OwnedFd) -> io::Result<()> {
    File::from(write).write_all(b"\n")
}
