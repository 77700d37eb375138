// SPDX-License-Identifier: GPL-2.0-only

//! Restorers at several levels share a nest, and take a lock around SET and fork: every pid is known beforehand. Calls
//! that must fail go on meanwhile without the lock, on the same namespaces: one that changes anything makes a pid wrong.

use super::{
    shared::{Count, Race, Shared},
    task::{self, Held},
};
use crate::call::{self, vector};
use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use nest::{Level, Nest};
use nix::{
    errno::Errno,
    libc::c_ulong,
    sched::{CloneFlags, setns, unshare},
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect},
    },
    unistd::{ForkResult, Uid, fork, setresuid},
};
use std::{
    collections::VecDeque,
    fs::File,
    num::NonZeroUsize,
    os::fd::{AsRawFd, OwnedFd},
    process::exit,
    sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
};

const DEPTH: usize = 4;

/// The lowest levels, which have an owner of their own.
const OWNED: usize = 2;

/// Of levels 1 to `DEPTH`: so small that allocation wraps often, and so different that it does not wrap at once.
const PID_MAX: [i32; DEPTH] = [1900, 400, 1000, 340];

/// No level's is larger.
const PIDS: usize = 2000;

/// As the kernel has it: after a wrap, allocation starts here.
const RESERVED_PIDS: i32 = 300;

/// Tasks that a restorer keeps alive.
const HELD: usize = 4;

/// What the nest's allocation looks like; who holds the lock may read and change it.
pub struct Model {
    /// The pid to try next.
    cursor: [AtomicI32; DEPTH + 1],
    used: [[AtomicBool; PIDS]; DEPTH + 1],
}

impl Model {
    fn set(&self, level: usize, last_pid: i32) {
        self.cursor[level].store(last_pid + 1, Relaxed);
    }

    fn last_pid(&self, level: usize) -> i32 {
        (self.cursor[level].load(Relaxed) - 1).min(PID_MAX[level - 1])
    }

    fn allocate(&self, level: usize, race: &Race) -> Option<i32> {
        let cursor = self.cursor[level].load(Relaxed);
        let first = if cursor > RESERVED_PIDS {
            RESERVED_PIDS
        } else {
            1
        };
        let free = |from: i32| {
            (from..PID_MAX[level - 1]).find(|&pid| !self.used[level][pid as usize].load(Relaxed))
        };
        let start = cursor.max(first);
        let pid = free(start).or_else(|| free(first))?;
        if pid < start {
            race.count(Count::ExactWrap);
        } else if pid > start {
            race.count(Count::ExactOccupied);
        }
        self.used[level][pid as usize].store(true, Relaxed);
        self.cursor[level].store(pid + 1, Relaxed);
        Some(pid)
    }

    /// `pids` are those of level 1 and down.
    fn mark(&self, pids: &[i32], used: bool) {
        for (level, &pid) in (1..).zip(pids) {
            self.used[level][pid as usize].store(used, Relaxed);
        }
    }
}

pub struct Undisturbed {
    pub nest: Nest,
    /// Below the nest, without an init that lives or without one at all.
    dead: File,
    unborn: File,
    lock: OwnedFd,
}

impl Undisturbed {
    pub fn new(shared: &Shared) -> Result<Self> {
        let mut levels = PID_MAX.map(Level::with_pid_max);
        levels[DEPTH - OWNED].owner = Some(0);
        let nest = Nest::of(&levels)?;
        let dead = below(&nest, true)?;
        let unborn = below(&nest, false)?;
        for init in &nest.inits {
            shared
                .model
                .mark(&task::pids_of(&init.to_string())[1..], true);
        }
        let last_pids = [100; DEPTH];
        call::set(&nest.namespaces[DEPTH], vector(&last_pids))?;
        for (level, last_pid) in (1..).zip(last_pids) {
            shared.model.set(level, last_pid);
        }
        let lock = memfd_create(c"lock", MFdFlags::empty())?;
        Ok(Self {
            nest,
            dead,
            unborn,
            lock,
        })
    }

    pub fn start(&self, race: &mut Race) -> Result<()> {
        race.work("outside", |race, rng| self.restore(race, rng, 0))?;
        race.work("outside too", |race, rng| self.restore(race, rng, 0))?;
        race.work("inside level 1", |race, rng| self.inside(race, rng, 1))?;
        race.work("inside level 3", |race, rng| self.inside(race, rng, 3))?;
        race.call("failing calls", |race, rng| self.fail(race, rng))?;
        race.call("owner below", |race, rng| self.owner_below(race, rng))?;
        race.call("incapable", |race, rng| self.incapable(race, rng))?;
        Ok(())
    }

    /// Only a file opened anew is a lock of its own.
    fn lock(&self) -> Result<File> {
        Ok(File::open(format!(
            "/proc/self/fd/{}",
            self.lock.as_raw_fd()
        ))?)
    }

    /// A restorer in the nest, which is a task with known pids like any other.
    fn inside(&self, race: &Race, rng: Rng, level: usize) -> Result<()> {
        let lock = self.lock()?;
        lock.lock()?;
        let restorer = self.create(race, level, "no SET", || {
            race.run("inside", || self.restore(race, rng, level));
        });
        lock.unlock()?;
        Ok(task::reap(restorer?.0)?)
    }

    /// Under the lock: creates a task, which compares its pids, and returns them.
    fn create(
        &self,
        race: &Race,
        level: usize,
        after: &str,
        work: impl FnOnce(),
    ) -> Result<(nix::unistd::Pid, Vec<i32>)> {
        self.nest.enter(level)?;
        let model = &race.shared.model;
        let pids = (1..=level).map(|level| model.allocate(level, race));
        let pids = pids.collect::<Option<Vec<_>>>().context("no pid is left")?;
        let task = task::create(|| {
            let got = task::pids();
            if got.get(1..) == Some(&pids) {
                race.count(Count::Exact);
            } else {
                race.fail(format_args!(
                    "1 undisturbed: after {after} through level {level}: expected the pids {pids:?} from level 1 \
                     downward, got {:?}",
                    got.get(1..)
                ));
            }
            work();
        })?;
        Ok((task, pids))
    }

    /// `base` is the restorer's own level, below which it can create tasks.
    fn restore(&self, race: &Race, mut rng: Rng, base: usize) -> Result<()> {
        let model = &race.shared.model;
        let lock = self.lock()?;
        let mut held = VecDeque::<(Held, Vec<i32>)>::new();
        while race.running() {
            if held.len() == HELD || (!held.is_empty() && rng.u8(..4) == 0) {
                let index = rng.usize(..held.len());
                if let Some((task, pids)) = held.remove(index) {
                    self.release(&lock, model, task, &pids)?;
                }
            }
            let level = rng.usize(base.max(1)..=DEPTH);
            let top = rng.usize(1..=level);
            let numbers: Vec<i32> = (top..=level)
                .rev()
                .map(|level| last_pid(&mut rng, level))
                .collect();
            let text = vector(&numbers);
            let set = rng.u8(..4) > 0;

            lock.lock()?;
            if set {
                if let Err(errno) = call::set(&self.nest.namespaces[level], &text) {
                    race.fail(format_args!(
                        "1 undisturbed: SET {text} through level {level}: expected success, got {errno}"
                    ));
                }
                for (&number, level) in numbers.iter().zip((top..=level).rev()) {
                    model.set(level, number);
                }
                race.count(Count::ExactSet);
            }
            if rng.u8(..4) == 0 {
                self.compare(race, level)?;
            }
            let after = if set {
                format!("SET {text}")
            } else {
                "no SET".into()
            };
            let created = self.create(race, level, &after, Held::stop);
            lock.unlock()?;
            let (task, pids) = created?;
            held.push_back((Held::new(task), pids));
        }
        for (task, pids) in held {
            self.release(&lock, model, task, &pids)?;
        }
        Ok(())
    }

    /// Under the lock: is what GET returns what the model has?
    fn compare(&self, race: &Race, level: usize) -> Result<()> {
        let got = call::get(&self.nest.namespaces[level])?;
        let want: Vec<i32> = (1..=level)
            .rev()
            .map(|level| race.shared.model.last_pid(level))
            .collect();
        if got.len() == level + 1 && got[..level] == want {
            race.count(Count::ExactGet);
        } else {
            race.fail(format_args!(
                "1 undisturbed: GET through level {level}: expected {want:?} and level 0, got {got:?}"
            ));
        }
        Ok(())
    }

    /// The pids are free once the task is reaped, and that happens under the lock.
    fn release(&self, lock: &File, model: &Model, task: Held, pids: &[i32]) -> Result<()> {
        task.let_go()?;
        lock.lock()?;
        let reaped = task.reap();
        model.mark(pids, false);
        lock.unlock()?;
        Ok(reaped?)
    }

    /// Every call but some of the GETs has to fail, and to change nothing.
    fn fail(&self, race: &Race, mut rng: Rng) -> Result<()> {
        let namespaces = &self.nest.namespaces;
        let edge = Edge::new()?;
        while race.running() {
            let level = rng.usize(1..=DEPTH);
            let ns = &namespaces[level];
            let mut numbers: Vec<i32> = (1..=level)
                .rev()
                .map(|level| last_pid(&mut rng, level))
                .collect();
            let text = vector(&numbers);
            let expect = |count, call: &str, want: Errno, got: Result<(), Errno>| {
                if got == Err(want) {
                    race.count(count);
                } else {
                    race.fail(format_args!(
                        "1 undisturbed: {call} through level {level}: expected {want}, got {got:?}"
                    ));
                }
            };
            match rng.u8(..9) {
                0 => {
                    let text = match rng.u8(..8) {
                        0 => String::new(),
                        1 => format!("{text}:"),
                        2 => format!(":{text}"),
                        3 => format!("{text}:-1"),
                        4 => format!("{text}\n"),
                        5 => format!("{text}::7"),
                        6 => format!("{text}:2147483648"),
                        _ => format!("{text:0>513}"),
                    };
                    expect(
                        Count::Malformed,
                        &format!("SET {text:?}"),
                        Errno::EINVAL,
                        call::set(ns, &text),
                    );
                }
                1 => {
                    numbers[level - 1] = PID_MAX[0] + 1 + rng.i32(..1000);
                    let text = vector(&numbers);
                    expect(
                        Count::AbovePidMax,
                        &format!("SET {text}"),
                        Errno::EINVAL,
                        call::set(ns, &text),
                    );
                }
                2 => {
                    numbers.extend([300, 300]);
                    let text = vector(&numbers);
                    expect(
                        Count::NoSuchLevel,
                        &format!("SET {text}"),
                        Errno::EINVAL,
                        call::set(ns, &text),
                    );
                }
                3 => {
                    // SAFETY: SET writes nothing.
                    let got =
                        unsafe { call::request(ns, call::SET, edge.address(2), text.len().max(3)) };
                    expect(
                        Count::Unreadable,
                        "SET of unreadable memory",
                        Errno::EFAULT,
                        got.map(drop),
                    );
                }
                4 | 5 => {
                    let (count, file, what) = if rng.bool() {
                        (Count::Dead, &self.dead, "dead")
                    } else {
                        (Count::Unborn, &self.unborn, "unborn")
                    };
                    let numbers: Vec<i32> = (1..=DEPTH)
                        .rev()
                        .map(|level| last_pid(&mut rng, level))
                        .collect();
                    let text = format!("300:{}", vector(&numbers));
                    let call = format!("SET {text} through a namespace that is {what}, not");
                    expect(count, &call, Errno::EINVAL, call::set(file, &text));
                }
                6 => {
                    let mut text = text.into_bytes();
                    let data = text.as_mut_ptr().expose_provenance() as c_ulong;
                    // SAFETY: The buffer is this function's own.
                    let got = unsafe {
                        call::request(
                            ns,
                            rng.choice([0, 3, u32::MAX]).unwrap_or(0),
                            data,
                            text.len(),
                        )
                    };
                    expect(
                        Count::UnknownRequest,
                        "an unknown request",
                        Errno::EOPNOTSUPP,
                        got.map(drop),
                    );
                }
                7 => {
                    let (want, address, size) = match rng.bool() {
                        true => (Errno::ERANGE, edge.address(3), 3),
                        false => (Errno::EFAULT, edge.address(2), 512),
                    };
                    // SAFETY: What of it can be written is nobody else's.
                    let got = unsafe { call::request(ns, call::GET, address, size) };
                    expect(Count::BadGet, "GET into a bad buffer", want, got.map(drop));
                }
                _ => {
                    let got = call::get(ns);
                    let fits = |got: &[i32]| {
                        got.len() == level + 1
                            && got
                                .iter()
                                .zip(PID_MAX[..level].iter().rev())
                                .all(|(got, max)| (0..=*max).contains(got))
                    };
                    match got {
                        Ok(got) if fits(&got) => race.count(Count::FreeGet),
                        got => race.fail(format_args!(
                            "1 undisturbed: GET through level {level}: expected {} numbers within pid_max, got {got:?}",
                            level + 1
                        )),
                    }
                }
            }
        }
        Ok(())
    }

    /// With all capabilities in the user namespace that owns the lowest levels, and none above.
    fn owner_below(&self, race: &Race, mut rng: Rng) -> Result<()> {
        setns(owner(&self.nest)?, CloneFlags::CLONE_NEWUSER)?;
        while race.running() {
            let level = rng.usize(DEPTH - OWNED + 1..=DEPTH);
            let top = rng.usize(1..=DEPTH - OWNED);
            let numbers: Vec<i32> = (top..=level)
                .rev()
                .map(|level| last_pid(&mut rng, level))
                .collect();
            let text = vector(&numbers);
            match call::set(&self.nest.namespaces[level], &text) {
                Err(Errno::EPERM) => race.count(Count::OwnerOnly),
                got => race.fail(format_args!(
                    "1 undisturbed: SET {text} through level {level} by the owner of the lowest {OWNED}: expected EPERM, \
                     got {got:?}"
                )),
            }
            match call::get(&self.nest.namespaces[level]) {
                Ok(got) if got.len() == level - (DEPTH - OWNED) => race.count(Count::OwnerGet),
                got => race.fail(format_args!(
                    "1 undisturbed: GET through level {level} by the owner of the lowest {OWNED}: got {got:?}"
                )),
            }
        }
        Ok(())
    }

    fn incapable(&self, race: &Race, mut rng: Rng) -> Result<()> {
        let nobody = Uid::from_raw(65534);
        setresuid(nobody, nobody, nobody)?;
        while race.running() {
            let level = rng.usize(1..=DEPTH);
            let text = last_pid(&mut rng, level).to_string();
            let set = call::set(&self.nest.namespaces[level], &text);
            let get = call::get(&self.nest.namespaces[level]);
            if (&set, &get) == (&Err(Errno::EPERM), &Err(Errno::EPERM)) {
                race.count(Count::Incapable);
            } else {
                race.fail(format_args!(
                    "1 undisturbed: level {level}, by nobody: expected EPERM twice, got SET {text}: {set:?}, GET: {get:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Often near the ends, and near what others chose.
fn last_pid(rng: &mut Rng, level: usize) -> i32 {
    let max = PID_MAX[level - 1];
    match rng.u8(..8) {
        0 => rng.i32(0..=3),
        1 => rng.i32(max - 3..=max),
        2 => rng.i32(RESERVED_PIDS - 3..=RESERVED_PIDS + 3),
        3 | 4 => rng.i32(200..220),
        _ => rng.i32(0..=max),
    }
}

/// The user namespace that owns the lowest levels.
fn owner(nest: &Nest) -> Result<File> {
    Ok(File::open(format!(
        "/proc/{}/ns/user",
        nest.inits[DEPTH - 1]
    ))?)
}

/// A namespace below the lowest one. What created it has ended.
fn below(nest: &Nest, born: bool) -> Result<File> {
    let owner = owner(nest)?;
    nest.enter(DEPTH)?;
    let creator = task::hold(
        || {
            // Only who belongs to the owner can nest there.
            let made = setns(&owner, CloneFlags::CLONE_NEWUSER)
                .and_then(|()| unshare(CloneFlags::CLONE_NEWPID));
            if let Err(errno) = made {
                eprintln!("unshare: {errno}");
            }
            if born {
                // SAFETY: This process has one thread.
                match unsafe { fork() } {
                    Ok(ForkResult::Child) => exit(0),
                    Ok(ForkResult::Parent { child }) => drop(task::reap(child)),
                    Err(errno) => eprintln!("fork: {errno}"),
                }
            }
        },
        || (),
    );
    nest.enter(0)?;
    let creator = creator?;
    creator.stopped()?;
    let ns = File::open(format!("/proc/{}/ns/pid_for_children", creator.pid()))?;
    creator.end()?;
    let answer = call::get(&ns);
    ensure!(
        answer == Err(Errno::EINVAL),
        "GET of a namespace that cannot create tasks: {answer:?}"
    );
    Ok(ns)
}

/// Memory that ends.
struct Edge(usize);

impl Edge {
    const PAGE: usize = 4096;

    /// Digits, up to the end.
    fn new() -> Result<Self> {
        let size = NonZeroUsize::new(2 * Self::PAGE).context("two pages")?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping is nobody else's.
        let memory = unsafe { mmap_anonymous(None, size, prot, MapFlags::MAP_PRIVATE) }?;
        // SAFETY: The first page is writable.
        unsafe { memory.cast::<u8>().write_bytes(b'3', Self::PAGE) };
        // SAFETY: The mapping has a second page, which nobody uses.
        unsafe {
            mprotect(
                memory.byte_add(Self::PAGE),
                Self::PAGE,
                ProtFlags::PROT_NONE,
            )
        }?;
        Ok(Self(memory.as_ptr().expose_provenance() + Self::PAGE))
    }

    /// So many bytes before the end.
    fn address(&self, before: usize) -> c_ulong {
        (self.0 - before) as c_ulong
    }
}
