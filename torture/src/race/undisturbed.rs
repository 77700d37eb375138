// SPDX-License-Identifier: GPL-2.0-only

//! Restorers at several levels share a nest and take a lock around SET and fork, so that every pid is known beforehand.
//! Calls that must fail go on meanwhile without the lock. A failed call that changed anything would make a pid wrong.

use super::{
    shared::{Count, Race},
    task::{self, Held},
};
use crate::request::{self, vector};
use anyhow::{Context, Result};
use bytemuck::Zeroable;
use fastrand::Rng;
use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
};
use std::{
    collections::VecDeque,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
};
use testbed::{Level, Nest, memory, pids_of};

const DEPTH: usize = 4;

/// Of levels 1 to `DEPTH`: so small that allocation wraps often, and so different that levels wrap at different times.
const PID_MAX: [i32; DEPTH] = [1900, 400, 1000, 340];

/// No level's pid_max is larger.
const PIDS: usize = 2000;

/// The kernel's value: after a wrap, allocation starts here.
const RESERVED_PIDS: i32 = 300;

/// Tasks that a restorer keeps alive.
const HELD: usize = 4;

/// The state of allocation in the nest. The holder of the lock may read and change it.
#[derive(Zeroable)]
struct Model {
    /// The pid to try next.
    cursor: [AtomicI32; DEPTH + 1],
    used: [[AtomicBool; PIDS]; DEPTH + 1],
}

impl Model {
    fn set(&self, level: usize, last_pid: i32) {
        self.cursor[level].store(last_pid + 1, Relaxed);
    }

    fn last_pid(&self, level: usize) -> i32 {
        (self.cursor[level].load(Relaxed) - 1).min(PID_MAX[level - 1])
    }

    fn allocate(&self, level: usize, race: &Race) -> Option<i32> {
        let cursor = self.cursor[level].load(Relaxed);
        let first = if cursor > RESERVED_PIDS {
            RESERVED_PIDS
        } else {
            1
        };
        let free = |from: i32| {
            (from..PID_MAX[level - 1]).find(|&pid| !self.used[level][pid as usize].load(Relaxed))
        };
        let start = cursor.max(first);
        let pid = free(start).or_else(|| free(first))?;
        if pid < start {
            race.count(Count::ExactWrap);
        } else if pid > start {
            race.count(Count::ExactOccupied);
        }
        self.used[level][pid as usize].store(true, Relaxed);
        self.cursor[level].store(pid + 1, Relaxed);
        Some(pid)
    }

    /// `pids` are those of level 1 and down.
    fn mark(&self, pids: &[i32], used: bool) {
        for (level, &pid) in (1..).zip(pids) {
            self.used[level][pid as usize].store(used, Relaxed);
        }
    }
}

pub struct Undisturbed {
    pub nest: Nest,
    model: &'static Model,
    lock: OwnedFd,
}

impl Undisturbed {
    pub fn new() -> Result<Self> {
        let model = memory::shared::<Model>()?;
        let nest = Nest::of(&PID_MAX.map(Level::with_pid_max))?;
        for init in &nest.inits {
            model.mark(&pids_of(init)[1..], true);
        }
        let last_pids = [100; DEPTH];
        request::set(&nest.namespaces[DEPTH], vector(&last_pids))?;
        for (level, last_pid) in (1..).zip(last_pids) {
            model.set(level, last_pid);
        }
        let lock = memfd_create(c"lock", MFdFlags::empty())?;
        Ok(Self { nest, model, lock })
    }

    pub fn start(&self, race: &mut Race) -> Result<()> {
        race.work("outside", |race, rng| self.restore(race, rng, 0))?;
        race.work("outside too", |race, rng| self.restore(race, rng, 0))?;
        race.work("inside level 1", |race, rng| self.inside(race, rng, 1))?;
        race.work("inside level 3", |race, rng| self.inside(race, rng, 3))?;
        race.call("failing calls", |race, rng| self.fail(race, rng))?;
        Ok(())
    }

    /// Each task needs an open file of its own, because the lock belongs to the open file.
    fn lock(&self) -> Result<File> {
        Ok(File::open(format!(
            "/proc/self/fd/{}",
            self.lock.as_raw_fd()
        ))?)
    }

    /// A restorer in the nest, which is a task with known pids like any other.
    fn inside(&self, race: &Race, rng: Rng, level: usize) -> Result<()> {
        let lock = self.lock()?;
        lock.lock()?;
        let restorer = self.create(race, level, "no SET", || {
            race.run("inside", || self.restore(race, rng, level));
        });
        lock.unlock()?;
        let (restorer, pids) = restorer?;
        restorer.ended()?;
        self.reap(&lock, restorer, &pids)
    }

    /// Under the lock: creates a task, which compares its pids, and returns them.
    fn create(
        &self,
        race: &Race,
        level: usize,
        after: &str,
        work: impl FnOnce(),
    ) -> Result<(Held, Vec<i32>)> {
        self.nest.enter(level)?;
        let pids = (1..=level).map(|level| self.model.allocate(level, race));
        let pids = pids.collect::<Option<Vec<_>>>().context("no pid is left")?;
        let task = task::create(|| {
            let got = task::pids();
            if got.get(1..) == Some(&pids) {
                race.count(Count::Exact);
            } else {
                race.fail(format_args!(
                    "undisturbed: after {after} through level {level}: expected the pids {pids:?} from level 1 \
                     downward, got {:?}",
                    got.get(1..)
                ));
            }
            work();
        })?;
        Ok((Held::new(task), pids))
    }

    /// `base` is the restorer's own level, below which it can create tasks.
    fn restore(&self, race: &Race, mut rng: Rng, base: usize) -> Result<()> {
        let lock = self.lock()?;
        let mut held = VecDeque::<(Held, Vec<i32>)>::new();
        while race.running() {
            if held.len() == HELD || (!held.is_empty() && rng.u8(..4) == 0) {
                let index = rng.usize(..held.len());
                if let Some((task, pids)) = held.remove(index) {
                    task.let_go()?;
                    self.reap(&lock, task, &pids)?;
                }
            }
            let level = rng.usize(base.max(1)..=DEPTH);
            let top = rng.usize(1..=level);
            let numbers: Vec<i32> = (top..=level)
                .rev()
                .map(|level| last_pid(&mut rng, level))
                .collect();
            let text = vector(&numbers);
            let set = rng.u8(..4) > 0;

            lock.lock()?;
            if set {
                if let Err(errno) = request::set(&self.nest.namespaces[level], &text) {
                    race.fail(format_args!(
                        "undisturbed: SET {text} through level {level}: expected success, got {errno}"
                    ));
                }
                for (&number, level) in numbers.iter().zip((top..=level).rev()) {
                    self.model.set(level, number);
                }
                race.count(Count::ExactSet);
            }
            if rng.u8(..4) == 0 {
                self.compare(race, base, level)?;
            }
            let after = if set {
                format!("SET {text}")
            } else {
                "no SET".into()
            };
            let created = self.create(race, level, &after, Held::stop);
            lock.unlock()?;
            held.push_back(created?);
        }
        for (task, pids) in held {
            task.let_go()?;
            self.reap(&lock, task, &pids)?;
        }
        Ok(())
    }

    /// Under the lock: GET returns the model's last pids, up to the level of the caller.
    fn compare(&self, race: &Race, base: usize, level: usize) -> Result<()> {
        let got = request::get(&self.nest.namespaces[level])?;
        let want: Vec<i32> = (base.max(1)..=level)
            .rev()
            .map(|level| self.model.last_pid(level))
            .collect();
        if got.len() == level - base + 1 && got[..want.len()] == want {
            race.count(Count::ExactGet);
        } else {
            race.fail(format_args!(
                "undisturbed: GET through level {level} by a task of level {base}: expected {want:?}, got {got:?}"
            ));
        }
        Ok(())
    }

    /// The pids of a task that has ended are free once it is reaped, and that happens under the lock.
    fn reap(&self, lock: &File, task: Held, pids: &[i32]) -> Result<()> {
        lock.lock()?;
        let reaped = task.reap();
        self.model.mark(pids, false);
        lock.unlock()?;
        Ok(reaped?)
    }

    /// Makes SETs that fail at one of their last numbers.
    fn fail(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let level = rng.usize(1..=DEPTH);
            let ns = &self.nest.namespaces[level];
            let mut numbers: Vec<i32> = (1..=level)
                .rev()
                .map(|level| last_pid(&mut rng, level))
                .collect();
            let count = match rng.u8(..3) {
                0 => {
                    numbers.push(-1);
                    Count::Malformed
                }
                1 => {
                    numbers[level - 1] = rng.i32(PID_MAX[0] + 1..3000);
                    Count::AbovePidMax
                }
                _ => {
                    numbers.extend([300, 300]);
                    Count::NoSuchLevel
                }
            };
            let text = vector(&numbers);
            match request::set(ns, &text) {
                Err(Errno::EINVAL) => race.count(count),
                got => race.fail(format_args!(
                    "undisturbed: SET {text} through level {level}: expected EINVAL, got {got:?}"
                )),
            }
        }
        Ok(())
    }
}

/// A number, often near a bound or near those of other restorers.
fn last_pid(rng: &mut Rng, level: usize) -> i32 {
    let max = PID_MAX[level - 1];
    match rng.u8(..8) {
        0 => rng.i32(0..=3),
        1 => rng.i32(max - 3..=max),
        2 => rng.i32(RESERVED_PIDS - 3..=RESERVED_PIDS + 3),
        3 | 4 => rng.i32(200..220),
        _ => rng.i32(0..=max),
    }
}
