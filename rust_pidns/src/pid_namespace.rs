// SPDX-License-Identifier: GPL-2.0-only

//! The requests of pid namespaces.

use crate::{
    last_pid_vec,
    unsupported,
    Request, //
};
use kernel::{
    current,
    pid_namespace::PidNamespace,
    prelude::*,
    str::Formatter,
    uapi, //
};

const TEXT_MAX: usize = uapi::PIDNS_LAST_PID_VEC_MAX as usize;

// Any vector fits, with its NUL in the place of a last separator.
static_assert!(PidNamespace::LEVELS_MAX * "2147483647:".len() <= TEXT_MAX);

/// Carries out `req` on `ns` for the current task and returns what the ioctl returns.
pub(crate) fn ns_ioctl(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    match req.req {
        uapi::PIDNS_REQ_SET_LAST_PID_VEC => set_last_pid_vec(ns, req),
        uapi::PIDNS_REQ_GET_LAST_PID_VEC => get_last_pid_vec(ns, req),
        _ => Err(unsupported()),
    }
}

fn set_last_pid_vec(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    if req.data_size() == 0 {
        return Err(EINVAL);
    }
    let mut text = [0; TEXT_MAX];
    let text = text.get_mut(..req.data_size()).ok_or(EINVAL)?;
    req.data()?.reader().read_slice(text)?;

    let mut last_pids = [0; PidNamespace::LEVELS_MAX];
    let last_pids = last_pid_vec::parse(text, &mut last_pids).ok_or(EINVAL)?;

    ns.check_last_pids(current!(), last_pids)?.set()?;
    Ok(0)
}

fn get_last_pid_vec(ns: &PidNamespace, req: &Request) -> Result<c_int> {
    let mut last_pids = [0; PidNamespace::LEVELS_MAX];
    let last_pids = ns.last_pids(current!(), &mut last_pids)?;

    let mut text = [0; TEXT_MAX];
    let mut out = Formatter::new(&mut text);
    last_pid_vec::format(last_pids, &mut out)?;
    let len = out.bytes_written();

    // The rest of the buffer is zero: the NUL is there.
    let text = text.get(..=len).ok_or(EINVAL)?;
    if req.data_size() < text.len() {
        return Err(ERANGE);
    }
    req.data()?.writer().write_slice(text)?;
    // CAST: The text is shorter than `TEXT_MAX`.
    Ok(len as c_int)
}
