// SPDX-License-Identifier: GPL-2.0-only

//! What a request returns and leaves behind, by the documentation of the ioctl: written from its table of errors, and
//! from nothing that the kernel has.

use crate::fuzz::memory::Memory;
use nix::errno::Errno;
use ns_last_pid::{LEVELS_MAX, raw};
use std::{collections::BTreeSet, fmt::Write};

/// Only above these does allocation begin again when it has come to the end.
const RESERVED_PIDS: i32 = 300;

/// A row of the table of errors, and which of its situations it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    OtherDirection,
    SmallerStruct,
    OtherType,
    StructUnreadable,
    LargerStruct,
    UnknownReq,
    NoData,
    TooMuchData,
    DataUnreadable,
    Malformed,
    PastInt,
    PastLevels,
    NoSuchLevel,
    SetNotPermittedFirst,
    SetNotPermittedAbove,
    GetNotPermitted,
    AbovePidMax,
    SetNoInit,
    GetNoInit,
    TooSmall,
    DataUnwritable,
    DataPartlyWritable,
    Set,
    SetByLargerStruct,
    Get,
    GetStopped,
}

pub const CASES: [(Case, &str); 26] = [
    (Case::OtherDirection, " 1 other direction"),
    (Case::SmallerStruct, " 1 smaller struct"),
    (Case::OtherType, " 2 a type without requests"),
    (Case::StructUnreadable, " 3 struct cannot be read"),
    (Case::LargerStruct, " 3 byte past the known struct"),
    (Case::UnknownReq, " 4 unknown req"),
    (Case::NoData, " 5 SET: data_size 0"),
    (Case::TooMuchData, " 5 SET: data_size too large"),
    (Case::DataUnreadable, " 6 SET: data cannot be read"),
    (Case::Malformed, " 7 SET: malformed"),
    (Case::PastInt, " 7 SET: number past an int"),
    (Case::PastLevels, " 7 SET: more numbers than levels can be"),
    (Case::NoSuchLevel, " 8 SET: no such level"),
    (
        Case::SetNotPermittedFirst,
        " 9 SET: not permitted, first level",
    ),
    (
        Case::SetNotPermittedAbove,
        " 9 SET: not permitted, level above",
    ),
    (Case::GetNotPermitted, " 9 GET: not permitted, first level"),
    (Case::AbovePidMax, "10 SET: above pid_max"),
    (Case::SetNoInit, "11 SET: init has died"),
    (Case::GetNoInit, "11 GET: init has died"),
    (Case::TooSmall, "12 GET: data_size too small"),
    (Case::DataUnwritable, "12 GET: data cannot be written"),
    (
        Case::DataPartlyWritable,
        "12 GET: data can be written in part",
    ),
    (Case::Set, "SET"),
    (Case::SetByLargerStruct, "SET, larger struct"),
    (Case::Get, "GET"),
    (Case::GetStopped, "GET, stops at a level not permitted"),
];

impl Case {
    pub fn errno(self) -> Option<Errno> {
        Some(match self {
            Case::OtherDirection | Case::SmallerStruct => Errno::ENOTTY,
            Case::OtherType | Case::UnknownReq => Errno::EOPNOTSUPP,
            Case::StructUnreadable
            | Case::DataUnreadable
            | Case::DataUnwritable
            | Case::DataPartlyWritable => Errno::EFAULT,
            Case::LargerStruct => Errno::E2BIG,
            Case::NoData
            | Case::TooMuchData
            | Case::Malformed
            | Case::PastInt
            | Case::PastLevels
            | Case::NoSuchLevel
            | Case::AbovePidMax
            | Case::SetNoInit
            | Case::GetNoInit => Errno::EINVAL,
            Case::SetNotPermittedFirst | Case::SetNotPermittedAbove | Case::GetNotPermitted => {
                Errno::EPERM
            }
            Case::TooSmall => Errno::ERANGE,
            Case::Set | Case::SetByLargerStruct | Case::Get | Case::GetStopped => return None,
        })
    }
}

pub enum Effect {
    Nothing,
    /// From the namespace upward.
    Set(Vec<i32>),
    /// The text is written, with a NUL after it.
    Get(String),
    /// It failed, but the beginning of the text is there: as much as could be written.
    Begun(String),
}

pub struct Outcome {
    pub case: Case,
    pub effect: Effect,
}

impl Outcome {
    pub fn ret(&self) -> Result<i32, Errno> {
        match (self.case.errno(), &self.effect) {
            (Some(errno), _) => Err(errno),
            (None, Effect::Get(text)) => Ok(text.len() as i32),
            (None, _) => Ok(0),
        }
    }
}

impl From<Case> for Outcome {
    fn from(case: Case) -> Self {
        Outcome {
            case,
            effect: Effect::Nothing,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A pid namespace, by its place in the model.
    Pid(usize),
    /// A namespace of another type, by its place in the list of them.
    Other(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub uid: u32,
    /// Has one of the two capabilities in the initial user namespace.
    pub capable: bool,
}

pub struct Call {
    pub target: Target,
    pub caller: Caller,
    pub cmd: u32,
    pub arg: u64,
}

pub const fn dir_of(cmd: u32) -> u32 {
    cmd >> 30
}

pub const fn size_of_struct(cmd: u32) -> u32 {
    cmd >> 16 & 0x3fff
}

pub struct UserNamespace {
    /// The initial one has none.
    pub parent: Option<usize>,
    pub owner: u32,
}

pub struct Namespace {
    pub parent: Option<usize>,
    pub user: usize,
    pub pid_max: i32,
    pub last_pid: i32,
    pub dead: bool,
    /// Of tasks that are there all the time.
    pub used: BTreeSet<i32>,
}

impl Namespace {
    /// The pid of the next task, which becomes the last pid.
    fn allocate(&mut self) -> i32 {
        let min = match self.last_pid + 1 > RESERVED_PIDS {
            true => RESERVED_PIDS,
            false => 1,
        };
        let free = |range: std::ops::Range<i32>| range.clone().find(|pid| !self.used.contains(pid));
        let pid = free(min.max(self.last_pid + 1)..self.pid_max)
            .or_else(|| free(min..self.pid_max))
            .expect("a namespace full of tasks");
        self.last_pid = pid;
        pid
    }
}

#[derive(Default)]
pub struct Model {
    /// The first is the initial one.
    pub users: Vec<UserNamespace>,
    /// The first is level 0.
    pub namespaces: Vec<Namespace>,
}

impl Model {
    /// A namespace and its ancestors.
    pub fn upward(&self, namespace: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(namespace), |&at| self.namespaces[at].parent)
    }

    /// The text of a namespace and of its ancestors, as far as `caller` may look.
    pub fn text(&self, namespace: usize, caller: Caller) -> String {
        let mut text = String::new();
        for at in self.upward(namespace) {
            let Namespace {
                user,
                pid_max,
                last_pid,
                ..
            } = self.namespaces[at];
            if !self.permits(user, caller) {
                break;
            }
            let separator = if text.is_empty() { "" } else { ":" };
            let _ = write!(text, "{separator}{}", last_pid.clamp(0, pid_max));
        }
        text
    }

    /// Whether `text` is that of a namespace and of all its ancestors.
    pub fn is_shown_by(&self, namespace: usize, text: &str) -> bool {
        let mut numbers = text.split(':');
        self.upward(namespace).all(|at| {
            let at = &self.namespaces[at];
            let shown = numbers
                .next()
                .filter(|number| number.len() == 1 || !number.starts_with(['0', '+']));
            shown.and_then(|number| number.parse().ok()) == Some(at.last_pid.clamp(0, at.pid_max))
        }) && numbers.next().is_none()
    }

    /// Who has a capability in a user namespace has it in those below, and who created one has all of them there.
    fn permits(&self, user: usize, caller: Caller) -> bool {
        let UserNamespace { parent, owner } = self.users[user];
        match parent {
            None => caller.capable,
            Some(0) if owner == caller.uid => true,
            Some(parent) => self.permits(parent, caller),
        }
    }

    pub fn last_pids(&self, namespace: usize) -> Vec<i32> {
        self.upward(namespace)
            .map(|at| self.namespaces[at].last_pid)
            .collect()
    }

    pub fn set_last_pids(&mut self, namespace: usize, last_pids: &[i32]) {
        let levels: Vec<_> = self.upward(namespace).collect();
        for (at, &last_pid) in levels.into_iter().zip(last_pids) {
            self.namespaces[at].last_pid = last_pid;
        }
    }

    /// A task is created: its pids, from level 0 downward.
    pub fn fork(&mut self, namespace: usize) -> Vec<i32> {
        let levels: Vec<_> = self.upward(namespace).collect();
        let pids = levels.into_iter().map(|at| self.namespaces[at].allocate());
        let mut pids: Vec<_> = pids.collect();
        pids.reverse();
        pids
    }

    /// Whether a few tasks created at level 0 can have moved its last pid to `to`.
    pub fn moved_on(&mut self, to: i32, used: BTreeSet<i32>) -> bool {
        let level = &mut self.namespaces[0];
        let (from, usual) = (level.last_pid, std::mem::take(&mut level.used));
        // Those whose tasks have ended since.
        let mut ended = 0;
        while ended <= 16 && level.last_pid != to {
            ended += i32::from(!used.contains(&level.allocate()));
        }
        let reached = level.last_pid == to;
        level.used = usual;
        level.last_pid = if reached { to } else { from };
        reached
    }

    /// More than one where the table does not say which comes first.
    pub fn expect(&self, call: &Call, memory: &Memory) -> Vec<Outcome> {
        let size = size_of_struct(call.cmd);
        if dir_of(call.cmd) != dir_of(raw::NS_SPECIFIC_IOC) {
            return vec![Case::OtherDirection.into()];
        }
        if size < raw::NS_SPECIFIC_REQ_SIZE_VER0 {
            return vec![Case::SmallerStruct.into()];
        }
        let Target::Pid(namespace) = call.target else {
            return vec![Case::OtherType.into()];
        };
        let known = raw::NS_SPECIFIC_REQ_SIZE_VER0 as usize;
        let Some(arg) = memory.read(call.arg, size as usize) else {
            let mut outcomes = vec![Case::StructUnreadable.into()];
            let tail =
                (known..size as usize).map(|at| memory.read(call.arg.wrapping_add(at as u64), 1));
            if tail.flatten().any(|byte| byte[0] != 0) {
                outcomes.push(Case::LargerStruct.into());
            }
            return outcomes;
        };
        if arg[known..].iter().any(|&byte| byte != 0) {
            return vec![Case::LargerStruct.into()];
        }
        let word = |at: usize| u32::from_ne_bytes([arg[at], arg[at + 1], arg[at + 2], arg[at + 3]]);
        let (req, data_size) = (word(0), word(4));
        let data = u64::from(word(8)) | u64::from(word(12)) << 32;
        vec![match req {
            raw::PIDNS_REQ_SET_LAST_PID_VEC => {
                let text = memory.read(data, data_size.min(raw::PIDNS_LAST_PID_VEC_MAX) as usize);
                match self.set(namespace, call.caller, data_size, text) {
                    Ok(last_pids) => Outcome {
                        case: match size as usize > known {
                            true => Case::SetByLargerStruct,
                            false => Case::Set,
                        },
                        effect: Effect::Set(last_pids),
                    },
                    Err(case) => case.into(),
                }
            }
            raw::PIDNS_REQ_GET_LAST_PID_VEC => {
                match self.get(namespace, call.caller, data_size) {
                    Ok(text) if memory.is_writable(data, text.len() + 1) => Outcome {
                        case: match text.split(':').count() == self.upward(namespace).count() {
                            true => Case::Get,
                            false => Case::GetStopped,
                        },
                        effect: Effect::Get(text),
                    },
                    Ok(mut text) => {
                        // As read() and others do it, which the documentation does not exclude.
                        let parts = (1..=text.len()).rev();
                        if let Some(part) = parts
                            .into_iter()
                            .find(|&part| memory.is_writable(data, part))
                        {
                            text.truncate(part);
                            let (case, effect) = (Case::DataPartlyWritable, Effect::Begun(text));
                            return vec![Outcome { case, effect }, Case::DataUnwritable.into()];
                        }
                        Case::DataUnwritable.into()
                    }
                    Err(case) => case.into(),
                }
            }
            _ => Case::UnknownReq.into(),
        }]
    }

    fn set(
        &self,
        namespace: usize,
        caller: Caller,
        data_size: u32,
        text: Option<&[u8]>,
    ) -> Result<Vec<i32>, Case> {
        match data_size {
            0 => return Err(Case::NoData),
            raw::PIDNS_LAST_PID_VEC_MAX.. if data_size != raw::PIDNS_LAST_PID_VEC_MAX => {
                return Err(Case::TooMuchData);
            }
            _ => {}
        }
        let last_pids = numbers(text.ok_or(Case::DataUnreadable)?)?;
        let mut levels = self.upward(namespace);
        let mut dead = false;
        for (nth, &last_pid) in last_pids.iter().enumerate() {
            let at = &self.namespaces[levels.next().ok_or(Case::NoSuchLevel)?];
            if !self.permits(at.user, caller) {
                return Err(match nth {
                    0 => Case::SetNotPermittedFirst,
                    _ => Case::SetNotPermittedAbove,
                });
            }
            if last_pid > at.pid_max {
                return Err(Case::AbovePidMax);
            }
            dead |= at.dead;
        }
        match dead {
            true => Err(Case::SetNoInit),
            false => Ok(last_pids),
        }
    }

    fn get(&self, namespace: usize, caller: Caller, data_size: u32) -> Result<String, Case> {
        let text = self.text(namespace, caller);
        if text.is_empty() {
            return Err(Case::GetNotPermitted);
        }
        if self.namespaces[namespace].dead {
            return Err(Case::GetNoInit);
        }
        match (data_size as usize) < text.len() + 1 {
            true => Err(Case::TooSmall),
            false => Ok(text),
        }
    }
}

/// The numbers of a vector.
fn numbers(text: &[u8]) -> Result<Vec<i32>, Case> {
    let text = match text {
        [text @ .., 0] => text,
        text => text,
    };
    let text = str::from_utf8(text).map_err(|_| Case::Malformed)?;
    let numbers: Vec<_> = text.split(':').collect();
    let digits = |number: &&str| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    if !numbers.iter().all(digits) {
        return Err(Case::Malformed);
    }
    if numbers.len() > LEVELS_MAX {
        return Err(Case::PastLevels);
    }
    let past_int = |_| Case::PastInt;
    numbers
        .iter()
        .map(|number| number.parse().map_err(past_int))
        .collect()
}
