//! The program that a user of the simulator writes: an executable for both roles. The role of a process is
//! known at the start.
//!
//! Every process starts with its own copy of the program, as after an exec. The driver also has a copy. The
//! driver is not part of the cluster: the driver reads the log and commands the clients. A hook commands the
//! machine directly, and does everything else through the context. A program has no access to the kernel, the
//! schedule or another process.

use std::fmt;
use std::hash::Hash;

use cluster_core::{
    Event, OsEvent, Primary, Signal, SocketId, Supervisor, SupervisorEvent, Worker, WorkerEvent,
};

use crate::event::{Actor, ClientEvent, ClientId, Ending, SocketEvent};

mod driver;
mod kernel_access;
mod process;
mod run_tasks;

pub use driver::Driver;
pub(crate) use kernel_access::KernelAccess;
pub use process::Process;

/// The reason of [`Program::resumed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resumption {
    /// The machine has nothing left to do.
    AtRest,
    /// The deadline is over.
    Timer,
    /// The machine asks for an exit with this code.
    ExitRequested(i32),
    /// The process receives a signal that it handles.
    Signal(Signal),
}

/// The machine of a process.
#[derive(Debug)]
pub enum MachineMut<'a> {
    /// Of a primary.
    Primary(&'a mut Primary),
    /// Of a supervised primary.
    Supervisor(&'a mut Supervisor),
    /// Of a worker.
    Worker(&'a mut Worker),
}

/// An executable of a user. A hook runs to the end before the process does anything else. Every hook has a
/// default.
///
/// The effect of a hook must depend only on its arguments: a search runs a hook once for equal programs,
/// machines and events.
#[expect(unused_variables, reason = "the names are the documentation of the hooks that do nothing")]
pub trait Program: Clone + Eq + Hash + fmt::Debug {
    /// Runs when the primary starts.
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {}

    /// Receives an event of the primary.
    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {}

    /// Runs when a supervised primary starts, in place of [`primary_start`](Program::primary_start).
    fn supervisor_start(&mut self, supervisor: &mut Supervisor, process: &mut Process<'_>) {}

    /// Receives an event of a supervisor, in place of [`primary_event`](Program::primary_event).
    fn supervisor_event(
        &mut self,
        supervisor: &mut Supervisor,
        process: &mut Process<'_>,
        event: SupervisorEvent,
    ) {
    }

    /// Receives an event of a socket that the primary's program owns. The default closes a connection after
    /// the end of the client.
    fn primary_socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        if let SocketEvent::Ended { connection, .. } = event {
            process.close(connection);
        }
    }

    /// Runs when a worker starts.
    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {}

    /// Receives an event of a worker. The program owns the connection of a [`WorkerEvent::Connection`] until
    /// [`Process::close`].
    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {}

    /// Receives an event of a socket that a worker's program owns. The default passes bytes and ends of
    /// connections to [`Program::connection_data`] and [`Program::connection_end`].
    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        match event {
            SocketEvent::Data { connection, bytes } => {
                self.connection_data(worker, process, connection, &bytes);
            }
            SocketEvent::Ended { connection, ending } => {
                self.connection_end(worker, process, connection, ending);
            }
            SocketEvent::Accepted { .. } | SocketEvent::Datagram { .. } => {}
        }
    }

    /// Receives bytes of a connection of this worker.
    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
    }

    /// Receives the end of the client's side of a connection. The default closes the connection.
    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        ending: Ending,
    ) {
        process.close(connection);
    }

    /// The driver receives an observation. It arrives some steps after it was recorded, in the order of all
    /// observations.
    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {}

    /// The driver receives a notice, in the same order as observations.
    fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {}

    /// The driver receives an event of a client.
    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {}

    /// The client under which the driver records the observations of a client. Searches use the result to
    /// decide whether a client has observed everything. The default is the client itself.
    fn observer_of_client(&self, client: ClientId) -> ClientId {
        client
    }

    /// Runs when the driver starts, before every process.
    fn driver_start(&mut self, driver: &mut Driver<'_>) {}

    // ---- processes that decide when they take events, as those of futures do

    /// Whether the process takes an event. Otherwise its machine performs only the calls of commands, reads
    /// nothing, and keeps the events.
    fn takes_events(&self) -> bool {
        true
    }

    /// Whether the process runs once more, with [`Resumption::AtRest`], when its machine has nothing left to
    /// do.
    fn resumes_at_rest(&self) -> bool {
        false
    }

    /// Whether the process decides about an exit that its machine asks for, with
    /// [`Resumption::ExitRequested`]. Otherwise the process exits.
    fn handles_exit(&self) -> bool {
        false
    }

    /// Whether the process handles a signal, with [`Resumption::Signal`]. Otherwise the signal ends the
    /// process.
    fn handles_signal(&self, signal: Signal) -> bool {
        false
    }

    /// Runs without an event.
    fn resumed(&mut self, machine: MachineMut<'_>, process: &mut Process<'_>, why: Resumption) {}

    /// Receives every input of the machine before the machine receives the input; receives `None` when the
    /// machine is polled without an input.
    fn machine_input(&mut self, input: Option<&OsEvent>) {}

    /// Whether [`deadline`](Program::deadline) has an effect, for every process of the program.
    fn has_deadlines(&self) -> bool {
        false
    }

    /// The time at which the process, or the driver, asks for [`Resumption::Timer`], in milliseconds of the
    /// world; not later than `limit`. The world asks when nothing else can happen.
    fn deadline(&mut self, limit: Option<u64>) -> Option<u64> {
        None
    }

    /// The driver has reached its deadline.
    fn driver_resumed(&mut self, driver: &mut Driver<'_>) {}
}
