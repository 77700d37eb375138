// SPDX-License-Identifier: GPL-2.0-only

//! The programs that measure and torture have in common: nested pid namespaces, tasks with pids on each level, memory that
//! tasks share, the requests as plain system calls.

pub mod memory;
mod nest;
pub mod request;
pub mod task;

pub use nest::{Level, Nest};
