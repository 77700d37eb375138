// SPDX-License-Identifier: GPL-2.0-only

//! Injects a fault at each point of a call where the kernel can fail: the first, the second, and so
//! on (`/proc/PID/fail-nth`), until the call has none left. A call must succeed completely or change
//! nothing. No call allocates, so none may fail when every allocation does.
//!
//! See `Documentation/fault-injection/fault-injection.rst`.

use crate::request;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use ns_last_pid::raw;
use std::{
    fs::{self, File},
    io::pipe,
    os::unix::fs::FileExt,
};
use testbed::Nest;

const LEVELS: usize = 3;
const BEFORE: &str = "1000:2000:3000";
/// The bytes of a buffer before GET.
const UNTOUCHED: u8 = 0xaa;

/// A call, and its result and effect without a fault.
struct Call {
    what: &'static str,
    req: u32,
    data: Vec<u8>,
    result: nix::Result<i32>,
    /// The last pids of the nest's levels after it.
    after: &'static str,
    /// The number of its copies from and to user memory, each of which can fail.
    copies: usize,
}

fn calls() -> Vec<Call> {
    let set = |what, text: &[u8], result: nix::Result<i32>, after| Call {
        what,
        req: request::SET,
        data: text.into(),
        result,
        after,
        copies: 2,
    };
    let get = |what, size, result| Call {
        what,
        req: request::GET,
        data: vec![UNTOUCHED; size],
        result,
        after: BEFORE,
        copies: 1,
    };
    vec![
        set("SET, one level", b"7", Ok(0), "7:2000:3000"),
        set("SET, three levels", b"7:8:9", Ok(0), "7:8:9"),
        set(
            "SET, the longest text",
            &[b"7:8:".as_slice(), &[b'0'; 507], b"9"].concat(),
            Ok(0),
            "7:8:9",
        ),
        set("SET, malformed", b"7:8:", Err(Errno::EINVAL), BEFORE),
        set(
            "SET, too large at the last level",
            b"7:8:2147483647",
            Err(Errno::EINVAL),
            BEFORE,
        ),
        Call {
            copies: 2,
            ..get("GET", 512, Ok(0))
        },
        get("GET, too small a buffer", 3, Err(Errno::ERANGE)),
        Call {
            req: 77,
            ..get("an unknown request", 16, Err(Errno::EOPNOTSUPP))
        },
    ]
}

/// The last pids of the nest's levels, without that of the level above.
fn get(ns: &File) -> Result<String> {
    let last_pids = request::get(ns).context("GET")?;
    Ok(request::vector(&last_pids[..LEVELS]))
}

impl Call {
    fn make(&self, ns: &File) -> (nix::Result<i32>, Vec<u8>) {
        let mut data = self.data.clone();
        let address = data.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: The buffer is borrowed mutably.
        let result =
            unsafe { request::make(ns, raw::NS_SPECIFIC_IOC, self.req, address, data.len()) };
        (result, data)
    }

    /// Checks the result and the effect of a call in which nothing fails.
    fn check_whole(&self, ns: &File, result: nix::Result<i32>, data: &[u8]) -> Result<()> {
        let got = get(ns)?;
        ensure!(got == self.after, "{}: left {got} behind", self.what);
        if self.req == request::GET && self.result.is_ok() {
            ensure!(
                result.is_ok_and(|len| data[len as usize] == 0)
                    && data.starts_with(BEFORE.as_bytes()),
                "{}: {result:?}, and wrote {data:?}",
                self.what
            );
        } else {
            ensure!(
                result == self.result && data == self.data,
                "{}: {result:?} instead of {:?}",
                self.what,
                self.result
            );
        }
        Ok(())
    }

    fn check_failed(
        &self,
        ns: &File,
        nth: usize,
        result: nix::Result<i32>,
        data: &[u8],
    ) -> Result<()> {
        let what = format!("{}, fault {nth}", self.what);
        ensure!(result == Err(Errno::EFAULT), "{what}: {result:?}");
        let got = get(ns)?;
        ensure!(got == BEFORE, "{what}: left {got} behind");
        ensure!(data == self.data, "{what}: wrote into the buffer");
        Ok(())
    }
}

/// Makes the nth point of failure of this thread fail, from the next system call on.
struct FailNth(File);

impl FailNth {
    fn open() -> Result<Self> {
        let path = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(path);
        Ok(Self(file.context("this kernel injects no faults")?))
    }

    fn arm(&self, nth: usize) -> Result<()> {
        Ok(self.0.write_all_at(nth.to_string().as_bytes(), 0)?)
    }

    /// Whether the fault has come. If it has not, the read or write of this file can fail instead.
    fn disarm(&self) -> Result<bool> {
        let mut left = [0; 16];
        let came = self.0.read_at(&mut left, 0).is_ok_and(|_| left[0] == b'0');
        self.arm(0).or_else(|_| self.arm(0))?;
        Ok(came)
    }
}

fn each_fault(ns: &File) -> Result<usize> {
    let fail_nth = FailNth::open()?;
    let mut faults = 0;
    for call in calls() {
        for nth in 1.. {
            request::set(ns, BEFORE)?;
            fail_nth.arm(nth)?;
            let (result, data) = call.make(ns);
            if !fail_nth.disarm()? {
                call.check_whole(ns, result, &data)?;
                ensure!(
                    nth - 1 == call.copies,
                    "{}: {} points of failure, not {}",
                    call.what,
                    nth - 1,
                    call.copies
                );
                break;
            }
            call.check_failed(ns, nth, result, &data)?;
            faults += 1;
        }
        println!(
            "{:34} {} faults, each changed nothing",
            call.what, call.copies
        );
    }
    Ok(faults)
}

fn without_allocations(ns: &File) -> Result<()> {
    // Open it first, because opening allocates.
    let make_it_fail = File::options()
        .write(true)
        .open("/proc/thread-self/make-it-fail")?;
    for call in calls() {
        request::set(ns, BEFORE)?;
        make_it_fail.write_all_at(b"1", 0)?;
        let (result, data) = call.make(ns);
        let control = pipe();
        make_it_fail.write_all_at(b"0", 0)?;
        ensure!(control.is_err(), "allocations do not fail");
        call.check_whole(ns, result, &data)?;
    }
    println!("with every allocation failing: the same results");
    Ok(())
}

pub fn run() -> Result<()> {
    let debugfs = "/sys/kernel/debug";
    let attribute = |attr: &str, value: &str| {
        fs::write(format!("{debugfs}/{attr}"), value).with_context(|| format!("{debugfs}/{attr}"))
    };
    attribute("fail_usercopy/verbose", "0")?;
    attribute("failslab/verbose", "0")?;
    attribute("failslab/ignore-gfp-wait", "N")?;

    let nest = Nest::new(LEVELS)?;
    let ns = &nest.namespaces[LEVELS];
    let faults = each_fault(ns)?;

    attribute("failslab/task-filter", "Y")?;
    attribute("failslab/times", "-1")?;
    attribute("failslab/probability", "100")?;
    let done = without_allocations(ns);
    attribute("failslab/probability", "0")?;
    done?;
    println!(
        "faults: {} calls, {faults} faults injected, 0 failures",
        calls().len()
    );
    Ok(())
}
