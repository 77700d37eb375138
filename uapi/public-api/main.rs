// SPDX-License-Identifier: MIT OR Apache-2.0

//! Prints the public API of a crate from the JSON of its rustdoc, an item a line.

use public_api::Builder;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let json = env::args_os().nth(1).ok_or("which file?")?;
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(false)
        .build()?;
    print!("{api}");
    Ok(())
}
