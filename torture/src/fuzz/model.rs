// SPDX-License-Identifier: GPL-2.0-only

//! Predicts the result and the effect of a request from the ioctl's documentation: the table of errors and the rule of
//! permission. It shares no code with the kernel.

use super::memory::{Arg, Memory};
use bytemuck::pod_read_unaligned;
use nix::errno::Errno;
use ns_last_pid::{LEVELS_MAX, raw};
use std::{collections::BTreeSet, fmt::Write};

/// Allocation starts again at this pid after a wrap.
const RESERVED_PIDS: i32 = 300;

macro_rules! cases {
    ($($name:ident = $row:literal, $errno:expr;)*) => {
        /// A situation of the table of errors, or a success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Case {
            $($name,)*
        }

        impl Case {
            pub const ALL: &[Case] = &[$(Case::$name,)*];

            /// The row of the table, and the situation.
            pub fn row(self) -> &'static str {
                match self {
                    $(Case::$name => $row,)*
                }
            }

            pub fn errno(self) -> Option<Errno> {
                match self {
                    $(Case::$name => $errno,)*
                }
            }
        }
    };
}

cases! {
    OtherDirection = " 1 other direction", Some(Errno::ENOTTY);
    SmallerStruct = " 1 smaller struct", Some(Errno::ENOTTY);
    OtherType = " 2 a type without requests", Some(Errno::EOPNOTSUPP);
    StructUnreadable = " 3 struct cannot be read", Some(Errno::EFAULT);
    LargerStruct = " 3 byte past the known struct", Some(Errno::E2BIG);
    UnknownReq = " 4 unknown req", Some(Errno::EOPNOTSUPP);
    NoData = " 5 SET: data_size 0", Some(Errno::EINVAL);
    TooMuchData = " 5 SET: data_size too large", Some(Errno::EINVAL);
    DataUnreadable = " 6 SET: data cannot be read", Some(Errno::EFAULT);
    Malformed = " 7 SET: malformed", Some(Errno::EINVAL);
    PastInt = " 7 SET: number past an int", Some(Errno::EINVAL);
    PastLevels = " 7 SET: more numbers than levels can be", Some(Errno::EINVAL);
    NoSuchLevel = " 8 SET: no such level", Some(Errno::EINVAL);
    SetIncapableFirst = " 8 SET: no capability, first level", Some(Errno::EPERM);
    SetIncapableUpward = " 8 SET: no capability, further up", Some(Errno::EPERM);
    SetAboveByRestore = " 8 SET: above, CHECKPOINT_RESTORE alone", Some(Errno::EPERM);
    SetBeside = " 8 SET: beside, with SYS_ADMIN", Some(Errno::EPERM);
    GetIncapable = " 8 GET: no capability", Some(Errno::EPERM);
    GetAbove = " 8 GET: above, with SYS_ADMIN", Some(Errno::EPERM);
    GetBeside = " 8 GET: beside, with SYS_ADMIN", Some(Errno::EPERM);
    AbovePidMax = " 8 SET: above pid_max", Some(Errno::EINVAL);
    SetUnborn = " 9 SET: no init yet", Some(Errno::ESRCH);
    SetDead = " 9 SET: init has died", Some(Errno::ESRCH);
    GetUnborn = " 9 GET: no init yet", Some(Errno::ESRCH);
    GetDead = " 9 GET: init has died", Some(Errno::ESRCH);
    TooSmall = "10 GET: data_size too small", Some(Errno::ERANGE);
    DataUnwritable = "11 GET: data cannot be written", Some(Errno::EFAULT);
    DataPartlyWritable = "11 GET: data can be written in part", Some(Errno::EFAULT);
    Set = "SET, own level and below", None;
    SetAbove = "SET, above", None;
    SetByLargerStruct = "SET, larger struct", None;
    Get = "GET, all levels", None;
    GetEndsAtOwn = "GET, ends at the caller's own level", None;
    GetEndsIncapable = "GET, ends below a level without capability", None;
}

#[derive(Debug)]
pub enum Effect {
    Nothing,
    /// From the namespace upward.
    Set(Vec<i32>),
    /// The text is written, with a NUL after it.
    Get(String),
    /// It failed, but the beginning of the text is there: as much as could be written.
    Begun(String),
}

#[derive(Debug)]
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
    /// A pid namespace, by its index in the model.
    Pid(usize),
    /// A namespace of another type, by its index in the list of these.
    Other(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its active pid namespace. Every task that runs has one.
    pub own: usize,
    pub user: usize,
    pub uid: u32,
    /// Has CAP_CHECKPOINT_RESTORE in `user`.
    pub restore: bool,
    /// Has CAP_SYS_ADMIN in `user`.
    pub admin: bool,
}

#[derive(Debug)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Unborn,
    Alive,
    Dead,
}

/// Where a namespace is, as seen by the caller.
enum Reach {
    Own,
    Below,
    Above,
    Beside,
}

pub struct Namespace {
    pub parent: Option<usize>,
    pub user: usize,
    pub pid_max: i32,
    pub last_pid: i32,
    pub init: Init,
    /// The pids of tasks that stay.
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

    /// The text of a namespace and of its ancestors, as far as `caller` may read.
    pub fn text(&self, namespace: usize, caller: Caller) -> String {
        let mut text = String::new();
        for at in self.upward(namespace) {
            let Namespace {
                pid_max,
                last_pid,
                init,
                ..
            } = self.namespaces[at];
            if self.get_refused(at, caller).is_some() || (at != namespace && init != Init::Alive) {
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

    fn reach(&self, at: usize, caller: Caller) -> Reach {
        if at == caller.own {
            Reach::Own
        } else if self.upward(at).any(|above| above == caller.own) {
            Reach::Below
        } else if self.upward(caller.own).any(|above| above == at) {
            Reach::Above
        } else {
            Reach::Beside
        }
    }

    /// Whether the caller has CAP_CHECKPOINT_RESTORE and CAP_SYS_ADMIN in a user namespace. A capability holds in the
    /// user namespaces below, too, and the creator of a user namespace has all capabilities in it.
    fn capabilities(&self, user: usize, caller: Caller) -> (bool, bool) {
        if user == caller.user {
            return (caller.restore, caller.admin);
        }
        let UserNamespace { parent, owner } = self.users[user];
        match parent {
            None => (false, false),
            Some(parent) if parent == caller.user && owner == caller.uid => (true, true),
            Some(parent) => self.capabilities(parent, caller),
        }
    }

    /// Row 8 of SET, for one level.
    fn set_refused(&self, at: usize, first: bool, caller: Caller) -> Option<Case> {
        let (restore, admin) = self.capabilities(self.namespaces[at].user, caller);
        match self.reach(at, caller) {
            Reach::Own | Reach::Below if restore || admin => None,
            Reach::Above if admin => None,
            Reach::Above if restore => Some(Case::SetAboveByRestore),
            Reach::Beside if admin => Some(Case::SetBeside),
            _ if first => Some(Case::SetIncapableFirst),
            _ => Some(Case::SetIncapableUpward),
        }
    }

    /// Row 8 of GET, for one level.
    fn get_refused(&self, at: usize, caller: Caller) -> Option<Case> {
        let (restore, admin) = self.capabilities(self.namespaces[at].user, caller);
        match self.reach(at, caller) {
            Reach::Own | Reach::Below if restore || admin => None,
            Reach::Above if admin => Some(Case::GetAbove),
            Reach::Beside if admin => Some(Case::GetBeside),
            _ => Some(Case::GetIncapable),
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
        // The pids whose tasks have ended since.
        let mut ended = 0;
        while ended <= 16 && level.last_pid != to {
            ended += i32::from(!used.contains(&level.allocate()));
        }
        let reached = level.last_pid == to;
        level.used = usual;
        level.last_pid = if reached { to } else { from };
        reached
    }

    /// The outcomes that the table allows: more than one if it does not say which comes first.
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
        let Arg {
            req,
            data_size,
            data,
        } = pod_read_unaligned(&arg[..known]);
        vec![match req {
            raw::PIDNS_REQ_SET_LAST_PID_VEC => {
                let text = memory.read(data, data_size.min(raw::PIDNS_LAST_PID_VEC_MAX) as usize);
                match self.set(namespace, call.caller, data_size, text) {
                    Ok(last_pids) => {
                        let mut levels = self.upward(namespace).take(last_pids.len());
                        let above =
                            levels.any(|at| matches!(self.reach(at, call.caller), Reach::Above));
                        let case = match (size as usize > known, above) {
                            (true, _) => Case::SetByLargerStruct,
                            (false, true) => Case::SetAbove,
                            (false, false) => Case::Set,
                        };
                        let effect = Effect::Set(last_pids);
                        Outcome { case, effect }
                    }
                    Err(case) => case.into(),
                }
            }
            raw::PIDNS_REQ_GET_LAST_PID_VEC => {
                match self.get(namespace, call.caller, data_size) {
                    Ok(text) if memory.is_writable(data, text.len() + 1) => {
                        let last = self.upward(namespace).nth(text.split(':').count() - 1);
                        let case = match last {
                            Some(last) if self.namespaces[last].parent.is_none() => Case::Get,
                            last if last == Some(call.caller.own) => Case::GetEndsAtOwn,
                            _ => Case::GetEndsIncapable,
                        };
                        let effect = Effect::Get(text);
                        Outcome { case, effect }
                    }
                    Ok(mut text) => {
                        // GET may write a part, as read() does.
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
        let mut no_init = None;
        for &last_pid in &last_pids {
            let at = levels.next().ok_or(Case::NoSuchLevel)?;
            if let Some(refused) = self.set_refused(at, at == namespace, caller) {
                return Err(refused);
            }
            if last_pid > self.namespaces[at].pid_max {
                return Err(Case::AbovePidMax);
            }
            no_init = no_init.or(match self.namespaces[at].init {
                Init::Alive => None,
                Init::Unborn => Some(Case::SetUnborn),
                Init::Dead => Some(Case::SetDead),
            });
        }
        no_init.map_or(Ok(last_pids), Err)
    }

    fn get(&self, namespace: usize, caller: Caller, data_size: u32) -> Result<String, Case> {
        if let Some(refused) = self.get_refused(namespace, caller) {
            return Err(refused);
        }
        match self.namespaces[namespace].init {
            Init::Alive => {}
            Init::Unborn => return Err(Case::GetUnborn),
            Init::Dead => return Err(Case::GetDead),
        }
        let text = self.text(namespace, caller);
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
