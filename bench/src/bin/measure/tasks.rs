// SPDX-License-Identifier: GPL-2.0-only

//! Creates tasks with chosen pids, in every way.

use crate::{DEPTHS, figure, now};
use anyhow::{Context, Result, ensure};
use bench::{Figure, quartiles};
use bytemuck::Zeroable;
use libc::{c_long, clone_args, pid_t};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use ns_last_pid::raw;
use std::{
    fs::{self, File},
    hint,
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    os::unix::fs::FileExt,
    ptr,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
    time::Duration,
};
use testbed::{
    Nest, memory, pids_of,
    request::{self, C_PORT},
};

/// Pids for a task `depth` levels down, in every form that a way of creating it needs.
pub struct Chosen {
    /// The innermost first.
    pids: Vec<pid_t>,
    pub vector: String,
    /// The last pids one by one, the innermost first.
    texts: Vec<String>,
}

impl Chosen {
    /// Chooses different pids for each `number` and each level.
    pub fn new(depth: usize, number: usize) -> Self {
        let pids: Vec<pid_t> = (0..=depth)
            .map(|level| (20_000 - 300 * level + number % 250) as pid_t)
            .collect();
        let texts: Vec<String> = pids.iter().map(|pid| (pid - 1).to_string()).collect();
        Self {
            vector: texts.join(":"),
            texts,
            pids,
        }
    }
}

/// The namespaces and helpers that the ways need, made before anything is measured.
struct Restorer {
    nest: Nest,
    own_last_pid: File,
    piped: Vec<PipedHelper>,
    futexed: Vec<Pid>,
    shared: &'static [Shared],
}

/// Chooses the pids, before the task is created.
type Choose = fn(&Restorer, &Chosen) -> Result<()>;

/// A way of creating a task with chosen pids.
struct Way {
    name: &'static str,
    choose: Choose,
    set_tid: bool,
}

const fn by(name: &'static str, choose: Choose) -> Way {
    Way {
        name,
        choose,
        set_tid: false,
    }
}

/// The first chooses nothing. The others are compared with it.
const WAYS: [Way; 7] = [
    by("clone", |_, _| Ok(())),
    by("ioctl, clone", |r, chosen| {
        set(r, chosen, raw::NS_SPECIFIC_IOC)
    }),
    by("C port's ioctl, clone", |r, chosen| set(r, chosen, C_PORT)),
    Way {
        name: "clone3(set_tid)",
        choose: |_, _| Ok(()),
        set_tid: true,
    },
    by("helpers on pipes, clone", by_pipes),
    by("helpers on futexes, clone", by_futexes),
    by("setns, fork, write, wait; clone", from_outside),
];

/// Every way creates its task by this call. The pids begin with the innermost level's.
fn clone_task(set_tid: &[pid_t]) -> Result<Pid> {
    // SAFETY: It is a struct of numbers, and all of them may be zero.
    let mut args: clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if !set_tid.is_empty() {
        args.set_tid = set_tid.as_ptr() as u64;
        args.set_tid_size = set_tid.len() as u64;
    }
    // SAFETY: Like fork(): the child has a copy of everything, and does nothing but exit.
    match unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<clone_args>()) } {
        -1 => Err(Errno::last()).context("clone3"),
        // SAFETY: It does not return, and nothing is left to be done here.
        0 => unsafe { libc::_exit(0) },
        pid => Ok(Pid::from_raw(pid as pid_t)),
    }
}

fn set(r: &Restorer, chosen: &Chosen, cmd: u32) -> Result<()> {
    let namespace = &r.nest.namespaces[chosen.pids.len() - 1];
    Ok(request::set_by(cmd, namespace, &chosen.vector)?)
}

/// A process in a namespace. It reads last pids from a pipe and writes them to its ns_last_pid.
struct PipedHelper {
    pid: Pid,
    requests: PipeWriter,
    replies: PipeReader,
}

impl PipedHelper {
    fn new(nest: &Nest, level: usize, own_last_pid: &File) -> Result<Self> {
        let (mut wanted, requests) = pipe()?;
        let (replies, mut done) = pipe()?;
        let pid = fork_into(nest, level, || {
            let mut text = [0; 16];
            loop {
                let length = wanted.read(&mut text)?;
                own_last_pid.write_at(&text[..length], 0)?;
                done.write_all(&[1])?;
            }
        })?;
        Ok(Self {
            pid,
            requests,
            replies,
        })
    }
}

fn by_pipes(r: &Restorer, chosen: &Chosen) -> Result<()> {
    let depth = chosen.pids.len() - 1;
    for (helper, text) in r.piped.iter().zip(chosen.texts[..depth].iter().rev()) {
        (&helper.requests).write_all(text.as_bytes())?;
        (&helper.replies).read_exact(&mut [0])?;
    }
    r.own_last_pid.write_at(chosen.texts[depth].as_bytes(), 0)?;
    Ok(())
}

/// Memory that the restorer shares with a helper on futexes. That of level 0 is for the replies.
#[derive(Zeroable)]
#[repr(align(64))]
struct Shared {
    /// A helper's changes when there is a number to write. Level 0's counts the missing replies.
    word: AtomicU32,
    /// The last pid as text in eight bytes.
    text: [AtomicU32; 2],
}

fn futex_wait(word: &AtomicU32, seen: u32) {
    // SAFETY: The word outlives the call, which reads it. There is no timeout.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            seen,
            ptr::null::<libc::timespec>(),
        )
    };
}

fn futex_wake(word: &AtomicU32) {
    let all: c_long = 1;
    // SAFETY: The kernel only takes the word's address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, all) };
}

fn futex_helper(
    nest: &Nest,
    level: usize,
    shared: &'static [Shared],
    own_last_pid: &File,
) -> Result<Pid> {
    fork_into(nest, level, || {
        let own = &shared[level];
        let missing = &shared[0].word;
        let mut seen = 0;
        loop {
            while own.word.load(SeqCst) == seen {
                futex_wait(&own.word, seen);
            }
            seen = own.word.load(SeqCst);
            let text = [0, 1].map(|half| own.text[half].load(SeqCst).to_ne_bytes());
            own_last_pid.write_at(text.as_flattened().trim_ascii_end(), 0)?;
            if missing.fetch_sub(1, SeqCst) == 1 {
                futex_wake(missing);
            }
        }
    })
}

/// All helpers are woken at once, and only the last one wakes the restorer.
fn by_futexes(r: &Restorer, chosen: &Chosen) -> Result<()> {
    let depth = chosen.pids.len() - 1;
    let missing = &r.shared[0].word;
    missing.store(depth as u32, SeqCst);
    for level in 1..=depth {
        let helper = &r.shared[level];
        let mut text = [b' '; 8];
        let digits = chosen.texts[depth - level].as_bytes();
        text[..digits.len()].copy_from_slice(digits);
        let (halves, _) = text.as_chunks();
        for (to, half) in helper.text.iter().zip(halves) {
            to.store(u32::from_ne_bytes(*half), SeqCst);
        }
        helper.word.fetch_add(1, SeqCst);
        futex_wake(&helper.word);
    }
    r.own_last_pid.write_at(chosen.texts[depth].as_bytes(), 0)?;
    loop {
        match missing.load(SeqCst) {
            0 => break,
            left => futex_wait(missing, left),
        }
    }
    Ok(())
}

/// Goes upward, because a process that writes for a level takes a pid on every level above.
fn from_outside(r: &Restorer, chosen: &Chosen) -> Result<()> {
    let depth = chosen.pids.len() - 1;
    for level in (1..=depth).rev() {
        write_from_inside(
            &r.nest,
            level,
            &r.own_last_pid,
            &chosen.texts[depth - level],
        )?;
    }
    r.own_last_pid.write_at(chosen.texts[depth].as_bytes(), 0)?;
    r.nest.enter(depth)
}

/// Has a process of a namespace write to its ns_last_pid, and waits for its end.
pub fn write_from_inside(nest: &Nest, level: usize, own_last_pid: &File, text: &str) -> Result<()> {
    let pid = fork_into(nest, level, || {
        own_last_pid.write_at(text.as_bytes(), 0)?;
        Ok(())
    })?;
    let status = waitpid(pid, None)?;
    ensure!(status == WaitStatus::Exited(pid, 0), "{status:?}");
    Ok(())
}

/// A write sets the last pid of the writer's namespace, wherever the file was opened.
pub fn own_last_pid() -> Result<File> {
    Ok(File::options()
        .write(true)
        .open("/proc/sys/kernel/ns_last_pid")?)
}

/// Forks a process into a namespace. It runs `child` and ends.
fn fork_into(nest: &Nest, level: usize, child: impl FnOnce() -> Result<()>) -> Result<Pid> {
    nest.enter(level)?;
    // SAFETY: This process has one thread.
    match unsafe { fork() }? {
        // Not exit(), which would flush the restorer's buffers.
        // SAFETY: It does not return.
        ForkResult::Child => unsafe { libc::_exit(child().is_err().into()) },
        ForkResult::Parent { child } => Ok(child),
    }
}

impl Restorer {
    fn new() -> Result<Self> {
        const DEPTH: usize = DEPTHS[DEPTHS.len() - 1];
        let nest = Nest::new(DEPTH)?;
        let own_last_pid = own_last_pid()?;
        let shared = memory::shared::<[Shared; DEPTH + 1]>()?;
        let piped = (1..=DEPTH)
            .map(|level| PipedHelper::new(&nest, level, &own_last_pid))
            .collect::<Result<_>>()?;
        let futexed = (1..=DEPTH)
            .map(|level| futex_helper(&nest, level, shared, &own_last_pid))
            .collect::<Result<_>>()?;
        Ok(Self {
            nest,
            own_last_pid,
            piped,
            futexed,
            shared,
        })
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        for &pid in self
            .piped
            .iter()
            .map(|helper| &helper.pid)
            .chain(&self.futexed)
        {
            let _ = kill(pid, Signal::SIGKILL).and_then(|()| waitpid(pid, None));
        }
    }
}

/// Context switches and wakeups of all CPUs so far.
fn scheduled() -> Result<[i64; 2]> {
    let stat = fs::read_to_string("/proc/stat")?;
    let switches = stat.lines().find_map(|line| line.strip_prefix("ctxt "));
    let schedstat = fs::read_to_string("/proc/schedstat")?;
    let cpus = schedstat.lines().filter(|line| line.starts_with("cpu"));
    let wakeups = cpus
        .filter_map(|cpu| cpu.split(' ').nth(5)?.parse::<i64>().ok())
        .sum();
    Ok([switches.context("no ctxt line")?.parse()?, wakeups])
}

/// Creates one task and returns its cost: the clock, context switches, wakeups.
fn round(restorer: &Restorer, way: &Way, chosen: &Chosen, icount: bool) -> Result<[i64; 3]> {
    // Let the kernel finish the previous task and its RCU callbacks. Then fault in the stack, of which that task
    // had a copy. Otherwise the cost of a way depends on the pages that it happens to touch.
    thread::sleep(Duration::from_millis(10));
    hint::black_box([1_u8; 1 << 15]);

    let set_tid: &[pid_t] = if way.set_tid { &chosen.pids } else { &[] };
    let mut took = [0; 3];
    let mut part = |work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let before = if icount { [0; 2] } else { scheduled()? };
        let start = now()?;
        work()?;
        took[0] += now()? - start;
        let after = if icount { [0; 2] } else { scheduled()? };
        took[1] += after[0] - before[0];
        took[2] += after[1] - before[1];
        Ok(())
    };
    let mut pid = Pid::from_raw(0);
    part(&mut || {
        (way.choose)(restorer, chosen)?;
        pid = clone_task(set_tid)?;
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        Ok(())
    })?;
    let mut pids = pids_of(pid);
    pids.reverse();
    part(&mut || Ok(waitpid(pid, None).map(drop)?))?;
    if way.name != WAYS[0].name {
        ensure!(
            pids == chosen.pids,
            "pids {pids:?}, chosen were {:?}",
            chosen.pids
        );
    }
    ensure!(
        pids.len() == chosen.pids.len(),
        "wrong namespace: pids {pids:?}"
    );
    Ok(took)
}

pub fn measure(rounds: usize, icount: bool) -> Result<Vec<Figure>> {
    let restorer = Restorer::new()?;
    if !icount {
        fs::write("/proc/sys/kernel/sched_schedstats", "1").context("no CONFIG_SCHEDSTATS")?;
    }
    let mut orders = fastrand::Rng::with_seed(1);
    let mut figures = Vec::new();
    for depth in DEPTHS {
        let mut samples = vec![Vec::new(); WAYS.len()];
        for number in 0..rounds {
            let chosen = Chosen::new(depth, number);
            // The cost of a way can depend on the way before it, so each round has its own order.
            let mut order: Vec<usize> = (0..WAYS.len()).collect();
            orders.shuffle(&mut order);
            for way in order {
                let (way, samples) = (&WAYS[way], &mut samples[way]);
                restorer.nest.enter(depth)?;
                let took = round(&restorer, way, &chosen, icount);
                samples.push(took.with_context(|| format!("{}, depth {depth}", way.name))?);
            }
        }
        for (way, Way { name, .. }) in WAYS.iter().enumerate() {
            let column = |which: usize| -> Vec<i64> {
                samples[way].iter().map(|took| took[which]).collect()
            };
            let added: Vec<i64> = samples[way]
                .iter()
                .zip(&samples[0])
                .map(|(took, plain)| took[0] - plain[0])
                .collect();
            let [low, median, high] = quartiles(&added).map(Some);
            let count = |which| (!icount).then(|| quartiles(&column(which))[1]);
            figures.push(Figure {
                adds: median,
                adds_low: low,
                adds_high: high,
                switches: count(1),
                wakeups: count(2),
                ..figure("task", name, depth, &column(0))
            });
        }
    }
    Ok(figures)
}
