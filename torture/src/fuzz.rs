// SPDX-License-Identifier: GPL-2.0-only

//! Random calls, each compared with a model of its result and effect.

mod c_port;
mod caller;
mod generate;
mod memory;
mod model;
mod scene;

use crate::request::{self, vector};
use anyhow::{Context, Result, bail, ensure};
use c_port::Differences;
use caller::{Order, Privilege};
use fastrand::Rng;
use generate::{Made, Rewritten};
use memory::{Area, Arg, Memory};
use model::{Case, Effect, Init, Model, Namespace, Outcome, Target};
use nix::{
    errno::Errno,
    libc,
    sched::{CpuSet, sched_setaffinity},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};
use ns_last_pid::raw;
use scene::{PID_MAX, Scene};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::AsRawFd,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use testbed::pids_of;

#[derive(clap::Args)]
pub struct Args {
    /// Repeats the calls of the run with this seed
    #[arg(long)]
    seed: Option<u64>,
    /// How many calls to make
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Makes each call to the C port too and reports the differences (needs the kernel of ci/configs/c-port.config)
    #[arg(long)]
    c_port: bool,
}

/// A run of at least so many calls must reach every case.
const LONG: u64 = 100_000;

pub fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut fuzz = Fuzz::new(Rng::with_seed(seed), args.c_port)?;
    if !fuzz.compat {
        println!("SKIP 32-bit calls: UML has none");
    }
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
    scene: Scene,
    memory: Memory,
    /// Namespaces of other types.
    others: Vec<File>,
    outcomes: [u64; Case::ALL.len()],
    forks: u64,
    /// Calls whose result shows which of the two bytes the kernel read: how many read the first, how many the second.
    rewritten: [u64; 2],
    moved_on: u64,
    differences: Option<Differences>,
    /// Whether some calls are 32-bit ones.
    compat: bool,
}

/// The pids of level 0 that are in use.
fn used() -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

impl Fuzz {
    fn new(mut rng: Rng, c_port: bool) -> Result<Self> {
        let others = ["mnt", "uts", "ipc", "net", "user", "time", "cgroup"];
        let others = others.map(|other| File::open(format!("/proc/self/ns/{other}")));
        let others = others.into_iter().collect::<Result<_, _>>()?;
        // The callers share this CPU, since each call waits for another process. A wakeup across CPUs takes milliseconds in
        // emulation.
        run_on(0)?;
        // Before the callers, which share it.
        let memory = Memory::new()?;
        let (scene, model) = Scene::new(&mut rng)?;
        let mut fuzz = Fuzz {
            rng,
            model,
            scene,
            memory,
            others,
            outcomes: [0; Case::ALL.len()],
            forks: 0,
            rewritten: [0; 2],
            moved_on: 0,
            differences: c_port.then(Differences::default),
            // UML takes a 32-bit system call for the 64-bit one of the same number.
            compat: !fs::read_to_string("/proc/cpuinfo")?.contains("User Mode Linux"),
        };
        for nest in 0..fuzz.scene.nests.len() {
            let tip = fuzz.scene.nests[nest].tip;
            let mut last_pids = vec![300; fuzz.model.upward(tip).count() - 1];
            fuzz.set_last_pids(tip, &vector(&last_pids))?;
            last_pids.push(fuzz.model.namespaces[0].last_pid);
            fuzz.model.set_last_pids(tip, &last_pids);
        }
        let level0 = fs::read_to_string("/proc/sys/kernel/ns_last_pid")?;
        fuzz.model.namespaces[0].last_pid = level0.trim().parse()?;
        Ok(fuzz)
    }

    /// Sets the last pids of a namespace, with this process's own rights.
    fn set_last_pids(&self, namespace: usize, text: &str) -> Result<()> {
        let file = &self.scene.files[namespace];
        request::set(file, text).with_context(|| format!("SET {text}"))
    }

    fn step(&mut self, n: u64) -> Result<()> {
        if self.rng.u16(..1000) == 0 {
            self.fork()?;
        }
        let mut made = generate::make(
            &mut self.rng,
            &self.scene,
            self.others.len(),
            &self.model,
            &mut self.memory,
        );
        made.compat &= self.compat;
        match self.differences.take() {
            Some(mut differences) => {
                self.compare(&made, n, &mut differences)?;
                self.differences = Some(differences);
            }
            None => drop(self.check(&made, n)?),
        }
        ensure!(self.memory.is_intact(Area::Args), "a struct was written");
        self.memory.clear();
        Ok(())
    }

    /// The outcomes that the model allows. If a byte is rewritten, those of either byte.
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
        let tip = self.scene.nests[made.nest].tip;
        let mut outcomes = self.expect(made);
        let ret = match made.rewritten {
            None => self.call(made, made.call.cmd)?,
            Some(rewritten) => {
                let ret = rewriting(rewritten, || self.call(made, made.call.cmd))?;
                self.memory
                    .put(Area::Data, rewritten.offset, &rewritten.bytes[..1]);
                ret
            }
        };
        let after = self.observe(tip)?;

        let mut settled = self.settle(made, &outcomes, ret, &after)?;
        if settled.is_none() {
            // Tasks created at level 0 change what GET shows.
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
        self.outcomes[case as usize] += 1;
        if made.rewritten.is_some() && outcomes[0].ret() != outcomes[1].ret() {
            self.rewritten[which.min(1)] += 1;
        }
        Ok((case, ret))
    }

    /// Makes the same call to the C port first. The C port has only SET.
    fn compare(&mut self, made: &Made, n: u64, differences: &mut Differences) -> Result<()> {
        let arg = self.memory.arg(made.call.arg);
        let plain = made.call.cmd == raw::NS_SPECIFIC_IOC && made.rewritten.is_none();
        if !plain || arg.is_some_and(|arg| arg.req == request::GET) {
            return self.check(made, n).map(drop);
        }
        let text = arg.and_then(|arg| self.memory.read(arg.data, arg.data_size.min(513) as usize));
        let text = text.unwrap_or_default().to_vec();
        let tip = self.scene.nests[made.nest].tip;
        let before = self.observe(tip)?;
        let port = c_port::Made {
            ret: self.call(made, request::C_PORT)?,
            after: c_port::parse(&self.observe(tip)?),
        };
        // SET accepts the text that GET wrote.
        self.set_last_pids(tip, &before)?;
        let before = c_port::parse(&before);
        self.model.set_last_pids(tip, &before);
        let (case, ret) = self.check(made, n)?;
        let ours = c_port::Made {
            ret,
            after: c_port::parse(&self.model_text(tip)),
        };
        let levels = match made.call.target {
            Target::Pid(namespace) => self.model.upward(namespace).count(),
            Target::Other(_) => before.len(),
        };
        // A namespace without init is no level of the tip.
        let below = before.len().saturating_sub(levels);
        differences.note(case.row(), &text, below, &before, &port, &ours);
        Ok(())
    }

    /// The first outcome that explains everything.
    fn settle(
        &mut self,
        made: &Made,
        outcomes: &[Outcome],
        ret: Result<i32, Errno>,
        after: &str,
    ) -> Result<Option<usize>> {
        let tip = self.scene.nests[made.nest].tip;
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

    /// Has its caller make the call.
    fn call(&self, made: &Made, cmd: u32) -> Result<Result<i32, Errno>> {
        let file = match made.call.target {
            Target::Pid(namespace) => &self.scene.files[namespace],
            Target::Other(other) => &self.others[other],
        };
        self.scene.callers[made.by].worker.call(&Order {
            fd: file.as_raw_fd(),
            cmd,
            arg: made.call.arg,
            compat: made.compat,
            privilege: made.privilege,
        })
    }

    /// The last pids of a namespace and all above it, by the model.
    fn model_text(&self, namespace: usize) -> String {
        self.model.text(namespace, Privilege::All.caller(0, 0))
    }

    /// The last pids of a namespace and all above it, as the kernel shows them to this process.
    fn observe(&self, namespace: usize) -> Result<String> {
        request::get_text(&self.scene.files[namespace]).context("GET")
    }

    /// The kernel creates tasks at level 0, and nothing else creates any. Returns whether this explains all differences.
    fn follow(&mut self, namespace: usize, observed: &str) -> Result<bool> {
        let expected = self.model_text(namespace);
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

    /// Checks that nothing has changed anywhere.
    fn every_level(&mut self) -> Result<()> {
        for nest in 0..self.scene.nests.len() {
            let tip = self.scene.nests[nest].tip;
            let observed = self.observe(tip)?;
            ensure!(
                self.model.is_shown_by(tip, &observed) || self.follow(tip, &observed)?,
                "last pids moved where no call was made: {} became {observed}",
                self.model_text(tip)
            );
        }
        Ok(())
    }

    /// Creates a task somewhere and compares its pids with the model's. Some tasks change the namespace's pid_max.
    fn fork(&mut self) -> Result<()> {
        let nest = self.rng.usize(..self.scene.nests.len());
        let depth = self.rng.usize(..self.scene.nests[nest].levels.len());
        let new_pid_max = self.rng.u8(..4) == 0;
        let pid_max = PID_MAX[self.rng.usize(..PID_MAX.len())];
        let namespace = self.scene.nests[nest].levels[depth];
        if self.model.namespaces[namespace].init != Init::Alive {
            return Ok(());
        }
        let new_pid_max = new_pid_max && depth > 0;
        // The pids in use at level 0 change all the time.
        self.model.namespaces[0].used = used()?;
        self.scene.nests[nest].nest.enter(depth)?;
        let text = pid_max.to_string();
        // SAFETY: The child opens a file, writes and ends: this process has one thread.
        let child = match unsafe { fork() }? {
            ForkResult::Child => {
                let failed = new_pid_max && fs::write("/proc/sys/kernel/pid_max", &text).is_err();
                // SAFETY: It ends the process and runs nothing else.
                unsafe { libc::_exit(failed.into()) };
            }
            ForkResult::Parent { child } => child,
        };
        let pids = pids_of(child);
        let status = waitpid(child, None)?;
        self.scene.nests[nest].nest.enter(0)?;
        ensure!(
            status == WaitStatus::Exited(child, 0),
            "the task ended: {status:?}"
        );

        let before = self.model_text(namespace);
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

    /// The address of the data in the struct.
    fn data_address(&self, made: &Made) -> u64 {
        self.memory.arg(made.call.arg).map_or(0, |arg| arg.data)
    }

    fn mismatch(
        &self,
        made: &Made,
        n: u64,
        outcomes: &[Outcome],
        ret: Result<i32, Errno>,
        after: &str,
    ) {
        let call = &made.call;
        println!("--- mismatch at call {n}\n{made:?}");
        if let Target::Pid(namespace) = call.target {
            for at in self.model.upward(namespace) {
                let Namespace {
                    user,
                    pid_max,
                    init,
                    ..
                } = self.model.namespaces[at];
                println!("level      {at}: pid_max {pid_max}, user namespace {user}, {init:?}");
            }
        }
        if let Some(Arg {
            req,
            data_size,
            data,
        }) = self.memory.arg(call.arg)
        {
            println!("struct     req {req}, data_size {data_size}, data at {data:#x}");
            if let Some(text) = self.memory.read(data, data_size.min(513) as usize) {
                println!("data       \"{}\"", text.escape_ascii());
            }
        }
        for outcome in outcomes {
            println!("expected   {outcome:?}");
        }
        let tip = self.scene.nests[made.nest].tip;
        println!("got        {ret:?}");
        println!("before     {}", self.model_text(tip));
        println!("after      {after}");
        if !self.memory.is_intact(Area::Data) {
            println!("memory     differs from the model's");
        }
    }

    fn report(&self, calls: u64, took: Duration) -> Result<()> {
        println!();
        let mut missing = Vec::new();
        for (case, &count) in Case::ALL.iter().zip(&self.outcomes) {
            let errno = case
                .errno()
                .map_or("-".into(), |errno| format!("{errno:?}"));
            println!("{:42} {errno:12} {count:10}", case.row());
            if count == 0 {
                missing.push(case.row().trim());
            }
        }
        println!(
            "\n{} tasks created; text rewritten during the call: {} as before, {} as after; level 0 moved on {} times; {} s",
            self.forks,
            self.rewritten[0],
            self.rewritten[1],
            self.moved_on,
            took.as_secs()
        );
        if let Some(differences) = &self.differences {
            differences.report();
        }
        let reached = Case::ALL.len() - missing.len();
        if calls >= LONG {
            ensure!(missing.is_empty(), "not reached: {}", missing.join("; "));
            ensure!(
                !self.rewritten.contains(&0),
                "no call has read the text before it was rewritten, or none after"
            );
        } else if !missing.is_empty() {
            println!("not reached: {}", missing.join("; "));
        }
        println!("fuzz: {calls} calls, {reached} cases reached, 0 mismatches");
        Ok(())
    }
}

/// Keeps this thread, and those that it creates, on one CPU.
fn run_on(cpu: usize) -> nix::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)
}

/// Makes a call while another thread rewrites a byte of its text again and again.
fn rewriting<T>(Rewritten { offset, bytes }: Rewritten, call: impl FnOnce() -> T) -> T {
    let place = Area::Data.address(true, offset) as *mut u8;
    // SAFETY: It lies in the writable view of `Memory`, which nothing else in this process uses during the call.
    let place = unsafe { AtomicU8::from_ptr(place) };
    let (begins, over) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Without a second CPU, the two threads take turns.
            let _ = run_on(1);
            begins.wait();
            while !over.load(Relaxed) {
                for byte in bytes {
                    place.store(byte, Relaxed);
                }
            }
        });
        begins.wait();
        let done = call();
        over.store(true, Relaxed);
        done
    })
}
