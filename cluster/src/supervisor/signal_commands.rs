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
pub(super) enum SignalCommands {
    Handlers([(&'static str, Signal, SignalCommand); 5]),
    #[cfg(feature = "simulated")]
    Simulated,
}

impl SignalCommands {
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(feature = "simulated")]
        if crate::simulated::is_simulated() {
            crate::simulated::handle_signals();
            return Ok(SignalCommands::Simulated);
        }
        Ok(SignalCommands::Handlers([
            ("SIGTERM", signal(SignalKind::terminate())?, SignalCommand::Shutdown),
            ("SIGINT", signal(SignalKind::interrupt())?, SignalCommand::Shutdown),
            ("SIGHUP", signal(SignalKind::hangup())?, SignalCommand::Reload),
            ("SIGTTIN", signal(SignalKind::from_raw(nix::libc::SIGTTIN))?, SignalCommand::Grow),
            ("SIGTTOU", signal(SignalKind::from_raw(nix::libc::SIGTTOU))?, SignalCommand::Shrink),
        ]))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SignalCommand> {
        #[cfg_attr(
            not(feature = "simulated"),
            expect(
                clippy::infallible_destructuring_match,
                reason = "a simulated process has another variant"
            )
        )]
        let handlers = match self {
            SignalCommands::Handlers(handlers) => handlers,
            #[cfg(feature = "simulated")]
            SignalCommands::Simulated => {
                let command = crate::simulated::take_signal().and_then(command_of);
                return command.map_or(Poll::Pending, Poll::Ready);
            }
        };
        for (name, signal, command) in handlers {
            if signal.poll_recv(cx).is_ready() {
                info!("{name}: {command}");
                return Poll::Ready(*command);
            }
        }
        Poll::Pending
    }
}

#[cfg(feature = "simulated")]
fn command_of(cluster_core::Signal(signal): cluster_core::Signal) -> Option<SignalCommand> {
    match signal {
        nix::libc::SIGTERM | nix::libc::SIGINT => Some(SignalCommand::Shutdown),
        nix::libc::SIGHUP => Some(SignalCommand::Reload),
        nix::libc::SIGTTIN => Some(SignalCommand::Grow),
        nix::libc::SIGTTOU => Some(SignalCommand::Shrink),
        _ => None,
    }
}
