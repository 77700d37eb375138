// SPDX-License-Identifier: MIT OR Apache-2.0

#![doc = include_str!("../README.md")]

mod error;
mod ioctl;
mod namespace;
/// The ioctl of `linux/nsfs.h`, for programs that make the system call themselves. On mips, powerpc
/// and sparc, `NS_SPECIFIC_IOC` is another number.
#[allow(missing_docs, non_camel_case_types)]
pub mod raw;
mod spawn;
mod vector;

pub use error::Error;
pub use namespace::{PidNamespace, is_supported};
pub use spawn::GatedCommand;
pub use vector::{InvalidVector, LEVELS_MAX, LastPids};
