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
    ($($name:ident = $what:literal,)*) => {
        /// Things done or checked. Each of them has to happen.
        #[derive(Clone, Copy)]
        pub enum Count {
            $($name,)*
        }

        const COUNTS: &[&str] = &[$($what,)*];
    };
}

counts! {
    Exact = "1 undisturbed: tasks, each with exactly the pids that follow on every level",
    ExactSet = "1 … of them after a SET",
    ExactGet = "1 … GETs under the lock, equal to the model",
    ExactWrap = "1 … pids that came after a wrap at pid_max",
    ExactOccupied = "1 … pids that came after one or more that were in use",
    Malformed = "1 failing meanwhile: SETs of malformed text",
    AbovePidMax = "1 … above pid_max, at an upper level only",
    NoSuchLevel = "1 … of more levels than there are",
    Claimed = "2 disturbed: tasks, no two of them alive with the same pid",
    DisturbedSet = "2 … SETs that succeeded",
    DisturbedRefused = "2 … SETs refused, above a pid_max that moved",
    DisturbedGet = "2 … GETs within bounds",
    LockstepSet = "3 atomic: SETs of all levels at once, next to forks",
    LockstepRefused = "3 … SETs refused, without any effect",
    LockstepGet = "3 … GETs, each of a single vector",
    Lockstep = "3 … tasks with the same pid on all levels, next to SETs",
    Killed = "4 dying: namespaces whose init was killed",
    DyingSet = "4 … SETs that succeeded",
    DyingGet = "4 … GETs that succeeded",
    DyingFork = "4 … forks that succeeded",
    DyingWrite = "4 … writes to ns_last_pid that succeeded",
    DeadSet = "4 … SETs refused",
    DeadGet = "4 … GETs refused",
    DeadFork = "4 … forks refused",
    Unmoved = "4 … SETs of dead and living levels that did not change the living one",
    Born = "5 last reference: namespaces made, whose first task had pid 1",
    LastUnborn = "5 … calls before there was an init",
    LastAlive = "5 … calls that succeeded",
    LastDead = "5 … calls after the init had died",
    LastClosed = "5 … calls after the file descriptor was closed",
    HeldAlive = "5 … SETs held up while their file descriptor was closed: they succeed",
    HeldBorn = "5 … SETs held up since before there was an init: they succeed",
    HeldDead = "5 … SETs held up until they had the last reference: ESRCH",
    HeldGet = "5 … GETs held up while the namespace lived or died: they succeed",
    Unshared = "6 coming and going: unshare of the pid namespace: it has a last pid of its own",
    UserUnshared = "6 … unshare of user and pid namespace: own level settable, none above",
    LastPidWritten = "7 sysctls: writes to ns_last_pid",
    LastPidRefused = "7 … writes to ns_last_pid refused, above pid_max",
    PidMaxWritten = "7 … writes to pid_max",
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
