// SPDX-License-Identifier: GPL-2.0-only

//! The allocations of a call, as the allocator itself counts them.

use crate::{DEPTHS, figure, tasks::Chosen};
use anyhow::{Context, Result, ensure};
use bench::Figure;
use std::fs;
use testbed::{
    Nest,
    request::{self, C_PORT},
};

/// How many calls are counted together.
const CALLS: i64 = 1000;

/// Allocations from all slab caches so far.
fn allocated() -> Result<i64> {
    let mut sum = 0;
    for cache in fs::read_dir("/sys/kernel/slab")? {
        let cache = cache?;
        // A link is another name of a cache.
        if !cache.file_type()?.is_dir() {
            continue;
        }
        for counter in ["alloc_fastpath", "alloc_slowpath"] {
            let count =
                fs::read_to_string(cache.path().join(counter)).context("no CONFIG_SLUB_STATS")?;
            let total = count.split(' ').next().unwrap_or_default();
            sum += total.trim().parse::<i64>()?;
        }
    }
    Ok(sum)
}

pub fn measure() -> Result<Vec<Figure>> {
    let depth = DEPTHS[DEPTHS.len() - 1];
    let nest = Nest::new(depth)?;
    let namespace = &nest.namespaces[depth];
    let vector = Chosen::new(depth, 0).vector;
    let mut text = [0; 512];
    let mut figures = Vec::new();
    let mut count = |what: &str, call: &mut dyn FnMut() -> Result<()>| -> Result<i64> {
        // Counting allocates, too. Measure it without calls and subtract it.
        let start = allocated()?;
        let counting = allocated()? - start;
        let mut counts = Vec::new();
        for _ in 0..5 {
            let start = allocated()?;
            for _ in 0..CALLS {
                call()?;
            }
            counts.push((allocated()? - start - counting) / CALLS);
        }
        let figure = Figure {
            unit: "count".into(),
            ..figure("alloc", what, depth, &counts)
        };
        let median = figure.median;
        figures.push(figure);
        Ok(median)
    };
    count("set", &mut || Ok(request::set(namespace, &vector)?))?;
    count("get", &mut || {
        Ok(request::get_into(namespace, &mut text).map(drop)?)
    })?;
    let seen = count("set, C port", &mut || {
        Ok(request::set_by(C_PORT, namespace, &vector)?)
    })?;
    ensure!(seen == 1, "the C port's allocation does not show: {seen}");
    Ok(figures)
}
