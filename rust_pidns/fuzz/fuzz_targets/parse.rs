// SPDX-License-Identifier: GPL-2.0-only

//! Compares the parser on any text with the description of the grammar.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| rust_pidns::assert_as_described(text));
