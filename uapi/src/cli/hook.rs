// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state of a container, which OCI runtimes give to hooks.

use crate::Failure;
use ns_last_pid::PidNamespace;
use serde_json::Value;
use std::io::{self, IsTerminal};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoContainer(String);

pub struct State(Value);

impl State {
    /// Reads standard input.
    pub fn read() -> Result<Self, NoContainer> {
        let stdin = io::stdin().lock();
        if stdin.is_terminal() {
            let cause = "standard input is a terminal, and has no state of a container";
            return Err(NoContainer(cause.into()));
        }
        let state = serde_json::from_reader(stdin);
        let state =
            state.map_err(|error| NoContainer(format!("no JSON on standard input: {error}")))?;
        Ok(Self(state))
    }

    /// The pid in this annotation, if the container has it.
    pub fn annotation(&self, name: &str) -> Result<Option<u32>, NoContainer> {
        let Some(value) = self.0["annotations"].get(name) else {
            return Ok(None);
        };
        let pid = value.as_str().and_then(|text| text.parse().ok());
        let pid = pid.filter(|pid| (1..=i32::MAX as u32).contains(pid));
        match pid {
            Some(pid) => Ok(Some(pid)),
            None => Err(NoContainer(format!(
                "the container's annotation {name:?} is {value}, and no pid"
            ))),
        }
    }

    /// The pid namespace of the container.
    pub fn namespace(&self) -> Result<PidNamespace, Failure> {
        let pid = &self.0["pid"];
        let process = pid.as_u64().and_then(|pid| pid.try_into().ok());
        let process = process.filter(|&process: &u32| process != 0);
        let process = process.ok_or_else(|| {
            NoContainer(format!(
                "the container's state has no process: its pid is {pid}"
            ))
        })?;
        let namespace = PidNamespace::of_process(process)?;
        if namespace.is_own()? {
            return Err(NoContainer("the container has no pid namespace of its own".into()).into());
        }
        Ok(namespace)
    }
}
