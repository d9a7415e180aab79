//! The subject of a service: the program, and how the program runs.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::adapter::StopSignal;

/// What a service runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    /// The command of a worker, as written in a shell.
    pub(crate) program: String,
    /// Whether Node.js loads the preload before the program.
    pub(crate) has_preload: bool,
    /// Whether Node.js runs in the worker, as far as the command line shows.
    pub(crate) is_node: bool,
    /// The signal that asks a foreign program to end. `None`: the program is not foreign.
    pub(crate) stop_signal: Option<StopSignal>,
    /// The addresses of the sockets of the service manager.
    pub(crate) activated: Vec<SocketAddr>,
}
