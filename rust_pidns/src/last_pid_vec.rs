// SPDX-License-Identifier: GPL-2.0-only

//! The text form of a vector of last pids: decimal numbers separated by `:`.

use kernel::{
    fmt,
    pid_namespace::PidNamespace,
    task::Pid, //
};

/// The size of the longest text that [`format()`] writes, with a NUL in the place of a last
/// separator.
pub(crate) const FORMATTED_MAX: usize = PidNamespace::LEVELS_MAX * "2147483647:".len();

/// Parses `text`, the last byte of which may be a terminating NUL, into `last_pids`, and returns
/// the part that was filled.
///
/// A number consists of digits only, without sign or space. It may have leading zeros.
///
/// Returns [`None`] if the text is malformed, if a number is past [`Pid::MAX`], or if there are
/// more numbers than `last_pids` takes.
pub(crate) fn parse<'a>(text: &[u8], last_pids: &'a mut [Pid]) -> Option<&'a [Pid]> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let mut bytes = text.iter().copied();
    let mut len = 0;

    loop {
        let (number, end) = take_number(&mut bytes)?;
        *last_pids.get_mut(len)? = number;
        len += 1;

        match end {
            Some(b':') => {}
            Some(_) => return None,
            None => return last_pids.get(..len),
        }
    }
}

/// Takes a number and the byte after it off `bytes`.
fn take_number(bytes: &mut impl Iterator<Item = u8>) -> Option<(Pid, Option<u8>)> {
    let mut number: Option<Pid> = None;

    loop {
        match bytes.next() {
            Some(digit @ b'0'..=b'9') => {
                let tens = number.unwrap_or(0).checked_mul(10)?;
                number = Some(tens.checked_add(Pid::from(digit - b'0'))?);
            }
            end => return Some((number?, end)),
        }
    }
}

/// Writes `last_pids` to `out` as a text that [`parse()`] takes.
pub(crate) fn format(last_pids: &[Pid], out: &mut impl fmt::Write) -> fmt::Result {
    for (level, last_pid) in last_pids.iter().enumerate() {
        if level > 0 {
            out.write_char(':')?;
        }
        write!(out, "{last_pid}")?;
    }

    Ok(())
}

#[cfg(CONFIG_NS_SPECIFIC_IOC_KUNIT_TEST)]
#[kernel::macros::kunit_tests(ns_specific_last_pid_vec)]
mod tests {
    use super::*;

    const LEVELS_MAX: usize = PidNamespace::LEVELS_MAX;

    // `kunit_tests` redefines `assert!` in the tests, not here.
    fn parses_to(text: &str, expected: Option<&[Pid]>) -> bool {
        parse(text.as_bytes(), &mut [0; LEVELS_MAX]) == expected
    }

    #[test]
    fn well_formed() {
        assert!(parses_to("3:20:100", Some(&[3, 20, 100])));
        assert!(parses_to("3:20\0", Some(&[3, 20])));
        assert!(parses_to("007:000000000000000000000", Some(&[7, 0])));
        assert!(parses_to("2147483647", Some(&[Pid::MAX])));
    }

    #[test]
    fn malformed() {
        for text in [
            "", ":", ":1", "1:", "1::2", "\0", "1:\0", "1\0\0", "1\0:2", "+1", "-1", " 1", "1 ",
            "1\n", "0x1", "1a", "1,2", "1/2", "1;2",
        ] {
            assert!(parses_to(text, None));
        }
    }

    #[test]
    fn past_the_maximum() {
        assert!(parses_to("2147483648", None));
        assert!(parses_to("4294967297:1", None));
        assert!(parses_to("18446744073709551617", None));
    }

    #[test]
    fn number_of_levels() {
        let text = [*b"5:"; LEVELS_MAX + 1];
        let text = text.as_flattened();
        let parses = |len: usize| parse(&text[..len], &mut [0; LEVELS_MAX]).is_some();

        assert!(parses(2 * LEVELS_MAX - 1));
        assert!(!parses(2 * LEVELS_MAX));
        assert!(!parses(2 * LEVELS_MAX + 1));
    }

    #[test]
    fn formats() {
        let mut buf = [0; 32];
        let mut out = kernel::str::Formatter::new(&mut buf);

        assert!(format(&[Pid::MAX, 0, 7], &mut out).is_ok());
        let len = out.bytes_written();
        assert_eq!(&buf[..len], b"2147483647:0:7");
    }

    // include/uapi/linux/nsfs.h says so.
    #[test]
    fn set_takes_the_longest() {
        let mut buf = [0; kernel::uapi::PIDNS_LAST_PID_VEC_MAX as usize];
        let mut out = kernel::str::Formatter::new(&mut buf);

        assert!(format(&[Pid::MAX; LEVELS_MAX], &mut out).is_ok());
        assert_eq!(out.bytes_written() + 1, FORMATTED_MAX);
    }
}
