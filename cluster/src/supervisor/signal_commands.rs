//! The signals that command a supervisor.

use std::task::{Context, Poll};
use std::{fmt, io};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// The command that a signal stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalCommand {
    /// SIGTERM, SIGINT.
    Shutdown,
    /// SIGHUP.
    Reload,
    /// SIGTTIN.
    Grow,
    /// SIGTTOU.
    Shrink,
}

impl fmt::Display for SignalCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignalCommand::Shutdown => "shut down",
            SignalCommand::Reload => "reload",
            SignalCommand::Grow => "add a worker",
            SignalCommand::Shrink => "remove a worker",
        })
    }
}

#[derive(Debug)]
pub(super) struct SignalCommands([(&'static str, Signal, SignalCommand); 5]);

impl SignalCommands {
    pub(super) fn new() -> io::Result<Self> {
        Ok(SignalCommands([
            ("SIGTERM", signal(SignalKind::terminate())?, SignalCommand::Shutdown),
            ("SIGINT", signal(SignalKind::interrupt())?, SignalCommand::Shutdown),
            ("SIGHUP", signal(SignalKind::hangup())?, SignalCommand::Reload),
            ("SIGTTIN", signal(SignalKind::from_raw(nix::libc::SIGTTIN))?, SignalCommand::Grow),
            ("SIGTTOU", signal(SignalKind::from_raw(nix::libc::SIGTTOU))?, SignalCommand::Shrink),
        ]))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SignalCommand> {
        for (name, signal, command) in &mut self.0 {
            if signal.poll_recv(cx).is_ready() {
                info!("{name}: {command}");
                return Poll::Ready(*command);
            }
        }
        Poll::Pending
    }
}
