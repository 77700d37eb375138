// SPDX-License-Identifier: GPL-2.0-only

//! The grammar by independent means: a regular expression and the standard library's number parser.

use crate::{last_pid_vec, LEVELS_MAX};
use regex::bytes::Regex;
use std::sync::LazyLock;

/// Reads `text` as the documentation of the ioctl describes it.
fn described(text: &[u8]) -> Option<Vec<i32>> {
    static GRAMMAR: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?-u)\A([0-9]+(?::[0-9]+){0,32})\x00?\z").unwrap());

    let vector = GRAMMAR.captures(text)?.get(1)?;
    let vector = std::str::from_utf8(vector.as_bytes()).unwrap();
    vector
        .split(':')
        .map(|number| number.parse().ok())
        .collect()
}

/// Checks that the parser agrees with the description, and that formatting restores the vector.
pub fn assert_as_described(text: &[u8]) {
    let last_pids = described(text);
    let mut parsed = [0; LEVELS_MAX];
    let parsed = last_pid_vec::parse(text, &mut parsed);
    assert_eq!(parsed, last_pids.as_deref(), "{text:?}");

    let Some(last_pids) = last_pids else { return };
    let mut formatted = String::new();
    last_pid_vec::format(&last_pids, &mut formatted).unwrap();
    assert!(formatted.len() < last_pid_vec::FORMATTED_MAX, "{text:?}");
    assert_eq!(described(formatted.as_bytes()), Some(last_pids), "{text:?}");
}
