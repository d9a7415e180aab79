//! Finds too many workers, and workers that are named but never forked.
//!
//! A worker that is named but never forked is an error only if the file limits the number of forks. With a
//! rule that forks without a limit, there is no error.

use super::super::{
    Clause, ClauseKind, MOST, Part, PrimaryAction, Rule, Scenario, ScenarioVerb as _, Step, Target,
};
use super::{Valid, ValidationError};
use crate::observation::Observer;
use crate::pattern::{LinePattern, Observers, Pattern};

pub(super) fn check(scenario: &Scenario) -> Valid {
    not_too_many(scenario)?;
    let Some(most) = at_most(scenario) else { return Ok(()) };
    let never = named(scenario).into_iter().find(|(id, _)| *id > u64::from(most));
    never.map_or(Ok(()), |(id, at)| {
        Err(ValidationError::new(at, format!("worker {id} is never forked: expected an id up to {most}")))
    })
}

fn not_too_many(scenario: &Scenario) -> Valid {
    let mut count = 0;
    for rule in &scenario.primary {
        count = forks(rule).saturating_add(count);
        if count > MOST {
            let what = format!("the rules up to `{}` fork {count} workers: expected at most {MOST}", rule.on);
            return Err(ValidationError::new(format!("\"{}\"", rule.on), what));
        }
    }
    Ok(())
}

/// The largest number of workers, if the file determines it.
fn at_most(scenario: &Scenario) -> Option<u32> {
    let forking = scenario.primary.iter().map(|rule| (rule, forks(rule))).filter(|(_, forks)| *forks > 0);
    forking.map(|(rule, forks)| acts_once(&rule.on).then_some(forks)).sum()
}

fn forks(rule: &Rule<PrimaryAction>) -> u32 {
    rule.actions.iter().map(PrimaryAction::forks).fold(0, u32::saturating_add)
}

/// Events that occur once per worker.
const ONCE: [&str; 4] = ["fork", "online", "disconnect", "exit"];

fn acts_once(on: &Pattern) -> bool {
    let what = on.asked.what.as_str();
    on.nth.is_some() || what == "start" || (ONCE.contains(&what) && on.asked.worker().is_some())
}

/// Every worker that the file names, with a piece of the file that marks the line.
fn named(scenario: &Scenario) -> Vec<(u64, String)> {
    let mut named: Vec<_> = scenario.workers.keys().map(|id| (*id, format!("\"{id}\""))).collect();
    for rule in &scenario.primary {
        let mut name = |id| named.push((id, format!("\"{}\"", rule.on)));
        for action in &rule.actions {
            action.read(&mut |part| {
                if let Part::Worker(Target::Id(id)) = part {
                    name(*id);
                }
            });
        }
        rule.on.asked.worker().into_iter().for_each(name);
    }
    let mut lines = Vec::new();
    scenario.contract.iter().for_each(|clause| clause_lines(clause, &mut lines));
    let steps = scenario.clients.iter().flat_map(|clients| &clients.steps);
    lines.extend(steps.filter_map(|step| if let Step::Await(line) = step { Some(line) } else { None }));
    named.extend(lines.into_iter().filter_map(|line| Some((worker(line)?, line.to_string()))));
    named
}

fn clause_lines<'a>(clause: &'a Clause, lines: &mut Vec<&'a LinePattern>) {
    match &clause.kind {
        ClauseKind::Seen { line, .. } | ClauseKind::Cycle { lines: line, .. } => lines.push(line),
        ClauseKind::Before { first, then } => lines.extend([first, then]),
        ClauseKind::OneOf(lists) => lists.iter().flatten().for_each(|clause| clause_lines(clause, lines)),
    }
}

fn worker(line: &LinePattern) -> Option<u64> {
    if let Observers::One(Observer::Worker(id)) = line.observers {
        Some(id)
    } else {
        line.pattern.asked.worker()
    }
}
