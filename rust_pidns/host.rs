// SPDX-License-Identifier: GPL-2.0-only

//! Host tests of the parser in `src/`. The few names that it takes from the kernel crate are below.
//! `fuzz/` fuzzes it, guided by coverage.

mod described;
#[path = "src/last_pid_vec.rs"]
mod last_pid_vec;

pub use described::assert_as_described;

// For the parser, this crate is the kernel crate.
extern crate self as kernel;
#[doc(hidden)]
pub use std::fmt;
#[doc(hidden)]
pub mod pid_namespace {
    pub struct PidNamespace;
    impl PidNamespace {
        pub const LEVELS_MAX: usize = super::LEVELS_MAX;
    }
}
#[doc(hidden)]
pub mod task {
    pub type Pid = i32;
}

/// The most levels that nested pid namespaces can have.
const LEVELS_MAX: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Calls `f` with every string over `alphabet` of up to `len` bytes.
    fn for_each_string(alphabet: &[u8], len: usize, f: &mut impl FnMut(&[u8])) {
        fn extend(alphabet: &[u8], len: usize, text: &mut Vec<u8>, f: &mut impl FnMut(&[u8])) {
            f(text);
            if text.len() < len {
                for &byte in alphabet {
                    text.push(byte);
                    extend(alphabet, len, text, f);
                    text.pop();
                }
            }
        }
        extend(alphabet, len, &mut Vec::new(), f);
    }

    #[test]
    fn every_string_of_two_bytes() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        for_each_string(&bytes, 2, &mut assert_as_described);
    }

    #[test]
    fn every_short_string_of_telling_bytes() {
        // Allowed bytes, their neighbours, and bytes that other parsers accept.
        for_each_string(b"019:\0+- /;", 6, &mut assert_as_described);
    }

    #[test]
    fn every_number_of_levels() {
        for levels in 1..=LEVELS_MAX + 2 {
            assert_as_described(vec!["7"; levels].join(":").as_bytes());
        }
    }

    #[test]
    fn numbers_around_the_bounds() {
        for bound in [
            0,
            i32::MAX as u128,
            u32::MAX as u128,
            i64::MAX as u128,
            u64::MAX as u128,
        ] {
            for number in bound.saturating_sub(12)..=bound + 12 {
                assert_as_described(number.to_string().as_bytes());
                assert_as_described(format!("000{number}:{number}").as_bytes());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..=512)) {
            assert_as_described(&text);
        }

        #[test]
        fn almost_a_vector(
            text in "([0-9]{1,12}:){0,34}[0-9]{0,12}",
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
            nul in any::<bool>(),
        ) {
            let mut text = text.into_bytes();
            for (at, byte) in edits {
                let at = at.index(text.len() + 1);
                text.insert(at, byte);
            }
            text.extend(nul.then_some(0));
            assert_as_described(&text);
        }

        #[test]
        fn any_vector(last_pids in proptest::collection::vec(0..=i32::MAX, 1..=LEVELS_MAX)) {
            let text = last_pids.iter().map(i32::to_string).collect::<Vec<_>>().join(":");
            let mut parsed = [0; LEVELS_MAX];
            let parsed = last_pid_vec::parse(text.as_bytes(), &mut parsed);
            prop_assert_eq!(parsed, Some(last_pids.as_slice()));

            let mut formatted = String::new();
            last_pid_vec::format(&last_pids, &mut formatted).unwrap();
            prop_assert_eq!(formatted, text);
        }
    }
}
