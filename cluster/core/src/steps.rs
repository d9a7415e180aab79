//! The queue of a machine, in order: outputs, and the steps that remain of transitions.
//!
//! Node emits events in the middle of a transition, and a command inside a listener takes effect before the
//! rest of the transition. So a transition is a row of steps, and the steps of a command run before the
//! queued steps: the call stack as data. The ticks (Node: `process.nextTick`) follow the steps. The queue
//! does not interpret steps.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::event::Output;
use crate::os::Call;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Steps<S> {
    /// The steps to run now, as a stack: the next step is last. From the start of the current scope on, the
    /// steps are in the order in which they were added.
    now: Vec<S>,
    /// While the program reacts to an event: the number of steps that remain of the transition which has
    /// emitted the event.
    paused: usize,
    /// The ticks: steps to run when `now` is empty, one at a time.
    ticks: VecDeque<S>,
}

/// The start of the current scope. A scope is a command, an `OsEvent`, or a step that runs; its steps are
/// ordered at the end.
#[must_use = "a scope without an end keeps its steps in the wrong order"]
pub(crate) struct Scope {
    start: usize,
    is_command: bool,
}

impl<S> Steps<S> {
    pub(crate) fn new() -> Self {
        Steps { now: Vec::new(), paused: 0, ticks: VecDeque::new() }
    }

    /// Every step, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &S> {
        self.now.iter().chain(&self.ticks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.ticks.is_empty()
    }

    /// Whether the paused steps are still in the stack. A restored state may contradict this.
    pub(crate) fn is_pause_within(&self) -> bool {
        self.paused <= self.now.len()
    }

    /// Begins a scope. Its steps run in the order of `push`, before all steps queued now.
    pub(crate) fn enter(&self) -> Scope {
        Scope { start: self.now.len(), is_command: false }
    }

    /// Begins the scope of a command. Its steps run after the steps of earlier commands in the same reaction,
    /// and before the rest of the transition.
    pub(crate) fn enter_command(&self) -> Scope {
        Scope { start: self.now.len(), is_command: true }
    }

    /// Ends a scope. Inlined, because most scopes have no step.
    #[inline]
    pub(crate) fn end_scope(&mut self, scope: Scope) {
        if self.now.len() > scope.start {
            self.order(scope);
        }
    }

    #[inline(never)]
    fn order(&mut self, Scope { start, is_command }: Scope) {
        self.now[start..].reverse();
        if is_command {
            let added = self.now.len() - start;
            self.now[self.paused..].rotate_right(added);
        }
    }

    /// Adds a step to the current scope.
    pub(crate) fn push(&mut self, step: S) {
        self.now.push(step);
    }

    /// Adds a step for the next tick. The tick begins when no step is left to run now.
    pub(crate) fn tick(&mut self, step: S) {
        self.ticks.push_back(step);
    }

    /// Removes the next step.
    pub(crate) fn pop(&mut self) -> Option<S> {
        self.now.pop().or_else(|| self.ticks.pop_front())
    }

    /// Called after each output. `for_reaction`: whether the queued steps wait for the program's reaction to
    /// an event.
    pub(crate) fn pause(&mut self, for_reaction: bool) {
        self.paused = if for_reaction { self.now.len() } else { 0 };
    }

    /// Removes the next step, if a command of the present reaction has added it and `kind` accepts it.
    pub(crate) fn pop_command(&mut self, kind: impl FnOnce(&S) -> bool) -> Option<S> {
        if self.now.len() <= self.paused { None } else { self.now.pop_if(|step| kind(step)) }
    }
}

/// A machine: a queue of steps, and the code that runs a step.
pub(crate) trait Stepper {
    type Step: IsCall;
    type Event;

    fn steps(&mut self) -> &mut Steps<Self::Step>;

    /// Runs a step, and returns its output, if any.
    fn run(&mut self, step: Self::Step) -> Option<Output<Self::Event>>;
}

/// A step that only makes a call.
pub(crate) trait IsCall {
    fn is_call(&self) -> bool;
}

/// Runs steps up to the first output.
pub(crate) fn poll<M: Stepper>(machine: &mut M) -> Option<Output<M::Event>> {
    while let Some(step) = machine.steps().pop() {
        // The output is returned as it is: unwrapping and wrapping it again would copy it twice.
        let output = enter_and_run(machine, step);
        if output.is_some() {
            machine.steps().pause(matches!(output, Some(Output::Event(_))));
            return output;
        }
    }
    machine.steps().pause(false);
    None
}

/// Runs the steps that commands have added and that only make calls, up to the first call.
pub(crate) fn poll_call<M: Stepper>(machine: &mut M) -> Option<Call> {
    while let Some(step) = machine.steps().pop_command(IsCall::is_call) {
        if let Some(Output::Call(call)) = enter_and_run(machine, step) {
            return Some(call);
        }
    }
    None
}

fn enter_and_run<M: Stepper>(machine: &mut M, step: M::Step) -> Option<Output<M::Event>> {
    let scope = machine.steps().enter();
    let output = machine.run(step);
    machine.steps().end_scope(scope);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn drain(steps: &mut Steps<&'static str>) -> Vec<&'static str> {
        core::iter::from_fn(|| steps.pop()).collect()
    }

    /// The steps of a scope run in order, and before all queued steps.
    #[test]
    fn scope_runs_before_queued_steps() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("remove");
        steps.push("emit exit");
        steps.end_scope(event);
        assert_eq!(steps.pop(), Some("remove"));
        steps.pause(true);
        let command = steps.enter_command();
        steps.push("spawn");
        steps.push("kill");
        steps.tick("emit fork");
        steps.end_scope(command);
        assert_eq!(drain(&mut steps), vec!["spawn", "kill", "emit exit", "emit fork"]);
    }

    /// A command's calls run while the rest of the transition waits.
    #[test]
    fn command_runs_before_paused_transition() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("call of the transition");
        steps.end_scope(event);
        steps.pause(true);
        assert_eq!(steps.pop_command(|_| true), None);
        let command = steps.enter_command();
        steps.push("call of the command");
        steps.push("event of the command");
        steps.end_scope(command);
        let call = |step: &&str| step.starts_with("call");
        assert_eq!(steps.pop_command(call), Some("call of the command"));
        assert_eq!(steps.pop_command(call), None);
        assert_eq!(drain(&mut steps), vec!["event of the command", "call of the transition"]);
    }

    /// The commands of one reaction run in order.
    #[test]
    fn commands_of_reaction_keep_order() {
        let mut steps = Steps::new();
        let event = steps.enter();
        steps.push("rest of the transition");
        steps.end_scope(event);
        steps.pause(true);
        for command in [["spawn", "bind"], ["write", "kill"]] {
            let scope = steps.enter_command();
            for step in command {
                steps.push(step);
            }
            steps.end_scope(scope);
        }
        assert_eq!(drain(&mut steps), vec!["spawn", "bind", "write", "kill", "rest of the transition"]);
    }

    /// Each tick runs with its own steps before the next tick.
    #[test]
    fn ticks_run_one_at_a_time() {
        let mut steps = Steps::new();
        steps.tick("message 1");
        steps.tick("message 2");
        assert_eq!(steps.pop(), Some("message 1"));
        let scope = steps.enter();
        steps.push("reaction");
        steps.tick("after message 2");
        steps.end_scope(scope);
        assert_eq!(drain(&mut steps), vec!["reaction", "message 2", "after message 2"]);
    }
}
