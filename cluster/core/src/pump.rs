//! The only loop: input, machine, outputs, operating system. It waits for nothing.

use crate::event::Output;
use crate::os::{Call, Os, OsEvent};

/// A state machine between an operating system and a user.
///
/// One input (an [`OsEvent`] or a command), then [`Machine::poll`] until it gives nothing more, then the next input.
/// The answer to a call is an input of its own, given before the next `poll`. A command given in reaction to an event
/// takes effect before what is still queued, as a call inside a listener does in Node.
pub trait Machine {
    /// What its user hears.
    type Event;

    /// Takes what the operating system tells.
    fn handle(&mut self, event: OsEvent);

    /// Does queued steps until one gives something out.
    fn poll(&mut self) -> Option<Output<Self::Event>>;

    /// The next call that a command has asked for since the last event. It lets a command take effect at once, without
    /// going on with the transition whose event the user is reacting to.
    fn poll_call(&mut self) -> Option<Call>;
}

/// Drains a machine: performs its calls until it has an event for the user, or nothing more to do.
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

/// Performs what the last command asked for, and nothing else.
pub fn flush<M: Machine>(machine: &mut M, os: &mut impl Os) {
    while let Some(call) = machine.poll_call() {
        if let Some(answer) = os.perform(call) {
            machine.handle(answer);
        }
    }
}
