//! Listening: with `keep_listening` a primary closes a listening socket only in two cases: every worker is
//! asked to exit, and `AllDisconnected` follows; or a supervisor shuts down.

use cluster_core::{Call, Primary, SocketId};

use crate::kernel::Kernel;
use crate::kernel::process_table::Origin;
use crate::kernel::socket::SocketKind;
use crate::step::Pid;

/// The last listening socket that the primary has closed, until `AllDisconnected`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Listening {
    closed: Option<SocketId>,
}

impl Listening {
    /// Records a call of the primary before the call is performed.
    pub(crate) fn call(&mut self, call: &Call, kernel: &Kernel) {
        if let Call::Close { socket } = call
            && kernel.processes.get(Pid::PRIMARY).descriptor(*socket).is_some_and(|descriptor| {
                let kind = &kernel.network.sockets.get(descriptor.file).kind;
                descriptor.origin == Origin::Machine && !matches!(kind, SocketKind::Connection(_))
            })
        {
            self.closed = Some(*socket);
        }
    }

    pub(crate) fn all_disconnected(&mut self) {
        self.closed = None;
    }

    /// Checks the final state. A stopped worker that was asked to exit delays `AllDisconnected` forever.
    pub(crate) fn at_the_end(self, kernel: &Kernel, primary: &Primary) -> Result<(), String> {
        let waits = || kernel.processes.iter().any(|(pid, _)| kernel.processes.is_stopped(pid));
        match self.closed {
            Some(socket) if !primary.is_disconnecting() && !waits() => Err(format!(
                "the primary has closed {socket:?}, at which workers listened, and keeps listening"
            )),
            Some(_) | None => Ok(()),
        }
    }
}
