// SPDX-License-Identifier: GPL-2.0-only

//! A vector of last pids, checked against the pid namespaces that it is for.

use crate::last_pid_vec::{
    LastPidVec,
    LEVELS_MAX, //
};
use core::ptr;
use kernel::{
    bindings,
    pid_namespace::PidNamespace,
    prelude::*, //
};

static_assert!(LEVELS_MAX == bindings::MAX_PID_NS_LEVEL as usize + 1);

/// A vector of last pids that the current task may set.
///
/// # Invariants
///
/// Each number has a level in `ns` or above it, the current task may set that level's last pid, and
/// the number was not above that namespace's `pid_max`.
pub(crate) struct SettableVec<'a> {
    ns: &'a PidNamespace,
    last_pids: &'a LastPidVec,
}

impl<'a> SettableVec<'a> {
    /// Checks `last_pids` against `ns` and its ancestors, level by level upward.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`]: there is no such level, or the number is above its namespace's `pid_max`.
    /// - [`EPERM`]: the current task lacks the capability in the user namespace that owns a level.
    pub(crate) fn check(ns: &'a PidNamespace, last_pids: &'a LastPidVec) -> Result<Self> {
        let mut levels = ns.self_and_ancestors();
        // Asking is the dearest part of a level, and most stacks have one owner.
        let mut permitting = None;

        for &last_pid in last_pids.as_slice() {
            let level = levels.next().ok_or(EINVAL)?;
            let owner = level.user_ns();

            if !permitting.is_some_and(|user_ns| ptr::eq(user_ns, owner)) {
                if !owner.checkpoint_restore_capable() {
                    return Err(EPERM);
                }
                permitting = Some(owner);
            }
            if last_pid > level.pid_max() {
                return Err(EINVAL);
            }
        }

        // INVARIANT: All levels were checked above.
        Ok(Self { ns, last_pids })
    }

    /// Sets the last pids of all levels, or of none if one of them cannot create tasks.
    pub(crate) fn commit(self) -> Result {
        self.ns.set_last_pids(self.last_pids.as_slice())
    }
}
