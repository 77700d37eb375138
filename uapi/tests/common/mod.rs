// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared by the tests: nested pid namespaces, and the condition for creating them.

#![allow(dead_code, reason = "each test program uses a part")]

use ns_last_pid::{PidNamespace, Request, is_supported};
use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// Whether a test that needs the ioctl can run. With `NS_LAST_PID_REQUIRED` set, it has to.
pub fn supported() -> bool {
    let lacking = if !is_supported(Request::Set).unwrap() || !is_supported(Request::Get).unwrap() {
        "this kernel has no NS_SPECIFIC_IOC for pid namespaces"
    } else if !rustix::process::geteuid().is_root() {
        "it needs root"
    } else {
        return true;
    };
    assert!(env::var_os("NS_LAST_PID_REQUIRED").is_none(), "{lacking}");
    println!("skipped: {lacking}");
    false
}

/// Nested pid namespaces, which end when this is dropped.
pub struct Nested {
    /// The parent of the first init.
    pub top: Child,
    /// The init of the innermost, by its pid here.
    pub init: u32,
}

impl Nested {
    pub fn new(levels: usize) -> Self {
        let nest = ["unshare", "--pid", "--fork", "--kill-child"].repeat(levels);
        let mut top = Command::new(nest[0])
            .args(&nest[1..])
            .args([
                "sh",
                "-c",
                "read pid _ </proc/self/stat && echo $pid && read _",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(top.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let init = line.trim().parse().unwrap();
        Self { top, init }
    }

    pub fn namespace(&self) -> PidNamespace {
        PidNamespace::of_process(self.init).unwrap()
    }

    /// Returns when all of these namespaces have ended.
    pub fn end(mut self) {
        drop(self.top.stdin.take());
        self.top.wait().unwrap();
    }

    /// The last pids of these namespaces, without those above.
    pub fn last_pids(&self, levels: usize) -> Vec<u32> {
        self.namespace().last_pids().unwrap().as_ref()[..levels].into()
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        self.top.kill().unwrap();
        self.top.wait().unwrap();
    }
}

/// The pids in the text of /proc/PID/status, the innermost first.
pub fn nspid(status: &str) -> Vec<u32> {
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap();
    pids.split_whitespace()
        .rev()
        .map(|pid| pid.parse().unwrap())
        .collect()
}
