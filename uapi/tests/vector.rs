// SPDX-License-Identifier: MIT OR Apache-2.0

//! The grammar of the vector, on any kernel.

use ns_last_pid::{InvalidVector, LEVELS_MAX, LastPids};
use proptest::{collection::vec, prelude::*};

const NUMBER: std::ops::RangeInclusive<u32> = 0..=i32::MAX as u32;

proptest! {
    #[test]
    fn text_and_numbers_are_the_same(numbers in vec(NUMBER, 1..=LEVELS_MAX)) {
        let last_pids = LastPids::try_from(numbers.clone()).unwrap();
        prop_assert_eq!(last_pids.as_ref(), &numbers[..]);
        prop_assert_eq!(last_pids.to_string().parse(), Ok(last_pids));
    }

    #[test]
    fn leading_zeros_say_nothing(numbers in vec((NUMBER, 0..9usize), 1..=9)) {
        let padded: Vec<_> = numbers.iter().map(|(n, zeros)| format!("{}{n}", "0".repeat(*zeros))).collect();
        let last_pids: LastPids = padded.join(":").parse().unwrap();
        let numbers: Vec<_> = numbers.into_iter().map(|(n, _)| n).collect();
        prop_assert_eq!(last_pids.as_ref(), &numbers[..]);
    }

    #[test]
    fn a_byte_that_is_no_digit_is_refused(
        numbers in vec(NUMBER, 1..=5), level in 0..5usize, at in 0..10usize, byte in "[^0-9:]",
    ) {
        let level = level % numbers.len();
        let mut texts: Vec<_> = numbers.iter().map(u32::to_string).collect();
        let at = at % (texts[level].len() + 1);
        texts[level].insert_str(at, &byte);
        let text = texts[level].clone();
        prop_assert_eq!(
            texts.join(":").parse::<LastPids>(),
            Err(InvalidVector::NotANumber { level, text }),
        );
    }

    #[test]
    fn an_empty_number_is_refused(numbers in vec(NUMBER, 1..=5), level in 0..=5usize) {
        let level = level % (numbers.len() + 1);
        let mut texts: Vec<_> = numbers.iter().map(u32::to_string).collect();
        texts.insert(level, String::new());
        prop_assert_eq!(
            texts.join(":").parse::<LastPids>(),
            Err(InvalidVector::NotANumber { level, text: String::new() }),
        );
    }

    #[test]
    fn a_number_past_an_int_is_refused(number in i32::MAX as u64 + 1..) {
        prop_assert_eq!(
            format!("1:{number}").parse::<LastPids>(),
            Err(InvalidVector::TooLarge { level: 1 }),
        );
    }

    #[test]
    fn more_numbers_than_levels_are_refused(numbers in vec(NUMBER, LEVELS_MAX + 1..99)) {
        let count = numbers.len();
        prop_assert_eq!(LastPids::try_from(numbers), Err(InvalidVector::TooManyLevels(count)));
    }
}

#[test]
fn nothing_is_refused() {
    assert_eq!("".parse::<LastPids>(), Err(InvalidVector::Empty));
    assert_eq!(LastPids::try_from(vec![]), Err(InvalidVector::Empty));
}

#[test]
fn a_text_longer_than_the_kernel_reads_is_refused() {
    assert!("0".repeat(512).parse::<LastPids>().is_ok());
    assert_eq!(
        "0".repeat(513).parse::<LastPids>(),
        Err(InvalidVector::TooLong)
    );
}
