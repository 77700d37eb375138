// SPDX-License-Identifier: GPL-2.0-only

//! Shared by bench and torture: nested pid namespaces, the pids of a task on each level, memory that tasks share, and the
//! requests as plain system calls.

pub mod memory;
mod nest;
pub mod request;

pub use nest::{Level, Nest, pids_of};
