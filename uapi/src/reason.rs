// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{PidNamespace, sys};
use std::{fmt, fs, path::Path};

/// Why a task did not get a pid, as far as it can be told from outside and afterwards. Tasks
/// are given by their pids in the caller's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This task, a process or a thread, has it.
    Task(u32),
    /// It is the session that this process belongs to. The leader has ended.
    Session(u32),
    /// It is the process group that this process belongs to. The leader has ended.
    Group(u32),
    /// Nobody has it now. Another task was created first, or had it until now.
    Free,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(pid) => write!(f, "task {pid} has it"),
            Self::Session(pid) => write!(f, "it is the session of process {pid}"),
            Self::Group(pid) => write!(f, "it is the process group of process {pid}"),
            Self::Free => f.write_str("another task was created first"),
        }
    }
}

impl Reason {
    pub(crate) fn find(namespace: &PidNamespace, pid: u32) -> Self {
        match sys::pid_from(namespace, pid) {
            Ok(task) => Self::Task(task),
            Err(_) => session_or_group(namespace, pid).unwrap_or(Self::Free),
        }
    }
}

/// Looks for a process whose session or group has this number in `namespace`. Only `/proc` shows it.
fn session_or_group(namespace: &PidNamespace, pid: u32) -> Option<Reason> {
    // A line has the numbers from the level of /proc downward.
    let own = numbers(Path::new("/proc/self"), "NSpid:")?.len() - 1;
    let level = own + namespace.parents().ok()?.len();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.path();
        let number = |line, level| numbers(&process, line)?.get(level).copied();
        let id = number("NSpid:", own)?;
        // Is the process in `namespace` or below, and not beside it?
        if sys::pid_in(namespace, id).ok() != number("NSpid:", level) {
            return None;
        }
        if number("NSsid:", level) == Some(pid) {
            Some(Reason::Session(id))
        } else if number("NSpgid:", level) == Some(pid) {
            Some(Reason::Group(id))
        } else {
            None
        }
    })
}

fn numbers(process: &Path, line: &str) -> Option<Vec<u32>> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let numbers = status.lines().find_map(|text| text.strip_prefix(line))?;
    numbers
        .split_whitespace()
        .map(|number| number.parse().ok())
        .collect()
}
