// SPDX-License-Identifier: GPL-2.0-only

//! Namespace-specific ioctls: requests that only one type of namespace knows.
//!
//! C header: [`include/uapi/linux/nsfs.h`](srctree/include/uapi/linux/nsfs.h)

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

/// What a namespace does for requests that only its type knows.
trait NsOperations {
    /// Carries out `req` for the current task and returns what the ioctl returns, or
    /// [`unsupported()`] if the type does not know the request.
    fn ns_ioctl(&self, req: &uapi::ns_specific_req) -> Result<c_int>;
}

/// Returns the operations of `ns`, if its type has requests.
fn operations(ns: &NsCommon) -> Option<&dyn NsOperations> {
    if let Ok(ns) = <&PidNamespace>::try_from(ns) {
        return Some(ns);
    }

    None
}

/// Returns the buffer of `req`, or [`EFAULT`] if its address is past the address space.
fn user_buffer(req: &uapi::ns_specific_req) -> Result<UserSlice> {
    let addr = req.data.try_into().map_err(|_| EFAULT)?;
    // CAST: `usize` has 32 bits or more on all architectures.
    let size = req.data_size as usize;

    Ok(UserSlice::new(UserPtr::from_addr(addr), size))
}

/// Returns `EOPNOTSUPP`: the namespace's type does not know the request.
fn unsupported() -> Error {
    // CAST: Errors are at most `MAX_ERRNO`.
    Error::from_errno(-(uapi::EOPNOTSUPP as c_int))
}

/// Reads the request that `arg` holds and hands it to the namespace behind `ns`.
fn dispatch(ns: &NsCommon, arg: UserSlice) -> Result<c_int> {
    let ns = operations(ns).ok_or_else(unsupported)?;

    ns.ns_ioctl(&arg.read_struct()?)
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
    // SAFETY: By the safety requirements `ns` points to the `struct ns_common` of an initialized
    // namespace. The caller's reference keeps its refcount from zero until this function returns,
    // and the reference that is made here does not leave it.
    let ns = unsafe { NsCommon::from_ptr(ns) };

    from_result(|| dispatch(ns, UserSlice::new(UserPtr::from_ptr(arg), size)))
}
