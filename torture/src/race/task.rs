// SPDX-License-Identifier: GPL-2.0-only

//! Tasks, and their pids.

use fastrand::Rng;
use nix::{
    Result,
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill, raise},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pause},
};
use std::{
    io::{self, Read, Write, pipe},
    process::exit,
    thread,
    time::Duration,
};
use testbed::pids_of;

/// Forks a task that does `work` and then ends. It also ends when its parent does.
pub fn create(work: impl FnOnce()) -> Result<Pid> {
    // SAFETY: No process of a race has more than one thread, except one whose other thread waits in a system call.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // This never fails.
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            work();
            exit(0)
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// A task that has done a first part, and is stopped until it is let go.
pub struct Held(Pid);

/// Forks a task that does `first`, stops, and does `then` when it is let go.
pub fn hold(first: impl FnOnce(), then: impl FnOnce()) -> Result<Held> {
    let task = create(|| {
        first();
        Held::stop();
        then();
    })?;
    Ok(Held(task))
}

impl Held {
    /// A task that calls [`Self::stop`] and then ends.
    pub fn new(task: Pid) -> Self {
        Self(task)
    }

    /// Stops this task until it is let go.
    pub fn stop() {
        let _ = raise(Signal::SIGSTOP);
    }

    /// Waits for the end of the first part.
    pub fn stopped(&self) -> Result<()> {
        match waitid(
            Id::Pid(self.0),
            WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        )? {
            WaitStatus::Stopped(..) => Ok(()),
            _ => Err(Errno::ESRCH),
        }
    }

    /// Lets it go, and waits until it has ended.
    pub fn let_go(&self) -> Result<()> {
        self.stopped()?;
        kill(self.0, Signal::SIGCONT)?;
        self.ended()
    }

    /// Waits until it has ended. It has its pids until it is reaped.
    pub fn ended(&self) -> Result<()> {
        waitid(Id::Pid(self.0), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).map(drop)
    }

    /// Lets it go and reaps it.
    pub fn end(self) -> Result<()> {
        self.let_go()?;
        self.reap()
    }

    /// Fails with ESRCH unless it exited with status 0.
    pub fn reap(self) -> Result<()> {
        reap(self.0)
    }
}

/// The tasks that a worker keeps alive: not more than a few.
#[derive(Default)]
pub struct Kept(Vec<Held>);

impl Kept {
    const MAX: usize = 6;

    /// Makes room for another one; now and then for more.
    pub fn make_room(&mut self, rng: &mut Rng) -> Result<()> {
        while self.0.len() == Self::MAX || (!self.0.is_empty() && rng.u8(..4) == 0) {
            self.0.swap_remove(rng.usize(..self.0.len())).end()?;
        }
        Ok(())
    }

    pub fn keep(&mut self, task: Held) {
        self.0.push(task);
    }

    pub fn end(self) -> Result<()> {
        self.0.into_iter().try_for_each(Held::end)
    }
}

/// Forks the first task of a namespace, which does `work` and then waits to be killed. It cannot stop itself.
pub fn init(work: impl FnOnce()) -> io::Result<Pid> {
    let (mut done, told) = pipe()?;
    let task = create(|| {
        work();
        let _ = (&told).write_all(b".");
        loop {
            pause();
        }
    })?;
    drop(told);
    done.read_exact(&mut [0])?;
    Ok(task)
}

/// Kills and reaps an init. All other tasks of its namespace must have been reaped, or have their parents there.
pub fn kill_init(init: Pid) -> Result<()> {
    kill(init, Signal::SIGKILL)?;
    match waitpid(init, None)? {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// Leaves the CPU to the tasks that fork. Calls are short, and still outnumber the forks.
pub fn give_way() {
    // A task may always lower its priority.
    let _ = rustix::process::nice(10);
}

/// Sleeps while others make some calls, or none.
pub fn sleep(rng: &mut Rng) {
    thread::sleep(Duration::from_micros(rng.u64(..20_000)));
}

/// Sleeps for longer than RCU takes to drop the references that the pids of a reaped task hold.
pub fn sleep_for_rcu() {
    thread::sleep(Duration::from_millis(200));
}

pub fn reap(task: Pid) -> Result<()> {
    match waitpid(task, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// The pids of this task, from level 0 downward.
pub fn pids() -> Vec<i32> {
    pids_of("self")
}
