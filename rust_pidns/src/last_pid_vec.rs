// SPDX-License-Identifier: GPL-2.0-only

//! The text form of a vector of last pids.
//!
//! It is decimal numbers separated by `:`, the first for a pid namespace, the next for its parent,
//! and so on upward. Nothing here depends on the rest of the kernel.

use core::fmt;

/// The most levels that nested pid namespaces can have.
pub(crate) const LEVELS_MAX: usize = 33;

/// The text is not a vector of last pids.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed;

/// The last pids of a pid namespace and of its ancestors, from the namespace upward.
///
/// # Invariants
///
/// There is at least one number and at most [`LEVELS_MAX`], and none is negative.
#[derive(Debug, PartialEq)]
pub(crate) struct LastPidVec {
    last_pids: [i32; LEVELS_MAX],
    len: usize,
}

impl LastPidVec {
    /// Parses `text`, the last byte of which may be a terminating NUL.
    ///
    /// Only digits make up a number: no sign, no space. It may have leading zeros.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let mut bytes = text.iter().copied();
        let mut last_pids = [0; LEVELS_MAX];
        let mut len = 0;

        loop {
            let (number, end) = take_number(&mut bytes).ok_or(Malformed)?;
            *last_pids.get_mut(len).ok_or(Malformed)? = number;
            len += 1;

            match end {
                Some(b':') => {}
                Some(_) => return Err(Malformed),
                // INVARIANT: A number was stored, `get_mut()` has bounded how many were, and
                // digits without a sign do not make a negative one.
                None => return Ok(Self { last_pids, len }),
            }
        }
    }

    /// Returns the numbers, from the namespace's own upward.
    pub(crate) fn as_slice(&self) -> &[i32] {
        &self.last_pids[..self.len]
    }
}

/// Writes the vector of `last_pids`, given from a namespace upward, to `out`.
pub(crate) fn format(
    last_pids: impl Iterator<Item = i32>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    for (level, last_pid) in last_pids.enumerate() {
        if level > 0 {
            out.write_char(':')?;
        }
        write!(out, "{last_pid}")?;
    }

    Ok(())
}

/// Takes digits off `bytes` and the byte after them, and returns the number that they stand for and
/// that byte.
///
/// Returns [`None`] if there is no digit, or if the number is past [`i32::MAX`].
fn take_number(bytes: &mut impl Iterator<Item = u8>) -> Option<(i32, Option<u8>)> {
    let mut number: Option<i32> = None;

    loop {
        match bytes.next() {
            Some(digit @ b'0'..=b'9') => {
                let tens = number.unwrap_or(0).checked_mul(10)?;
                number = Some(tens.checked_add(i32::from(digit - b'0'))?);
            }
            end => return Some((number?, end)),
        }
    }
}

#[cfg(CONFIG_NS_SPECIFIC_IOC_KUNIT_TEST)]
#[kernel::macros::kunit_tests(ns_specific_last_pid_vec)]
mod tests {
    use super::*;
    use kernel::str::Formatter;

    fn formats_as(last_pids: &[i32], text: &[u8]) -> bool {
        let mut buf = [0; 512];
        let mut out = Formatter::new(&mut buf);
        let done = format(last_pids.iter().copied(), &mut out);
        let len = out.bytes_written();

        done.is_ok() && buf.get(..len) == Some(text)
    }

    fn parses_to(text: &[u8], last_pids: &[i32]) -> bool {
        LastPidVec::parse(text).is_ok_and(|vec| vec.as_slice() == last_pids)
    }

    fn is_malformed(text: &[u8]) -> bool {
        LastPidVec::parse(text) == Err(Malformed)
    }

    #[test]
    fn one_number() {
        assert!(parses_to(b"0", &[0]));
        assert!(parses_to(b"7", &[7]));
        assert!(parses_to(b"32768", &[32768]));
    }

    #[test]
    fn order_of_levels() {
        assert!(parses_to(b"3:20:100", &[3, 20, 100]));
    }

    #[test]
    fn leading_zeros() {
        assert!(parses_to(b"007", &[7]));
        assert!(parses_to(b"00:000000000000000000000000000000001", &[0, 1]));
    }

    #[test]
    fn terminating_nul() {
        assert!(parses_to(b"3:20\0", &[3, 20]));
        assert!(is_malformed(b"3:20\0\0"));
        assert!(is_malformed(b"3\0:20"));
        assert!(is_malformed(b"\x003:20"));
        assert!(is_malformed(b"\0"));
    }

    #[test]
    fn bounds_of_a_number() {
        assert!(parses_to(b"2147483647", &[i32::MAX]));
        assert!(is_malformed(b"2147483648"));
        assert!(is_malformed(b"4294967296"));
        assert!(is_malformed(b"4294967297:1"));
        assert!(is_malformed(b"18446744073709551617"));
    }

    #[test]
    fn empty_numbers() {
        assert!(is_malformed(b""));
        assert!(is_malformed(b":"));
        assert!(is_malformed(b":1"));
        assert!(is_malformed(b"1:"));
        assert!(is_malformed(b"1::2"));
        assert!(is_malformed(b"1:\0"));
    }

    #[test]
    fn digits_only() {
        for text in [
            b"+1".as_slice(),
            b"-1",
            b" 1",
            b"1 ",
            b"1\n",
            b"0x1",
            b"1a",
            b"1,2",
            b"1.2",
            b"1;2",
            b"1/2",
            "\u{661}".as_bytes(),
        ] {
            assert!(is_malformed(text));
        }
    }

    #[test]
    fn number_of_levels() {
        // `LEVELS_MAX` numbers, and a last separator to cut off.
        let mut text = [0; 2 * LEVELS_MAX];
        for pair in text.chunks_exact_mut(2) {
            pair.copy_from_slice(b"5:");
        }

        assert!(parses_to(&text[..text.len() - 1], &[5; LEVELS_MAX]));
        assert!(is_malformed(&text));

        let mut longer = [b'5'; 2 * LEVELS_MAX + 1];
        longer[..text.len()].copy_from_slice(&text);
        assert!(is_malformed(&longer));
    }

    #[test]
    fn formats() {
        assert!(formats_as(&[0], b"0"));
        assert!(formats_as(&[3, 20, 100], b"3:20:100"));
        assert!(formats_as(&[i32::MAX, 0, 7], b"2147483647:0:7"));
    }

    #[test]
    fn longest_text() {
        let mut buf = [0; 512];
        let mut out = Formatter::new(&mut buf);
        assert!(format([i32::MAX; LEVELS_MAX].into_iter(), &mut out).is_ok());
        let len = out.bytes_written();

        assert_eq!(len, 11 * LEVELS_MAX - 1);
        assert!(parses_to(&buf[..len], &[i32::MAX; LEVELS_MAX]));
    }
}
