// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::raw;
use std::{fmt, str::FromStr};
use thiserror::Error;

/// How many levels of pid namespaces can exist, the initial one included.
pub const LEVELS_MAX: usize = 33;

const NUMBER_MAX: u32 = i32::MAX as u32;

/// A vector of last pids: one number per level, the innermost level first.
///
/// The kernel reads and writes it as text: decimal numbers separated by `:`, the first for the
/// namespace itself, the next for its parent, and so on upward. It may stop at any level.
/// After a last pid of 99, the next task gets pid 100 there, if that is free.
///
/// ```
/// use ns_last_pid::LastPids;
///
/// let last_pids: LastPids = "99:1999:29999".parse()?;
/// assert_eq!(last_pids.as_ref(), [99, 1999, 29999]);
/// assert_eq!(last_pids, LastPids::try_from(vec![99, 1999, 29999])?);
/// assert_eq!(last_pids.to_string(), "99:1999:29999");
///
/// let error = "99::5".parse::<LastPids>().unwrap_err();
/// assert_eq!(error.to_string(), "level 1: '' is not a number");
/// # Ok::<(), ns_last_pid::InvalidVector>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LastPids(Vec<u32>);

/// A text or a list of numbers is not a vector of last pids. The kernel answers such a text with
/// `EINVAL`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidVector {
    /// A number is empty, or has other characters than digits.
    #[error("level {level}: '{text}' is not a number")]
    NotANumber {
        /// Counted from the innermost level, which is 0.
        level: usize,
        /// The text in its place.
        text: String,
    },
    /// A number is larger than the largest that the kernel reads.
    #[error("level {level}: the number is above {NUMBER_MAX}")]
    TooLarge {
        /// Counted from the innermost level, which is 0.
        level: usize,
    },
    /// The vector is empty.
    #[error("there is no number")]
    Empty,
    /// There are more numbers than levels can exist.
    #[error("{0} numbers, and only {LEVELS_MAX} levels can exist")]
    TooManyLevels(usize),
    /// The text has more bytes than the kernel reads.
    #[error("longer than {} bytes", raw::PIDNS_LAST_PID_VEC_MAX)]
    TooLong,
}

/// Fails if there is no number, or more than [`LEVELS_MAX`], or one above 2147483647.
impl TryFrom<Vec<u32>> for LastPids {
    type Error = InvalidVector;

    fn try_from(numbers: Vec<u32>) -> Result<Self, InvalidVector> {
        if numbers.is_empty() {
            return Err(InvalidVector::Empty);
        }
        if numbers.len() > LEVELS_MAX {
            return Err(InvalidVector::TooManyLevels(numbers.len()));
        }
        match numbers.iter().position(|&number| number > NUMBER_MAX) {
            Some(level) => Err(InvalidVector::TooLarge { level }),
            None => Ok(LastPids(numbers)),
        }
    }
}

/// Takes the same texts as the kernel, but no NUL at the end: digits only, no sign, no space, no empty
/// number; leading zeros are allowed.
impl FromStr for LastPids {
    type Err = InvalidVector;

    fn from_str(text: &str) -> Result<Self, InvalidVector> {
        if text.len() > raw::PIDNS_LAST_PID_VEC_MAX as usize {
            return Err(InvalidVector::TooLong);
        }
        if text.is_empty() {
            return Err(InvalidVector::Empty);
        }
        let numbers = text.split(':').enumerate().map(|(level, number)| {
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                let text = number.to_owned();
                return Err(InvalidVector::NotANumber { level, text });
            }
            number
                .parse()
                .map_err(|_| InvalidVector::TooLarge { level })
        });
        numbers.collect::<Result<Vec<u32>, _>>()?.try_into()
    }
}

/// Writes the kernel's text.
impl fmt::Display for LastPids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&joined(&self.0))
    }
}

pub(crate) fn joined(numbers: &[u32]) -> String {
    let mut text = String::with_capacity(raw::PIDNS_LAST_PID_VEC_MAX as usize);
    let mut digits = itoa::Buffer::new();
    for &number in numbers {
        if !text.is_empty() {
            text.push(':');
        }
        text.push_str(digits.format(number));
    }
    text
}

/// The numbers, the innermost level first.
impl AsRef<[u32]> for LastPids {
    fn as_ref(&self) -> &[u32] {
        &self.0
    }
}
