//! What would keep the primary from ever ending: a server of its own that no rule closes.

use super::super::{Open, PrimaryAction, Scenario, Word};
use super::{Nonsense, Sense};

pub(super) fn check(scenario: &Scenario) -> Sense {
    if scenario.primary_may_die() {
        return Ok(());
    }
    let mut opened = scenario.primary_actions().filter_map(served);
    let never = opened.find(|server| !scenario.primary_actions().any(|action| closes(action, server)));
    never.map_or(Ok(()), |server| {
        let what = format!(
            "`{server}` is never closed, and the primary never ends: expected {{ \"close\": \"{server}\" }} in a rule"
        );
        Err(Nonsense::new(format!("\"{server}\""), what))
    })
}

/// What is only bound lets the primary end.
fn served(action: &PrimaryAction) -> Option<&Word> {
    if let PrimaryAction::Open(Open { server, bound: false, .. }) = action { Some(server) } else { None }
}

fn closes(action: &PrimaryAction, server: &Word) -> bool {
    matches!(action, PrimaryAction::Close(closed) if closed == server)
}
