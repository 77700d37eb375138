// SPDX-License-Identifier: MIT OR Apache-2.0

//! The library, on a kernel that has the ioctl.

mod common;

use common::{Nested, nspid, supported};
use ns_last_pid::{
    Error, GatedCommand, LEVELS_MAX, LastPids, PidNamespace, Reason, Request, is_supported,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{CapabilitySet, capabilities, set_capabilities},
};
use std::{
    error::Error as _,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            process::CommandExt,
        },
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

const TRIES: u32 = 20;

/// A pid of the test's own namespace that nobody has.
fn free_pid(step: u32) -> u32 {
    let pid_max: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    pid_max / 2 + step
}

fn vector(text: &str) -> LastPids {
    text.parse().unwrap()
}

fn inode(namespace: &PidNamespace) -> u64 {
    let file = File::from(namespace.as_fd().try_clone_to_owned().unwrap());
    file.metadata().unwrap().ino()
}

/// Spawns `cat /proc/self/status`, and returns the pids that it prints.
fn pids_of_cat(namespace: &PidNamespace, pids: &[u32], tries: u32) -> Result<Vec<u32>, Error> {
    let mut cat = GatedCommand::new("cat");
    cat.command()
        .arg("/proc/self/status")
        .stdout(Stdio::piped());
    let output = cat
        .spawn(namespace, pids, tries)?
        .wait_with_output()
        .unwrap();
    assert!(output.status.success());
    Ok(nspid(&String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn what_was_set_is_read() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    nested
        .namespace()
        .set_last_pids(&vector("99:1999"))
        .unwrap();
    assert_eq!(nested.last_pids(2), [99, 1999]);
    nested.namespace().set_last_pids(&vector("0")).unwrap();
    assert_eq!(nested.last_pids(2), [0, 1999]);
}

#[test]
fn each_way_leads_to_the_same_namespace() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let inner = nested.namespace();
    let pidfd = pidfd_open(
        Pid::from_raw(nested.init as i32).unwrap(),
        PidfdFlags::empty(),
    )
    .unwrap();
    assert_eq!(
        inode(&PidNamespace::of_pidfd(&pidfd).unwrap()),
        inode(&inner)
    );
    assert_eq!(
        inode(&PidNamespace::from_fd(&inner).unwrap()),
        inode(&inner)
    );

    let own = PidNamespace::open("/proc/self/ns/pid").unwrap();
    let middle = inner.parent().unwrap().unwrap();
    assert_ne!(inode(&middle), inode(&inner));
    assert_eq!(inode(&middle.parent().unwrap().unwrap()), inode(&own));
    assert!(own.parent().unwrap().is_none());
}

#[test]
fn a_command_has_the_pids() {
    if !supported() {
        return;
    }
    let nested = Nested::new(3);
    let namespace = nested.namespace();
    let mut done = 0;
    for step in 0..10 {
        let pids = [100 + step, 1000, 400 - step, free_pid(1000 * step)];
        match pids_of_cat(&namespace, &pids, TRIES) {
            Ok(got) => {
                assert_eq!(got, pids);
                done += 1;
            }
            // The own level has other tests, too, and one of them can have the pid and keep it.
            Err(Error::OtherPids { level: 3, .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(done >= 3, "{done}");
    // Fewer levels than there are.
    let pids = pids_of_cat(&namespace, &[7], TRIES).unwrap();
    assert_eq!((pids[0], pids.len()), (7, 4));
    // The caller's other children stay in its namespace.
    let status = Command::new("cat")
        .arg("/proc/self/status")
        .output()
        .unwrap()
        .stdout;
    assert_eq!(nspid(&String::from_utf8(status).unwrap()).len(), 1);
}

#[test]
fn a_command_has_the_pids_while_others_fork() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let namespace = nested.namespace();
    let mut noise = GatedCommand::new("sh");
    noise.command().args(["-c", "while :; do sleep 0.01; done"]);
    let mut noise = noise.spawn(&namespace, &[50], TRIES).unwrap();
    for step in 0..5 {
        let pids = [5000 + 100 * step, 6000 + 100 * step];
        assert_eq!(pids_of_cat(&namespace, &pids, 100).unwrap()[..2], pids);
    }
    noise.kill().unwrap();
    noise.wait().unwrap();
}

#[test]
fn a_command_does_not_run_with_other_pids() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let namespace = nested.namespace();
    let mut first = GatedCommand::new("cat");
    first.command().stdin(Stdio::piped());
    let mut first = first.spawn(&namespace, &[100], TRIES).unwrap();

    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut read = File::from(read);
    let mut second = GatedCommand::new("echo");
    second.command().arg("it ran").stdout(write);
    match second.spawn(&namespace, &[100], 3) {
        Err(Error::OtherPids {
            wanted,
            got,
            tries,
            level,
            reason,
        }) => {
            assert_eq!((wanted, tries, level), (vec![100], 3, 0));
            assert_eq!(reason, Reason::Task(first.id()));
            assert_ne!(got, [100]);
        }
        other => panic!("{other:?}"),
    }
    drop(second);
    let mut said = String::new();
    read.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");

    drop(first.stdin.take());
    first.wait().unwrap();
    assert_eq!(pids_of_cat(&namespace, &[100], TRIES).unwrap()[0], 100);
}

/// A number that lives on as a session or as a process group is in no pid of /proc.
#[test]
fn the_number_of_a_session_or_a_group_is_told() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let namespace = nested.namespace();
    let script = "sleep 1000 <&- >&- 2>&- & echo $!";
    let mut session = GatedCommand::new("setsid");
    session.command().args(["sh", "-c", script]);
    let mut group = GatedCommand::new("sh");
    group.command().args(["-c", script]).process_group(0);
    for (mut leader, pid, of_session) in [(session, 120, true), (group, 140, false)] {
        // On the middle level, the number is another one.
        leader.command().stdout(Stdio::piped());
        let leader = leader.spawn(&namespace, &[pid, pid + 100], TRIES).unwrap();
        let output = leader.wait_with_output().unwrap();
        let member: u32 = String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        for (level, wanted) in [(0, vec![pid]), (1, vec![7, pid + 100])] {
            match GatedCommand::new("true").spawn(&namespace, &wanted, 3) {
                Err(Error::OtherPids {
                    reason,
                    level: found,
                    ..
                }) => {
                    assert_eq!(found, level);
                    let (Reason::Session(process) | Reason::Group(process)) = reason else {
                        panic!("{reason:?}");
                    };
                    assert_eq!(matches!(reason, Reason::Session(_)), of_session);
                    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
                    assert_eq!(nspid(&status)[0], member);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_pid_that_cannot_be_is_told_at_once() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let namespace = nested.namespace();
    let middle = namespace.parent().unwrap().unwrap();
    let before = nested.last_pids(2);
    for level in [&namespace, &middle] {
        assert_eq!(level.pid_max().unwrap(), 4 << 20);
    }
    assert_eq!(nested.last_pids(2), before);

    let mut lower = GatedCommand::new("sh");
    lower
        .command()
        .args(["-c", "echo 400 >/proc/sys/kernel/pid_max"]);
    let mut lower = lower.spawn(&namespace, &[7], TRIES).unwrap();
    assert!(lower.wait().unwrap().success());
    assert_eq!(namespace.pid_max().unwrap(), 400);
    assert_eq!(middle.pid_max().unwrap(), 4 << 20);

    // The kernel refuses 401 as the last pid, and not 399 and 400.
    for (wanted, level, pid_max) in [
        (&[400, 50][..], 0, 400),
        (&[401], 0, 400),
        (&[402, 50], 0, 400),
        (&[300, 4 << 20], 1, 4 << 20),
        (&[300, (4 << 20) + 2], 1, 4 << 20),
    ] {
        let error = GatedCommand::new("true")
            .spawn(&namespace, wanted, u32::MAX)
            .unwrap_err();
        let pid = wanted[level];
        let message =
            format!("level {level}: there is no pid {pid}, because pid_max is {pid_max} there");
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(pids_of_cat(&namespace, &[399], TRIES).unwrap()[0], 399);
}

/// Arguments, environment and file descriptors, by a program that shows them as they are.
#[test]
fn a_command_arrives_untouched() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let namespace = nested.namespace();
    let show = |gated: &mut GatedCommand, pid| {
        let command = gated.command().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let child: Child = gated.spawn(&namespace, &[pid], TRIES).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    // A name that no shell would pass on. PATH is for the lookup.
    let mut gated = GatedCommand::new("cat");
    gated
        .command()
        .args(["/proc/self/environ", "/proc/self/cmdline"])
        .env_clear()
        .env("a-b.c", "1 \n2")
        .env("PATH", "/usr/bin:/bin");
    let wanted = "PATH=/usr/bin:/bin\0a-b.c=1 \n2\0cat\0/proc/self/environ\0/proc/self/cmdline\0";
    for pid in [100, 200] {
        assert_eq!(String::from_utf8(show(&mut gated, pid)).unwrap(), wanted);
    }

    let mut ls = GatedCommand::new("ls");
    ls.command().arg("/proc/self/fd").stdin(Stdio::null());
    let alone = ls.command().output().unwrap().stdout;
    assert_eq!(show(&mut ls, 300), alone);
}

/// A level above the caller's own cannot be asked.
#[test]
fn a_level_too_many_is_told() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let before = nested.last_pids(1);
    let error = GatedCommand::new("true")
        .spawn(&nested.namespace(), &[100, free_pid(0), 100], TRIES)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 pids, and only 2 levels up to the caller's own pid namespace"
    );
    assert_eq!(nested.last_pids(1), before);
}

#[test]
fn a_command_that_cannot_be_executed_is_told() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (program, kind) in [
        ("no-such-command", io::ErrorKind::NotFound),
        ("/no/such/command", io::ErrorKind::NotFound),
        ("/etc/passwd", io::ErrorKind::PermissionDenied),
        (script.to_str().unwrap(), io::ErrorKind::NotFound),
    ] {
        match GatedCommand::new(program).spawn(&nested.namespace(), &[100], TRIES) {
            Err(Error::Command { source, .. }) => assert_eq!(source.kind(), kind),
            other => panic!("{other:?}"),
        }
    }
    let before = nested.last_pids(1);
    for pids in [
        &[0][..],
        &[1],
        &[100, 1],
        &[],
        &[1 << 31],
        &[2; LEVELS_MAX + 1],
    ] {
        let result = GatedCommand::new("true").spawn(&nested.namespace(), pids, TRIES);
        assert!(matches!(result, Err(Error::InvalidPids)), "{pids:?}");
    }
    assert_eq!(nested.last_pids(1), before);
}

#[test]
fn reserve_never_goes_back() {
    if !supported() {
        return;
    }
    let nested = Nested::new(1);
    let namespace = nested.namespace();
    namespace.set_last_pids(&vector("50")).unwrap();
    assert_eq!(namespace.reserve(5000).unwrap(), 50);
    assert_eq!(nested.last_pids(1), [5000]);
    for pid in [5000, 4999, 1] {
        assert_eq!(namespace.reserve(pid).unwrap(), 5000);
        assert_eq!(nested.last_pids(1), [5000]);
    }
    let error = namespace.reserve(u32::MAX).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { .. }), "{error:?}");
    assert_eq!(nested.last_pids(1), [5000]);
}

#[test]
fn a_vector_out_of_range_changes_nothing() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let before = nested.last_pids(2);
    // A level too many, and numbers above pid_max.
    for text in ["5:6:7:8", "4194305", "5:4194305"] {
        let error = nested.namespace().set_last_pids(&vector(text)).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error:?}");
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(nested.last_pids(2), before);
    }
}

/// Runs `action` in a thread that has only these capabilities.
fn with_capabilities<T: Send + 'static>(
    effective: CapabilitySet,
    action: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = thread::spawn(move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective = effective;
        set_capabilities(None, sets).unwrap();
        action()
    });
    thread.join().unwrap()
}

#[test]
fn one_of_two_capabilities_is_enough_from_the_own_level_downward() {
    if !supported() {
        return;
    }
    for capability in [CapabilitySet::CHECKPOINT_RESTORE, CapabilitySet::SYS_ADMIN] {
        let nested = Nested::new(2);
        let namespace = nested.namespace();
        let own_level = namespace.last_pids().unwrap().as_ref()[2];
        let numbers = with_capabilities(capability, move || {
            namespace.set_last_pids(&vec![5, 6, own_level].try_into().unwrap())?;
            namespace.last_pids()
        });
        let numbers = numbers.unwrap();
        assert_eq!(
            (&numbers.as_ref()[..2], numbers.as_ref().len()),
            (&[5, 6][..], 3)
        );
    }
}

#[test]
fn without_the_capability_nothing_is_set_or_read() {
    if !supported() {
        return;
    }
    let nested = Nested::new(2);
    let before = nested.last_pids(2);
    let namespace = nested.namespace();
    let errors = with_capabilities(CapabilitySet::empty(), move || {
        assert!(is_supported(Request::Set).unwrap());
        assert!(is_supported(Request::Get).unwrap());
        [
            namespace.set_last_pids(&vector("5:6:7")).unwrap_err(),
            namespace.last_pids().unwrap_err(),
            namespace.reserve(5000).unwrap_err(),
        ]
    });
    for error in errors {
        assert!(matches!(error, Error::NotPermitted { .. }), "{error:?}");
    }
    assert_eq!(nested.last_pids(2), before);
}

#[test]
fn a_namespace_without_an_init_is_told() {
    if !supported() {
        return;
    }
    let mut outside = Command::new("unshare")
        .args(["--pid", "sleep", "60"])
        .spawn()
        .unwrap();
    let children = format!("/proc/{}/ns/pid_for_children", outside.id());
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    while fs::read_link(&children).unwrap() == own {
        thread::sleep(Duration::from_millis(10));
    }
    let unborn = PidNamespace::open(&children).unwrap();

    let nested = Nested::new(1);
    let dead = nested.namespace();
    nested.end();

    for namespace in [unborn, dead] {
        let error = namespace.set_last_pids(&vector("5")).unwrap_err();
        assert!(matches!(error, Error::NoInit { .. }), "{error:?}");
        let error = namespace.last_pids().unwrap_err();
        assert!(matches!(error, Error::NoInit { .. }), "{error:?}");
        let error = GatedCommand::new("true")
            .spawn(&namespace, &[100], TRIES)
            .unwrap_err();
        assert!(matches!(error, Error::NoInit { .. }), "{error:?}");
    }
    outside.kill().unwrap();
    outside.wait().unwrap();
}
