//! An injection: the process, the call and the failure.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use nix::errno::Errno;
use syscalls::Sysno;

/// The process with the failing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Victim {
    /// The primary, from the `execve`
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
    /// The call and the next calls with the same name return the error, [`REPEATED`] calls in all: a
    /// shortage.
    Repeated(Errno),
    /// The call transfers a single byte. Only for `sendmsg`: a full channel takes a part of a message.
    Short,
    /// SIGKILL ends the process before the call.
    Kill,
    /// SIGSTOP stops the process before the call; SIGCONT follows.
    Stop,
}

/// The number of calls of a shortage. Fewer than the failed starts after which a supervisor gives up.
pub(crate) const REPEATED: u32 = 3;

impl Failure {
    /// The number of failing calls.
    pub(crate) fn calls(self) -> u32 {
        match self {
            Failure::Repeated(_) => REPEATED,
            Failure::Error(_) | Failure::Short | Failure::Kill | Failure::Stop => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(errno) => write!(f, "{errno:?}"),
            Failure::Repeated(errno) => write!(f, "{errno:?}*{REPEATED}"),
            Failure::Short => f.write_str("short"),
            Failure::Kill => f.write_str("kill"),
            Failure::Stop => f.write_str("stop"),
        }
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "short" => return Ok(Failure::Short),
            "kill" => return Ok(Failure::Kill),
            "stop" => return Ok(Failure::Stop),
            _ => {}
        }
        let (name, make): (_, fn(Errno) -> Failure) = match text.strip_suffix(&format!("*{REPEATED}")) {
            Some(name) => (name, Failure::Repeated),
            None => (text, Failure::Error),
        };
        let named = (1..=133).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
        named.map(make).ok_or_else(|| format!("`{text}` is no errno, errno`*3`, `short`, `kill` or `stop`"))
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
