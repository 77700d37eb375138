// SPDX-License-Identifier: GPL-2.0-only

//! The init of a namespace dies while others set, read, fork and write to ns_last_pid there. Calls succeed until one
//! returns ESRCH, and all later ones return ESRCH. A SET of dead and living levels does not change the living ones.

use super::{
    shared::{Count, Race},
    task,
};
use crate::request::{self, vector};
use anyhow::{Result, ensure};
use bytemuck::Zeroable;
use fastrand::Rng;
use nix::{errno::Errno, sys::wait::waitpid};
use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread::yield_now,
};
use testbed::{Nest, memory};

const DEPTH: usize = 3;

/// About the one namespace that dies at a time.
#[derive(Zeroable)]
struct Deaths {
    /// Tells the callers to end.
    over: AtomicBool,
    /// The init is about to be killed.
    dying: AtomicBool,
    /// The init was seen to be dead.
    dead: AtomicBool,
    /// A fork has succeeded.
    forked: AtomicBool,
    /// A write to ns_last_pid has succeeded.
    written: AtomicBool,
}

pub fn start(race: &mut Race) -> Result<()> {
    race.work("dying", |race, mut rng| {
        let deaths = memory::shared()?;
        while race.running() {
            die(race, deaths, &mut rng)?;
        }
        Ok(())
    })
}

fn die(race: &Race, deaths: &Deaths, rng: &mut Rng) -> Result<()> {
    let nest = Nest::new(DEPTH)?;
    for flag in [
        &deaths.over,
        &deaths.dying,
        &deaths.dead,
        &deaths.forked,
        &deaths.written,
    ] {
        flag.store(false, SeqCst);
    }
    let victim = rng.usize(1..=DEPTH);
    let last_pids = (1..=DEPTH).map(|_| rng.i32(100..1000)).collect::<Vec<_>>();

    let callers = (0..2).map(|_| {
        let rng = rng.fork();
        task::create(|| race.run("dying calls", || call(race, deaths, &nest, victim, rng)))
    });
    let mut tasks = callers.collect::<nix::Result<Vec<_>>>()?;
    tasks.push(task::create(|| {
        race.run("dying fork", || fork(race, deaths, &nest))
    })?);
    tasks.push(task::create(|| {
        race.run("dying write", || write(race, deaths, &nest))
    })?);

    let begun = || deaths.forked.load(SeqCst) && deaths.written.load(SeqCst);
    while !begun() && race.running() {
        yield_now();
    }
    task::sleep(rng);
    deaths.dying.store(true, SeqCst);
    nest.end(victim)?;
    deaths.dead.store(true, SeqCst);
    race.count(Count::Killed);
    task::sleep(rng);
    deaths.over.store(true, SeqCst);
    for task in tasks {
        task::reap(task)?;
    }

    // Nobody else is there. The living levels keep the last pids that they got, whatever a SET of dead and living
    // levels asks for.
    for level in 1..victim {
        request::set(&nest.namespaces[level], vector(&last_pids[..level]))?;
        for _ in 0..8 {
            let lowest = rng.usize(victim..=DEPTH);
            let text = vector(&vec![rng.i32(2000..3000); lowest - rng.usize(..level)]);
            let set = request::set(&nest.namespaces[lowest], &text);
            let got = request::get(&nest.namespaces[level])?;
            if set == Err(Errno::ESRCH) && got[..level] == last_pids[..level] {
                race.count(Count::Unmoved);
            } else {
                race.fail(format_args!(
                    "dying: SET {text} through level {lowest}, dead from {victim}: {set:?}; GET through level {level}: \
                     expected {:?}, got {got:?}",
                    &last_pids[..level]
                ));
            }
        }
    }
    Ok(())
}

/// Sets and reads, until it is over.
fn call(race: &Race, deaths: &Deaths, nest: &Nest, victim: usize, mut rng: Rng) -> Result<()> {
    task::give_way();
    // Indexed by the level of the file descriptor and the number of levels.
    let mut refused = [[false; DEPTH + 1]; DEPTH + 1];
    while !deaths.over.load(SeqCst) {
        let level = rng.usize(1..=DEPTH);
        let get = rng.bool();
        let levels = if get { 1 } else { rng.usize(1..=level) };
        let dead = deaths.dead.load(SeqCst);
        let ns = &nest.namespaces[level];
        let answer = match get {
            true => request::get(ns).map(|got| got.len()),
            false => {
                let text = vector(&vec![rng.i32(100..1000); levels]);
                request::set(ns, text).map(|()| level + 1)
            }
        };
        // A GET stops at a dead level above, but never returns less than its own.
        let complete = answer == Ok(level + 1)
            || (get && matches!(answer, Ok(levels) if levels >= 1 && levels + victim <= level));
        let refused = &mut refused[level][levels];
        let fits = match answer {
            Ok(_) => complete && !(*refused || (dead && level >= victim)),
            Err(Errno::ESRCH) => level >= victim,
            Err(_) => false,
        };
        if !fits {
            race.fail(format_args!(
                "dying: {} of {levels} levels through level {level}, init {victim} killed, {}, {}: {answer:?} levels",
                if get { "GET" } else { "SET" },
                if dead { "and dead before" } else { "and maybe dead" },
                if *refused { "refused before" } else { "never refused before" }
            ));
        }
        *refused |= answer.is_err();
        race.count(match (get, answer) {
            (true, Ok(_)) => Count::DyingGet,
            (true, Err(_)) => Count::DeadGet,
            (false, Ok(_)) => Count::DyingSet,
            (false, Err(_)) => Count::DeadSet,
        });
    }
    Ok(())
}

/// Forks at the lowest level, until it is over.
fn fork(race: &Race, deaths: &Deaths, nest: &Nest) -> Result<()> {
    nest.enter(DEPTH)?;
    let mut refused = false;
    while !deaths.over.load(SeqCst) {
        let dead = deaths.dead.load(SeqCst);
        match task::create(|| ()) {
            Ok(task) => {
                // It ends by itself or with its namespace, whose init waits until it is reaped.
                waitpid(task, None)?;
                ensure!(!dead && !refused, "fork in a dead namespace");
                race.count(Count::DyingFork);
                deaths.forked.store(true, SeqCst);
            }
            Err(Errno::ENOMEM) => {
                refused = true;
                race.count(Count::DeadFork);
                yield_now();
            }
            Err(errno) => ensure!(false, "fork in a namespace that dies: {errno}"),
        }
    }
    Ok(())
}

/// Has a task of the lowest level write to its ns_last_pid. The task dies with its namespace. Few see that their
/// namespace is dead before the signal comes.
fn write(race: &Race, deaths: &Deaths, nest: &Nest) -> Result<()> {
    nest.enter(DEPTH)?;
    let created = task::create(|| {
        task::give_way();
        let mut refused = false;
        while !deaths.over.load(SeqCst) {
            match fs::write("/proc/sys/kernel/ns_last_pid", "500") {
                Ok(()) if !refused => {
                    race.count(Count::DyingWrite);
                    deaths.written.store(true, SeqCst);
                }
                Err(error) if is_esrch(&error) && deaths.dying.load(SeqCst) => refused = true,
                result => race.fail(format_args!(
                    "dying: write to ns_last_pid, {}: {result:?}",
                    if refused {
                        "refused before"
                    } else {
                        "never refused before"
                    }
                )),
            }
        }
    });
    // When the race ends, the namespace can die before there is a writer.
    if created != Err(Errno::ENOMEM) || !deaths.dying.load(SeqCst) {
        waitpid(created?, None)?;
    }
    Ok(())
}

fn is_esrch(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ESRCH as i32)
}
