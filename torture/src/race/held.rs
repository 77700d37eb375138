// SPDX-License-Identifier: GPL-2.0-only

//! A call that waits in the kernel, in the middle of reading or writing its data, while what it works on goes away. Its
//! data is a page of a FUSE file, which comes when all is ready, and not by chance.

use super::{
    last::sharing_files,
    shared::{Count, Race},
    task,
};
use crate::call::{self};
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::mman::{MapFlags, ProtFlags, mmap},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    num::NonZeroUsize,
    os::fd::AsRawFd,
    process,
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};

/// An errno, or zero.
pub struct Answer(AtomicI32);

pub fn start(race: &mut Race) -> Result<()> {
    race.work("held up", hold_up)
}

fn hold_up(race: &Race, mut rng: Rng) -> Result<()> {
    let answer = &race.shared.answer.0;
    let own = File::open("/proc/self/ns/pid")?;
    let enter = |ns: &File| setns(ns, CloneFlags::CLONE_NEWPID);
    let fuse = Fuse::mount()?;
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
        // The caller is no task of that namespace.
        enter(&own)?;

        answer.store(-1, SeqCst);
        let caller = sharing_files(|| {
            let done = fuse.call(ns.as_raw_fd(), get);
            answer.store(done.err().map_or(0, |errno| errno as i32), SeqCst);
        })?;
        let waits = fuse.request(Fuse::READ)?;
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
        }
        fuse.reply(waits, &Fuse::page())?;
        let ends = fuse.request(Fuse::RELEASE)?;
        fuse.reply(ends, &[])?;
        task::reap(caller)?;

        let want = if dies && !get {
            Errno::EINVAL as i32
        } else {
            0
        };
        let got = answer.load(SeqCst);
        if got != want {
            race.fail(format_args!(
                "5 held up: {}, {}, init {}: expected errno {want}, got {got}",
                if get { "GET" } else { "SET" },
                if unborn {
                    "no init before"
                } else {
                    "an init before"
                },
                if dies { "died" } else { "lives" }
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
                            "5 held up: expected the pid 501 after SET, got {pids:?}"
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

/// A FUSE file of one page, and its server.
struct Fuse {
    device: File,
    path: String,
}

/// What the kernel asks, by the number it gave it.
struct Request(u64);

// Numbers and sizes are those of linux/fuse.h.
impl Fuse {
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const RELEASE: u32 = 18;
    const INIT: u32 = 26;

    const PAGE: usize = 4096;

    /// In a mount namespace of this task's own, which takes it along at its end.
    fn mount() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let path = format!("/tmp/race-{}", process::id());
        File::create_new(&path)?;
        let device = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        let options = format!(
            "fd={},rootmode=100600,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        mount(
            Some("race"),
            path.as_str(),
            Some("fuse"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("mount FUSE")?;
        Ok(Self { device, path })
    }

    /// Answers the kernel's requests up to the first one of this kind.
    fn request(&self, kind: u32) -> Result<Request> {
        let mut message = vec![0; 1 << 16];
        loop {
            let length = (&self.device).read(&mut message)?;
            ensure!(length >= 40, "a FUSE request of {length} bytes");
            let number = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| message[at + i]));
            let opcode = number(4);
            let unique = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| message[8 + i]));
            let request = Request(unique);
            match opcode {
                _ if opcode == kind => return Ok(request),
                Self::INIT => {
                    let mut out = [0; 64];
                    out[..8].copy_from_slice(&numbers([7, 31]));
                    out[20..28].copy_from_slice(&numbers([Self::PAGE as u32, 1]));
                    self.reply(request, &out)?;
                }
                Self::GETATTR => {
                    let mut out = [0; 104];
                    out[16] = 1;
                    out[24..28].copy_from_slice(&numbers([Self::PAGE as u32]));
                    out[76..84].copy_from_slice(&numbers([0o100600, 1]));
                    self.reply(request, &out)?;
                }
                Self::OPEN => self.reply(request, &[0; 16])?,
                Self::RELEASE => bail!("a call ended that should wait"),
                _ => self.answer(request, -(Errno::ENOSYS as i32), &[])?,
            }
        }
    }

    fn reply(&self, request: Request, data: &[u8]) -> Result<()> {
        self.answer(request, 0, data)
    }

    fn answer(&self, request: Request, error: i32, data: &[u8]) -> Result<()> {
        let mut message = numbers([16 + data.len() as u32, error as u32]);
        message.extend(request.0.to_ne_bytes());
        message.extend(data);
        (&self.device)
            .write_all(&message)
            .context("answer a FUSE request")
    }

    /// Begins with the vector that is set.
    fn page() -> Vec<u8> {
        let mut page = vec![0; Self::PAGE];
        page[..3].copy_from_slice(b"500");
        page
    }

    /// Makes a request with the page, which is not there yet, for its data.
    fn call(&self, ns: i32, get: bool) -> Result<(), Errno> {
        let file = File::open(&self.path).map_err(|_| Errno::EIO)?;
        // Only then its size is known.
        file.metadata().map_err(|_| Errno::EIO)?;
        let size = NonZeroUsize::new(Self::PAGE).ok_or(Errno::EIO)?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping is nobody else's.
        let page = unsafe { mmap(None, size, prot, MapFlags::MAP_PRIVATE, &file, 0) }?;
        // The mapping holds it, until this task ends.
        drop(file);
        let (request, size) = if get {
            (call::GET, Self::PAGE)
        } else {
            (call::SET, 3)
        };
        // SAFETY: The page is writable, and nobody borrows it.
        unsafe { call::request(&ns, request, page.as_ptr().expose_provenance() as u64, size) }?;
        Ok(())
    }
}

fn numbers<const N: usize>(numbers: [u32; N]) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_ne_bytes).collect()
}
