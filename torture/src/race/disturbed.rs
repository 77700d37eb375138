// SPDX-License-Identifier: GPL-2.0-only

//! Restorers, forkers, tasks that come and go and writers of the sysctls share a nest, and do not wait for each other. No
//! two living tasks may have the same pid in one namespace, and every number must be within its bounds.

use super::{
    shared::{Count, Race},
    task::{self, Held, Kept},
};
use crate::request::{self, vector};
use anyhow::{Result, ensure};
use bytemuck::Zeroable;
use fastrand::Rng;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File},
    io,
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};
use testbed::{Level, Nest, memory, pids_of};

const DEPTH: usize = 4;

/// The largest pid_max of levels 1 to `DEPTH`. On even levels it moves between this and `PID_MAX_MIN`.
const PID_MAX: [i32; DEPTH] = [600, 500, 450, 420];

/// Leaves enough room for all tasks after a wrap to 300.
const PID_MAX_MIN: i32 = 400;

/// No level has more, level 0 included.
const PIDS: usize = 1 << 16;

/// The living task that has each pid, by its pid at level 0. A task claims its pids after it has started and gives them
/// back before it ends, so a claim is always shorter than the life of the pid.
#[derive(Zeroable)]
struct Claims([[AtomicI32; PIDS]; DEPTH + 1]);

impl Claims {
    fn claim(&self, race: &Race, pids: &[i32]) {
        for (level, &pid) in pids.iter().enumerate() {
            if level > 0 && !(1..PID_MAX[level - 1]).contains(&pid) {
                race.fail(format_args!(
                    "disturbed: pid {pid} at level {level}, out of bounds (pids {pids:?})"
                ));
            }
            let before = self.0[level][pid as usize].swap(pids[0], SeqCst);
            if before != 0 {
                race.fail(format_args!(
                    "disturbed: pid {pid} at level {level} belongs to two living tasks, {before} and {} at level 0 \
                     (pids {pids:?})",
                    pids[0]
                ));
            }
        }
        race.count(Count::Claimed);
    }

    fn give_back(&self, pids: &[i32]) {
        for (level, &pid) in pids.iter().enumerate() {
            // If two tasks had it, claim() has reported that.
            let _ = self.0[level][pid as usize].compare_exchange(pids[0], 0, SeqCst, SeqCst);
        }
    }
}

pub struct Disturbed {
    pub nest: Nest,
    claims: &'static Claims,
}

impl Disturbed {
    pub fn new() -> Result<Self> {
        let nest = Nest::of(&PID_MAX.map(Level::with_pid_max))?;
        let claims = memory::shared()?;
        Ok(Self { nest, claims })
    }

    pub fn start(&self, race: &mut Race) -> Result<()> {
        // They live as long as their namespaces.
        for init in &self.nest.inits {
            let pids = pids_of(init);
            self.claims.claim(race, &pids);
        }
        race.work("restorer", |race, rng| self.create(race, rng, 0, true))?;
        race.work("restorer in 2", |race, rng| {
            self.inside(race, 2, |race| self.create(race, rng, 2, true))
        })?;
        race.work("forker", |race, rng| self.create(race, rng, 0, false))?;
        race.work("forker in 1", |race, rng| {
            self.inside(race, 1, |race| self.create(race, rng, 1, false))
        })?;
        race.work("unshare", |race, rng| self.unshare(race, rng))?;
        race.call("sysctls in 2", |race, rng| {
            self.inside(race, 2, |race| self.write(race, rng, 2))
        })?;
        race.call("sysctls in 4", |race, rng| {
            self.inside(race, 4, |race| self.write(race, rng, 4))
        })?;
        race.call("ns_last_pid in 3", |race, rng| {
            self.inside(race, 3, |race| self.write(race, rng, 3))
        })?;
        Ok(())
    }

    /// Does a worker's work in the nest.
    fn inside(
        &self,
        race: &Race,
        level: usize,
        work: impl FnOnce(&Race) -> Result<()>,
    ) -> Result<()> {
        self.nest.enter(level)?;
        let task = task::create(|| {
            race.run("inside", || {
                claimed(race, self.claims, level, || work(race))
            })
        })?;
        Ok(task::reap(task)?)
    }

    /// Works as a restorer that takes no lock, or as a task that only forks.
    fn create(&self, race: &Race, mut rng: Rng, base: usize, restorer: bool) -> Result<()> {
        let mut kept = Kept::default();
        while race.running() {
            kept.make_room(&mut rng)?;
            let level = rng.usize(base.max(1)..=DEPTH);
            if restorer {
                self.set(race, &mut rng, level);
                self.get(race, base, level);
            }
            self.nest.enter(level)?;
            kept.keep(hold(race, self.claims, level, || ())?);
        }
        Ok(kept.end()?)
    }

    fn set(&self, race: &Race, rng: &mut Rng, level: usize) {
        let levels = rng.usize(1..=level)..=level;
        // Few numbers, so that restorers want the same.
        let numbers: Vec<i32> = levels
            .clone()
            .rev()
            .map(|level| match rng.u8(..5) {
                0 => rng.i32(0..=PID_MAX[level - 1]),
                1 => rng.i32(PID_MAX_MIN - 2..=PID_MAX_MIN),
                2 => rng.i32(PID_MAX_MIN..=PID_MAX[level - 1]),
                _ => rng.i32(300..320),
            })
            .collect();
        let text = vector(&numbers);
        // On a level where pid_max moves, a number above the lowest pid_max may be refused.
        let may_fail = levels
            .rev()
            .zip(&numbers)
            .any(|(level, &n)| level % 2 == 0 && n > PID_MAX_MIN);
        match request::set(&self.nest.namespaces[level], &text) {
            Ok(()) => race.count(Count::DisturbedSet),
            Err(Errno::EINVAL) if may_fail => race.count(Count::DisturbedRefused),
            Err(errno) => race.fail(format_args!(
                "disturbed: SET {text} through level {level}: {errno}"
            )),
        }
    }

    /// GET ends at the caller's level.
    fn get(&self, race: &Race, base: usize, level: usize) {
        let got = request::get(&self.nest.namespaces[level]);
        let fits = |got: &[i32]| {
            got.len() == level - base + 1
                && got
                    .iter()
                    .zip(PID_MAX[..level].iter().rev())
                    .all(|(got, max)| (0..=*max).contains(got))
        };
        match got {
            Ok(got) if fits(&got) => race.count(Count::DisturbedGet),
            got => race.fail(format_args!(
                "disturbed: GET through level {level}: {got:?}"
            )),
        }
    }

    /// Makes new namespaces below any level, while the vectors above them move.
    fn unshare(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let level = rng.usize(0..=DEPTH);
            let user = rng.bool();
            let last_pid = rng.i32(1..1000);
            self.nest.enter(level)?;
            let task = hold(race, self.claims, level, || {
                race.run("unshare", || {
                    unshared(race, self.claims, level, user, last_pid)
                });
            })?;
            task.end()?;
        }
        Ok(())
    }

    /// Writes the sysctls of the namespace that this task is in. Its init lives, so no write is ESRCH.
    fn write(&self, race: &Race, mut rng: Rng, level: usize) -> Result<()> {
        let moves = level.is_multiple_of(2);
        let lowest_max = if moves {
            PID_MAX_MIN
        } else {
            PID_MAX[level - 1]
        };
        while race.running() {
            if moves && rng.u8(..4) == 0 {
                let pid_max = rng.i32(PID_MAX_MIN..=PID_MAX[level - 1]);
                fs::write("/proc/sys/kernel/pid_max", pid_max.to_string())?;
                race.count(Count::PidMaxWritten);
            }
            let last_pid = rng.i32(290..=PID_MAX[level - 1] + 5);
            match fs::write("/proc/sys/kernel/ns_last_pid", last_pid.to_string()) {
                Ok(()) if last_pid <= PID_MAX[level - 1] => race.count(Count::LastPidWritten),
                Err(error)
                    if error.kind() == io::ErrorKind::InvalidInput && last_pid > lowest_max =>
                {
                    race.count(Count::LastPidRefused);
                }
                result => race.fail(format_args!(
                    "disturbed: {last_pid} to ns_last_pid at level {level}: {result:?}"
                )),
            }
        }
        Ok(())
    }
}

/// Claims this task's pids for as long as `work` takes. The task must be at `level`.
fn claimed(
    race: &Race,
    claims: &Claims,
    level: usize,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let pids = task::pids();
    ensure!(
        pids.len() == level + 1,
        "pids {pids:?} of a task at level {level}"
    );
    claims.claim(race, &pids);
    let done = work();
    claims.give_back(&pids);
    done
}

/// Forks a task that must be at `level`, and that claims its pids until it is let go.
fn hold(race: &Race, claims: &Claims, level: usize, work: impl FnOnce()) -> Result<Held> {
    let task = task::create(|| {
        race.run("held", || {
            claimed(race, claims, level, || {
                work();
                Held::stop();
                Ok(())
            })
        });
    })?;
    Ok(Held::new(task))
}

/// Runs in a task at `level`.
fn unshared(race: &Race, claims: &Claims, level: usize, user: bool, last_pid: i32) -> Result<()> {
    let own = File::open("/proc/self/ns/pid")?;
    let mut flags = CloneFlags::CLONE_NEWPID;
    flags.set(CloneFlags::CLONE_NEWUSER, user);
    unshare(flags)?;
    let ns = File::open("/proc/self/ns/pid_for_children")?;
    let early = request::set(&ns, last_pid.to_string());
    ensure!(
        early == Err(Errno::ESRCH),
        "disturbed: SET before there is an init: {early:?}"
    );
    let ensure_pid = move |want: i32| {
        let pids = task::pids();
        if pids.len() != level + 2 || pids.last() != Some(&want) {
            race.fail(format_args!(
                "disturbed: unshare below level {level}: expected the pid {want}, got the pids {pids:?}"
            ));
        }
    };
    let init = task::init(|| ensure_pid(1))?;
    request::set(&ns, last_pid.to_string())?;
    if user {
        let above = request::set(&ns, format!("{}:300", last_pid + 7));
        ensure!(
            above == Err(Errno::EPERM),
            "disturbed: SET above an own user namespace: {above:?}"
        );
        let got = request::get(&ns);
        ensure!(
            got == Ok(vec![last_pid]),
            "disturbed: GET in an own user namespace: {got:?}, not {last_pid}"
        );
    } else {
        let got = request::get(&ns)?;
        ensure!(
            got.len() == 2 && got[0] == last_pid,
            "disturbed: GET: {got:?}, not {last_pid}"
        );
    }
    task::hold(|| ensure_pid(last_pid + 1), || ())?.end()?;
    task::kill_init(init)?;
    let late = request::set(&ns, "1");
    ensure!(
        late == Err(Errno::ESRCH),
        "disturbed: SET after the init has died: {late:?}"
    );
    if user {
        race.count(Count::UserUnshared);
    } else {
        // A task in a new user namespace has no rights over the old pid namespace, so it cannot return there.
        setns(own, CloneFlags::CLONE_NEWPID)?;
        hold(race, claims, level, || ())?.end()?;
        race.count(Count::Unshared);
    }
    Ok(())
}
