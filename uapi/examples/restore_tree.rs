// SPDX-License-Identifier: MIT OR Apache-2.0

//! Restores tasks whose parents may not choose their pids: the parents are in nested user
//! namespaces.
//!
//!     cargo build --example restore_tree && sudo build/cargo/debug/examples/restore_tree
//!
//! `clone3(set_tid)` fails with `EPERM`, because the parent does not have the capability over every
//! level. This program, the restorer, is outside and has it: it sets the last pids, and then the
//! parent creates an ordinary process or thread.
//!
//! Without SET, the restorer writes `ns_last_pid` of the pid namespace that it is in, and the parent
//! chooses the pids on the levels that it may choose. That is enough if there is no level between.
//!
//! The exit status is 0 if `clone3()` was refused and `NSpid` shows the wanted pids after SET.

#![allow(unsafe_code, reason = "clone3(set_tid) has no safe wrapper")]

use command_fds::{CommandFdExt, FdMapping};
use ns_last_pid::PidNamespace;
use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, Lines, Read, Write},
    os::unix::net::UnixStream,
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
    /// The parent is so many pid namespaces below this program's, each with a user namespace.
    fn new(nested: usize) -> Result<Self> {
        // By file descriptor: root of a new user namespace may lack access to the path.
        let exe = FdMapping {
            parent_fd: File::open(env::current_exe()?)?.into(),
            child_fd: 3,
        };
        let user = ["--user", "--map-root-user"];
        let below = ["unshare", user[0], user[1], "--pid", "--fork"];
        let mut command = match nested {
            0 => vec!["unshare", user[0], user[1]],
            nested => below.repeat(nested),
        };
        command.extend(["/proc/self/fd/3", "parent"]);
        let mut process = Command::new(command[0])
            .args(&command[1..])
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

/// Creates a process by `clone3()` with these pids on the innermost levels, or without any, and
/// returns its NSpid.
fn set_tid(nspid: &str) -> Result<String> {
    let pids = nspid.split_terminator(' ').rev().map(str::parse);
    let pids = pids.collect::<std::result::Result<Vec<libc::pid_t>, _>>()?;
    let (mut from_child, to_parent) = UnixStream::pair()?;
    // SAFETY: All fields are integers, which may be 0.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if !pids.is_empty() {
        args.set_tid = pids.as_ptr().expose_provenance() as u64;
        args.set_tid_size = pids.len() as u64;
    }
    // SAFETY: The kernel reads `args` and `pids`. As after a fork(), the child has a copy of the
    // memory. This process has one thread.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) } {
        0 => {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let _ = (&to_parent).write_all(self::nspid(&status).as_bytes());
            // SAFETY: It does not return.
            unsafe { libc::_exit(0) }
        }
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EPERM) => Ok("EPERM".into()),
            error => Err(error.into()),
        },
        child => {
            drop(to_parent);
            let mut answer = String::new();
            from_child.read_to_string(&mut answer)?;
            // SAFETY: No status is asked for.
            unsafe { libc::waitpid(child as libc::pid_t, std::ptr::null_mut(), 0) };
            Ok(answer)
        }
    }
}

/// What there is without SET: `ns_last_pid` of the restorer's own pid namespace, and `set_tid` for
/// the `owned` innermost levels.
fn without_set(parent: &mut Parent, wanted: &[u32], owned: usize) -> Result<String> {
    fs::write("/proc/sys/kernel/ns_last_pid", (wanted[0] - 1).to_string())?;
    parent.ask(&nspid_text(&wanted[wanted.len() - owned..]))
}

fn nspid_text(pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    pids.join(" ")
}

/// `owned`: so many of the innermost levels belong to the parent's user namespace.
fn restore(parent: &mut Parent, description: &str, task: &str, owned: usize) -> Result<()> {
    // A restorer has the pids from its images. This one takes some that are likely to be free, at a
    // distance from allocation. Each try asks for the same ones.
    let last_pids = parent.pid_namespace.last_pids()?;
    let last_pids = last_pids.as_ref().iter().map(|pid| pid % 10000 + 1000);
    let last_pids: Vec<u32> = last_pids.collect();
    let wanted: Vec<u32> = last_pids.iter().rev().map(|pid| pid + 1).collect();
    let (text, last_pids) = (nspid_text(&wanted), last_pids.try_into()?);
    for _ in 0..TRIES {
        let (set_tid, today) = match task {
            "process" => (parent.ask(&text)?, without_set(parent, &wanted, owned)?),
            // A raw clone3() of a thread needs a stack and assembly. The kernel's check is the same.
            _ => ("-".into(), "-".into()),
        };
        parent.pid_namespace.set_last_pids(&last_pids)?;
        let got = parent.ask(task)?;
        println!("{description:17}{task:9}{text:16}{set_tid:17}{today:24}{got}");
        if set_tid != "-" && set_tid != "EPERM" {
            return Err("this parent may choose pids itself".into());
        }
        if got == text {
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
    println!(
        "{:17}{:9}{:16}{:17}{:24}SET from outside",
        "pid namespaces", "task", "NSpid wanted", "clone3(set_tid)", "ns_last_pid + set_tid"
    );
    for (nested, owned, description) in [
        (2, 1, "two below ours"),
        (1, 1, "one below ours"),
        (0, 0, "ours"),
    ] {
        let mut parent = Parent::new(nested)?;
        for task in ["thread", "process"] {
            restore(&mut parent, description, task, owned)?;
        }
        parent.end()?;
    }
    println!("restored three threads and three processes whose parents may not choose their pids");
    Ok(())
}
