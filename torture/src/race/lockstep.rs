// SPDX-License-Identifier: GPL-2.0-only

//! SETs of vectors that have the same number on all levels. Nobody may ever see parts of two vectors. Tasks are created
//! at the lowest level only, so that all levels move on together.

use super::{
    shared::{Count, Race},
    task::{self, Kept},
};
use crate::request::{self, vector};
use anyhow::{Result, ensure};
use fastrand::Rng;
use nix::errno::Errno;
use testbed::{Level, Nest};

/// Many, so that a call takes long: if it does not hold the lock all the time, a test notices.
const DEPTH: usize = 31;

/// Of all levels. So small that allocation wraps often.
const PID_MAX: i32 = 400;

/// The inits have the pids below, which differ. Allocation does not return there.
const FIRST: i32 = 300;

pub struct Lockstep {
    pub nest: Nest,
}

impl Lockstep {
    pub fn new() -> Result<Self> {
        let nest = Nest::of(&[Level::with_pid_max(PID_MAX); DEPTH])?;
        request::set(&nest.namespaces[DEPTH], vector(&[FIRST; DEPTH]))?;
        Ok(Self { nest })
    }

    pub fn start(&self, race: &mut Race) -> Result<()> {
        race.call("lockstep SET", |race, rng| self.set(race, rng))?;
        race.call("lockstep SET too", |race, rng| self.set(race, rng))?;
        race.call("refused SET", |race, rng| self.refused(race, rng))?;
        race.call("lockstep GET", |race, rng| self.get(race, rng))?;
        race.work("lockstep fork", |race, rng| self.fork(race, rng))?;
        race.work("lockstep fork too", |race, rng| self.fork(race, rng))?;
        Ok(())
    }

    fn set(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let text = vector(&[rng.i32(FIRST..=PID_MAX); DEPTH]);
            match request::set(&self.nest.namespaces[DEPTH], &text) {
                Ok(()) => race.count(Count::LockstepSet),
                Err(errno) => race.fail(format_args!("lockstep: SET {text}: {errno}")),
            }
        }
        Ok(())
    }

    /// Every level would accept its number, but the vector has one number too many.
    fn refused(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let text = vector(&[rng.i32(FIRST..=PID_MAX); DEPTH + 2]);
            let level = rng.usize(2..=DEPTH);
            match request::set(&self.nest.namespaces[level], &text) {
                Err(Errno::EINVAL) => race.count(Count::LockstepRefused),
                got => race.fail(format_args!(
                    "lockstep: SET {text}: expected EINVAL, got {got:?}"
                )),
            }
        }
        Ok(())
    }

    fn get(&self, race: &Race, mut rng: Rng) -> Result<()> {
        while race.running() {
            let level = rng.usize(2..=DEPTH);
            let got = request::get(&self.nest.namespaces[level])?;
            if got.len() == level + 1
                && got[..level].iter().all(|last_pid| *last_pid == got[0])
                && (FIRST..=PID_MAX).contains(&got[0])
            {
                race.count(Count::LockstepGet);
            } else {
                race.fail(format_args!(
                    "lockstep: GET through level {level}: expected the same number of levels {level} to 1, got {got:?}"
                ));
            }
        }
        Ok(())
    }

    fn fork(&self, race: &Race, mut rng: Rng) -> Result<()> {
        self.nest.enter(DEPTH)?;
        let mut kept = Kept::default();
        while race.running() {
            kept.make_room(&mut rng)?;
            kept.keep(task::hold(
                || {
                    race.run("lockstep", || {
                        let pids = task::pids();
                        ensure!(
                            pids.len() == DEPTH + 1 && pids[1..].iter().all(|&pid| pid == pids[1] && pid >= FIRST),
                            "fork at level {DEPTH}: expected the same pid on levels 1 to {DEPTH}, got {pids:?}"
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
