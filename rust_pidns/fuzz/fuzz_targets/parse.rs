// SPDX-License-Identifier: GPL-2.0-only

//! Any text, compared with the description of the grammar.

#![no_main]

#[path = "../../described.rs"]
mod described;
#[path = "../../src/last_pid_vec.rs"]
mod last_pid_vec;

libfuzzer_sys::fuzz_target!(|text: &[u8]| described::assert_as_described(text));
