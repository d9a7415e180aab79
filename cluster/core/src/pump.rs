//! The only loop: takes a machine's outputs and gives its calls to an operating system. Never waits.

use crate::event::Output;
use crate::os::{Call, Os, OsEvent};

/// A state machine between an operating system and a program.
///
/// Give the machine one input (an [`OsEvent`] or a command), call [`Machine::poll`] until `None`, then give
/// the next input. The answer to a call is an input as well, and is given before the next `poll`. If the
/// program reacts to an event with a command, the steps of the command run before the queued steps, like a
/// call inside a listener in Node.
pub trait Machine {
    /// The events for the program.
    type Event;

    /// Accepts an event of the operating system.
    fn handle(&mut self, event: OsEvent);

    /// Runs queued steps up to the first output.
    fn poll(&mut self) -> Option<Output<Self::Event>>;

    /// The next call queued by a command since the last event. These calls are performed before the rest of
    /// the transition that has emitted the event.
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
