// SPDX-License-Identifier: GPL-2.0-only

//! A call waits in the kernel, in the middle of reading or writing its data, while its namespace goes away. userfaultfd
//! provides the page of its data when everything is ready.

use super::{
    shared::{Count, Race},
    task,
};
use crate::request;
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous},
};
use ns_last_pid::raw;
use std::{fs::File, num::NonZeroUsize, os::fd::AsRawFd, slice, thread};
use userfaultfd::{Event, UffdBuilder};

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const VECTOR: &[u8] = b"500";

pub fn start(race: &mut Race) -> Result<()> {
    race.work("held", hold_up)
}

fn hold_up(race: &Race, mut rng: Rng) -> Result<()> {
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: A new mapping is nobody else's.
    let page = unsafe { mmap_anonymous(None, PAGE, prot, MapFlags::MAP_PRIVATE) }?;
    let faults = UffdBuilder::new()
        .user_mode_only(false)
        .create()
        .context("userfaultfd")?;
    faults.register(page.as_ptr(), PAGE.get())?;
    let mut content = [0; PAGE.get()];
    content[..VECTOR.len()].copy_from_slice(VECTOR);

    let own = File::open("/proc/self/ns/pid")?;
    let enter = |ns: &File| setns(ns, CloneFlags::CLONE_NEWPID);
    while race.running() {
        let get = rng.u8(..4) == 0;
        let dies = rng.bool();
        let unborn = !get && rng.bool();
        unshare(CloneFlags::CLONE_NEWPID)?;
        let ns = File::open("/proc/self/ns/pid_for_children")?;
        let mut init = None;
        if !unborn {
            init = Some(task::init(|| ())?);
        }
        // The caller must hold no reference to that namespace but its call.
        enter(&own)?;

        // SAFETY: There are no references to the page.
        unsafe { madvise(page, PAGE.get(), MmapAdvise::MADV_DONTNEED) }?;
        let (number, data) = (ns.as_raw_fd(), page.as_ptr().expose_provenance() as u64);
        let (req, size) = match get {
            true => (request::GET, PAGE.get()),
            false => (request::SET, VECTOR.len()),
        };
        // SAFETY: The page is writable, and nobody borrows it.
        let caller = thread::spawn(move || unsafe {
            request::make(&number, raw::NS_SPECIFIC_IOC, req, data, size)
        });
        let Some(Event::Pagefault { addr, .. }) = faults.read_event()? else {
            bail!("no page fault");
        };
        enter(&ns)?;
        let init = init.map_or_else(|| task::init(|| ()), Ok)?;
        drop(ns);
        if dies {
            // Either this task's own reference goes last, or that of the init.
            if rng.bool() {
                task::kill_init(init)?;
                enter(&own)?;
            } else {
                enter(&own)?;
                task::kill_init(init)?;
            }
            // Then the call has the last reference.
            task::sleep_for_rcu();
        }
        // SAFETY: Both are pages, and nobody borrows the one that the call waits for.
        unsafe { faults.copy(content.as_ptr().cast(), addr, PAGE.get(), true) }?;
        let got = caller.join().ok().context("the caller panicked")?;

        let want = match dies && !get {
            true => Err(Errno::ESRCH),
            false => Ok(()),
        };
        // SAFETY: The page is mapped, and the call is over.
        let text = unsafe { slice::from_raw_parts(page.as_ptr().cast::<u8>(), PAGE.get()) };
        let right = match got {
            Ok(length) if get => text.starts_with(b"1:") && text.get(length as usize) == Some(&0),
            got => got.map(drop) == want,
        };
        if !right {
            race.fail(format_args!(
                "held: {}, {}, init {}: expected {want:?}, got {got:?}, and the text is \"{}\"",
                if get { "GET" } else { "SET" },
                if unborn {
                    "no init before"
                } else {
                    "an init before"
                },
                if dies { "died" } else { "lives" },
                text[..20].escape_ascii()
            ));
        }
        race.count(match (get, dies) {
            (true, _) => Count::HeldGet,
            (false, true) => Count::HeldDead,
            (false, false) if unborn => Count::HeldBorn,
            (false, false) => Count::HeldAlive,
        });
        if !dies {
            if !get {
                let next = || {
                    let pids = task::pids();
                    if pids.last() != Some(&501) {
                        race.fail(format_args!(
                            "held: expected the pid 501 after SET, got {pids:?}"
                        ));
                    }
                };
                task::hold(next, || ())?.end()?;
            }
            enter(&own)?;
            task::kill_init(init)?;
        }
    }
    Ok(())
}
