// SPDX-License-Identifier: GPL-2.0-only

//! The differences between the request and its C port of 2017 (`ci/configs/c-port.patch`), found by making the same
//! calls to both from the same state.

use nix::errno::Errno;
use std::collections::BTreeMap;

/// One call to one of the two.
pub struct Made {
    pub ret: Result<i32, Errno>,
    pub after: Vec<i32>,
}

#[derive(Default)]
pub struct Differences {
    same: u64,
    /// By class, with the first example of it.
    classes: BTreeMap<String, (u64, String)>,
}

/// The last pids in a text of GET.
pub fn parse(text: &str) -> Vec<i32> {
    text.split(':').flat_map(str::parse).collect()
}

fn told(ret: Result<i32, Errno>) -> String {
    ret.map_or_else(|errno| format!("{errno:?}"), |value| value.to_string())
}

/// Tasks created at level 0 in between are no difference.
fn alike(one: &[i32], other: &[i32]) -> bool {
    match (one, other) {
        ([one @ .., from], [other @ .., to]) => one == other && (to - from).abs() <= 2,
        _ => one == other,
    }
}

impl Differences {
    /// `below` is how many of the levels are below the namespace of the call.
    pub fn note(
        &mut self,
        case: &str,
        text: &[u8],
        below: usize,
        before: &[i32],
        port: &Made,
        ours: &Made,
    ) {
        if port.ret == ours.ret && alike(&port.after, &ours.after) {
            self.same += 1;
            return;
        }
        let set = match port.after == before {
            true => "unchanged",
            false if port.ret.is_ok() => "written",
            false => "written in part",
        };
        let what = match case.ends_with("malformed") {
            true => format!("{case}: {}", malformed(text)),
            false => case.to_owned(),
        };
        let class = format!(
            "{what:52} {:10} {:10} {set}",
            told(ours.ret),
            told(port.ret)
        );
        let example = format!(
            "\"{}\" on {:?}: C port {:?}, ours {:?}",
            text.escape_ascii(),
            &before[below..],
            &port.after[below..],
            &ours.after[below..]
        );
        let entry = self.classes.entry(class).or_insert((0, example.clone()));
        entry.0 += 1;
        if example.len() < entry.1.len() {
            entry.1 = example;
        }
    }

    pub fn report(&self) {
        println!(
            "\n{:52} {:10} {:10} {:23} {:>8}",
            "call", "ours", "C port", "by the C port", "calls"
        );
        for (class, (count, example)) in &self.classes {
            let padding = 99_usize.saturating_sub(class.len());
            println!("{class}{:padding$}{count:8}\n        {example}", "");
        }
        let different: u64 = self.classes.values().map(|(count, _)| count).sum();
        println!(
            "\nC port: {} calls alike, {different} different in {} classes",
            self.same,
            self.classes.len()
        );
    }
}

/// The first mistake in a text.
fn malformed(text: &[u8]) -> &'static str {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    if text.contains(&0) {
        return "a NUL inside";
    }
    for (nth, number) in text.split(|&byte| byte == b':').enumerate() {
        let digits = number
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        match number {
            _ if digits == number.len() && digits > 0 => {}
            [] if nth == text.split(|&byte| byte == b':').count() - 1 => return "ends with ':'",
            [] => return "an empty number",
            [b'+' | b'-', ..] => return "a sign",
            [b' ' | b'\t'..=b'\r', ..] => return "space before a number",
            _ if digits == 0 => return "no digit",
            [.., b' ' | b'\t'..=b'\r'] if digits == number.len() - 1 => {
                return "space after a number";
            }
            _ => return "something else after a number",
        }
    }
    "?"
}
