// SPDX-License-Identifier: MIT OR Apache-2.0

mod header;

pub use header::{
    NS_SPECIFIC_IOC, NS_SPECIFIC_REQ_SIZE_VER0, NSIO, PIDNS_LAST_PID_VEC_MAX,
    PIDNS_REQ_GET_LAST_PID_VEC, PIDNS_REQ_SET_LAST_PID_VEC, ns_specific_req,
};
use rustix::ioctl::{Opcode, opcode};
use std::ffi::c_int;

// header.rs has the commands of one architecture. mips, powerpc and sparc encode the direction and the
// size in another way, and the number, the lowest byte, in the same way.
const GROUP: u8 = header::NSIO as u8;

pub(crate) const NS_GET_PARENT: Opcode = opcode::none(GROUP, header::NS_GET_PARENT as u8);
pub(crate) const NS_GET_NSTYPE: Opcode = opcode::none(GROUP, header::NS_GET_NSTYPE as u8);
pub(crate) const NS_GET_PID_FROM_PIDNS: Opcode =
    opcode::read::<c_int>(GROUP, header::NS_GET_PID_FROM_PIDNS as u8);
pub(crate) const NS_GET_PID_IN_PIDNS: Opcode =
    opcode::read::<c_int>(GROUP, header::NS_GET_PID_IN_PIDNS as u8);

// A command with both directions is the same on all of them.
const _: () = assert!(
    opcode::read_write::<ns_specific_req>(GROUP, NS_SPECIFIC_IOC as u8)
        == NS_SPECIFIC_IOC as Opcode
);
const _: () = assert!(size_of::<ns_specific_req>() == NS_SPECIFIC_REQ_SIZE_VER0 as usize);
#[cfg(target_arch = "x86_64")]
const _: () = assert!(
    NS_GET_PARENT == header::NS_GET_PARENT
        && NS_GET_NSTYPE == header::NS_GET_NSTYPE
        && NS_GET_PID_FROM_PIDNS == header::NS_GET_PID_FROM_PIDNS
        && NS_GET_PID_IN_PIDNS == header::NS_GET_PID_IN_PIDNS
);
