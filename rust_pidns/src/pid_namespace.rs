// SPDX-License-Identifier: GPL-2.0-only

//! The requests of pid namespaces.

use crate::{
    last_pid_vec::{
        self,
        LastPidVec,
        Malformed,
        LEVELS_MAX, //
    },
    unsupported,
    NsSpecific,
    Request, //
};
use kernel::{
    bindings,
    pid_namespace::PidNamespace,
    prelude::*,
    str::Formatter,
    uapi, //
};

static_assert!(LEVELS_MAX == bindings::MAX_PID_NS_LEVEL as usize + 1);

const TEXT_MAX: usize = uapi::PIDNS_LAST_PID_VEC_MAX as usize;

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Error {
        EINVAL
    }
}

impl NsSpecific for PidNamespace {
    fn ns_ioctl(&self, req: &Request) -> Result<c_int> {
        match req.number() {
            uapi::PIDNS_REQ_SET_LAST_PID_VEC => set_last_pid_vec(self, req),
            uapi::PIDNS_REQ_GET_LAST_PID_VEC => get_last_pid_vec(self, req),
            _ => Err(unsupported()),
        }
    }
}

/// A vector of last pids that the current task may set.
///
/// # Invariants
///
/// Each number has a level in `ns` or above it, the current task may set that level's last pid, and
/// the number was not above that namespace's `pid_max`.
struct Permitted<'a> {
    ns: &'a PidNamespace,
    last_pids: LastPidVec,
}

impl<'a> Permitted<'a> {
    /// Checks `last_pids` against `ns` and its ancestors, level by level upward.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`]: there is no such level, or the number is above its namespace's `pid_max`.
    /// - [`EPERM`]: the current task lacks the capability in the user namespace that owns a level.
    fn check(ns: &'a PidNamespace, last_pids: LastPidVec) -> Result<Self> {
        let mut levels = ns.self_and_ancestors();

        for &last_pid in last_pids.as_slice() {
            let level = levels.next().ok_or(EINVAL)?;

            if !level.user_ns().checkpoint_restore_capable() {
                return Err(EPERM);
            }
            if last_pid > level.pid_max() {
                return Err(EINVAL);
            }
        }

        // INVARIANT: All levels were checked above.
        Ok(Self { ns, last_pids })
    }

    /// Sets the last pids of all levels, or of none if one of them cannot create tasks.
    fn commit(self) -> Result {
        self.ns.set_last_pids(self.last_pids.as_slice())
    }
}

/// Carries out `PIDNS_REQ_SET_LAST_PID_VEC`.
fn set_last_pid_vec(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    if req.data_size() == 0 {
        return Err(EINVAL);
    }

    let mut buf = [0; TEXT_MAX];
    let text = buf.get_mut(..req.data_size()).ok_or(EINVAL)?;
    req.data()?.reader().read_slice(text)?;

    Permitted::check(ns, LastPidVec::parse(text)?)?.commit()?;
    Ok(0)
}

/// Carries out `PIDNS_REQ_GET_LAST_PID_VEC`.
fn get_last_pid_vec(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    if !ns.user_ns().checkpoint_restore_capable() {
        return Err(EPERM);
    }

    // The current task did not ask for a certain level above. How far it may go is no refusal that
    // an audit log should tell of.
    let above = ns
        .self_and_ancestors()
        .skip(1)
        .take_while(|level| level.user_ns().checkpoint_restore_capable_noaudit())
        .count();

    let mut buf = [0; LEVELS_MAX];
    let last_pids = ns.last_pids(buf.get_mut(..=above).ok_or(EINVAL)?)?;
    let settable = ns
        .self_and_ancestors()
        .zip(last_pids)
        .map(|(level, &last_pid)| last_pid.clamp(0, level.pid_max()));

    let mut buf = [0; TEXT_MAX];
    let mut out = Formatter::new(&mut buf);
    last_pid_vec::format(settable, &mut out)?;
    let len = out.bytes_written();

    // The buffer is larger than any text, so that a NUL follows it.
    let text = buf.get(..=len).ok_or(EINVAL)?;
    if req.data_size() < text.len() {
        return Err(ERANGE);
    }
    req.data()?.writer().write_slice(text)?;
    Ok(len as c_int)
}
