// SPDX-License-Identifier: GPL-2.0-only

//! Nested pid namespaces, one below the other, and the pids of a task there.

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::readlink,
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl::set_dumpable,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, Uid, fork, getegid, geteuid, setresuid},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{PidfdFlags, pidfd_open},
};
use std::{
    fmt::Display,
    fs::{self, File},
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    process::exit,
};

/// The properties of a level below the restorer's own.
#[derive(Clone, Copy, Default)]
pub struct Level {
    /// The user who creates a new user namespace that owns the level. Without it, the parent's owner owns the level.
    pub owner: Option<u32>,
    /// Without it, the kernel's default holds.
    pub pid_max: Option<i32>,
}

impl Level {
    pub fn with_pid_max(pid_max: i32) -> Self {
        Self {
            owner: None,
            pid_max: Some(pid_max),
        }
    }
}

/// The restorer's own pid namespace and those below it, each with an init that does nothing.
pub struct Nest {
    /// The first is the restorer's own.
    pub namespaces: Vec<File>,
    /// The pids of the inits in the restorer's namespace, from depth 1 on.
    pub inits: Vec<Pid>,
    child: Pid,
    /// The inits wait for a byte or EOF from this pipe. They also read EOF when the restorer dies.
    end: PipeWriter,
}

impl Nest {
    pub fn new(depth: usize) -> Result<Self> {
        Self::of(&vec![Level::default(); depth])
    }

    /// One namespace for each of `levels`, the outermost first.
    pub fn of(levels: &[Level]) -> Result<Self> {
        let depth = levels.len();
        let (mut ready, told) = pipe()?;
        let (ended, end) = pipe()?;
        let mut namespaces = vec![File::open("/proc/self/ns/pid")?];
        // SAFETY: This process has one thread.
        let child = match unsafe { fork() }? {
            ForkResult::Child => {
                drop((ready, end));
                exit(failed(keep(levels, told, ended)));
            }
            ForkResult::Parent { child } => child,
        };
        drop((told, ended));
        let mut pids = String::new();
        ready.read_to_string(&mut pids)?;
        let mut inits = Vec::new();
        for pid in pids.lines() {
            inits.push(Pid::from_raw(pid.parse()?));
            namespaces.push(File::open(format!("/proc/{pid}/ns/pid"))?);
        }
        if namespaces.len() != depth + 1 {
            bail!("cannot create {depth} nested pid namespaces");
        }
        Ok(Self {
            namespaces,
            inits,
            child,
            end,
        })
    }

    /// Makes this process create its next tasks in the namespace `depth` levels down.
    pub fn enter(&self, depth: usize) -> Result<()> {
        setns(&self.namespaces[depth], CloneFlags::CLONE_NEWPID).context("setns")
    }

    /// Ends the namespace `depth` levels down and those below it. Their files stay open.
    pub fn end(&self, depth: usize) -> Result<()> {
        let init = self.inits[depth - 1];
        kill(init, Signal::SIGKILL)?;
        await_end(init)
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        // The end of the first init ends all below it. An error has no consequence here.
        if !self.inits.is_empty() {
            let _ = self.end(1);
        }
        // Closing it is not enough: nests made later have inherited it.
        let _ = self.end.write_all(b".");
        let _ = waitpid(self.child, None);
    }
}

/// The pids of a task of /proc, from level 0 downward. There are none if the task is gone.
pub fn pids_of(task: impl Display) -> Vec<i32> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Waits until this process, which need not be a child, has ended.
fn await_end(pid: Pid) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).context("no pid")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
    Ok(())
}

/// Creates the levels, waits for the end and only then reaps the first init.
fn keep(levels: &[Level], told: PipeWriter, ended: PipeReader) -> Result<()> {
    let (init, mut ended) = create(levels, told, ended)?;
    let _ = ended.read(&mut [0])?;
    if let Some(init) = init {
        waitpid(init, None)?;
    }
    Ok(())
}

/// Creates the first of `levels`, whose init creates the next. Returns that init.
fn create(
    levels: &[Level],
    told: PipeWriter,
    ended: PipeReader,
) -> Result<(Option<Pid>, PipeReader)> {
    let [level, below @ ..] = levels else {
        return Ok((None, ended));
    };
    if let Some(owner) = level.owner {
        unshare_user(owner)?;
    }
    unshare(CloneFlags::CLONE_NEWPID)?;
    // SAFETY: This process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => exit(failed(init(level, below, told, ended))),
        ForkResult::Parent { child } => Ok((Some(child), ended)),
    }
}

/// Sends its pid, as /proc has it, and waits for the end.
fn init(level: &Level, below: &[Level], mut told: PipeWriter, ended: PipeReader) -> Result<()> {
    if let Some(pid_max) = level.pid_max {
        fs::write("/proc/sys/kernel/pid_max", pid_max.to_string())?;
    }
    let pid = readlink("/proc/self")?.into_string();
    writeln!(told, "{}", pid.unwrap_or_default())?;
    let (_, mut ended) = create(below, told, ended)?;
    let _ = ended.read(&mut [0])?;
    Ok(())
}

/// Enters a new user namespace that `owner` creates, and is root there.
fn unshare_user(owner: u32) -> Result<()> {
    let uid = Uid::from_raw(owner);
    setresuid(uid, uid, uid)?;
    // After the change of user, root owns /proc/self unless the process is dumpable.
    set_dumpable(true)?;
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}

fn failed(result: Result<()>) -> i32 {
    if let Err(error) = &result {
        eprintln!("nest: {error:#}");
    }
    result.is_err().into()
}
