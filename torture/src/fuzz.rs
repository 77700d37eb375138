// SPDX-License-Identifier: GPL-2.0-only

//! Random calls, each compared with a model of what it returns and leaves behind.

mod generate;
pub mod memory;
mod reference;

use crate::model::{CASES, Case, Effect, Model, Namespace, Outcome, Target, UserNamespace};
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use generate::{Choice, Made, OTHER_USER, Privilege, Rewritten};
use memory::{Area, Memory};
use nest::{Level, Nest};
use nix::{
    errno::Errno,
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};
use ns_last_pid::raw;
use reference::Differences;
use rustix::{
    process::Uid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_res_uid},
};
use std::{
    arch::asm,
    collections::BTreeSet,
    fs::{self, File},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Args {
    /// Makes the same calls again
    #[arg(long)]
    seed: Option<u64>,
    /// How many calls to make
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Makes the calls to the C port of 2017 too, and tells what differs (on a kernel with ci/configs/reference.patch)
    #[arg(long)]
    reference: bool,
}

/// Runs that are at least so long must have reached every case.
const LONG: u64 = 100_000;
const PID_MAX: [i32; 8] = [301, 302, 999, 1000, 4096, 32768, 99_999, 4_194_304];

pub fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut fuzz = Fuzz::new(Rng::with_seed(seed))?;
    fuzz.differences = args.reference.then(Differences::default);
    let (start, mut told) = (Instant::now(), Instant::now());
    for n in 0..args.calls {
        fuzz.step(n)
            .with_context(|| format!("seed {seed}, call {n}"))?;
        if n % 64 == 0 {
            fuzz.every_level()
                .with_context(|| format!("seed {seed}, call {n}"))?;
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                println!("{n} calls in {} s", start.elapsed().as_secs());
            }
        }
    }
    fuzz.report(args.calls, start.elapsed())
}

struct Fuzz {
    rng: Rng,
    model: Model,
    choice: Choice,
    memory: Memory,
    /// In the order of the model.
    fds: Vec<i32>,
    /// The deepest namespace of each nest that is alive.
    tips: Vec<usize>,
    others: Vec<File>,
    full: CapabilitySets,
    rewriter: Arc<Rewriter>,
    outcomes: [u64; CASES.len()],
    forks: u64,
    rewritten: [u64; 2],
    moved_on: u64,
    differences: Option<Differences>,
    nests: Vec<Nest>,
}

/// What is at level 0, from a namespace's deepest level up.
fn nspid(pid: Pid) -> Result<Vec<i32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pids = line.context("no NSpid")?.split_whitespace();
    Ok(pids.map(str::parse).collect::<Result<_, _>>()?)
}

fn number_in(path: &str) -> Result<i32> {
    Ok(fs::read_to_string(path)?.trim().parse()?)
}

/// The pids of level 0 that are in use.
fn used() -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for dir in ["/proc", "/proc/self/task"] {
        for entry in fs::read_dir(dir)? {
            pids.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<i32>().ok()),
            );
        }
    }
    Ok(pids)
}

/// The kinds of nests, and the depth at which one ends.
fn shapes(rng: &mut Rng) -> Vec<(Vec<Level>, Option<usize>)> {
    let owned = |depth: usize, owners: &[(usize, u32)]| {
        let mut levels = vec![Level::default(); depth];
        for &(at, owner) in owners {
            levels[at - 1].owner = Some(owner);
        }
        levels
    };
    let mut shapes = vec![
        (owned(1, &[]), None),
        (owned(32, &[]), None),
        (owned(8, &[(4, 0), (7, 0)]), None),
        (owned(5, &[(2, OTHER_USER)]), None),
        (owned(32, &[(1, 0), (17, 0)]), None),
        (owned(3, &[]), Some(2)),
        (owned(6, &[(3, 0)]), Some(6)),
    ];
    for level in shapes.iter_mut().flat_map(|(levels, _)| levels) {
        level.pid_max = rng.choice(PID_MAX);
    }
    shapes
}

impl Fuzz {
    fn new(mut rng: Rng) -> Result<Self> {
        let level0 = Namespace {
            parent: None,
            user: 0,
            pid_max: number_in("/proc/sys/kernel/pid_max")?,
            last_pid: 0,
            dead: false,
            used: BTreeSet::new(),
        };
        let mut model = Model {
            users: vec![UserNamespace {
                parent: None,
                owner: 0,
            }],
            namespaces: vec![level0],
        };
        let (mut nests, mut tips) = (Vec::new(), Vec::new());
        let mut choice = Choice {
            nests: Vec::new(),
            others: 0,
        };
        for (levels, ends) in shapes(&mut rng) {
            let nest = Nest::of(&levels)?;
            let mut places = vec![0];
            let (mut user, mut uid) = (0, 0);
            for (depth, level) in (1..).zip(&levels) {
                if let Some(owner) = level.owner {
                    // As root of a user namespace, it is who created that.
                    uid = if owner == 0 { uid } else { owner };
                    model.users.push(UserNamespace {
                        parent: Some(user),
                        owner: uid,
                    });
                    user = model.users.len() - 1;
                }
                let pids: Result<Vec<_>> = nest.inits.iter().map(|&init| nspid(init)).collect();
                let here = pids?
                    .into_iter()
                    .filter_map(|pids| pids.get(depth).copied());
                model.namespaces.push(Namespace {
                    parent: Some(places[depth - 1]),
                    user,
                    pid_max: level.pid_max.unwrap_or(model.namespaces[0].pid_max),
                    last_pid: here.max().unwrap_or(0),
                    dead: ends.is_some_and(|end| depth >= end),
                    used: BTreeSet::new(),
                });
                places.push(model.namespaces.len() - 1);
            }
            if let Some(depth) = ends {
                nest.end(depth)?;
            }
            for pids in nest.inits.iter().flat_map(|&init| nspid(init)) {
                for (&place, &pid) in places.iter().zip(&pids).skip(1) {
                    model.namespaces[place].used.insert(pid);
                }
            }
            let alive = places
                .iter()
                .rev()
                .find(|&&place| !model.namespaces[place].dead);
            tips.push(alive.copied().unwrap_or(0));
            choice.nests.push(places);
            nests.push(nest);
        }
        let mut fds = vec![nests[0].namespaces[0].as_raw_fd()];
        for nest in &nests {
            fds.extend(nest.namespaces[1..].iter().map(AsRawFd::as_raw_fd));
        }
        let others = ["mnt", "uts", "ipc", "net", "user", "time", "cgroup"];
        let others = others.map(|other| File::open(format!("/proc/self/ns/{other}")));
        let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
        choice.others = others.len();
        let rewriter = Rewriter::start();
        model.namespaces[0].last_pid = number_in("/proc/sys/kernel/ns_last_pid")?;
        Ok(Fuzz {
            rng,
            model,
            choice,
            memory: Memory::new()?,
            fds,
            tips,
            others,
            full: capabilities(None)?,
            rewriter,
            outcomes: [0; CASES.len()],
            forks: 0,
            rewritten: [0; 2],
            moved_on: 0,
            differences: None,
            nests,
        })
    }

    fn step(&mut self, n: u64) -> Result<()> {
        if self.rng.u16(..1000) == 0 {
            self.fork()?;
        }
        let made = generate::make(&mut self.rng, &self.choice, &self.model, &mut self.memory);
        match self.differences.take() {
            Some(mut differences) => {
                self.compare(&made, n, &mut differences)?;
                self.differences = Some(differences);
            }
            None => drop(self.check(&made, n)?),
        }
        self.memory.clear();
        Ok(())
    }

    /// What may come of it, by the model; with either byte where one is rewritten.
    fn expect(&mut self, made: &Made) -> Vec<Outcome> {
        let mut outcomes = self.model.expect(&made.call, &self.memory);
        if let Some(Rewritten { offset, bytes }) = made.rewritten {
            self.memory.put(Area::Data, offset, &bytes[1..]);
            outcomes.extend(self.model.expect(&made.call, &self.memory));
            self.memory.put(Area::Data, offset, &bytes[..1]);
        }
        outcomes
    }

    fn check(&mut self, made: &Made, n: u64) -> Result<(Case, Result<i32, Errno>)> {
        let tip = self.tips[made.nest];
        let mut outcomes = self.expect(made);
        let ret = self.call(made, made.call.cmd)?;
        if let Some(Rewritten { offset, bytes }) = made.rewritten {
            self.memory.put(Area::Data, offset, &bytes[..1]);
        }
        let after = self.observe(tip)?;

        let mut settled = self.settle(made, &outcomes, ret, &after)?;
        if settled.is_none() {
            // Tasks created at level 0 show in what GET says, too.
            let from = self.model.namespaces[0].last_pid;
            if self.follow(tip, &after)? {
                let to = self.model.namespaces[0].last_pid;
                for last_pid in if from < to { from..=to } else { to..=to } {
                    self.model.namespaces[0].last_pid = last_pid;
                    outcomes.extend(self.expect(made));
                }
                settled = self.settle(made, &outcomes, ret, &after)?;
            }
        }
        let Some(which) = settled else {
            self.mismatch(made, n, &outcomes, ret, &after);
            bail!("mismatch");
        };
        let case = outcomes[which].case;
        if let Some(place) = CASES.iter().position(|&(other, _)| other == case) {
            self.outcomes[place] += 1;
        }
        if made.rewritten.is_some() && outcomes[0].ret() != outcomes[1].ret() {
            self.rewritten[which.min(1)] += 1;
        }
        Ok((case, ret))
    }

    /// The same call to the C port first, which has only SET.
    fn compare(&mut self, made: &Made, n: u64, differences: &mut Differences) -> Result<()> {
        let arg = self.memory.read(made.call.arg, 16);
        let req = arg
            .and_then(|arg| arg.first_chunk())
            .map(|&req| u32::from_ne_bytes(req));
        let plain = made.call.cmd == raw::NS_SPECIFIC_IOC && made.rewritten.is_none();
        if !plain || req == Some(raw::PIDNS_REQ_GET_LAST_PID_VEC) {
            return self.check(made, n).map(drop);
        }
        let size = arg
            .and_then(|arg| arg[4..].first_chunk())
            .map(|&size| u32::from_ne_bytes(size));
        let text = self
            .memory
            .read(self.data_address(made), size.unwrap_or(0).min(513) as usize);
        let text = text.unwrap_or_default().to_vec();
        let tip = self.tips[made.nest];
        let before = self.observe(tip)?;
        let port = reference::Made {
            ret: self.call(made, reference::COMMAND)?,
            after: reference::parse(&self.observe(tip)?),
        };
        // What GET wrote SET accepts.
        let arg = raw::ns_specific_req {
            req: raw::PIDNS_REQ_SET_LAST_PID_VEC,
            data_size: before.len() as u32,
            data: before.as_ptr().expose_provenance() as u64,
        };
        let arg = (&raw const arg).expose_provenance() as u64;
        ioctl(self.fds[tip], raw::NS_SPECIFIC_IOC, arg).context("SET")?;
        let before = reference::parse(&before);
        self.model.set_last_pids(tip, &before);
        let (case, ret) = self.check(made, n)?;
        let ours = reference::Made {
            ret,
            after: reference::parse(&self.model.text(tip, Privilege::Full.caller())),
        };
        let name = CASES
            .iter()
            .find(|&&(other, _)| other == case)
            .map_or("", |&(_, name)| name);
        let levels = match made.call.target {
            Target::Pid(namespace) => self.model.upward(namespace).count(),
            Target::Other(_) => before.len(),
        };
        // One that has ended does not show its own.
        let below = before.len().saturating_sub(levels);
        differences.note(name, &text, below, &before, &port, &ours);
        Ok(())
    }

    /// The first of the outcomes that explains everything.
    fn settle(
        &mut self,
        made: &Made,
        outcomes: &[Outcome],
        ret: Result<i32, Errno>,
        after: &str,
    ) -> Result<Option<usize>> {
        let tip = self.tips[made.nest];
        let before = self.model.last_pids(tip);
        for (which, outcome) in outcomes.iter().enumerate() {
            if outcome.ret() != ret {
                continue;
            }
            let (data, mut written) = (self.data_address(made), Vec::new());
            match (&outcome.effect, made.call.target) {
                (Effect::Set(last_pids), Target::Pid(namespace)) => {
                    self.model.set_last_pids(namespace, last_pids);
                }
                (Effect::Get(text), _) => {
                    written = self.memory.written(data, format!("{text}\0").as_bytes());
                }
                (Effect::Begun(text), _) => written = self.memory.written(data, text.as_bytes()),
                _ => {}
            }
            if self.memory.is_intact(Area::Data)
                && (self.model.is_shown_by(tip, after) || self.follow(tip, after)?)
            {
                return Ok(Some(which));
            }
            self.model.set_last_pids(tip, &before);
            self.memory.written(data, &written);
        }
        Ok(None)
    }

    /// As whoever makes it.
    fn call(&mut self, made: &Made, cmd: u32) -> Result<Result<i32, Errno>> {
        let fd = match made.call.target {
            Target::Pid(namespace) => self.fds[namespace],
            Target::Other(other) => self.others[other].as_raw_fd(),
        };
        self.become_(made.privilege)?;
        if let Some(rewritten) = made.rewritten {
            self.rewriter.begin(rewritten);
        }
        let ret = match made.compat {
            true => compat_ioctl(fd, cmd, made.call.arg as u32),
            false => ioctl(fd, cmd, made.call.arg),
        };
        if made.rewritten.is_some() {
            self.rewriter.end();
        }
        if made.privilege == Privilege::OtherUser {
            set_thread_res_uid(None, Uid::ROOT, None)?;
        } else if made.privilege != Privilege::Full {
            set_capabilities(None, self.full)?;
        }
        Ok(ret)
    }

    fn become_(&self, privilege: Privilege) -> Result<()> {
        let (checkpoint, admin) = (CapabilitySet::CHECKPOINT_RESTORE, CapabilitySet::SYS_ADMIN);
        let effective = match privilege {
            Privilege::Full => return Ok(()),
            Privilege::OtherUser => {
                return Ok(set_thread_res_uid(None, Uid::from_raw(OTHER_USER), None)?);
            }
            Privilege::NoneEffective => CapabilitySet::empty(),
            Privilege::CheckpointRestore => checkpoint,
            Privilege::SysAdmin => admin,
            Privilege::AllButThese => self.full.effective - checkpoint - admin,
        };
        Ok(set_capabilities(
            None,
            CapabilitySets {
                effective,
                ..self.full
            },
        )?)
    }

    /// The last pids of a namespace and all above it, as the kernel tells them to one who may see all.
    fn observe(&self, namespace: usize) -> Result<String> {
        let mut text = [0_u8; raw::PIDNS_LAST_PID_VEC_MAX as usize];
        let arg = raw::ns_specific_req {
            req: raw::PIDNS_REQ_GET_LAST_PID_VEC,
            data_size: raw::PIDNS_LAST_PID_VEC_MAX,
            data: text.as_mut_ptr().expose_provenance() as u64,
        };
        let arg = (&raw const arg).expose_provenance() as u64;
        let length = ioctl(self.fds[namespace], raw::NS_SPECIFIC_IOC, arg).context("GET")?;
        Ok(str::from_utf8(&text[..length as usize])?.to_owned())
    }

    /// The kernel creates tasks at level 0, and nothing else does anywhere: whether that explains all that differs.
    fn follow(&mut self, namespace: usize, observed: &str) -> Result<bool> {
        let expected = self.model.text(namespace, Privilege::Full.caller());
        let (below, level0) = observed.rsplit_once(':').unwrap_or(("", observed));
        let (expected_below, expected_level0) =
            expected.rsplit_once(':').unwrap_or(("", &expected));
        if below != expected_below || level0 == expected_level0 {
            return Ok(false);
        }
        let moved_on = self.model.moved_on(level0.parse()?, used()?);
        self.moved_on += u64::from(moved_on);
        Ok(moved_on)
    }

    /// Nothing has changed anywhere.
    fn every_level(&mut self) -> Result<()> {
        ensure!(self.memory.is_intact(Area::Args), "a struct was written");
        for tip in self.tips.clone() {
            let observed = self.observe(tip)?;
            ensure!(
                self.model.is_shown_by(tip, &observed) || self.follow(tip, &observed)?,
                "last pids moved where no call was made: {} became {observed}",
                self.model.text(tip, Privilege::Full.caller())
            );
        }
        Ok(())
    }

    /// A task is created somewhere: its pids are those that the model says. Some of them change the namespace's pid_max.
    fn fork(&mut self) -> Result<()> {
        let nest = self.rng.usize(..self.choice.nests.len());
        let depth = self.rng.usize(..self.choice.nests[nest].len());
        let new_pid_max = self.rng.u8(..4) == 0;
        let pid_max = PID_MAX[self.rng.usize(..PID_MAX.len())];
        let namespace = self.choice.nests[nest][depth];
        if self.model.namespaces[namespace].dead {
            return Ok(());
        }
        let new_pid_max = new_pid_max && depth > 0;
        // What level 0 has in use is only known now.
        self.model.namespaces[0].used = used()?;
        self.nests[nest].enter(depth)?;
        let text = pid_max.to_string();
        // SAFETY: The child opens a file, writes and ends: it takes no lock that the other thread can hold.
        let child = match unsafe { fork() }? {
            ForkResult::Child => {
                let failed = new_pid_max && fs::write("/proc/sys/kernel/pid_max", &text).is_err();
                // SAFETY: It ends the process without running anything else of it.
                unsafe { libc::_exit(failed.into()) };
            }
            ForkResult::Parent { child } => child,
        };
        let pids = nspid(child);
        let status = waitpid(child, None)?;
        self.nests[nest].enter(0)?;
        ensure!(
            status == WaitStatus::Exited(child, 0),
            "the task ended: {status:?}"
        );
        let pids = pids?;

        let before = self.model.text(namespace, Privilege::Full.caller());
        let level0 = self.model.namespaces[0].last_pid;
        let expected = self.model.fork(namespace);
        if pids != expected {
            let mut used = used()?;
            used.remove(&pids[0]);
            self.model.namespaces[0].last_pid = level0;
            ensure!(
                pids[1..] == expected[1..] && self.model.moved_on(pids[0], used),
                "a task in namespace {namespace} of the model, {before} before: expected NSpid {expected:?}, got {pids:?}"
            );
            self.moved_on += 1;
        }
        self.model.namespaces[0].used.clear();
        if new_pid_max {
            self.model.namespaces[namespace].pid_max = pid_max;
        }
        self.forks += 1;
        self.every_level()
    }

    /// Where the struct says that the data is.
    fn data_address(&self, made: &Made) -> u64 {
        let data = self.memory.read(made.call.arg, 16).map(|arg| &arg[8..]);
        data.and_then(|data| data.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    }

    fn mismatch(
        &self,
        made: &Made,
        n: u64,
        outcomes: &[Outcome],
        ret: Result<i32, Errno>,
        after: &str,
    ) {
        let Made {
            call,
            privilege,
            nest,
            rewritten,
            compat,
        } = made;
        println!("--- mismatch at call {n}");
        match call.target {
            Target::Pid(namespace) => {
                let level = self.model.upward(namespace).count() - 1;
                println!("namespace  level {level} of nest {nest}, by {privilege:?}");
                for at in self.model.upward(namespace) {
                    let Namespace {
                        user,
                        pid_max,
                        dead,
                        ..
                    } = self.model.namespaces[at];
                    println!("           pid_max {pid_max}, user namespace {user}, dead {dead}");
                }
            }
            Target::Other(other) => println!("namespace  {:?}", self.others[other]),
        }
        let bits = if *compat { 32 } else { 64 };
        println!(
            "command    {:#x}, struct at {:#x}, {bits} bits",
            call.cmd, call.arg
        );
        if let Some(arg) = self.memory.read(call.arg, 16) {
            let word =
                |at: usize| u32::from_ne_bytes([arg[at], arg[at + 1], arg[at + 2], arg[at + 3]]);
            let (req, size, data) = (word(0), word(4), self.data_address(made));
            println!("struct     req {req}, data_size {size}, data at {data:#x}");
            if let Some(text) = self.memory.read(data, size.min(513) as usize) {
                println!("data       \"{}\"", text.escape_ascii());
            }
        }
        if let Some(Rewritten { bytes, offset }) = rewritten {
            println!("rewritten  at {offset}: \"{}\"", bytes.escape_ascii());
        }
        for outcome in outcomes {
            println!("expected   {:?} ({:?})", outcome.ret(), outcome.case);
            match &outcome.effect {
                Effect::Nothing => {}
                Effect::Set(last_pids) => println!("           last pids {last_pids:?}"),
                Effect::Get(text) | Effect::Begun(text) => println!("           \"{text}\""),
            }
        }
        println!("got        {ret:?}");
        let tip = self.tips[*nest];
        println!(
            "before     {}",
            self.model.text(tip, Privilege::Full.caller())
        );
        println!("after      {after}");
        if !self.memory.is_intact(Area::Data) {
            println!("memory     is not as it should be");
        }
    }

    fn report(&self, calls: u64, took: Duration) -> Result<()> {
        println!();
        let mut missing = Vec::new();
        for (&(case, name), &count) in CASES.iter().zip(&self.outcomes) {
            let errno = case
                .errno()
                .map_or("-".to_owned(), |errno| format!("{errno:?}"));
            println!("{name:40} {errno:12} {count:10}");
            if count == 0 {
                missing.push(name.trim());
            }
        }
        let count = |wanted: Option<Errno>| {
            let cases = CASES.iter().zip(&self.outcomes);
            cases
                .filter(|((case, _), _)| case.errno() == wanted)
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        println!();
        let errnos: BTreeSet<_> = CASES
            .iter()
            .filter_map(|(case, _)| Some(case.errno()? as i32))
            .collect();
        for errno in errnos.into_iter().map(Errno::from_raw) {
            println!(
                "{:40} {:12} {:10}",
                errno.desc(),
                format!("{errno:?}"),
                count(Some(errno))
            );
        }
        let of = |wanted: &[Case]| {
            let cases = CASES.iter().zip(&self.outcomes);
            cases
                .filter(|((case, _), _)| wanted.contains(case))
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        println!(
            "\n{} tasks created; text rewritten during the call: {} as before, {} as after; level 0 moved on {} times; {} s",
            self.forks,
            self.rewritten[0],
            self.rewritten[1],
            self.moved_on,
            took.as_secs()
        );
        let (set, get) = (
            of(&[Case::Set, Case::SetByLargerStruct]),
            of(&[Case::Get, Case::GetStopped]),
        );
        if let Some(differences) = &self.differences {
            differences.report();
        }
        if calls >= LONG {
            ensure!(missing.is_empty(), "not reached: {}", missing.join("; "));
        }
        println!("fuzz: {calls} calls, {set} SET succeeded, {get} GET succeeded, 0 mismatches");
        Ok(())
    }
}

fn ioctl(fd: i32, cmd: u32, arg: u64) -> Result<i32, Errno> {
    // SAFETY: Where it may write, as the callers see to, is memory that exists for it.
    Errno::result(unsafe { libc::ioctl(fd, cmd as libc::Ioctl, arg) })
}

/// As a program of 32 bits does it.
fn compat_ioctl(fd: i32, cmd: u32, arg: u32) -> Result<i32, Errno> {
    const IOCTL: u64 = 54;
    let mut ret = IOCTL;
    // SAFETY: As for `ioctl()`. The compiler keeps rbx for itself, so that it is put back.
    unsafe {
        asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd) => _,
            inout("rax") ret,
            in("rcx") u64::from(cmd),
            in("rdx") u64::from(arg),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let ret = ret as i32;
    if ret < 0 {
        Err(Errno::from_raw(-ret))
    } else {
        Ok(ret)
    }
}

/// A thread that rewrites one byte again and again while it is told to.
#[derive(Default)]
struct Rewriter {
    address: AtomicUsize,
    bytes: [AtomicU8; 2],
    wanted: AtomicBool,
    at_work: AtomicBool,
    thread: std::sync::OnceLock<thread::Thread>,
}

impl Rewriter {
    fn start() -> Arc<Self> {
        let rewriter = Arc::new(Rewriter::default());
        let handle = thread::spawn({
            let rewriter = Arc::clone(&rewriter);
            move || rewriter.work()
        });
        // It never ends.
        let _ = rewriter.thread.set(handle.thread().clone());
        rewriter
    }

    fn work(&self) {
        loop {
            while !self.wanted.load(SeqCst) {
                thread::park();
            }
            let place = self.address.load(SeqCst) as *mut u8;
            // SAFETY: It lies in the writable view of `Memory`, and only this thread and the kernel use it between
            // `begin()` and `end()`.
            let place = unsafe { AtomicU8::from_ptr(place) };
            let bytes = self.bytes.each_ref().map(|byte| byte.load(SeqCst));
            self.at_work.store(true, SeqCst);
            while self.wanted.load(SeqCst) {
                place.store(bytes[0], SeqCst);
                place.store(bytes[1], SeqCst);
            }
            self.at_work.store(false, SeqCst);
        }
    }

    fn begin(&self, Rewritten { offset, bytes }: Rewritten) {
        self.address
            .store(Area::Data.address(true, offset) as usize, SeqCst);
        for (place, byte) in self.bytes.iter().zip(bytes) {
            place.store(byte, SeqCst);
        }
        self.wanted.store(true, SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        self.wait_until(true);
    }

    fn end(&self) {
        self.wanted.store(false, SeqCst);
        self.wait_until(false);
    }

    fn wait_until(&self, at_work: bool) {
        while self.at_work.load(SeqCst) != at_work {
            thread::yield_now();
        }
    }
}
