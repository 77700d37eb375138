// SPDX-License-Identifier: MIT OR Apache-2.0

#![doc = include_str!("../README.md")]

mod error;
mod namespace;
/// The ioctl of `linux/nsfs.h`, for programs that make the system call themselves.
#[allow(missing_docs, non_camel_case_types)]
pub mod raw;
mod reason;
mod spawn;
mod sys;
mod vector;

pub use error::Error;
pub use namespace::{PidNamespace, Request, is_supported};
pub use reason::Reason;
pub use spawn::GatedCommand;
pub use vector::{InvalidVector, LEVELS_MAX, LastPids};
