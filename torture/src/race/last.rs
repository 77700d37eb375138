// SPDX-License-Identifier: GPL-2.0-only

//! The last reference to a namespace is dropped while calls on it run. The callers share the table of file descriptors
//! with the task that makes the namespace, kills its init and closes the file.

use super::{
    shared::{Count, Race},
    task,
};
use crate::request;
use anyhow::{Result, ensure};
use bytemuck::Zeroable;
use fastrand::Rng;
use nix::{
    errno::Errno,
    sched::{CloneFlags, clone, setns, unshare},
    sys::{prctl, signal::Signal},
    unistd::Pid,
};
use std::{
    fs::File,
    os::fd::AsRawFd,
    process::exit,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    thread::yield_now,
};
use testbed::memory;

// Events of the published namespace.
const BORN: u32 = 1;
const DYING: u32 = 2;
const DEAD: u32 = 4;
const CLOSING: u32 = 8;
const CLOSED: u32 = 16;

/// A file descriptor of a namespace, for the callers.
#[derive(Zeroable)]
struct Published {
    /// The lower half counts those before it. The upper half is its number plus one, or zero while there is none.
    fd: AtomicU64,
    events: AtomicU32,
}

impl Published {
    /// From here on its number may be another file's.
    fn withdraw(&self) {
        let count = self.fd.load(SeqCst) & 0xffff_ffff;
        self.fd.store(count + 1, SeqCst);
        self.events.store(0, SeqCst);
    }

    fn publish(&self, file: &File) {
        let number = file.as_raw_fd() as u64 + 1;
        self.fd.fetch_add(number << 32, SeqCst);
    }

    fn happens(&self, events: u32) {
        self.events.fetch_or(events, SeqCst);
    }
}

pub fn start(race: &mut Race) -> Result<()> {
    race.work("last", births)
}

/// Makes namespaces, and publishes each from before its init until after its last file descriptor.
fn births(race: &Race, mut rng: Rng) -> Result<()> {
    let published = memory::shared()?;
    let own = File::open("/proc/self/ns/pid")?;
    let enter_own = || setns(&own, CloneFlags::CLONE_NEWPID);
    let callers = [(); 2].map(|()| {
        let rng = rng.fork();
        sharing_files(|| call(race, published, rng))
    });
    while race.running() {
        published.withdraw();
        unshare(CloneFlags::CLONE_NEWPID)?;
        let ns = File::open("/proc/self/ns/pid_for_children")?;
        published.publish(&ns);
        task::sleep(&mut rng);

        let init = task::init(|| {
            let pids = task::pids();
            if pids.len() == 2 && pids[1] == 1 {
                race.count(Count::Born);
            } else {
                race.fail(format_args!(
                    "last: the first task of a namespace has the pids {pids:?}"
                ));
            }
        })?;
        published.happens(BORN);
        task::sleep(&mut rng);

        let close = |ns: File| {
            published.happens(CLOSING);
            drop(ns);
            published.happens(CLOSED);
        };
        let kill = || {
            published.happens(DYING);
            let killed = task::kill_init(init);
            published.happens(DEAD);
            killed
        };
        // The last reference is this task's own, the file or the init, or RCU has one of the init still.
        match rng.u8(..4) {
            0 => {
                kill()?;
                close(ns);
                task::sleep_for_rcu();
                enter_own()?;
            }
            1 => {
                close(ns);
                enter_own()?;
                kill()?;
            }
            order => {
                enter_own()?;
                kill()?;
                if order == 2 {
                    task::sleep_for_rcu();
                } else {
                    task::sleep(&mut rng);
                }
                close(ns);
            }
        }
        task::sleep(&mut rng);
    }
    for caller in callers {
        task::reap(caller?)?;
    }
    Ok(())
}

/// Calls with the number of the file, again and again.
fn call(race: &Race, published: &Published, mut rng: Rng) {
    task::give_way();
    while race.running() {
        let fd = published.fd.load(SeqCst);
        if fd >> 32 == 0 {
            yield_now();
            continue;
        }
        let number = (fd >> 32) as i32 - 1;
        let before = published.events.load(SeqCst);
        let (what, answer) = match rng.bool() {
            true => ("SET", request::set(&number, "500")),
            false => ("GET", request::get(&number).map(drop)),
        };
        let after = published.events.load(SeqCst);
        if published.fd.load(SeqCst) != fd {
            continue;
        }
        let fits = match answer {
            Ok(()) => before & (DEAD | CLOSED) == 0,
            Err(Errno::ESRCH) => before & CLOSED == 0 && (before & BORN == 0 || after & DYING != 0),
            Err(Errno::EBADF) => after & CLOSING != 0,
            Err(_) => false,
        };
        if !fits {
            race.fail(format_args!(
                "last: {what}: {answer:?}, events before {before:#x}, after {after:#x}"
            ));
        }
        race.count(match answer {
            Ok(()) => Count::LastAlive,
            Err(Errno::EBADF) => Count::LastClosed,
            Err(_) if before & BORN == 0 => Count::LastUnborn,
            Err(_) => Count::LastDead,
        });
    }
}

/// Creates a task that shares this one's table of file descriptors.
fn sharing_files(work: impl FnOnce()) -> Result<Pid> {
    let mut stack = vec![0; 1 << 18];
    let mut work = Some(work);
    let run = Box::new(|| {
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        if let Some(work) = work.take() {
            work();
        }
        exit(0)
    });
    let signal = Some(Signal::SIGCHLD as i32);
    // SAFETY: This process has one thread, and the task has a copy of its memory as after a fork.
    let task = unsafe { clone(run, &mut stack, CloneFlags::CLONE_FILES, signal) }?;
    ensure!(task.as_raw() > 0, "clone");
    Ok(task)
}
