//! One machine on an operating system in memory.

use alloc::vec::Vec;

use super::TestOs;
use crate::event::Output;
use crate::os::{Call, ChannelId, OsEvent, SocketId};
use crate::pump::Machine;

/// The most outputs after one input, more than any test needs. A machine that never becomes idle fails its
/// test.
const OUTPUTS: usize = 200_000;

/// Drains a machine. `each` receives every output, after the answer of the operating system.
#[track_caller]
pub fn drain<M: Machine>(machine: &mut M, os: &mut TestOs, mut each: impl FnMut(Output<M::Event>)) {
    let mut outputs = 0;
    while let Some(output) = machine.poll() {
        outputs += 1;
        assert!(outputs < OUTPUTS, "the machine never becomes idle");
        if let Output::Call(call) = &output
            && let Some(answer) = os.answer(call)
        {
            machine.handle(answer);
        }
        each(output);
    }
}

/// A machine and its operating system.
#[derive(Debug, Clone)]
pub struct TestProcess<M: Machine> {
    /// The machine. A command takes effect at the next [`drain`](TestProcess::drain).
    pub machine: M,
    /// The operating system.
    pub os: TestOs,
    /// The events so far.
    pub events: Vec<M::Event>,
}

impl<M: Machine> TestProcess<M> {
    /// A process with this machine, drained.
    #[track_caller]
    pub fn new(machine: M) -> Self {
        TestProcess::on(machine, TestOs::default())
    }

    /// A process with this machine, drained on this operating system.
    #[track_caller]
    pub fn on(machine: M, os: TestOs) -> Self {
        let mut process = TestProcess { machine, os, events: Vec::new() };
        process.drain();
        process
    }

    /// Drains the machine.
    #[track_caller]
    pub fn drain(&mut self) {
        drain(&mut self.machine, &mut self.os, |output| {
            if let Output::Event(event) = output {
                self.events.push(event);
            }
        });
    }

    /// Gives the machine one input and drains it.
    #[track_caller]
    pub fn handle(&mut self, event: OsEvent) {
        self.machine.handle(event);
        self.drain();
    }

    /// Delivers a line of the peer, and drains the machine.
    #[track_caller]
    pub fn read(&mut self, channel: ChannelId, line: &str, socket: Option<SocketId>) {
        self.handle(OsEvent::Read { channel, bytes: [line.as_bytes(), b"\n"].concat(), socket });
    }

    /// Removes and returns the calls and the events so far.
    pub fn take(&mut self) -> (Vec<Call>, Vec<M::Event>) {
        (self.os.take_calls(), core::mem::take(&mut self.events))
    }
}
