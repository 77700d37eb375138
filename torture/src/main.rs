// SPDX-License-Identifier: GPL-2.0-only

//! Tests of NS_SPECIFIC_IOC by random calls, concurrency and injected faults. They need root in a guest that does nothing
//! else.

mod absent;
mod faults;
mod fuzz;
mod race;
mod request;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
enum Command {
    /// Random calls, each compared with a model of its result and effect
    Fuzz(fuzz::Args),
    /// Restorers, forkers and dying namespaces at the same time
    Race(race::Args),
    /// A fault at each point of a call where the kernel can fail
    Faults,
    /// On a kernel without the ioctl: ENOTTY from every type of namespace
    Absent,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Race(args) => race::run(&args),
        Command::Faults => faults::run(),
        Command::Absent => absent::run(),
    }
}
