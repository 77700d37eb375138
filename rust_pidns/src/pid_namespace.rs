// SPDX-License-Identifier: GPL-2.0-only

//! The requests of pid namespaces.

use crate::{
    last_pid_vec,
    unsupported,
    user_buffer,
    NsOperations, //
};
use kernel::{
    pid_namespace::PidNamespace,
    prelude::*,
    str::NullTerminatedFormatter,
    uapi, //
};

// CAST: `usize` has 32 bits or more on all architectures.
const SET_MAX: usize = uapi::PIDNS_LAST_PID_VEC_MAX as usize;

impl NsOperations for PidNamespace {
    fn ns_ioctl(&self, req: &uapi::ns_specific_req) -> Result<c_int> {
        match req.req {
            uapi::PIDNS_REQ_SET_LAST_PID_VEC => set_last_pid_vec(self, req),
            uapi::PIDNS_REQ_GET_LAST_PID_VEC => get_last_pid_vec(self, req),
            _ => Err(unsupported()),
        }
    }
}

fn set_last_pid_vec(ns: &PidNamespace, req: &uapi::ns_specific_req) -> Result<c_int> {
    if req.data_size == 0 {
        return Err(EINVAL);
    }
    let mut text = [0; SET_MAX];
    // CAST: `usize` has 32 bits or more on all architectures.
    let text = text.get_mut(..req.data_size as usize).ok_or(EINVAL)?;
    user_buffer(req)?.reader().read_slice(text)?;

    let mut last_pids = [0; PidNamespace::LEVELS_MAX];
    let last_pids = last_pid_vec::parse(text, &mut last_pids).ok_or(EINVAL)?;

    ns.set_last_pids(current!(), last_pids)?;
    Ok(0)
}

fn get_last_pid_vec(ns: &PidNamespace, req: &uapi::ns_specific_req) -> Result<c_int> {
    let mut last_pids = [0; PidNamespace::LEVELS_MAX];
    let last_pids = ns.last_pids(current!(), &mut last_pids)?;

    let mut text = [0; last_pid_vec::FORMATTED_MAX];
    let mut out = NullTerminatedFormatter::new(&mut text).ok_or(EINVAL)?;
    last_pid_vec::format(last_pids, &mut out)?;
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| EINVAL)?;

    // CAST: `usize` has 32 bits or more on all architectures.
    if (req.data_size as usize) < text.to_bytes_with_nul().len() {
        return Err(ERANGE);
    }
    user_buffer(req)?
        .writer()
        .write_slice(text.to_bytes_with_nul())?;
    // CAST: The text is shorter than `FORMATTED_MAX`.
    Ok(text.count_bytes() as c_int)
}
