// SPDX-License-Identifier: GPL-2.0-only

//! Restorers, forkers and dying namespaces at the same time.

mod disturbed;
mod dying;
mod held;
mod last;
mod lockstep;
mod shared;
mod task;
mod undisturbed;

use crate::request;
use anyhow::{Result, bail, ensure};
use fastrand::Rng;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use shared::{Race, Shared};
use std::{
    io::{PipeReader, Read, pipe},
    os::fd::AsFd,
    time::{Duration, Instant},
};
use testbed::memory;

#[derive(clap::Args)]
pub struct Args {
    /// How long to run; on a slow machine longer, until everything has happened, at most five times as long
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Repeats the random choices, but not the interleaving of the tasks
    #[arg(long)]
    seed: Option<u64>,
}

/// The race goes on until everything has happened, at most so many times as long as asked for.
const PATIENCE: u32 = 5;

/// The time that the workers may take to end.
const GRACE: Duration = Duration::from_secs(300);

/// Further failures only follow from the first ones.
const FAILURES_MAX: usize = 20;

pub fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| Rng::new().u64(..));
    println!("race: {} s, --seed {seed}", args.seconds);
    // Orphans become children of this process, which looks for them at the end.
    prctl::set_child_subreaper(true)?;
    let shared = memory::shared::<Shared>()?;

    // The inits of these nests must not inherit the pipe of failures. Then its EOF means that all workers and their
    // tasks are gone.
    let undisturbed = undisturbed::Undisturbed::new()?;
    let disturbed = disturbed::Disturbed::new()?;
    let lockstep = lockstep::Lockstep::new()?;

    let (told, failures) = pipe()?;
    let mut race = Race::new(shared, failures, seed);
    undisturbed.start(&mut race)?;
    disturbed.start(&mut race)?;
    lockstep.start(&mut race)?;
    dying::start(&mut race)?;
    last::start(&mut race)?;
    held::start(&mut race)?;
    let workers = race.workers();

    let start = Instant::now();
    let mut failed = listen(told, shared, Duration::from_secs(args.seconds), &workers)?;
    for (name, pid) in workers {
        match waitpid(pid, None)? {
            WaitStatus::Exited(_, 0) => {}
            status => failed += tell(format_args!("{name}: ended with {status:?}")),
        }
    }
    // An orphan of a worker that failed: the init of its namespace would wait for it for ever.
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => break,
            stray => failed += tell(format_args!("at the end: a stray task: {stray:?}")),
        }
    }
    for nest in [&undisturbed.nest, &disturbed.nest, &lockstep.nest] {
        for level in &nest.namespaces {
            if let Err(errno) = request::get(level) {
                failed += tell(format_args!(
                    "at the end: GET of a living namespace: {errno}"
                ));
            }
        }
    }
    drop((undisturbed, disturbed, lockstep));
    match waitpid(None, None) {
        Err(Errno::ECHILD) => {}
        stray => failed += tell(format_args!("at the end: a stray task: {stray:?}")),
    }

    println!();
    for (what, count) in shared.counts() {
        println!("{count:>9}  {what}");
        if count == 0 {
            failed += tell(format_args!("{what}: never happened"));
        }
    }
    println!(
        "race: {} s, --seed {seed}, {failed} failures",
        start.elapsed().as_secs()
    );
    ensure!(failed == 0, "{failed} failures");
    Ok(())
}

fn tell(failure: std::fmt::Arguments) -> usize {
    println!("FAILED: {failure}");
    1
}

/// Prints the failures as they come and stops the workers when the time is over. Once the last task is gone, returns the
/// number of failures.
fn listen(
    mut told: PipeReader,
    shared: &Shared,
    time: Duration,
    workers: &[(&str, Pid)],
) -> Result<usize> {
    let stop = || {
        shared.stop();
        Instant::now() + GRACE
    };
    let latest = Instant::now() + PATIENCE * time;
    let mut end = Instant::now() + time;
    let mut failed = 0;
    let mut text = [0; 1 << 16];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(60)))?;
        if poll(&mut [PollFd::new(told.as_fd(), PollFlags::POLLIN)], timeout)? > 0 {
            // A failure is one write, and a pipe keeps it whole.
            let length = told.read(&mut text)?;
            if length == 0 {
                return Ok(failed);
            }
            for failure in String::from_utf8_lossy(&text[..length]).lines() {
                failed += tell(format_args!("{failure}"));
            }
            if failed >= FAILURES_MAX && shared.running() {
                end = stop();
            }
        } else if !left.is_zero() {
            continue;
        } else if shared.running() {
            let missing = shared.counts().any(|(_, count)| count == 0);
            end = if missing && failed == 0 && end < latest {
                end + Duration::from_secs(1)
            } else {
                stop()
            };
        } else {
            failed += tell(format_args!("no end within {} s", GRACE.as_secs()));
            for (name, pid) in workers {
                println!("  {name}: process {pid}");
                kill(*pid, Signal::SIGKILL).ok();
            }
            bail!("{failed} failures");
        }
    }
}
