//! The running processes of a world.

use std::hash::{BuildHasher, Hash, Hasher};

use cluster_core::{Call, OsEvent, Primary, Signal, Supervisor};
use foldhash::fast::FixedState;

use super::{EitherMachine, HookKey, HookLines, NextAction, RunningProcess, TransitionCache};
use crate::cow::CowArc;
use crate::event::SocketEvent;
use crate::kernel::object_set::ObjectSet;
use crate::observations::LogEntry;
use crate::program::Program;
use crate::step::{Pid, Step};

/// The running processes, by index: process `n` has the index `n`.
#[derive(Debug, Clone)]
pub(crate) struct RunningProcesses<P> {
    table: Vec<Option<CowArc<RunningProcess<P>>>>,
    /// The results of transitions, in a search only.
    transitions: Option<TransitionCache<P>>,
}

impl<P: Hash> Hash for RunningProcesses<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.table.hash(state);
    }
}

impl<P> RunningProcesses<P> {
    pub(crate) fn new() -> Self {
        RunningProcesses { table: vec![None], transitions: None }
    }

    /// Copies the processes of another world of the same search.
    pub(crate) fn copy_from(&mut self, other: &RunningProcesses<P>) {
        self.table.clone_from(&other.table);
    }

    /// From now on, results of transitions are kept: each transition runs once.
    pub(crate) fn cache_transitions(&mut self) {
        self.transitions = Some(TransitionCache::default());
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&CowArc<RunningProcess<P>>> {
        self.table.get(pid.index())?.as_ref()
    }

    /// Whether the program of a process handles a signal.
    pub(crate) fn handles_signal(&self, pid: Pid, signal: Signal) -> bool
    where
        P: Program,
    {
        self.get(pid).is_some_and(|running| running.program.handles_signal(signal))
    }

    /// Whether the program of a process takes an event of its machine.
    pub(crate) fn takes_events(&self, pid: Pid) -> bool
    where
        P: Program,
    {
        self.get(pid).is_none_or(|running| running.program.takes_events())
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> Option<&mut CowArc<RunningProcess<P>>> {
        self.table.get_mut(pid.index())?.as_mut()
    }

    /// The machine of the primary, and whether the primary is busy.
    pub(crate) fn primary(&self) -> Option<(&Primary, bool)> {
        let running = self.get(Pid::PRIMARY)?;
        Some((running.primary()?, running.next.is_some()))
    }

    /// The supervisor of the primary, if any.
    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        self.get(Pid::PRIMARY)?.supervisor()
    }

    /// The next action of a process; `None`: the process waits for an event.
    pub(crate) fn next(&self, pid: Pid) -> Option<&NextAction> {
        self.get(pid)?.next.as_ref()
    }

    /// Whether the next action of a process closes the channel. The peer would notice at its next write.
    pub(crate) fn is_about_to_close_channel(&self, pid: Pid) -> bool {
        matches!(
            self.next(pid),
            Some(NextAction::Exit(_) | NextAction::Call(Call::Exit { .. } | Call::CloseChannel { .. }))
        )
    }

    /// A hash of the next action of a process, if `step` is a step of a process.
    pub(crate) fn hash_of_next(&self, step: Step) -> u64 {
        let Step::Run(pid) = step else { return 0 };
        FixedState::default().hash_one(self.next(pid))
    }

    /// The processes that differ from `before`, a copy from before the step.
    pub(crate) fn written_since(&self, before: &RunningProcesses<P>) -> ObjectSet {
        let is_unchanged = |pid| match (self.get(pid), before.get(pid)) {
            (Some(now), Some(before)) => now.is_shared_with(before),
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
        };
        let pids = (0..).map(Pid).take(self.table.len());
        pids.filter(|&pid| !is_unchanged(pid)).map(ObjectSet::running).collect()
    }

    pub(crate) fn end(&mut self, pid: Pid) {
        if let Some(running) = self.table.get_mut(pid.index()) {
            *running = None;
        }
    }
}

impl<P: Program> RunningProcesses<P> {
    pub(crate) fn start(&mut self, pid: Pid, machine: EitherMachine, program: P) {
        if self.table.len() <= pid.index() {
            self.table.resize_with(pid.index() + 1, || None);
        }
        self.table[pid.index()] = Some(RunningProcess::new(machine, program).into());
    }

    /// Takes the next action. Copying the action costs less than copying the whole process.
    pub(crate) fn take_next(&mut self, pid: Pid) -> Option<NextAction> {
        let running = self.get_mut(pid)?;
        if running.is_shared() { running.next.clone() } else { running.next.take() }
    }

    /// [`RunningProcess::react`], or its kept result.
    pub(crate) fn react(
        &mut self,
        pid: Pid,
        event: Option<OsEvent>,
    ) -> Option<&mut CowArc<RunningProcess<P>>> {
        let running = self.table.get_mut(pid.index())?.as_mut()?;
        match &self.transitions {
            Some(transitions) if running.is_shared() => transitions.react(running, event),
            Some(_) | None => running.react(event),
        }
        Some(running)
    }

    /// The key of a hook in a search. The input of most hooks is the next action of the process; `event` is
    /// another input.
    #[inline]
    pub(crate) fn hook_key(&self, pid: Pid, event: Option<&SocketEvent>) -> Option<HookKey> {
        if self.transitions.is_some() { self.key_in_search(pid, event) } else { None }
    }

    #[inline(never)]
    fn key_in_search(&self, pid: Pid, event: Option<&SocketEvent>) -> Option<HookKey> {
        let running = self.get(pid)?;
        running.is_shared().then(|| HookKey::new(running, &event))
    }

    /// Repeats the kept effect of a hook on its process. Returns the logged lines; `None`: the hook must run.
    pub(crate) fn repeat_hook(&mut self, pid: Pid, key: HookKey) -> Option<HookLines> {
        let running = self.table.get_mut(pid.index())?.as_mut()?;
        self.transitions.as_ref()?.repeat(running, key)
    }

    /// Keeps the effect of a hook that has used neither the kernel nor the checks.
    pub(crate) fn keep_hook(&mut self, pid: Pid, key: HookKey, lines: &[LogEntry]) {
        if let (Some(transitions), Some(running)) = (&self.transitions, self.get(pid)) {
            transitions.keep(key, running, lines);
        }
    }
}
