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
use testbed::Nest;

nix::ioctl_readwrite!(
    /// The request of the series.
    specific,
    raw::NSIO,
    raw::NS_SPECIFIC_IOC as u8,
    raw::ns_specific_req
);
nix::ioctl_readwrite!(
    /// The C port of the request of 2017, see `ci/configs/c-port.patch`.
    c_port,
    raw::NSIO,
    128,
    raw::ns_specific_req
);
nix::ioctl_read_bad!(get_id, 0x8008b70d, u64);

/// Sets last pids by one of the two requests.
pub type Set = fn(&File, &str) -> nix::Result<()>;

fn request(req: u32, data: *const u8, size: usize) -> raw::ns_specific_req {
    raw::ns_specific_req {
        req,
        data_size: size as u32,
        data: data as u64,
    }
}

pub fn set(namespace: &File, vector: &str) -> nix::Result<()> {
    let mut request = request(
        raw::PIDNS_REQ_SET_LAST_PID_VEC,
        vector.as_ptr(),
        vector.len(),
    );
    // SAFETY: The request only reads the vector.
    unsafe { specific(namespace.as_raw_fd(), &raw mut request) }.map(drop)
}

pub fn set_by_c_port(namespace: &File, vector: &str) -> nix::Result<()> {
    let mut request = request(
        raw::PIDNS_REQ_SET_LAST_PID_VEC,
        vector.as_ptr(),
        vector.len(),
    );
    // SAFETY: The request only reads the vector.
    unsafe { c_port(namespace.as_raw_fd(), &raw mut request) }.map(drop)
}

pub fn get(namespace: &File, text: &mut [u8]) -> nix::Result<usize> {
    let mut request = request(
        raw::PIDNS_REQ_GET_LAST_PID_VEC,
        text.as_mut_ptr(),
        text.len(),
    );
    // SAFETY: The request writes no more than the size that it is told.
    unsafe { specific(namespace.as_raw_fd(), &raw mut request) }.map(|length| length as usize)
}

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

pub fn get_id_of(namespace: &File) -> nix::Result<u64> {
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
            samples(rounds, || Ok(set(namespace, &chosen.vector)?)),
        )?;
        let taken = samples(rounds, || Ok(set_by_c_port(namespace, &chosen.vector)?));
        add("set, C port", depth, taken)?;
        add(
            "get",
            depth,
            samples(rounds, || Ok(get(namespace, &mut text).map(drop)?)),
        )?;
        let taken = samples(rounds, || {
            ensure!(
                set(namespace, &failing) == Err(Errno::EINVAL),
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
        let taken = samples(rounds, || Ok(set(&nest.namespaces[depth], "5000")?));
        add("move one namespace: ioctl", depth, taken)?;
        let taken = samples(rounds, || {
            tasks::write_from_inside(&nest, depth, &own, "5000")
        });
        add("move one namespace: setns, fork, write, wait", depth, taken)?;
    }
    Ok(figures)
}
