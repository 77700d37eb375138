// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command `ns-last-pid`.

mod cli {
    pub mod einval;
    pub mod hook;
    pub mod run;
}

use clap::{CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use cli::{
    einval,
    hook::{NoContainer, State},
    run,
};
use ns_last_pid::{Error, LastPids, PidNamespace};
use rustix::fs::fstat;
use serde_json::json;
use std::{
    error,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

const NAME: &str = "ns-last-pid";

const ABOUT: &str = "\
A task in nested pid namespaces has one pid on each level. On each level, the kernel gives the next \
task the pid after the last one, if it is free, and starts again from the bottom at pid_max. This \
command shows and sets these last pids, from outside, for a namespace and its ancestors at once.

Levels are counted from NAMESPACE, which is level 0; its parent is level 1, and so on upward. \
Numbers for several levels are written in this order, separated by ':'.";

const EXAMPLE: &str = "\
Example:
  The init of a container is process 4321 here. Show the last pids of
  its pid namespace and of the one above:

    # ns-last-pid show 4321
    LEVEL    LAST PID     PID MAX  NAMESPACE
        0          57     4194304  4026532281
        1        4390       32768  4026531836

  Processes with pids up to 5000 will be restored in it. Keep new
  tasks off these pids until then:

    # ns-last-pid reserve 4321 5000
    last pid 5000 (was 57)

  Run a command that has pid 100 in the container and 20000 here:

    # ns-last-pid run 4321 100:20000 -- grep NSpid /proc/self/status
    NSpid:\t20000\t100

Exit status:
  0  done
  1  failed, with one line on standard error; no last pid has
     changed, unless only the output failed
  2  the command line is wrong
  3  this kernel has no NS_SPECIFIC_IOC for pid namespaces
  4  not permitted. The caller's own pid namespace and those below it
     need CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the user namespace
     that owns them. Those above it need CAP_SYS_ADMIN, and can be set
     but not read. All others are out of reach.
  5  only with reserve --oci-state --strict: standard input has no
     state of a container that has a process, or that process has
     ended, or it shares the pid namespace of ns-last-pid, or the
     annotation is no pid
  Without --strict, reserve --oci-state exits with 2 or 0.

Exit status of run, after a correct command line:
  125  the command was not run
  126  the command was found and cannot be executed
  127  the command was not found
  else the command's own. If a signal ends the command, the same one
  ends ns-last-pid.

ns-last-pid generate DIRECTORY writes the man pages and the completions
of bash, zsh and fish.";

/// Show and set the last pids of nested pid namespaces, and run commands with chosen pids
#[derive(Parser)]
#[command(name = NAME, version, long_about = ABOUT, after_long_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the last pids, level by level
    ///
    /// It shows the levels up to the caller's own pid namespace. Only a task in a namespace can read
    /// its pid_max. For a namespace below the caller's, ns-last-pid creates a process there for a
    /// moment, with a free pid up to 300, so that no last pid changes below. This takes
    /// CAP_SYS_ADMIN; else PID MAX is "-".
    Show {
        #[command(flatten)]
        target: Target,
        /// Print JSON; an unknown pid_max is null
        #[arg(long)]
        json: bool,
    },
    /// Set the last pids: all levels of the vector at once, or none
    ///
    /// The next task that is created in NAMESPACE gets the pids that follow, if they are free.
    Set {
        #[command(flatten)]
        target: Target,
        /// Last pids, the first for NAMESPACE, the next for its parent, ...: 99:1999
        vector: LastPids,
    },
    /// Move allocation in NAMESPACE past PID, unless it is past PID already
    ///
    /// Tasks that have pids up to PID keep them. New tasks get higher ones until allocation reaches
    /// pid_max and goes on from the bottom. If other tasks fork at this very moment and allocation
    /// passes PID, it is moved back to PID.
    ///
    /// Prints the last pid that the kernel shows afterwards. An agent need not search /proc for the
    /// highest pid in use, nor enter NAMESPACE. Tasks whose pids were chosen by clone3() with
    /// set_tid may have higher ones.
    ///
    /// With --oci-state it is a createRuntime hook for container runtimes. With --annotation, PID is
    /// the value of this annotation of the container, and without the annotation nothing is done. If
    /// such a hook fails, the runtime does not start the container. Without --strict, a failure is
    /// therefore one line on standard error, which the runtime may drop, and exit status 0.
    #[command(allow_missing_positional = true)]
    Reserve {
        /// A process id, or a namespace file such as /proc/4321/ns/pid
        #[arg(value_hint = ValueHint::FilePath, required_unless_present = "oci_state")]
        namespace: Option<OsString>,
        /// Take NAMESPACE from the state that OCI runtimes give to hooks on standard input
        #[arg(long, conflicts_with = "namespace")]
        oci_state: bool,
        /// Exit with the status of a failure, which keeps the container from starting
        #[arg(long, requires = "oci_state", conflicts_with = "namespace")]
        strict: bool,
        /// The highest pid to keep new tasks off
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
        #[arg(required_unless_present = "annotation", conflicts_with = "annotation")]
        pid: Option<u32>,
        /// Take PID from the container's annotation of this name
        #[arg(long, value_name = "NAME", requires = "oci_state")]
        annotation: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command with chosen pids
    ///
    /// The command runs in NAMESPACE, and only if it has these pids. Its other namespaces, file
    /// descriptors and environment are the caller's. If another task takes one of the pids at the same
    /// moment, ns-last-pid tries again, with the same pids. If it fails, it says who has the pid, as
    /// far as it can be told. ns-last-pid passes the signals HUP, INT, QUIT, USR1, USR2, ALRM, TERM
    /// and WINCH on to the command, and ends as the command does.
    ///
    /// Entering NAMESPACE needs CAP_SYS_ADMIN. Pid 1 cannot be chosen: it belongs to the init of
    /// NAMESPACE. A level above the caller's own pid namespace cannot be chosen.
    Run {
        #[command(flatten)]
        target: Target,
        /// The command's pids, the first in NAMESPACE, the next in its parent, ...: 100:2000
        pids: LastPids,
        /// The largest number of tries
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        tries: u32,
        /// The command and its arguments
        #[arg(last = true, required = true, value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Write the man pages and the shell completions into DIRECTORY
    #[command(hide = true)]
    Generate {
        /// The directory, created if it does not exist
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

#[derive(clap::Args)]
struct Target {
    /// A process id, or a namespace file such as /proc/4321/ns/pid
    #[arg(value_hint = ValueHint::FilePath)]
    namespace: OsString,
}

fn open(namespace: &OsStr) -> Result<PidNamespace, Error> {
    match namespace.to_str().and_then(|text| text.parse().ok()) {
        Some(pid) => PidNamespace::of_process(pid),
        None => PidNamespace::open(namespace),
    }
}

type Failure = Box<dyn error::Error>;

fn main() -> ExitCode {
    let action = Cli::parse().action;
    let runs = matches!(action, Action::Run { .. });
    let (hook, strict) = match action {
        Action::Reserve {
            oci_state, strict, ..
        } => (oci_state, strict),
        _ => (false, false),
    };
    act(action).unwrap_or_else(|failure| {
        let causes = std::iter::successors(failure.source(), |cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        eprintln!("ns-last-pid: {failure}{causes}");
        ExitCode::from(match failure.downcast_ref() {
            _ if hook && !strict => 0,
            Some(Error::Command { source, .. }) if source.kind() == io::ErrorKind::NotFound => 127,
            Some(Error::Command { .. }) => 126,
            _ if runs => 125,
            Some(Error::Unsupported { .. }) => 3,
            Some(Error::NotPermitted { .. }) => 4,
            Some(Error::Open { .. } | Error::NoInit { .. }) if hook => 5,
            None if failure.is::<NoContainer>() => 5,
            _ => 1,
        })
    })
}

fn act(action: Action) -> Result<ExitCode, Failure> {
    match action {
        Action::Show { target, json } => show(open(&target.namespace)?, json)?,
        Action::Set { target, vector } => {
            let namespace = open(&target.namespace)?;
            let set = namespace.set_last_pids(&vector);
            set.map_err(|error| einval::explain(&namespace, vector.as_ref(), error))?;
        }
        Action::Reserve {
            namespace: Some(namespace),
            pid: Some(pid),
            json,
            ..
        } => reserve(open(&namespace)?, pid, json)?,
        Action::Reserve {
            pid,
            annotation,
            json,
            ..
        } => {
            let state = State::read()?;
            let pid = match annotation {
                Some(name) => state.annotation(&name)?,
                None => pid,
            };
            if let Some(pid) = pid {
                reserve(state.namespace()?, pid, json)?;
            }
        }
        Action::Run {
            target,
            pids,
            tries,
            command,
        } => return run::run(&open(&target.namespace)?, &pids, tries, &command),
        Action::Generate { directory } => {
            fs::create_dir_all(&directory)?;
            for shell in [Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut Cli::command(), NAME, &directory)?;
            }
            let mut bash = Vec::new();
            clap_complete::generate(Shell::Bash, &mut Cli::command(), NAME, &mut bash);
            // clap_complete 4.6.11 takes the hyphens of the name for subcommands in half of the places,
            // and bash would complete no subcommand's options.
            let bash = String::from_utf8(bash)?;
            let bash = bash.replace("ns__subcmd__last__subcmd__pid", "ns__last__pid");
            fs::write(directory.join("ns-last-pid.bash"), bash)?;
            clap_mangen::generate_to(Cli::command(), &directory)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn reserve(namespace: PidNamespace, pid: u32, json: bool) -> Result<(), Failure> {
    let reserved = namespace.reserve(pid);
    let found = reserved.map_err(|error| einval::explain(&namespace, &[pid], error))?;
    let last_pid = namespace.last_pids()?.as_ref()[0];
    say(if json {
        format!("{}\n", json!({ "last_pid": last_pid, "was": found }))
    } else if found >= pid {
        format!("last pid {last_pid} already\n")
    } else {
        format!("last pid {last_pid} (was {found})\n")
    })
}

fn show(namespace: PidNamespace, json: bool) -> Result<(), Failure> {
    let last_pids = namespace.last_pids()?;
    let mut levels = Vec::new();
    let mut namespace = Some(namespace);
    for &last_pid in last_pids.as_ref() {
        let level = namespace.ok_or("a pid namespace has no parent")?;
        levels.push((last_pid, fstat(&level)?.st_ino, level.pid_max().ok()));
        namespace = level.parent()?;
    }

    if json {
        let levels = levels.iter().enumerate().map(|(level, (last_pid, inode, pid_max))| {
            json!({ "level": level, "last_pid": last_pid, "pid_max": pid_max, "namespace": inode })
        });
        return say(format!(
            "{}\n",
            json!({ "levels": levels.collect::<Vec<_>>() })
        ));
    }
    let mut table = String::from("LEVEL    LAST PID     PID MAX  NAMESPACE\n");
    for (level, &(last_pid, inode, pid_max)) in levels.iter().enumerate() {
        let pid_max = pid_max.map_or(String::from("-"), |pid_max| pid_max.to_string());
        table += &format!("{level:5}  {last_pid:>10}  {pid_max:>10}  {inode}\n");
    }
    say(table)
}

fn say(text: String) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
