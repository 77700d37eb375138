// SPDX-License-Identifier: GPL-2.0-only

//! The figures, as `measure` writes them and `report` reads them.

use serde::{Deserialize, Serialize};

/// One figure: the median and the quartiles of many interleaved rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// The configuration of the measured kernel.
    pub kernel: String,
    /// `instructions` (of the guest, under `-icount`), `ns`, `count` or `bytes`.
    pub unit: String,
    /// `task`: one task created and reaped. `call`: one call alone. `alloc`: the allocations
    /// of a call. `objects`: the sum over the kernel's object files. `vmlinux`: the linked kernel.
    pub group: String,
    /// The way of creating the task, the call, or `text`, `data`, `bss`.
    pub what: String,
    /// The task's levels below the restorer's; the call has one number more.
    pub depth: usize,
    pub rounds: usize,
    pub median: i64,
    pub low: i64,
    pub high: i64,
    /// The cost added to the plain clone of the same round: its median and quartiles.
    pub adds: Option<i64>,
    pub adds_low: Option<i64>,
    pub adds_high: Option<i64>,
    /// Context switches and wakeups of the whole guest, medians of one task.
    pub switches: Option<i64>,
    pub wakeups: Option<i64>,
}

/// The lower quartile, the median and the upper quartile.
pub fn quartiles(samples: &[i64]) -> [i64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    [1, 2, 3].map(|quarter| sorted[(sorted.len() - 1) * quarter / 4])
}

#[cfg(test)]
mod tests {
    use super::quartiles;

    #[test]
    fn quartiles_of_any_order() {
        assert_eq!(quartiles(&[5, 1, 4, 2, 3]), [2, 3, 4]);
        assert_eq!(quartiles(&[7]), [7, 7, 7]);
    }
}
