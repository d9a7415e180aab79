//! The one ordered queue of what is still to be done: outputs, and the tails of transitions.
//!
//! Node emits in the middle of a transition, and a command inside a listener takes effect before the rest of it.
//! So a transition is a row of steps, and a command's own steps go before what is still queued: the call stack
//! as data. Behind it stand the ticks (Node: `process.nextTick`). It does not know what a step means.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::event::Output;
use crate::os::Call;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Steps<S> {
    /// What is to be done now, the next step last. Above `entry`: what this entry has added, in order.
    now: Vec<S>,
    /// Up to here `now` is the tail of a transition whose event the user is reacting to.
    paused: usize,
    /// What is to be done after that, one at a time.
    ticks: VecDeque<S>,
}

/// Where the current entry began. An entry is a command, an `OsEvent`, or a step that is being run.
#[must_use = "an entry that is not left keeps its steps in the wrong order"]
pub(crate) struct Entry {
    start: usize,
    is_command: bool,
}

impl<S> Steps<S> {
    pub(crate) fn new() -> Self {
        Steps { now: Vec::new(), paused: 0, ticks: VecDeque::new() }
    }

    /// Begins an entry: what is pushed until [`Steps::leave`] runs in that order, before all that is queued.
    pub(crate) fn enter(&self) -> Entry {
        Entry { start: self.now.len(), is_command: false }
    }

    /// Begins the entry of a user's command: what is pushed runs after the earlier commands of the same reaction, and
    /// before the rest of the transition.
    pub(crate) fn enter_command(&self) -> Entry {
        Entry { start: self.now.len(), is_command: true }
    }

    /// Ends the entry.
    pub(crate) fn leave(&mut self, Entry { start, is_command }: Entry) {
        self.now[start..].reverse();
        if is_command {
            let added = self.now.len() - start;
            self.now[self.paused..].rotate_right(added);
        }
    }

    /// Adds a step to the current entry.
    pub(crate) fn push(&mut self, step: S) {
        self.now.push(step);
    }

    /// Adds a step for the next tick: when nothing is left to be done now.
    pub(crate) fn tick(&mut self, step: S) {
        self.ticks.push_back(step);
    }

    /// Takes the next step.
    pub(crate) fn pop(&mut self) -> Option<S> {
        self.now.pop().or_else(|| self.ticks.pop_front())
    }

    /// The user was given an event (or nothing is left): what is queued now waits for the reaction.
    pub(crate) fn pause(&mut self, for_reaction: bool) {
        self.paused = if for_reaction { self.now.len() } else { 0 };
    }

    /// Takes the next step if a command of the reaction has added it and it is of that kind.
    pub(crate) fn pop_command(&mut self, kind: impl FnOnce(&S) -> bool) -> Option<S> {
        if self.now.len() <= self.paused { None } else { self.now.pop_if(|step| kind(step)) }
    }
}

/// A machine, as a queue of steps and somebody who does them.
pub(crate) trait Stepper {
    type Step: IsCall;
    type Event;

    fn steps(&mut self) -> &mut Steps<Self::Step>;

    /// Does a step: what it gives out, if anything.
    fn run(&mut self, step: Self::Step) -> Option<Output<Self::Event>>;
}

/// Whether a step only asks the operating system for something.
pub(crate) trait IsCall {
    fn is_call(&self) -> bool;
}

/// Does steps until one gives something out.
pub(crate) fn poll<M: Stepper>(machine: &mut M) -> Option<Output<M::Event>> {
    while let Some(step) = machine.steps().pop() {
        if let Some(output) = enter_and_run(machine, step) {
            machine.steps().pause(matches!(output, Output::Event(_)));
            return Some(output);
        }
    }
    machine.steps().pause(false);
    None
}

/// Does the steps of commands that only ask the operating system, up to the first call.
pub(crate) fn poll_call<M: Stepper>(machine: &mut M) -> Option<Call> {
    while let Some(step) = machine.steps().pop_command(IsCall::is_call) {
        if let Some(Output::Call(call)) = enter_and_run(machine, step) {
            return Some(call);
        }
    }
    None
}

fn enter_and_run<M: Stepper>(machine: &mut M, step: M::Step) -> Option<Output<M::Event>> {
    let entry = machine.steps().enter();
    let output = machine.run(step);
    machine.steps().leave(entry);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn drain(steps: &mut Steps<&'static str>) -> Vec<&'static str> {
        core::iter::from_fn(|| steps.pop()).collect()
    }

    #[test]
    fn an_entry_runs_in_order_and_before_what_is_queued() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("remove");
        steps.push("emit exit");
        steps.leave(event);
        assert_eq!(steps.pop(), Some("remove"));
        steps.pause(true);
        let command = steps.enter_command();
        steps.push("spawn");
        steps.push("kill");
        steps.tick("emit fork");
        steps.leave(command);
        assert_eq!(drain(&mut steps), vec!["spawn", "kill", "emit exit", "emit fork"]);
    }

    #[test]
    fn a_command_runs_alone_while_the_rest_of_the_transition_waits() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("call of the transition");
        steps.leave(event);
        steps.pause(true);
        assert_eq!(steps.pop_command(|_| true), None);
        let command = steps.enter_command();
        steps.push("call of the command");
        steps.push("event of the command");
        steps.leave(command);
        let call = |step: &&str| step.starts_with("call");
        assert_eq!(steps.pop_command(call), Some("call of the command"));
        assert_eq!(steps.pop_command(call), None);
        assert_eq!(drain(&mut steps), vec!["event of the command", "call of the transition"]);
    }

    #[test]
    fn commands_of_one_reaction_run_in_the_order_they_were_given() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("rest of the transition");
        steps.leave(event);
        steps.pause(true);
        for command in [["spawn", "bind"], ["write", "kill"]] {
            let entry = steps.enter_command();
            for step in command {
                steps.push(step);
            }
            steps.leave(entry);
        }
        assert_eq!(drain(&mut steps), vec!["spawn", "bind", "write", "kill", "rest of the transition"]);
    }

    #[test]
    fn ticks_run_one_at_a_time_each_with_its_own_steps() {
        let mut steps = Steps::new();
        steps.tick("message 1");
        steps.tick("message 2");
        assert_eq!(steps.pop(), Some("message 1"));
        let entry = steps.enter();
        steps.push("reaction");
        steps.tick("after message 2");
        steps.leave(entry);
        assert_eq!(drain(&mut steps), vec!["reaction", "message 2", "after message 2"]);
    }
}
