// SPDX-License-Identifier: MIT OR Apache-2.0

#![allow(unsafe_code, reason = "pre_exec(), signal()")]

use crate::Failure;
use nix::{
    libc::SI_KERNEL,
    sys::{
        prctl::set_dumpable,
        signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, raise, signal},
        signalfd::SignalFd,
    },
    unistd::Pid,
};
use ns_last_pid::{GatedCommand, LastPids, PidNamespace};
use std::{
    ffi::OsString,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::ExitCode,
};

const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGWINCH,
];

/// Runs the command, passes signals on to it, and ends as it did.
pub fn run(
    namespace: &PidNamespace,
    pids: &LastPids,
    tries: u32,
    command: &[OsString],
) -> Result<ExitCode, Failure> {
    // From here on, a signal waits until there is somebody to pass it on to.
    let mut signals: SigSet = PASSED_ON.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let incoming = SignalFd::new(&signals)?;

    let mut gated = GatedCommand::new(&command[0]);
    gated.command().args(&command[1..]);
    // SAFETY: It makes a system call.
    unsafe {
        gated
            .command()
            .pre_exec(move || Ok(mask.thread_set_mask()?))
    };
    let mut child = gated.spawn(namespace, pids.as_ref(), tries)?;
    let pid = Pid::from_raw(child.id() as i32);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let Some(info) = incoming.read_signal()? else {
            continue;
        };
        match Signal::try_from(info.ssi_signo as i32)? {
            Signal::SIGCHLD => {}
            // The terminal sends them to the command, too.
            Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH if info.ssi_code == SI_KERNEL => {}
            // It may fail: the command can have become another user.
            signal => drop(kill(pid, signal)),
        }
    };
    if let Some(number) = status.signal() {
        end_by(number)?;
        return Ok(ExitCode::from(128 + number as u8));
    }
    Ok(ExitCode::from(status.code().unwrap_or(125) as u8))
}

/// Ends this process by a signal. It returns if it cannot, as the init of a pid namespace.
fn end_by(number: i32) -> nix::Result<()> {
    let ending = Signal::try_from(number)?;
    // One core is enough: the command's.
    set_dumpable(false)?;
    // SAFETY: There is no handler. SIGKILL cannot be set, and needs not.
    let _ = unsafe { signal(ending, SigHandler::SigDfl) };
    SigSet::from(ending).thread_unblock()?;
    raise(ending)
}
