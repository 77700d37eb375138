// SPDX-License-Identifier: GPL-2.0-only

//! The requests of pid namespaces.

use crate::{
    last_pid_vec::{
        self,
        LastPidVec,
        Malformed,
        LEVELS_MAX, //
    },
    settable_vec::SettableVec,
    unsupported,
    NsSpecific,
    Request, //
};
use kernel::{
    pid_namespace::PidNamespace,
    prelude::*,
    str::Formatter,
    uapi, //
};

const TEXT_MAX: usize = uapi::PIDNS_LAST_PID_VEC_MAX as usize;

// Any vector fits, with its NUL in the place of a last separator.
static_assert!(LEVELS_MAX * "2147483647:".len() <= TEXT_MAX);

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

/// Carries out `PIDNS_REQ_SET_LAST_PID_VEC`.
fn set_last_pid_vec(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    if req.data_size() == 0 {
        return Err(EINVAL);
    }

    let mut buf = [0; TEXT_MAX];
    let text = buf.get_mut(..req.data_size()).ok_or(EINVAL)?;
    req.data()?.reader().read_slice(text)?;

    let last_pids = LastPidVec::parse(text)?;
    SettableVec::check(ns, &last_pids)?.commit()?;
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
        .map(|(level, &last_pid)| last_pid.min(level.pid_max()).max(0));

    let mut buf = [0; TEXT_MAX];
    let mut out = Formatter::new(&mut buf);
    last_pid_vec::format(settable, &mut out)?;
    let len = out.bytes_written();

    // What follows the text in the buffer is zero.
    let text = buf.get(..=len).ok_or(EINVAL)?;
    if req.data_size() < text.len() {
        return Err(ERANGE);
    }
    req.data()?.writer().write_slice(text)?;
    // CAST: The text is shorter than `TEXT_MAX`.
    Ok(len as c_int)
}
