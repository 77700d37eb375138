// SPDX-License-Identifier: GPL-2.0-only

//! Namespace-specific ioctls: requests that only one type of namespace knows.
//!
//! C header: [`include/uapi/linux/nsfs.h`](srctree/include/uapi/linux/nsfs.h)

use core::mem::offset_of;
use kernel::{
    error::from_result,
    ns_common::NsCommon,
    pid_namespace::PidNamespace,
    prelude::*,
    uaccess::UserSlice,
    uapi, //
};

mod last_pid_vec;
mod pid_namespace;

/// A request as userspace passes it: `struct ns_specific_req`.
#[derive(FromBytes)]
#[repr(C)]
struct Request {
    req: u32,
    data_size: u32,
    data: u64,
}

static_assert!(size_of::<Request>() == size_of::<uapi::ns_specific_req>());
static_assert!(offset_of!(Request, req) == offset_of!(uapi::ns_specific_req, req));
static_assert!(offset_of!(Request, data_size) == offset_of!(uapi::ns_specific_req, data_size));
static_assert!(offset_of!(Request, data) == offset_of!(uapi::ns_specific_req, data));

impl Request {
    /// Returns the size of the request's buffer in bytes.
    fn data_size(&self) -> usize {
        // CAST: `usize` has 32 bits or more on all architectures.
        self.data_size as usize
    }

    /// Returns the request's buffer, or [`EFAULT`] if its address is past the address space.
    fn data(&self) -> Result<UserSlice> {
        let addr = self.data.try_into().map_err(|_| EFAULT)?;

        Ok(UserSlice::new(UserPtr::from_addr(addr), self.data_size()))
    }
}

/// Returns `EOPNOTSUPP`: the namespace's type does not know the request.
fn unsupported() -> Error {
    Error::from_errno(-(uapi::EOPNOTSUPP as c_int))
}

/// Reads the request that `arg` holds and hands it to the namespace behind `ns`.
fn dispatch(ns: &NsCommon, arg: UserSlice) -> Result<c_int> {
    let ns: &PidNamespace = ns.try_into().map_err(|_| unsupported())?;

    pid_namespace::ns_ioctl(ns, &arg.read_struct()?)
}

/// Carries out `NS_SPECIFIC_IOC` on the namespace behind `ns`, for `fs/nsfs.c`.
///
/// `arg` is the ioctl's argument and `size` the size of the struct there, as the ioctl's command
/// tells it. Returns a negative errno or the result of the request.
///
/// # Safety
///
/// `ns` must point to the `struct ns_common` of an initialized namespace, on which the caller holds
/// a reference until this function returns.
#[export]
unsafe extern "C" fn ns_specific_ioctl(
    ns: *mut kernel::bindings::ns_common,
    arg: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: The caller's reference keeps the namespace's refcount from zero while `ns` is used.
    let ns = unsafe { NsCommon::from_ptr(ns) };

    from_result(|| dispatch(ns, UserSlice::new(UserPtr::from_ptr(arg), size)))
}
