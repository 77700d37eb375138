// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests on any kernel, with or without the ioctl.

use ns_last_pid::{Error, GatedCommand, PidNamespace, Request, is_supported};
use std::{
    fs::{self, File},
    os::fd::{AsRawFd, OwnedFd},
    process,
};

fn own() -> PidNamespace {
    PidNamespace::of_process(process::id()).unwrap()
}

#[test]
fn only_a_pid_namespace_is_one() {
    for path in [
        "/proc/self/ns/net",
        "/proc/self/ns/uts",
        "/dev/null",
        "/proc/self/status",
        "/",
    ] {
        match PidNamespace::open(path) {
            Err(Error::NotAPidNamespace { source }) => {
                assert_eq!(source.is_none(), path.contains("/ns/"), "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let file = File::open("/proc/self/ns/pid").unwrap();
    assert!(PidNamespace::from_fd(&file).is_ok());
    assert!(matches!(
        PidNamespace::of_pidfd(&file),
        Err(Error::System { .. })
    ));
}

#[test]
fn a_process_that_is_gone_is_told() {
    let error = PidNamespace::of_process(i32::MAX as u32).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /proc/2147483647/ns/pid");
}

#[test]
fn a_file_descriptor_goes_in_and_out() {
    let file = File::open("/proc/self/ns/pid").unwrap();
    let fd = file.as_raw_fd();
    let namespace = PidNamespace::try_from(OwnedFd::from(file)).unwrap();
    assert!(namespace.is_own().unwrap());
    assert_eq!(OwnedFd::from(namespace).as_raw_fd(), fd);
    let other = OwnedFd::from(File::open("/proc/self/ns/uts").unwrap());
    let error = PidNamespace::try_from(other).unwrap_err();
    assert!(matches!(error, Error::NotAPidNamespace { source: None }));
}

#[test]
fn the_own_namespace_has_the_pid_max_of_proc() {
    let pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let own = PidNamespace::own().unwrap();
    assert_eq!(own.pid_max().unwrap().to_string(), pid_max.trim());
}

/// A plain spawn() of the command inside does not ask for pids.
#[test]
fn the_command_is_an_ordinary_one() {
    let mut gated = GatedCommand::new("echo");
    let output = gated.command().arg("it ran").output().unwrap();
    assert_eq!(output.stdout, b"it ran\n");
}

#[test]
fn a_kernel_without_it_is_told() {
    if is_supported(Request::Set).unwrap() {
        println!("skipped: this kernel has NS_SPECIFIC_IOC");
        return;
    }
    let vector = "5".parse().unwrap();
    let errors = [
        own().last_pids().unwrap_err(),
        own().set_last_pids(&vector).unwrap_err(),
        own().reserve(5).unwrap_err(),
    ];
    let requests = [Request::Get, Request::Set, Request::Get];
    for (error, wanted) in errors.into_iter().zip(requests) {
        assert!(
            matches!(error, Error::Unsupported { request, .. } if request == wanted),
            "{error:?}"
        );
        assert!(!is_supported(wanted).unwrap());
    }
    if rustix::process::geteuid().is_root() {
        let error = GatedCommand::new("true")
            .spawn(&own(), &[100], 1)
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    }
}
