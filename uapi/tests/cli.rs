// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command.

#![cfg(feature = "cli")]

mod common;

use assert_cmd::{Command, assert::Assert, cargo::cargo_bin};
use common::{Nested, supported};
use ns_last_pid::{Request, is_supported};
use predicates::str::{contains, is_match};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::chown, process::ExitStatusExt},
    process, thread,
    time::Duration,
};

fn run(args: &[&str]) -> Assert {
    Command::new(cargo_bin!("ns-last-pid")).args(args).assert()
}

/// The command's only line on standard error when it fails.
fn one_line(text: &str) -> String {
    format!("ns-last-pid: {text}\n")
}

const EPERM: &str = "Operation not permitted (os error 1)";
const NOT_PERMITTED: &str = "the caller may not set or read one of these levels";

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &[][..],
        &["show"],
        &["set", "1"],
        &["set", "1", ""],
        &["set", "1", "5:"],
        &["set", "1", "+5"],
        &["set", "1", "2147483648"],
        &["reserve", "1", "0"],
        &["reserve", "1", "5:6"],
        &["reserve", "5"],
        &["reserve", "--oci-state"],
        &["reserve", "--annotation", "a", "1"],
        &["reserve", "--annotation", "a"],
        &["reserve", "--oci-state", "--annotation", "a", "5"],
        &["reserve", "--oci-state", "--annotation"],
        &["reserve", "--oci-state", "1", "5"],
        &["reserve", "--strict", "1", "5"],
        &["reserve", "--strict", "5"],
        &["run", "1", "100"],
        &["run", "1", "100", "true"],
        &["run", "--tries", "0", "1", "100", "--", "true"],
        &["generate"],
    ] {
        run(args).code(2).stdout("");
    }
}

#[test]
fn help_teaches() {
    run(&["--help"]).success().stdout(contains("Example:"));
    run(&["reserve", "--help"])
        .success()
        .stdout(contains("goes on from the bottom"));
}

#[test]
fn man_pages_and_completions_are_written() {
    let dir = tempfile::tempdir().unwrap();
    run(&["generate", dir.path().to_str().unwrap()])
        .success()
        .stdout("");
    let mut written: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort();
    assert_eq!(
        written,
        [
            "_ns-last-pid",
            "ns-last-pid-reserve.1",
            "ns-last-pid-run.1",
            "ns-last-pid-set.1",
            "ns-last-pid-show.1",
            "ns-last-pid.1",
            "ns-last-pid.bash",
            "ns-last-pid.fish",
        ]
    );
    for (file, part) in [
        ("ns-last-pid.1", "Exit status"),
        ("ns-last-pid-run.1", "NAMESPACE"),
        ("ns-last-pid.bash", "reserve"),
        ("_ns-last-pid", "reserve"),
        ("ns-last-pid.fish", "reserve"),
    ] {
        assert!(
            fs::read_to_string(dir.path().join(file))
                .unwrap()
                .contains(part),
            "{file}"
        );
    }
}

#[test]
fn a_namespace_that_is_gone_or_none_is_1() {
    let gone = "cannot open /proc/2147483647/ns/pid: No such file or directory (os error 2)";
    for args in [
        &["show", "2147483647"][..],
        &["set", "2147483647", "5"],
        &["reserve", "2147483647", "5"],
    ] {
        run(args).code(1).stdout("").stderr(one_line(gone));
    }
    run(&["run", "2147483647", "5", "--", "true"])
        .code(125)
        .stderr(one_line(gone));
    run(&["show", "/proc/self/ns/net"])
        .code(1)
        .stderr(one_line("not a pid namespace"));
}

/// Runs `reserve` as a hook that gets this state, first without `--strict`, then with it.
fn hook(state: &str, code: i32, message: &str) {
    hook_with(&["5000"], state, code, message);
}

fn hook_with(args: &[&str], state: &str, code: i32, message: &str) {
    for (strict, code) in [(&[][..], 0), (&["--strict"], code)] {
        Command::new(cargo_bin!("ns-last-pid"))
            .args(["reserve", "--oci-state"])
            .args(args)
            .args(strict)
            .write_stdin(state)
            .assert()
            .code(code)
            .stdout("")
            .stderr(one_line(message));
    }
}

fn state(pid: u32) -> String {
    json!({ "ociVersion": "1.0.2", "id": "box", "status": "creating", "pid": pid, "bundle": "/" })
        .to_string()
}

#[test]
fn a_hook_without_a_container_is_5() {
    for (state, cause) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("box\n", "expected value at line 1 column 1"),
        (
            "{\"pid\": 1",
            "EOF while parsing an object at line 1 column 9",
        ),
        ("{} {}", "trailing characters at line 1 column 4"),
    ] {
        hook(state, 5, &format!("no JSON on standard input: {cause}"));
    }
    for (state, pid) in [
        ("{}", "null"),
        ("[]", "null"),
        ("{\"pid\": 0}", "0"),
        ("{\"pid\": -5}", "-5"),
        ("{\"pid\": 1.5}", "1.5"),
        ("{\"pid\": 4294967296}", "4294967296"),
        ("{\"pid\": \"1\\n2\"}", "\"1\\n2\""),
    ] {
        let message = format!("the container's state has no process: its pid is {pid}");
        hook(state, 5, &message);
    }
    let gone = "cannot open /proc/2147483647/ns/pid: No such file or directory (os error 2)";
    hook(&state(i32::MAX as u32), 5, gone);
    let shared = "the container has no pid namespace of its own";
    hook(&state(process::id()), 5, shared);

    // script gives its command a terminal.
    let ns_last_pid = cargo_bin!("ns-last-pid").display();
    let command = format!("{ns_last_pid} reserve --oci-state --strict 5000");
    let terminal = "standard input is a terminal, and has no state of a container\r\n";
    Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .assert()
        .code(5)
        .stdout(format!("ns-last-pid: {terminal}"));
}

fn annotated(pid: u32, value: serde_json::Value) -> String {
    json!({ "id": "box", "pid": pid, "annotations": { "other": "7", "reserve-pids": value } })
        .to_string()
}

#[test]
fn an_annotation_that_is_no_pid_is_5() {
    for value in [
        json!(""),
        json!("all"),
        json!("0"),
        json!("-5"),
        json!("5 "),
        json!("2147483648"),
        json!(5000),
        json!(null),
        json!("1\n2"),
    ] {
        let cause = format!("the container's annotation \"reserve-pids\" is {value}, and no pid");
        let state = annotated(1, value);
        hook_with(&["--annotation", "reserve-pids"], &state, 5, &cause);
    }
}

/// One hook serves all containers.
#[test]
fn a_container_without_the_annotation_is_left_alone() {
    for state in [state(1), state(0), annotated(1, json!("7")), "{}".into()] {
        Command::new(cargo_bin!("ns-last-pid"))
            .args([
                "reserve",
                "--oci-state",
                "--strict",
                "--annotation",
                "absent",
            ])
            .write_stdin(state)
            .assert()
            .success()
            .stdout("")
            .stderr("");
    }
}

#[test]
fn a_hook_reserves() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let run = |args: &[&str]| {
        Command::new(cargo_bin!("ns-last-pid"))
            .args(["reserve", "--oci-state"])
            .args(args)
            .write_stdin(state(nested.init))
            .assert()
            .success()
            .stderr("")
    };
    run(&["5000"]).stdout(is_match("^last pid 5000 \\(was [0-9]+\\)\n$").unwrap());
    run(&["--strict", "--json", "6000"]).stdout("{\"last_pid\":6000,\"was\":5000}\n");
    assert_eq!(nested.last_pids(1), [6000]);

    Command::new(cargo_bin!("ns-last-pid"))
        .args([
            "reserve",
            "--oci-state",
            "--strict",
            "--annotation",
            "reserve-pids",
        ])
        .write_stdin(annotated(nested.init, json!("7000")))
        .assert()
        .success()
        .stdout("last pid 7000 (was 6000)\n");
    assert_eq!(nested.last_pids(1), [7000]);
}

#[test]
fn a_hook_for_a_container_that_has_ended_is_5() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let (top, init) = (nested.top.id(), nested.init);
    // Stop the parent first, so that it does not reap the init.
    for (pid, signal, state) in [(top, Signal::STOP, ") T "), (init, Signal::KILL, ") Z ")] {
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
        while !fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .contains(state)
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let ended = "a namespace has no init yet, or its init has died: No such process (os error 3)";
    hook(&state(init), 5, ended);
}

#[test]
fn a_kernel_without_it_is_3() {
    if is_supported(Request::Set).unwrap() {
        println!("skipped: this kernel has NS_SPECIFIC_IOC");
        return;
    }
    let lacking =
        "this kernel has no NS_SPECIFIC_IOC: Inappropriate ioctl for device (os error 25)";
    let own = "/proc/self/ns/pid";
    for args in [
        &["show", own][..],
        &["set", own, "5"],
        &["reserve", own, "5"],
    ] {
        run(args).code(3).stdout("").stderr(one_line(lacking));
    }
    if rustix::process::geteuid().is_root() {
        hook(&state(Nested::new(1).init), 3, lacking);
    }
}

#[test]
fn show_set_and_reserve() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let init = &nested.init.to_string();
    let file = &format!("/proc/{init}/ns/pid");
    run(&["set", init, "99:1999"])
        .success()
        .stdout("")
        .stderr("");
    run(&["show", file]).success().stdout(
        is_match(
            "^LEVEL    LAST PID     PID MAX  NAMESPACE\n    \
             0          99     4194304  [0-9]+\n    \
             1        1999     4194304  [0-9]+\n    \
             2 +[0-9]+ +[0-9]+  [0-9]+\n$",
        )
        .unwrap(),
    );
    let json = run(&["show", init, "--json"])
        .success()
        .get_output()
        .stdout
        .clone();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let levels = json["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 3);
    assert_eq!(levels[1]["last_pid"], 1999);
    assert_eq!(levels[1]["pid_max"], 4194304);
    assert!(levels[2]["pid_max"].is_u64());

    run(&["reserve", init, "5000"])
        .success()
        .stdout("last pid 5000 (was 99)\n");
    run(&["reserve", init, "400"])
        .success()
        .stdout("last pid 5000 already\n");
    let json = "{\"last_pid\":6000,\"was\":5000}\n";
    run(&["reserve", "--json", init, "6000"])
        .success()
        .stdout(json);
    assert_eq!(nested.last_pids(2), [6000, 1999]);

    for (vector, cause) in [
        ("5:6:7:8", "4 numbers, and only 3 levels"),
        (
            "5:4194305",
            "level 1: 4194305 is above pid_max, which is 4194304 there",
        ),
    ] {
        run(&["set", init, vector]).code(1).stderr(one_line(cause));
    }
    run(&["reserve", init, "4194305"]).code(1).stderr(one_line(
        "level 0: 4194305 is above pid_max, which is 4194304 there",
    ));
    assert_eq!(nested.last_pids(2), [6000, 1999]);
}

#[test]
fn run_gives_the_command_its_pids_and_has_its_status() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let init = &nested.init.to_string();
    let status = is_match("^NSpid:\t[0-9]+\t200\t100\n$").unwrap();
    run(&[
        "run",
        init,
        "100:200",
        "--",
        "grep",
        "NSpid",
        "/proc/self/status",
    ])
    .success()
    .stdout(status)
    .stderr("");
    run(&["run", init, "100:200", "--", "sh", "-c", "exit 7"]).code(7);
    for (name, signal) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("USR1", 10)] {
        let kill = format!("kill -{name} $$");
        let ended = run(&["run", init, "100:200", "--", "sh", "-c", &kill]);
        assert_eq!(ended.get_output().status.signal(), Some(signal), "{name}");
    }
    let missing = "cannot execute 'no-such-command': No such file or directory (os error 2)";
    run(&["run", init, "100:200", "--", "no-such-command"])
        .code(127)
        .stderr(one_line(missing));
    run(&["run", init, "100:200", "--", "/etc/passwd"]).code(126);
    run(&["run", init, "1", "--", "true"]).code(125);
    // On the middle level, the init of the namespace has pid 2.
    let taken = format!(
        "level 1: pid 2 was not given: task {init} has it \\(wanted 100:2, got 100:[0-9]+ in the last of 3 tries\\)"
    );
    run(&["run", "--tries", "3", init, "100:2", "--", "echo", "ran"])
        .code(125)
        .stdout("")
        .stderr(is_match(format!("^{}$", one_line(&taken))).unwrap());
    let impossible = "level 0: there is no pid 4194304, because pid_max is 4194304 there";
    run(&["run", init, "4194304", "--", "echo", "ran"])
        .code(125)
        .stdout("")
        .stderr(one_line(impossible));
}

#[test]
fn run_passes_signals_on() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        let script =
            format!("trap 'echo {name}; exit 7' {name}; echo ready; while :; do sleep 0.1; done");
        let mut run = process::Command::new(cargo_bin!("ns-last-pid"))
            .args([
                "run",
                &nested.init.to_string(),
                "100",
                "--",
                "sh",
                "-c",
                &script,
            ])
            .stdout(process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        kill_process(Pid::from_child(&run), signal).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), name);
        assert_eq!(run.wait().unwrap().code(), Some(7));
    }
}

/// A signal that the caller ignores or blocks stays so, and no other.
#[test]
fn run_leaves_signals_as_they_are() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let signals = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    let ns_last_pid = cargo_bin!("ns-last-pid").to_str().unwrap();
    let init = nested.init.to_string();
    let run = [&[ns_last_pid, "run", &init, "100", "--"], &signals[..]].concat();
    let [alone, by_run] = [&signals[..], &run].map(|command| {
        let ignoring = Command::new("env")
            .args(["--ignore-signal=HUP", "--block-signal=USR1"])
            .args(command)
            .assert()
            .success();
        let lines = String::from_utf8(ignoring.get_output().stdout.clone()).unwrap();
        let masks = lines.lines().map(|line| {
            let mask = u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
            // The C library sets one above when it creates a thread.
            mask & 0x7fff_ffff
        });
        masks.collect::<Vec<_>>()
    });
    assert_eq!(alone, [1 << (10 - 1), 1 << (1 - 1)]);
    assert_eq!(alone, by_run);
}

/// The pids are compared on each level although there is no /proc, and no shell is needed.
#[test]
fn run_needs_no_proc() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("namespace"), "").unwrap();
    let ns_last_pid = cargo_bin!("ns-last-pid").display();
    let script = format!(
        "cd {} && mount --bind /proc/{}/ns/pid namespace && mount -t tmpfs none /proc && \
         cp {ns_last_pid} /proc/n && mount --bind /dev/null /bin/sh && \
         /proc/n run namespace 100:200 -- echo ran && ! /proc/n run namespace 101:2 -- echo ran",
        dir.path().display(),
        nested.init,
    );
    let message = "level 1: pid 2 was not given: task [0-9]+ has it \\(wanted 101:2, got 101:[0-9]+ in the last of 20 tries\\)";
    Command::new("unshare")
        .args(["--mount", "bash", "-c", &script])
        .assert()
        .success()
        .stdout("ran\n")
        .stderr(is_match(format!("^{}$", one_line(message))).unwrap());
}

#[test]
fn the_caller_reaches_as_far_as_the_help_says() {
    if !supported() {
        return;
    }
    // A caller without capabilities may have no access to the path of the command.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("ns-last-pid");
    fs::copy(cargo_bin!("ns-last-pid"), &copy).unwrap();
    let nested = Nested::new(1);
    nested
        .namespace()
        .set_last_pids(&"99".parse().unwrap())
        .unwrap();

    let no_capability = "setpriv --bounding-set=-all --inh-caps=-all";
    let deeper = "unshare --pid --fork";
    let deeper_with_one_capability = "unshare --pid --fork setpriv \
        --bounding-set=-all,+checkpoint_restore --inh-caps=-all,+checkpoint_restore";
    let deeper_owner = "unshare --user --map-root-user --pid --fork";
    let own = "/proc/self/ns/pid";
    let above = format!("/proc/{}/ns/pid", process::id());
    let beside = format!("/proc/{}/ns/pid", nested.init);
    for (caller, args, code) in [
        (no_capability, &["show", own][..], 4),
        (no_capability, &["set", own, "5"], 4),
        (no_capability, &["reserve", own, "5"], 4),
        (deeper, &["set", own, "5:20000"], 0),
        (deeper, &["show", &above], 4),
        (deeper, &["show", &beside], 4),
        (deeper, &["set", &beside, "5"], 4),
        (deeper_with_one_capability, &["set", own, "5"], 0),
        (deeper_with_one_capability, &["set", own, "5:6"], 4),
        (deeper_owner, &["set", own, "5"], 0),
        (deeper_owner, &["set", own, "5:6"], 4),
        // The kernel checks the inner level first.
        (deeper_owner, &["set", own, "4194305:6"], 1),
        // The caller's own level is the last that it can tell.
        (deeper, &["run", own, "100:20000", "--", "true"], 125),
    ] {
        let caller: Vec<_> = caller.split_whitespace().collect();
        Command::new(caller[0])
            .args(&caller[1..])
            .arg(&copy)
            .args(args)
            .assert()
            .code(code)
            .stdout("")
            .stderr(match code {
                0 => String::new(),
                1 => one_line("level 0: 4194305 is above pid_max, which is 4194304 there"),
                125 => one_line("2 pids, and only 1 levels up to the caller's own pid namespace"),
                _ => one_line(&format!("{NOT_PERMITTED}: {EPERM}")),
            });
    }
    assert_eq!(nested.last_pids(1), [99]);

    // GET ends at the caller's own level.
    Command::new("unshare")
        .args(["--pid", "--fork"])
        .arg(&copy)
        .args(["show", own])
        .assert()
        .success()
        .stdout(is_match("^.*\n    0 +[0-9]+ +[0-9]+  [0-9]+\n$").unwrap());
}

/// Nobody here is root: the user who created the sandbox has all capabilities over it.
#[test]
fn an_ordinary_user_seeds_a_sandbox_from_outside() {
    if !supported() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(cargo_bin!("ns-last-pid"), dir.path().join("ns-last-pid")).unwrap();
    chown(dir.path(), Some(1000), Some(1000)).unwrap();
    let by_unshare = r#"
        unshare --user --map-root-user --pid --fork --kill-child --mount-proc \
            sh -c 'echo >info; read _ <go; sh -c "echo \$\$"' &
        read _ <info
        ./ns-last-pid set $(pgrep --parent $!) 70000"#;
    // It waits before its command starts.
    let by_bubblewrap = r#"
        bwrap --unshare-user --unshare-pid --die-with-parent --dev-bind / / --proc /proc \
            --info-fd 3 --block-fd 4 sh -c 'echo $$' 3>info 4<>go &
        ./ns-last-pid set $(sed -n 's/.*"child-pid": *\([0-9]*\).*/\1/p' info) 70000"#;
    for sandbox in [by_unshare, by_bubblewrap] {
        let script = format!(
            "set -e; trap 'kill $! 2>&- || :' EXIT; rm -f info go; mkfifo info go\n{sandbox}\n\
             echo >go; wait"
        );
        Command::new("setpriv")
            .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
            .args(["--inh-caps=-all", "bash", "-c", &script])
            .current_dir(dir.path())
            .assert()
            .success()
            .stdout("70001\n")
            .stderr("");
    }
}
