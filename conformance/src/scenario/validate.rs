//! Errors in well-formed scenarios: undefined names, unknown words, misplaced actions.
//!
//! Only properties of the file are checked. Whether a scenario ends is seen when it runs.

use std::collections::BTreeSet;

use super::error::ValidationError;
use super::{Clause, ClauseKind, Clients, MOST, Part, Property, Rule, Scenario, ScenarioVerb, Step, Target};
use crate::observation::Observer;
use crate::pattern::{LinePattern, Observers, Pattern};
use crate::vocabulary::{self, Entry};

mod ends;
mod forks;

type Valid = Result<(), ValidationError>;

pub(super) fn check(scenario: &Scenario) -> Valid {
    named_as_its_file(scenario)?;
    let servers = servers(scenario);
    for one in &scenario.primary {
        rule(one, "a primary", vocabulary::PRIMARY, &servers)?;
    }
    for one in scenario.worker_programs().flatten() {
        rule(one, "a worker", vocabulary::WORKER, &servers)?;
    }
    let count = clients(scenario)?;
    scenario.clients.iter().try_for_each(|clients| steps(clients, &servers, count))?;
    if scenario.contract.is_empty() {
        return Err(ValidationError::new("\"contract\"", "an empty contract: expected at least one clause"));
    }
    scenario.contract.iter().try_for_each(|one| clause(one, count))?;
    ends::check(scenario, count)?;
    forks::check(scenario)
}

fn named_as_its_file(scenario: &Scenario) -> Valid {
    let stem = scenario.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if scenario.name == stem {
        return Ok(());
    }
    Err(ValidationError::new(
        "\"name\"",
        format!("`{}`: expected the name of the file, `{stem}`", scenario.name),
    ))
}

/// The number of clients in all groups.
fn clients(scenario: &Scenario) -> Result<u32, ValidationError> {
    let count = scenario.clients.iter().map(|clients| clients.count).fold(0, u32::saturating_add);
    if count <= MOST {
        return Ok(count);
    }
    Err(ValidationError::new(
        "\"clients\"",
        format!("there are {count} clients in all: expected at most {MOST}"),
    ))
}

fn servers(scenario: &Scenario) -> BTreeSet<String> {
    let mut servers = BTreeSet::new();
    let mut opened = |part: Part<'_>| {
        if let Part::Opens(server) = part {
            servers.insert(server.to_string());
        }
    };
    scenario.primary_actions().for_each(|action| action.read(&mut opened));
    let by_workers = scenario.worker_programs().flatten().flat_map(|rule| &rule.actions);
    by_workers.for_each(|action| action.read(&mut opened));
    servers
}

fn rule<Action: ScenarioVerb>(
    rule: &Rule<Action>,
    observer: &str,
    words: &[Entry],
    servers: &BTreeSet<String>,
) -> Valid {
    pattern(&rule.on, observer, words)?;
    not_by_an_action(&rule.on)?;
    for action in &rule.actions {
        if action.has(Property::OnConnection) {
            has_connection(&rule.on)?;
        }
        check_argument(action, servers, |part| match part {
            Part::Connection => has_connection(&rule.on),
            Part::Worker(Target::Same) => names_a_worker(&rule.on, words),
            Part::Worker(Target::Id(_))
            | Part::Opens(_)
            | Part::Server(_)
            | Part::Text(_)
            | Part::Variable(_) => Ok(()),
        })?;
    }
    Ok(())
}

/// Checks an argument: by itself, its servers, and its other parts.
fn check_argument<Action: ScenarioVerb>(
    action: &Action,
    servers: &BTreeSet<String>,
    check: impl Fn(&Part<'_>) -> Valid,
) -> Valid {
    let mut valid = action.check();
    action.read(&mut |part| {
        if valid.is_ok() {
            valid =
                if let Part::Server(server) = &part { known(server.as_str(), servers) } else { check(&part) };
        }
    });
    valid
}

fn names_a_worker(on: &Pattern, words: &[Entry]) -> Valid {
    if keys(&on.asked.what, words).is_some_and(|keys| keys.contains(&"worker")) {
        return Ok(());
    }
    let what = format!("`{on}` is about no worker: expected the id of a worker instead of `same`");
    Err(ValidationError::new("\"same\"", what))
}

/// Checks that a rule with an answer reacts to an observation of a connection.
fn has_connection(on: &Pattern) -> Valid {
    let by_message = on.asked.what == "message" && on.asked.details.iter().any(|(key, _)| key == "with");
    if by_message || ["connection", "data", "datagram"].contains(&on.asked.what.as_str()) {
        return Ok(());
    }
    let what = format!(
        "`{on}` has no connection to answer: expected `connection`, `data`, `datagram` or `message with=connection`"
    );
    Err(ValidationError::new(format!("\"{on}\""), what))
}

fn not_by_an_action(on: &Pattern) -> Valid {
    if vocabulary::WRITTEN_BY_ACTIONS.contains(&on.asked.what.as_str()) {
        let what =
            format!("`{on}` is written by an action: expected an event, for rules act on nothing else");
        return Err(ValidationError::new(format!("\"{on}\""), what));
    }
    Ok(())
}

fn known(server: &str, servers: &BTreeSet<String>) -> Valid {
    if servers.contains(server) {
        return Ok(());
    }
    let names = servers.iter().map(String::as_str).collect::<Vec<_>>().join("`, `");
    Err(ValidationError::new(
        format!("\"{server}\""),
        format!("no worker opens `{server}`: expected one of `{names}`"),
    ))
}

fn steps(clients: &Clients, servers: &BTreeSet<String>, count: u32) -> Valid {
    let mut connected = false;
    for step in &clients.steps {
        if let Step::Await(line) = step {
            line_pattern(line, count, true)?;
        }
        check_argument(step, servers, |_| Ok(()))?;
        if connected && step.has(Property::Connects) {
            let what = "a client connects once: expected another client";
            return Err(ValidationError::new("\"connect\"", what));
        }
        if !connected && step.has(Property::OnConnection) {
            let what = "a client without a connection cannot write or end: expected `connect` before";
            return Err(ValidationError::new("\"steps\"", what));
        }
        connected |= step.has(Property::Connects);
    }
    Ok(())
}

fn clause(clause: &Clause, clients: u32) -> Valid {
    match &clause.kind {
        ClauseKind::Seen { line, times } => {
            some(!times.is_empty(), line, "in `times`, a number that is permitted")?;
            claimed_line(line, clients)
        }
        ClauseKind::Before { first, then } => {
            if first.observers != then.observers {
                let what = "lines of two observers have no order: expected the same observer in both";
                return Err(ValidationError::new(first.to_string(), what));
            }
            claimed_line(first, clients)?;
            claimed_line(then, clients)
        }
        ClauseKind::Cycle { lines, detail, over } => {
            some(*over > 0, lines, "`over` at least one value")?;
            claimed_line(lines, clients)?;
            has_detail(lines, detail, clients)
        }
        ClauseKind::OneOf(lists) => {
            let full = !lists.is_empty() && lists.iter().all(|list| !list.is_empty());
            some(full, &"\"one_of\"", "at least one list, and a clause in each")?;
            lists.iter().flatten().try_for_each(|one| self::clause(one, clients))
        }
    }
}

/// Checks that a clause is neither always true nor never true.
fn some(claims: bool, at: &impl ToString, expected: &str) -> Valid {
    if claims { Ok(()) } else { Err(ValidationError::new(at.to_string(), format!("expected {expected}"))) }
}

/// Checks that the lines can have the detail, like a detail of the pattern.
fn has_detail(line: &LinePattern, detail: &str, clients: u32) -> Valid {
    let mut asked = line.clone();
    asked.pattern.asked.details.push((detail.to_owned(), String::new()));
    line_pattern(&asked, clients, false)
        .map_err(|error| ValidationError { at: format!("\"{detail}\""), ..error })
}

fn claimed_line(line: &LinePattern, clients: u32) -> Valid {
    if line.pattern.nth.is_some() {
        return Err(ValidationError::new(
            line.to_string(),
            format!("`{line}`: a clause covers all such lines: expected no `#`"),
        ));
    }
    line_pattern(line, clients, false)
}

fn line_pattern(line: &LinePattern, clients: u32, by_a_client: bool) -> Valid {
    let words = match line.observers {
        Observers::One(Observer::Client(number)) if number > clients => {
            let what = format!("`{line}`: expected one of the {clients} clients");
            return Err(ValidationError::new(line.to_string(), what));
        }
        Observers::Me if !by_a_client => {
            return Err(ValidationError::new(
                line.to_string(),
                format!("`{line}`: `me` is for clients: expected an observer"),
            ));
        }
        Observers::One(observer) => vocabulary::of(observer),
        Observers::Workers => vocabulary::WORKER,
        Observers::Clients | Observers::Me => vocabulary::CLIENT,
    };
    pattern(&line.pattern, &line.observers.to_string(), words)
}

/// Checks that the pattern can match a line. A clause about an impossible line would always be true.
fn pattern(pattern: &Pattern, observer: &str, words: &[Entry]) -> Valid {
    let Some(keys) = keys(&pattern.asked.what, words) else {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join("`, `");
        let what = format!("{observer} never observes `{}`: expected one of `{known}`", pattern.asked.what);
        return Err(ValidationError::new(pattern.to_string(), what));
    };
    let stranger = pattern.asked.details.iter().find(|(key, _)| !keys.contains(&key.as_str()));
    stranger.map_or(Ok(()), |(key, _)| {
        let known = keys.join("`, `");
        let what = format!("`{}` has no detail `{key}`: expected one of `{known}`", pattern.asked.what);
        Err(ValidationError::new(pattern.to_string(), what))
    })
}

fn keys<'a>(word: &str, words: &'a [Entry]) -> Option<&'a [&'static str]> {
    words.iter().find(|(known, _)| *known == word).map(|(_, keys)| *keys)
}
