//! The signals that command a supervisor.

use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

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

#[derive(Debug)]
pub(super) struct SignalCommands([(Signal, SignalCommand); 5]);

impl SignalCommands {
    pub(super) fn new() -> io::Result<Self> {
        Ok(SignalCommands([
            (signal(SignalKind::terminate())?, SignalCommand::Shutdown),
            (signal(SignalKind::interrupt())?, SignalCommand::Shutdown),
            (signal(SignalKind::hangup())?, SignalCommand::Reload),
            (signal(SignalKind::from_raw(nix::libc::SIGTTIN))?, SignalCommand::Grow),
            (signal(SignalKind::from_raw(nix::libc::SIGTTOU))?, SignalCommand::Shrink),
        ]))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SignalCommand> {
        for (signal, command) in &mut self.0 {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*command);
            }
        }
        Poll::Pending
    }
}
