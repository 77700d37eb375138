// SPDX-License-Identifier: GPL-2.0-only

//! Namespace-specific ioctls: requests that only one type of namespace knows.
//!
//! `fs/nsfs.c` recognises `NS_SPECIFIC_IOC` and calls [`ns_specific_ioctl`]. The request is decoded
//! here once and handed to the namespace's implementation of [`NsSpecific`]. Another type of
//! namespace joins with an implementation and an arm in [`dispatch`].
//!
//! C header: [`include/uapi/linux/nsfs.h`](srctree/include/uapi/linux/nsfs.h)

use kernel::{
    bindings,
    ns_common::{
        Namespace,
        NsCommon, //
    },
    prelude::*,
    transmute::FromBytes,
    uaccess::UserSlice,
    uapi, //
};

mod last_pid_vec;
mod pid_namespace;
mod settable_vec;

/// A request as userspace passes it: `struct ns_specific_req`.
#[derive(Zeroable)]
#[repr(transparent)]
struct Request(uapi::ns_specific_req);

// SAFETY: `struct ns_specific_req` consists of integers, which take any bit pattern, and the type
// has no interior mutability.
unsafe impl FromBytes for Request {}

impl Request {
    /// Returns what is asked for: a number of the namespace's own type.
    fn number(&self) -> u32 {
        self.0.req
    }

    /// Returns the size of the request's buffer in bytes.
    fn data_size(&self) -> usize {
        // CAST: `usize` has 32 bits or more on all architectures.
        self.0.data_size as usize
    }

    /// Returns the request's buffer, or [`EFAULT`] if its address is past the address space.
    fn data(&self) -> Result<UserSlice> {
        let addr = self.0.data.try_into().map_err(|_| EFAULT)?;

        Ok(UserSlice::new(UserPtr::from_addr(addr), self.data_size()))
    }
}

/// A type of namespace that has requests of its own.
trait NsSpecific {
    /// Carries out `req` on this namespace for the current task.
    ///
    /// What it returns is what the ioctl returns to userspace. It fails with `EOPNOTSUPP` if this
    /// type of namespace does not know the request.
    fn ns_ioctl(&self, req: &Request) -> Result<c_int>;
}

/// Returns `EOPNOTSUPP`, which `kernel::error::code` does not have yet.
fn unsupported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// Reads the request that `arg` holds and hands it to the namespace behind `ns`.
fn dispatch(ns: &NsCommon, arg: UserSlice) -> Result<c_int> {
    match ns.namespace() {
        Namespace::Pid(ns) => ns.ns_ioctl(&arg.read_struct()?),
        Namespace::Other => Err(unsupported()),
    }
}

/// Carries out `NS_SPECIFIC_IOC` on the namespace behind `ns`.
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
    ns: *mut bindings::ns_common,
    arg: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: The safety requirements of this function are those of the callee, for as long as `ns`
    // is used below.
    let ns = unsafe { NsCommon::from_ptr(ns) };

    dispatch(ns, UserSlice::new(UserPtr::from_ptr(arg), size)).unwrap_or_else(Error::to_errno)
}
