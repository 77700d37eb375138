// SPDX-License-Identifier: GPL-2.0-only

//! Shared by all workers: whether the race goes on, the counts, and a pipe for failures.

use super::task;
use anyhow::Result;
use bytemuck::Zeroable;
use fastrand::Rng;
use nix::{sys::prctl, unistd::Pid};
use std::{
    ffi::CString,
    fmt::Display,
    io::{PipeWriter, Write},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

macro_rules! counts {
    ($($module:ident { $($name:ident = $what:literal,)* })*) => {
        /// Things done or checked. Each of them has to happen.
        #[derive(Clone, Copy)]
        pub enum Count {
            $($($name,)*)*
        }

        const COUNTS: &[&str] = &[$($(concat!(stringify!($module), ": ", $what),)*)*];
    };
}

// By module.
counts! {
    undisturbed {
        Exact = "tasks, each with exactly the pids that follow on every level",
        ExactSet = "tasks after a SET",
        ExactGet = "GETs under the lock, equal to the model",
        ExactWrap = "pids that came after a wrap at pid_max",
        ExactOccupied = "pids that came after one or more that were in use",
        Malformed = "SETs refused meanwhile, of malformed text",
        AbovePidMax = "SETs refused meanwhile, above pid_max, at an upper level only",
        NoSuchLevel = "SETs refused meanwhile, of more levels than there are",
    }
    disturbed {
        Claimed = "tasks, no two of them alive with the same pid",
        DisturbedSet = "SETs that succeeded",
        DisturbedRefused = "SETs refused, above a pid_max that moved",
        DisturbedGet = "GETs within bounds",
        Unshared = "pid namespaces unshared: each has a last pid of its own",
        UserUnshared = "user and pid namespaces unshared: own level settable, none above",
        LastPidWritten = "writes to ns_last_pid",
        LastPidRefused = "writes to ns_last_pid refused, above pid_max",
        PidMaxWritten = "writes to pid_max",
    }
    lockstep {
        LockstepSet = "SETs of all levels at once, next to forks",
        LockstepRefused = "SETs refused, without any effect",
        LockstepGet = "GETs, each of a single vector",
        Lockstep = "tasks with the same pid on all levels, next to SETs",
    }
    dying {
        Killed = "namespaces whose init was killed",
        DyingSet = "SETs that succeeded",
        DyingGet = "GETs that succeeded",
        DyingFork = "forks that succeeded",
        DyingWrite = "writes to ns_last_pid that succeeded",
        DeadSet = "SETs refused",
        DeadGet = "GETs refused",
        DeadFork = "forks refused",
        Unmoved = "SETs of dead and living levels that did not change the living one",
    }
    last {
        Born = "namespaces made, whose first task had pid 1",
        LastUnborn = "calls before there was an init",
        LastAlive = "calls that succeeded",
        LastDead = "calls after the init had died",
        LastClosed = "calls after the file descriptor was closed",
    }
    held {
        HeldAlive = "SETs held up while their file descriptor was closed: they succeed",
        HeldBorn = "SETs held up since before there was an init: they succeed",
        HeldDead = "SETs held up until they had the last reference: ESRCH",
        HeldGet = "GETs held up while the namespace lived or died: they succeed",
    }
}

#[derive(Zeroable)]
pub struct Shared {
    stopped: AtomicBool,
    counts: [AtomicU64; COUNTS.len()],
}

impl Shared {
    pub fn running(&self) -> bool {
        !self.stopped.load(Relaxed)
    }

    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        COUNTS.iter().copied().zip(counts)
    }

    pub fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Relaxed);
    }
}

/// The tools of a worker.
pub struct Race {
    pub shared: &'static Shared,
    failures: PipeWriter,
    seed: u64,
    workers: Vec<(&'static str, Pid)>,
}

impl Race {
    pub fn new(shared: &'static Shared, failures: PipeWriter, seed: u64) -> Self {
        Self {
            shared,
            failures,
            seed,
            workers: Vec::new(),
        }
    }

    /// Starts a worker, with random numbers of its own.
    pub fn work(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Race, Rng) -> Result<()>,
    ) -> Result<()> {
        let rng = Rng::with_seed(self.seed.wrapping_add(self.workers.len() as u64));
        let pid = task::create(|| self.run(name, || work(self, rng)))?;
        self.workers.push((name, pid));
        Ok(())
    }

    /// Starts a worker that only makes calls.
    pub fn call(
        &mut self,
        name: &'static str,
        call: impl FnOnce(&Race, Rng) -> Result<()>,
    ) -> Result<()> {
        self.work(name, |race, rng| {
            task::give_way();
            call(race, rng)
        })
    }

    /// Does a task's work, and reports its error as a failure.
    pub fn run(&self, name: &str, work: impl FnOnce() -> Result<()>) {
        // The kernel's reports name the task.
        let _ = prctl::set_name(&CString::new(name).unwrap_or_default());
        if let Err(error) = work() {
            self.fail(format_args!("{name}: {error:#}"));
        }
    }

    /// Closes this end of the pipe of failures, so that the reader gets EOF when the last task ends.
    pub fn workers(self) -> Vec<(&'static str, Pid)> {
        self.workers
    }

    pub fn running(&self) -> bool {
        self.shared.running()
    }

    pub fn count(&self, what: Count) {
        self.shared.count(what);
    }

    pub fn fail(&self, failure: impl Display) {
        // Shorter than PIPE_BUF, and so written at once. A reader that is gone has failed already.
        let _ = (&self.failures).write_all(format!("{failure}\n").as_bytes());
    }
}
