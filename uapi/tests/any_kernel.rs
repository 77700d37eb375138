// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests on any kernel, with or without the ioctl.

use ns_last_pid::{Error, GatedCommand, PidNamespace};
use std::{fs::File, process};

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
fn a_kernel_without_it_is_told() {
    if ns_last_pid::is_supported().unwrap() {
        println!("skipped: this kernel has NS_SPECIFIC_IOC");
        return;
    }
    let vector = "5".parse().unwrap();
    let errors = [
        own().last_pids().unwrap_err(),
        own().set_last_pids(&vector).unwrap_err(),
        own().reserve(5).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    }
    if rustix::process::geteuid().is_root() {
        let error = GatedCommand::new("true")
            .spawn(&own(), &[100], 1)
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    }
}
