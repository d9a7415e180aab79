//! What a scenario asks for that nobody could give: more processes or clients than a machine bears, workers without a
//! channel, actions of a process that does nothing any more.

use super::super::{PrimaryAction, Rule, Scenario, Setup, Stdio, WorkerAction};
use super::{Nonsense, Sense};

/// How many workers one rule forks, at most.
const WORKERS: u32 = 128;
/// How many clients there are, at most.
const CLIENTS: u32 = 1024;

pub(super) fn check(scenario: &Scenario) -> Sense {
    scenario.primary.iter().try_for_each(primary_rule)?;
    scenario.worker_programs().flatten().try_for_each(worker_rule)?;
    let clients = scenario.clients.iter().map(|clients| clients.count).fold(0, u32::saturating_add);
    bounded(clients, CLIENTS, "\"clients\"", "clients")
}

fn primary_rule(rule: &Rule<PrimaryAction>) -> Sense {
    let forks = rule.actions.iter().map(PrimaryAction::forks).fold(0, u32::saturating_add);
    bounded(forks, WORKERS, &format!("\"{}\"", rule.on), "workers of one rule")?;
    rule.actions.iter().try_for_each(|action| {
        if let PrimaryAction::Setup(Setup { stdio: Some(stdio), .. }) = action {
            one_channel(stdio)
        } else {
            Ok(())
        }
    })
}

fn bounded(asked: u32, most: u32, at: &str, whom: &str) -> Sense {
    if asked <= most {
        return Ok(());
    }
    Err(Nonsense::new(at, format!("{asked} {whom}: expected at most {most}")))
}

/// Node: `ERR_CHILD_PROCESS_IPC_REQUIRED` and `ERR_IPC_ONE_PIPE`.
fn one_channel(stdio: &[Stdio]) -> Sense {
    if stdio.iter().filter(|stdio| **stdio == Stdio::Ipc).count() == 1 {
        return Ok(());
    }
    Err(Nonsense::new("\"stdio\"", "a worker has one channel: expected `ipc` exactly once"))
}

fn worker_rule(rule: &Rule<WorkerAction>) -> Sense {
    let halts = |action: &&WorkerAction| matches!(action, WorkerAction::Block(_) | WorkerAction::Spin);
    let acting = rule.actions.split_last().map_or(&[][..], |(_, before)| before);
    acting.iter().find(halts).map_or(Ok(()), |action| {
        let at = if *action == WorkerAction::Spin { "\"spin\"" } else { "\"block\"" };
        Err(Nonsense::new(at, "a process that waits or spins does nothing more: expected no action behind"))
    })
}
