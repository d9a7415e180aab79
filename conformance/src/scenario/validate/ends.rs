//! Finds scenarios that never end, and actions that never run: a server of the primary without a `close`; an
//! action of a worker after `block_until_path`; a second child of a worker.

use super::super::{Open, PrimaryAction, Rule, Scenario, Token, WorkerAction};
use super::{Valid, ValidationError};
use crate::pattern::Pattern;

/// Checks a scenario with this number of clients.
pub(super) fn check(scenario: &Scenario, clients: u32) -> Valid {
    own_servers(scenario)?;
    for program in scenario.worker_programs() {
        program.iter().try_for_each(nothing_behind_a_block)?;
        one_child(program, clients)?;
    }
    Ok(())
}

fn own_servers(scenario: &Scenario) -> Valid {
    if scenario.primary_may_die() {
        return Ok(());
    }
    let mut opened = scenario.primary_actions().filter_map(served);
    let never = opened.find(|server| !scenario.primary_actions().any(|action| closes(action, server)));
    never.map_or(Ok(()), |server| {
        let what = format!(
            "`{server}` is never closed, and the primary never ends: expected {{ \"close\": \"{server}\" }} in a rule"
        );
        Err(ValidationError::new(format!("\"{server}\""), what))
    })
}

/// The server that keeps the primary running, if the action opens one. A server that is only bound does not.
fn served(action: &PrimaryAction) -> Option<&Token> {
    if let PrimaryAction::Open(Open { server, bound: false, .. }) = action { Some(server) } else { None }
}

fn closes(action: &PrimaryAction, server: &Token) -> bool {
    matches!(action, PrimaryAction::Close(closed) if closed.as_str() == server.as_str())
}

fn nothing_behind_a_block(rule: &Rule<WorkerAction>) -> Valid {
    let mut before = rule.actions.iter().rev().skip(1);
    if before.any(|action| matches!(action, WorkerAction::BlockUntilPath(_))) {
        let what = format!(
            "no action runs behind `block_until_path`: expected it as the last action on `{}`",
            rule.on
        );
        return Err(ValidationError::new("\"block_until_path\"", what));
    }
    Ok(())
}

/// Checks that a worker starts at most one child, because the simulator supports only one.
fn one_child(program: &[Rule<WorkerAction>], clients: u32) -> Valid {
    let mut leaving = program.iter().flat_map(|rule| {
        rule.actions.iter().filter(|action| **action == WorkerAction::LeaveChildWithChannel).map(|_| &rule.on)
    });
    let again = leaving.next().filter(|on| !comes_once(on, clients)).or_else(|| leaving.next());
    again.map_or(Ok(()), |on| {
        let what = format!(
            "a worker leaves one child, and `{on}` can leave another: expected `leave_child_with_channel` once, \
             on a line that occurs once, such as `connection #1`"
        );
        Err(ValidationError::new(format!("\"{on}\""), what))
    })
}

fn comes_once(on: &Pattern, clients: u32) -> bool {
    on.nth.is_some() || (on.asked.what == "connection" && clients <= 1)
}
