// SPDX-License-Identifier: MIT OR Apache-2.0

//! Restores tasks whose parents may not choose pids: the parents are in user namespaces of their
//! own, one with a pid namespace of its own, one in the pid namespace of this program.
//!
//!     cargo build --example restore_tree && sudo build/cargo/debug/examples/restore_tree
//!
//! `clone3(set_tid)` fails with `EPERM`: the parent does not have the capability over every level.
//! This program, the restorer, is outside and has the capability: it sets the last pids, and then
//! the parent creates an ordinary process or thread. The exit status is 0 if `clone3()` was refused and
//! `NSpid` shows the wanted pids.

#![allow(unsafe_code, reason = "clone3(set_tid) has no safe wrapper")]

use command_fds::{CommandFdExt, FdMapping};
use ns_last_pid::PidNamespace;
use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TRIES: u32 = 20;

/// A process in a user namespace of its own. It answers each line on its stdin with one line.
struct Parent {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    pid_namespace: PidNamespace,
}

impl Parent {
    fn new(unshare: &[&str]) -> Result<Self> {
        // By file descriptor: root of a new user namespace may lack access to the path.
        let exe = FdMapping {
            parent_fd: File::open(env::current_exe()?)?.into(),
            child_fd: 3,
        };
        let mut process = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .args(unshare)
            .args(["/proc/self/fd/3", "parent"])
            .fd_mappings(vec![exe])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("no stdin")?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        let mut stdout = BufReader::new(stdout).lines();
        let pid = stdout.next().ok_or("the parent did not start")??;
        Ok(Self {
            process,
            stdin,
            stdout,
            pid_namespace: PidNamespace::of_process(pid.parse()?)?,
        })
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.stdin, "{line}")?;
        Ok(self.stdout.next().ok_or("the parent has died")??)
    }

    fn end(mut self) -> Result<()> {
        drop(self.stdin);
        self.process.wait()?;
        Ok(())
    }
}

/// Tells its pid, and then creates the tasks that it is asked for.
fn parent() -> Result<()> {
    println!("{}", fs::read_link("/proc/self")?.display());
    for line in io::stdin().lines() {
        let answer = match line?.as_str() {
            "process" => {
                let cat = Command::new("cat").arg("/proc/self/status").output()?;
                nspid(&String::from_utf8(cat.stdout)?)
            }
            "thread" => {
                let status = thread::spawn(|| fs::read_to_string("/proc/thread-self/status"));
                nspid(&status.join().map_err(|_| "the thread panicked")??)
            }
            nspid => set_tid(nspid)?,
        };
        println!("{answer}");
    }
    Ok(())
}

fn nspid(status: &str) -> String {
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.unwrap_or("no NSpid").trim().replace('\t', " ")
}

/// Creates a process by `clone3()` with these pids, written as in `NSpid`.
fn set_tid(nspid: &str) -> Result<String> {
    let pids = nspid.split(' ').rev().map(str::parse);
    let pids = pids.collect::<std::result::Result<Vec<libc::pid_t>, _>>()?;
    // SAFETY: All fields are integers, which may be 0.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    args.set_tid = pids.as_ptr().expose_provenance() as u64;
    args.set_tid_size = pids.len() as u64;
    // SAFETY: The kernel reads `args` and `pids`. As after a fork(), the child has a copy of the
    // memory, and it only exits.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) } {
        // SAFETY: It does not return.
        0 => unsafe { libc::_exit(0) },
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EPERM) => Ok("EPERM".into()),
            error => Err(error.into()),
        },
        _ => Ok("created".into()),
    }
}

fn restore(parent: &mut Parent, description: &str, task: &str) -> Result<()> {
    // A restorer has the pids from its images. This one takes some that are likely to be free, at a
    // distance from allocation. Each try asks for the same ones.
    let last_pids = parent.pid_namespace.last_pids()?;
    let last_pids = last_pids.as_ref().iter().map(|pid| pid % 10000 + 1000);
    let last_pids: Vec<u32> = last_pids.collect();
    let wanted = last_pids.iter().rev().map(|pid| (pid + 1).to_string());
    let wanted = wanted.collect::<Vec<_>>().join(" ");
    let last_pids = last_pids.try_into()?;
    for _ in 0..TRIES {
        let set_tid = match task {
            "process" => parent.ask(&wanted)?,
            // A raw clone3() of a thread needs a stack and assembly. The kernel's check is the same.
            _ => "-".into(),
        };
        parent.pid_namespace.set_last_pids(&last_pids)?;
        let got = parent.ask(task)?;
        println!("{description:24}{task:9}{wanted:14}{set_tid:17}{got}");
        if set_tid == "created" {
            return Err("this parent may choose pids itself".into());
        }
        if got == wanted {
            return Ok(());
        }
        println!("another task has one of these pids; again:");
    }
    Err(format!("not restored in {TRIES} tries").into())
}

fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some("parent") {
        return parent();
    }
    println!("parent's pid namespace  task     NSpid wanted  clone3(set_tid)  SET from outside");
    for (unshare, description) in [
        (&["--pid", "--fork"][..], "its own"),
        (&[], "the restorer's"),
    ] {
        let mut parent = Parent::new(unshare)?;
        for task in ["process", "thread"] {
            restore(&mut parent, description, task)?;
        }
        parent.end()?;
    }
    println!("restored two processes and two threads whose parents may not choose pids");
    Ok(())
}
