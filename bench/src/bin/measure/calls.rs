// SPDX-License-Identifier: GPL-2.0-only

//! The calls alone.

use crate::{
    DEPTHS, figure, now,
    tasks::{self, Chosen, own_last_pid},
};
use anyhow::{Result, ensure};
use bench::Figure;
use nix::errno::Errno;
use ns_last_pid::{LastPids, PidNamespace, raw};
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
};
use testbed::{
    Nest,
    request::{self, C_PORT},
};

nix::ioctl_read_bad!(get_id, 0x8008b70d, u64);

/// Measures `call`, two reads of the clock included.
fn samples(rounds: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<i64>> {
    (0..rounds)
        .map(|_| {
            let start = now()?;
            call()?;
            Ok(now()? - start)
        })
        .collect()
}

fn get_id_of(namespace: &File) -> nix::Result<u64> {
    let mut id = 0;
    // SAFETY: NS_GET_ID writes a u64.
    unsafe { get_id(namespace.as_raw_fd(), &mut id) }?;
    Ok(id)
}

pub fn get_id_alone(rounds: usize) -> Result<Vec<Figure>> {
    let namespace = File::open("/proc/self/ns/pid")?;
    let taken = samples(rounds, || Ok(get_id_of(&namespace).map(drop)?))?;
    Ok(vec![figure("call", "NS_GET_ID", 0, &taken)])
}

pub fn measure(rounds: usize) -> Result<Vec<Figure>> {
    let nest = Nest::new(DEPTHS[DEPTHS.len() - 1])?;
    let pid_max: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    let mut figures = get_id_alone(rounds)?;
    let mut add = |what: &str, depth, taken: Result<Vec<i64>>| -> Result<()> {
        figures.push(figure("call", what, depth, &taken?));
        Ok(())
    };
    for depth in DEPTHS {
        let namespace = &nest.namespaces[depth];
        let chosen = Chosen::new(depth, 0);
        let last_pids: LastPids = chosen.vector.parse()?;
        let by_crate = PidNamespace::from_fd(namespace)?;
        // Only the last level fails.
        let failing = {
            let mut numbers = last_pids.as_ref().to_vec();
            numbers[depth] = pid_max + 1;
            LastPids::try_from(numbers)?.to_string()
        };
        let mut text = [0; raw::PIDNS_LAST_PID_VEC_MAX as usize];

        add("clock", depth, samples(rounds, || Ok(())))?;
        add(
            "set",
            depth,
            samples(rounds, || Ok(request::set(namespace, &chosen.vector)?)),
        )?;
        let taken = samples(rounds, || {
            Ok(request::set_by(C_PORT, namespace, &chosen.vector)?)
        });
        add("set, C port", depth, taken)?;
        add(
            "get",
            depth,
            samples(rounds, || {
                Ok(request::get_into(namespace, &mut text).map(drop)?)
            }),
        )?;
        let taken = samples(rounds, || {
            ensure!(
                request::set(namespace, &failing) == Err(Errno::EINVAL),
                "not refused"
            );
            Ok(())
        });
        add("set that fails at its last number", depth, taken)?;
        add(
            "set by the crate, text and all",
            depth,
            samples(rounds, || Ok(by_crate.set_last_pids(&last_pids)?)),
        )?;
    }

    // Move the last pid of one namespace from outside.
    let own = own_last_pid()?;
    for depth in DEPTHS.into_iter().filter(|&depth| depth > 0) {
        let taken = samples(rounds, || {
            Ok(request::set(&nest.namespaces[depth], "5000")?)
        });
        add("move one namespace: ioctl", depth, taken)?;
        let taken = samples(rounds, || {
            tasks::write_from_inside(&nest, depth, &own, "5000")
        });
        add("move one namespace: setns, fork, write, wait", depth, taken)?;
    }
    Ok(figures)
}
