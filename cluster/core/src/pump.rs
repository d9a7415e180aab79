//! The only loop: input, machine, outputs, operating system. Never waits.

use crate::event::Output;
use crate::os::{Call, Os, OsEvent};

/// A state machine between an operating system and a user.
///
/// Give one input (an [`OsEvent`] or a command), call [`Machine::poll`] until `None`, then give the next input. The
/// answer to a call is an input, and is given before the next `poll`. The steps of a command that the user gives in
/// reaction to an event run before the queued steps, as a call inside a listener does in Node.
pub trait Machine {
    /// The events for the user.
    type Event;

    /// Accepts an event of the operating system.
    fn handle(&mut self, event: OsEvent);

    /// Runs queued steps up to the first output.
    fn poll(&mut self) -> Option<Output<Self::Event>>;

    /// The next call that a command has queued since the last event. The calls of a command precede the rest of
    /// the transition that emitted the event.
    fn poll_call(&mut self) -> Option<Call>;
}

/// Performs a machine's calls up to the first event; `None` when nothing is queued.
pub fn pump<M: Machine>(machine: &mut M, os: &mut impl Os) -> Option<M::Event> {
    loop {
        match machine.poll()? {
            Output::Event(event) => return Some(event),
            Output::Call(call) => {
                if let Some(answer) = os.perform(call) {
                    machine.handle(answer);
                }
            }
        }
    }
}

/// Performs the calls of the last command, and nothing else.
pub fn flush<M: Machine>(machine: &mut M, os: &mut impl Os) {
    while let Some(call) = machine.poll_call() {
        if let Some(answer) = os.perform(call) {
            machine.handle(answer);
        }
    }
}
