// SPDX-License-Identifier: GPL-2.0-only

//! SETs of vectors that have the same number on all levels, of which nobody may ever see two at once: in one nest where
//! nobody forks, and in another where tasks are created at the lowest level only, so that all levels move on together.

use super::{
    shared::{Count, Race},
    task::{self, Kept},
};
use crate::call::{self, vector};
use anyhow::{Result, ensure};
use fastrand::Rng;
use nest::{Level, Nest};
use nix::errno::Errno;
use std::ops::RangeInclusive;

const DEPTH: usize = 5;

/// Of level 1: the only one at which too large a number is refused.
const PID_MAX: i32 = 32768;

/// Of all levels of the nest with tasks. So small that allocation wraps often.
const LOCKSTEP_PID_MAX: i32 = 400;

/// Below are the pids of the inits, which differ; allocation does not come back there.
const FIRST: i32 = 300;

pub struct Quiet {
    pub nest: Nest,
    lockstep: Nest,
}

impl Quiet {
    pub fn new() -> Result<Self> {
        let nest = Nest::of(&[Level::with_pid_max(PID_MAX); DEPTH])?;
        let lockstep = Nest::of(&[Level::with_pid_max(LOCKSTEP_PID_MAX); DEPTH])?;
        for nest in [&nest, &lockstep] {
            call::set(&nest.namespaces[DEPTH], vector(&[FIRST; DEPTH]))?;
        }
        Ok(Self { nest, lockstep })
    }

    pub fn start(&self, race: &mut Race) -> Result<()> {
        race.call("quiet SET", |race, rng| {
            self.set(race, rng, &self.nest, FIRST..=PID_MAX, Count::QuietSet)
        })?;
        race.call("quiet SET too", |race, rng| {
            self.set(race, rng, &self.nest, FIRST..=PID_MAX, Count::QuietSet)
        })?;
        race.call("refused SET", |race, rng| self.refused(race, rng))?;
        race.call("quiet GET", |race, rng| {
            self.get(race, rng, &self.nest, Count::QuietGet)
        })?;
        race.call("quiet GET too", |race, rng| {
            self.get(race, rng, &self.nest, Count::QuietGet)
        })?;
        let range = FIRST..=LOCKSTEP_PID_MAX;
        race.call("lockstep SET", |race, rng| {
            self.set(race, rng, &self.lockstep, range, Count::LockstepSet)
        })?;
        race.call("lockstep GET", |race, rng| {
            self.get(race, rng, &self.lockstep, Count::LockstepGet)
        })?;
        race.work("lockstep fork", |race, rng| self.fork(race, rng))?;
        race.work("lockstep fork too", |race, rng| self.fork(race, rng))?;
        Ok(())
    }

    fn set(
        &self,
        race: &Race,
        mut rng: Rng,
        nest: &Nest,
        range: RangeInclusive<i32>,
        count: Count,
    ) -> Result<()> {
        while race.running() {
            let text = vector(&[rng.i32(range.clone()); DEPTH]);
            match call::set(&nest.namespaces[DEPTH], &text) {
                Ok(()) => race.count(count),
                Err(errno) => race.fail(format_args!("3 atomic: SET {text}: {errno}")),
            }
        }
        Ok(())
    }

    /// All levels would take it but the last one.
    fn refused(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let text = vector(&[rng.i32(PID_MAX + 1..2 * PID_MAX); DEPTH]);
            match call::set(&self.nest.namespaces[DEPTH], &text) {
                Err(Errno::EINVAL) => race.count(Count::QuietRefused),
                got => race.fail(format_args!(
                    "3 atomic: SET {text}: expected EINVAL, got {got:?}"
                )),
            }
        }
        Ok(())
    }

    fn get(&self, race: &Race, mut rng: Rng, nest: &Nest, count: Count) -> Result<()> {
        while race.running() {
            let level = rng.usize(2..=DEPTH);
            let got = call::get(&nest.namespaces[level])?;
            if got.len() == level + 1
                && got[..level].iter().all(|last_pid| *last_pid == got[0])
                && (FIRST..=PID_MAX).contains(&got[0])
            {
                race.count(count);
            } else {
                race.fail(format_args!(
                    "3 atomic: GET through level {level}: expected the same number of levels {level} to 1, got {got:?}"
                ));
            }
        }
        Ok(())
    }

    fn fork(&self, race: &Race, mut rng: Rng) -> Result<()> {
        self.lockstep.enter(DEPTH)?;
        let mut kept = Kept::default();
        while race.running() {
            kept.make_room(&mut rng)?;
            kept.keep(task::hold(
                || {
                    race.run("lockstep", || {
                        let pids = task::pids();
                        ensure!(
                            pids.len() == DEPTH + 1 && pids[1..].iter().all(|&pid| pid == pids[1] && pid >= FIRST),
                            "3 atomic: fork at level {DEPTH}: expected the same pid on levels 1 to {DEPTH}, got {pids:?}"
                        );
                        race.count(Count::Lockstep);
                        Ok(())
                    });
                },
                || (),
            )?);
        }
        Ok(kept.end()?)
    }
}
