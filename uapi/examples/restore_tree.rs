// SPDX-License-Identifier: GPL-2.0-only

//! A restorer: ten tasks, threads included, in three pid namespaces inside each other, each task
//! with a chosen pid on every level. Ends with 0 only if `/proc` shows each of them with all of its
//! pids, at the same time.
//!
//!     cargo build --example restore_tree && sudo target/debug/examples/restore_tree
//!
//! As in a real restorer, each process creates its own children and threads, from inside, and sets
//! for each of them the last pids of all levels, up to the one that the restorer runs in. There,
//! everybody else takes pids too: who got another pid is ended, and restored again.

use ns_last_pid::{GatedCommand, LastPids, PidNamespace};
use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read},
    process::{self, Child, Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TRIES: u32 = 50;

const RESTORER: u32 = 0;

enum Task {
    Process,
    Thread,
}
use Task::*;

/// Pid in the innermost namespace, parent or process, in the order of creation.
const TASKS: [(Task, u32, u32); 10] = [
    (Process, 100, RESTORER),
    (Thread, 117, 100),
    (Thread, 102, 100),
    (Process, 110, 100),
    (Thread, 111, 110),
    (Process, 115, 110),
    (Process, 101, 100),
    (Thread, 400, 101),
    (Thread, 104, 101),
    (Process, 103, 101),
];

/// The pids of a task, the innermost first. The restorer's own namespace has `base` more.
fn pids(pid: u32, base: u32) -> [u32; 4] {
    [pid, pid + 1000, 30000 - pid, base + pid]
}

/// The pids in a file of /proc, in the same order.
fn nspid(status: &str) -> Result<Vec<u32>> {
    let status = fs::read_to_string(status)?;
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .ok_or("no NSpid")?;
    Ok(pids
        .split_whitespace()
        .rev()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?)
}

/// Says that it stands by a line, and ends when its stdin does.
fn restore_process(namespace: &PidNamespace, pid: u32, base: u32) -> Result<Child> {
    let mut task = GatedCommand::new(env::current_exe()?);
    task.command()
        .args([pid.to_string(), base.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut task = task.spawn(namespace, &pids(pid, base), TRIES)?;
    let mut line = String::new();
    BufReader::new(task.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    match line.as_str() {
        "restored\n" => Ok(task),
        _ => Err(format!("process {pid} was not restored").into()),
    }
}

fn end(mut task: Child) -> Result<()> {
    drop(task.stdin.take());
    task.wait()?;
    Ok(())
}

fn restore_thread(namespace: &PidNamespace, pid: u32, base: u32) -> Result<()> {
    let wanted = pids(pid, base);
    let before = LastPids::try_from(wanted.map(|pid| pid - 1).to_vec())?;
    let mut got = Vec::new();
    for _ in 0..TRIES {
        let (tell, told) = mpsc::channel();
        namespace.set_last_pids(&before)?;
        let thread = thread::spawn(move || {
            let got = nspid("/proc/thread-self/status").expect("/proc shows the thread");
            let right = got == wanted;
            tell.send(got).expect("the other thread waits");
            if right {
                loop {
                    thread::park();
                }
            }
        });
        got = told.recv()?;
        if got == wanted {
            return Ok(());
        }
        thread.join().expect("it has told its pids");
        // They are free again a little later.
        thread::sleep(Duration::from_millis(10));
    }
    Err(
        format!("thread {pid}: wanted {wanted:?}, and the last of {TRIES} tries got {got:?}")
            .into(),
    )
}

/// The part of the tree below one process, restored by this process.
fn restore_below(namespace: &PidNamespace, parent: u32, base: u32) -> Result<Vec<Child>> {
    let mut processes = Vec::new();
    for (task, pid, _) in TASKS.iter().filter(|(_, _, of)| *of == parent) {
        match task {
            Process => processes.push(restore_process(namespace, *pid, base)?),
            Thread => restore_thread(namespace, *pid, base)?,
        }
    }
    Ok(processes)
}

/// What a restored process does.
fn run_task(pid: u32, base: u32) -> Result<()> {
    let processes = restore_below(&PidNamespace::open("/proc/self/ns/pid")?, pid, base)?;
    println!("restored");
    io::stdin().read_to_end(&mut Vec::new())?;
    processes.into_iter().try_for_each(end)
}

/// Prints what /proc shows of the tree; true if all pids are right.
fn check(base: u32) -> bool {
    let mut right = true;
    println!("task         NSpid wanted               NSpid found");
    for (task, pid, parent) in &TASKS {
        let wanted = pids(*pid, base).to_vec();
        let outer = base + pid;
        let (kind, status) = match task {
            Process => ("process", format!("/proc/{outer}/status")),
            Thread => (
                "thread",
                format!("/proc/{}/task/{outer}/status", base + parent),
            ),
        };
        let text = |pids: Vec<u32>| {
            pids.iter()
                .rev()
                .map(|pid| format!("{pid:6}"))
                .collect::<String>()
        };
        let (found, same) = match nspid(&status) {
            Ok(found) => (text(found.clone()), found == wanted),
            Err(error) => (error.to_string(), false),
        };
        println!(
            "{kind:7} {pid:4} {} {found}{}",
            text(wanted),
            if same { "" } else { "  WRONG" }
        );
        right &= same;
    }
    right
}

fn restore() -> Result<bool> {
    let nest = ["unshare", "--pid", "--fork", "--kill-child"].repeat(3);
    // The innermost init says its pid, which is that of the outermost namespace because /proc is.
    let mut inits = Command::new(nest[0])
        .args(&nest[1..])
        .args([
            "sh",
            "-c",
            "read pid _ </proc/self/stat && echo $pid && read _",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut init = String::new();
    BufReader::new(inits.stdout.take().ok_or("no stdout")?).read_line(&mut init)?;
    let namespace = PidNamespace::of_process(init.trim().parse()?)?;

    let pid_max: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    // Some way ahead of where allocation stands, where nobody has been for long.
    let ahead = process::id() + 1000;
    let base = if ahead + 1000 < pid_max { ahead } else { 1000 };
    let processes = restore_below(&namespace, RESTORER, base)?;
    let right = check(base);
    processes.into_iter().try_for_each(end)?;
    end(inits)?;
    Ok(right)
}

fn main() -> Result<ExitCode> {
    let args: Vec<u32> = env::args()
        .skip(1)
        .map(|arg| arg.parse())
        .collect::<std::result::Result<_, _>>()?;
    match args[..] {
        [pid, base] => run_task(pid, base).map(|()| ExitCode::SUCCESS),
        _ => Ok(if restore()? {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }),
    }
}
