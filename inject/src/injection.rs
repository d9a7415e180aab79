//! An injection: the process, the call and the failure.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use nix::errno::Errno;
use syscalls::Sysno;

/// The process with the failing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Victim {
    /// The primary, from its `execve`
    Primary,
    /// The first worker, from the `fork`
    Worker,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Victim::Primary => "primary",
            Victim::Worker => "worker",
        })
    }
}

/// The event at the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The call returns the error, without an effect. Only `close` closes the descriptor.
    Error(Errno),
    /// SIGKILL ends the process before the call.
    Kill,
    /// SIGSTOP stops the process before the call; SIGCONT follows.
    Stop,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(errno) => write!(f, "{errno:?}"),
            Failure::Kill => f.write_str("kill"),
            Failure::Stop => f.write_str("stop"),
        }
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kill" => return Ok(Failure::Kill),
            "stop" => return Ok(Failure::Stop),
            _ => {}
        }
        let named = (1..=133).map(Errno::from_raw).find(|errno| format!("{errno:?}") == text);
        named.map(Failure::Error).ok_or_else(|| format!("`{text}` is no errno, `kill` or `stop`"))
    }
}

/// A position and a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) call: Sysno,
    /// The occurrence of the call in the process, from 1.
    pub(crate) nth: u32,
    pub(crate) failure: Failure,
}

/// As options of the command.
impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Injection { call, nth, failure } = self;
        write!(f, "--call {call} --nth {nth} --failure {failure}")
    }
}
