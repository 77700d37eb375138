// SPDX-License-Identifier: GPL-2.0-only

//! The last reference to a namespace is dropped while calls on it run. Those who call share the table of file descriptors
//! with the one who makes, kills and closes.

use super::{
    shared::{Calls, Count, Race},
    task,
};
use crate::call::{self};
use anyhow::{Result, ensure};
use fastrand::Rng;
use nest::Nest;
use nix::{
    errno::Errno,
    sched::{CloneFlags, clone, setns, unshare},
    sys::{prctl, signal::Signal},
    unistd::Pid,
};
use std::{
    fs::File,
    io::{PipeWriter, pipe},
    os::fd::{AsRawFd, RawFd},
    process::exit,
    sync::atomic::{
        AtomicI32, AtomicU32, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread::yield_now,
};

// What has happened to the namespace that is published, or begins to happen.
const BORN: u32 = 1;
const DYING: u32 = 2;
const DEAD: u32 = 4;
const CLOSING: u32 = 8;
const CLOSED: u32 = 16;

/// A file descriptor of a namespace, for the callers.
pub struct Published {
    /// Which one it is, and above that its number plus one, or nothing when there is none.
    fd: AtomicU64,
    init: AtomicI32,
    events: AtomicU32,
    calls: Calls,
}

impl Published {
    /// From here on its number may be another file's.
    fn withdraw(&self) {
        self.fd
            .store((self.fd.load(SeqCst) & 0xffff_ffff) + 1, SeqCst);
        self.events.store(0, SeqCst);
    }

    fn publish(&self, file: &File) {
        self.fd
            .fetch_add((file.as_raw_fd() as u64 + 1) << 32, SeqCst);
    }

    fn happens(&self, events: u32) {
        self.events.fetch_or(events, SeqCst);
    }

    /// Calls with the number of the file, again and again.
    fn call(
        &self,
        race: &Race,
        bell: &PipeWriter,
        mut rng: Rng,
        call: impl Fn(&mut Rng, i32) -> Call,
    ) {
        task::give_way();
        while !self.calls.over() {
            let fd = self.fd.load(SeqCst);
            if fd >> 32 == 0 {
                yield_now();
                continue;
            }
            let before = self.events.load(SeqCst);
            let Call {
                what,
                done,
                gone,
                answer,
            } = call(&mut rng, (fd >> 32) as i32 - 1);
            let after = self.events.load(SeqCst);
            self.calls.made(bell);
            if self.fd.load(SeqCst) != fd {
                continue;
            }
            let fits = match answer {
                Ok(()) => before & (DEAD | CLOSED) == 0,
                Err(Errno::EINVAL) => {
                    before & CLOSED == 0 && (before & BORN == 0 || after & DYING != 0)
                }
                Err(Errno::EBADF) => after & CLOSING != 0,
                // What opening a file of a dead process fails with.
                Err(Errno::ENOENT | Errno::ESRCH | Errno::EACCES) => after & DYING != 0,
                Err(_) => false,
            };
            if !fits {
                race.fail(format_args!(
                    "5 last reference: {what}: {answer:?}, events before {before:#x}, after {after:#x}"
                ));
            }
            race.count(if answer.is_ok() {
                done
            } else {
                gone(answer, before)
            });
            if before & CLOSING == 0 && after & CLOSED != 0 && answer != Err(Errno::EBADF) {
                race.count(Count::AcrossClose);
            }
        }
    }
}

struct Call {
    what: &'static str,
    done: Count,
    /// What it counts as if it fails, by the events before.
    gone: fn(Result<(), Errno>, u32) -> Count,
    answer: Result<(), Errno>,
}

pub fn start(race: &mut Race) -> Result<()> {
    race.work("last reference", births)?;
    race.work("vanishing", vanishings)?;
    Ok(())
}

/// A namespace from before its init to after its last file descriptor.
fn births(race: &Race, mut rng: Rng) -> Result<()> {
    let published = &race.shared.published[0];
    let (heard, bell) = pipe()?;
    let own = File::open("/proc/self/ns/pid")?;
    let enter_own = || setns(&own, CloneFlags::CLONE_NEWPID);
    let callers = [
        sharing_files(|| published.call(race, &bell, rng.fork(), request))?,
        sharing_files(|| published.call(race, &bell, rng.fork(), request))?,
    ];
    while race.running() {
        published.withdraw();
        unshare(CloneFlags::CLONE_NEWPID)?;
        let ns = File::open("/proc/self/ns/pid_for_children")?;
        published.publish(&ns);
        published.calls.wait(&heard, rng.usize(..20))?;

        let init = task::init(|| {
            let pids = task::pids();
            if pids.len() == 2 && pids[1] == 1 {
                race.count(Count::Born);
            } else {
                race.fail(format_args!(
                    "5: the first task of a namespace has the pids {pids:?}"
                ));
            }
        })?;
        published.happens(BORN);
        published.calls.wait(&heard, rng.usize(..20))?;

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
        // The last reference is this task's own, the file or the init.
        match rng.u8(..4) {
            0 => {
                kill()?;
                close(ns);
                enter_own()?;
            }
            1 => {
                close(ns);
                enter_own()?;
                kill()?;
            }
            _ => {
                enter_own()?;
                kill()?;
                published.calls.wait(&heard, rng.usize(..4))?;
                close(ns);
            }
        }
        published.calls.wait(&heard, rng.usize(..4))?;
    }
    published.calls.end(true);
    for caller in callers {
        task::reap(caller)?;
    }
    Ok(())
}

fn request(rng: &mut Rng, fd: i32) -> Call {
    let set = rng.bool();
    Call {
        what: if set { "SET" } else { "GET" },
        done: Count::LastAlive,
        gone: |answer, before| match answer {
            Err(Errno::EBADF) => Count::LastClosed,
            _ if before & BORN == 0 => Count::LastUnborn,
            _ => Count::LastDead,
        },
        answer: if set {
            call::set(&fd, "500")
        } else {
            call::get(&fd).map(drop)
        },
    }
}

/// A namespace within another one, both of which vanish.
fn vanishings(race: &Race, mut rng: Rng) -> Result<()> {
    let published = &race.shared.published[1];
    let (heard, bell) = pipe()?;
    // One only: its own files must not get the number of one that was closed.
    let caller = sharing_files(|| {
        published.call(race, &bell, rng.fork(), |rng, fd| {
            reach(rng, fd, published.init.load(Relaxed))
        });
    })?;
    while race.running() {
        published.withdraw();
        let nest = Nest::new(2)?;
        published.init.store(nest.inits[1].as_raw(), Relaxed);
        published.happens(BORN);
        published.publish(&nest.namespaces[2]);
        published.calls.wait(&heard, rng.usize(..20))?;
        published.happens(DYING | CLOSING);
        drop(nest);
        published.happens(DEAD | CLOSED);
        published.calls.wait(&heard, rng.usize(..3))?;
    }
    published.calls.end(true);
    Ok(task::reap(caller)?)
}

fn reach(rng: &mut Rng, fd: i32, init: i32) -> Call {
    let set = rng.bool();
    let ask = |ns: RawFd| {
        if set {
            call::set(&ns, "500")
        } else {
            call::get(&ns).map(drop)
        }
    };
    if rng.bool() {
        Call {
            what: "through NS_GET_PARENT",
            done: Count::Parents,
            gone: |_, _| Count::ParentsGone,
            answer: call::parent(&fd).and_then(|parent| ask(parent.as_raw_fd())),
        }
    } else {
        let file = File::open(format!("/proc/{init}/ns/pid"));
        let file = file.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()));
        Call {
            what: "through /proc/PID/ns/pid",
            done: Count::Vanishing,
            gone: |_, _| Count::VanishingGone,
            answer: file.and_then(|file| ask(file.as_raw_fd())),
        }
    }
}

/// Creates a task that shares this one's table of file descriptors.
pub fn sharing_files(work: impl FnOnce()) -> Result<Pid> {
    let mut stack = vec![0; 1 << 18];
    let mut work = Some(work);
    let run = Box::new(|| {
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        if let Some(work) = work.take() {
            work();
        }
        exit(0)
    });
    // SAFETY: This process has one thread, and the task has a copy of its memory as after a fork.
    let task = unsafe {
        clone(
            run,
            &mut stack,
            CloneFlags::CLONE_FILES,
            Some(Signal::SIGCHLD as i32),
        )
    }?;
    ensure!(task.as_raw() > 0, "clone");
    Ok(task)
}
