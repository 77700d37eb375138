// SPDX-License-Identifier: GPL-2.0-only

//! Nested pid namespaces, one below the other.

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::readlink,
    sched::{CloneFlags, setns, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, Pid, fork},
};
use std::{
    fs::File,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    process::exit,
};

/// The restorer's own pid namespace and those below it, each with an init that does nothing.
pub struct Nest {
    /// The first is the restorer's own.
    pub namespaces: Vec<File>,
    init: Pid,
    end: Option<PipeWriter>,
}

impl Nest {
    pub fn new(depth: usize) -> Result<Self> {
        let (mut ready, told) = pipe()?;
        let (ended, end) = pipe()?;
        let mut namespaces = vec![File::open("/proc/self/ns/pid")?];
        // SAFETY: This process has one thread.
        let init = match unsafe { fork() }? {
            ForkResult::Child => {
                drop((ready, end));
                exit(descend(depth, told, ended).is_err().into());
            }
            ForkResult::Parent { child } => child,
        };
        drop((told, ended));
        let mut pids = String::new();
        ready.read_to_string(&mut pids)?;
        for pid in pids.lines() {
            namespaces.push(File::open(format!("/proc/{pid}/ns/pid"))?);
        }
        if namespaces.len() != depth + 1 {
            bail!("cannot create {depth} nested pid namespaces");
        }
        Ok(Self {
            namespaces,
            init,
            end: Some(end),
        })
    }

    /// The next tasks of this process are created in the namespace `depth` levels down.
    pub fn enter(&self, depth: usize) -> Result<()> {
        setns(&self.namespaces[depth], CloneFlags::CLONE_NEWPID).context("setns")
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        drop(self.end.take());
        // Its exit status says nothing that is not known.
        let _ = waitpid(self.init, None);
    }
}

/// Every process of the chain tells its pid, as /proc has it, once it is an init, and waits for the end.
fn descend(depth: usize, mut told: PipeWriter, mut ended: PipeReader) -> Result<()> {
    if depth > 0 {
        unshare(CloneFlags::CLONE_NEWPID)?;
        // SAFETY: This process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let pid = readlink("/proc/self")?.into_string();
                writeln!(told, "{}", pid.unwrap_or_default())?;
                exit(descend(depth - 1, told, ended).is_err().into());
            }
            ForkResult::Parent { .. } => {}
        }
    }
    drop(told);
    ended.read_to_end(&mut Vec::new())?;
    Ok(())
}
