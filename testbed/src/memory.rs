// SPDX-License-Identifier: GPL-2.0-only

//! Memory that tasks share.

use bytemuck::Zeroable;
use nix::{
    Result,
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous},
};
use std::num::NonZeroUsize;

/// Returns a `T` of zeros that this task shares with all that it forks from now on. It is never unmapped.
pub fn shared<T: Zeroable + Sync>() -> Result<&'static T> {
    let size = NonZeroUsize::new(size_of::<T>()).ok_or(Errno::EINVAL)?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: A new mapping is nobody else's.
    let memory = unsafe { mmap_anonymous(None, size, prot, MapFlags::MAP_SHARED) }?;
    // SAFETY: The mapping is aligned to a page, large enough, never unmapped and only ever borrowed immutably. It has only
    // zeros, which are a valid `T`.
    Ok(unsafe { memory.cast().as_ref() })
}
