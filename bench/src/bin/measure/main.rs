// SPDX-License-Identifier: GPL-2.0-only

//! Measures the cost of creating tasks with chosen pids, and of the calls alone. It needs root in a
//! guest that does nothing else, and writes figures as CSV to stdout.

mod allocations;
mod calls;
mod tasks;

use anyhow::Result;
use bench::{Figure, quartiles};
use clap::{Parser, ValueEnum};
use nix::time::{ClockId, clock_gettime};
use std::io;

/// The depths that are measured.
const DEPTHS: [usize; 7] = [0, 1, 2, 4, 8, 16, 31];

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Group {
    /// Tasks created and reaped, by each way.
    Tasks,
    /// The calls alone.
    Calls,
    /// NS_GET_ID alone, which any kernel has.
    GetId,
    /// Allocations during the calls, as the allocator counts them.
    Allocations,
}

#[derive(Parser)]
struct Args {
    group: Group,
    /// The number of rounds
    #[arg(long, default_value_t = 101)]
    rounds: usize,
    /// The kernel's configuration, written with each figure
    #[arg(long)]
    kernel: String,
    /// The clock counts instructions (-icount shift=0)
    #[arg(long)]
    icount: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let figures = match args.group {
        Group::Tasks => tasks::measure(args.rounds, args.icount)?,
        Group::Calls => calls::measure(args.rounds)?,
        Group::GetId => calls::get_id_alone(args.rounds)?,
        Group::Allocations => allocations::measure()?,
    };
    let unit = if args.icount { "instructions" } else { "ns" };
    let mut output = csv::Writer::from_writer(io::stdout());
    for mut figure in figures {
        if figure.unit.is_empty() {
            figure.unit = unit.into();
        }
        figure.kernel.clone_from(&args.kernel);
        output.serialize(figure)?;
    }
    output.flush()?;
    Ok(())
}

/// Nanoseconds, which are instructions under `-icount`.
fn now() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// A figure whose unit is that of the clock.
fn figure(group: &str, what: &str, depth: usize, samples: &[i64]) -> Figure {
    let [low, median, high] = quartiles(samples);
    Figure {
        group: group.into(),
        what: what.into(),
        depth,
        rounds: samples.len(),
        median,
        low,
        high,
        ..Figure::default()
    }
}
