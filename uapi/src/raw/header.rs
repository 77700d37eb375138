// SPDX-License-Identifier: MIT OR Apache-2.0
// Written by ci/series/bindings from linux/nsfs.h.

pub const NSIO: u32 = 183;
pub const NS_GET_PARENT: u32 = 46850;
pub const NS_GET_NSTYPE: u32 = 46851;
pub const NS_GET_PID_FROM_PIDNS: u32 = 2147792646;
pub const NS_GET_PID_IN_PIDNS: u32 = 2147792648;
pub const NS_SPECIFIC_REQ_SIZE_VER0: u32 = 16;
pub const NS_SPECIFIC_IOC: u32 = 3222320910;
pub const PIDNS_REQ_SET_LAST_PID_VEC: u32 = 1;
pub const PIDNS_REQ_GET_LAST_PID_VEC: u32 = 2;
pub const PIDNS_LAST_PID_VEC_MAX: u32 = 512;
pub type __u32 = ::core::ffi::c_uint;
pub type __u64 = ::core::ffi::c_ulonglong;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ns_specific_req {
    pub req: __u32,
    pub data_size: __u32,
    pub data: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ns_specific_req"][::core::mem::size_of::<ns_specific_req>() - 16usize];
    ["Alignment of ns_specific_req"][::core::mem::align_of::<ns_specific_req>() - 8usize];
    ["Offset of field: ns_specific_req::req"]
        [::core::mem::offset_of!(ns_specific_req, req) - 0usize];
    ["Offset of field: ns_specific_req::data_size"]
        [::core::mem::offset_of!(ns_specific_req, data_size) - 4usize];
    ["Offset of field: ns_specific_req::data"]
        [::core::mem::offset_of!(ns_specific_req, data) - 8usize];
};
