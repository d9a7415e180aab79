//! Errors in well-formed scenarios: undefined names, unknown words, misplaced actions.
//!
//! Only properties of the file are checked; whether a scenario ends shows when it runs.

use std::collections::BTreeSet;

use super::error::ValidationError;
use super::{Bind, Listen, Open};
use super::{
    Clause, ClauseKind, Clients, MOST, PrimaryAction, Rule, Scenario, Setup, Stdio, Step, Target,
    WorkerAction,
};
use crate::families::Families;
use crate::observation::Observer;
use crate::pattern::{LinePattern, Pattern, Whose};
use crate::vocabulary::{self, Entry};

mod ends;
mod forks;

type Valid = Result<(), ValidationError>;

pub(super) fn check(scenario: &Scenario) -> Valid {
    named_as_its_file(scenario)?;
    let servers = servers(scenario);
    scenario.primary.iter().try_for_each(|rule| primary_rule(rule, &servers))?;
    for rule in scenario.worker_programs().flatten() {
        worker_rule(rule, &servers)?;
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

/// How many there are in all.
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

fn servers(scenario: &Scenario) -> BTreeSet<&str> {
    let by_workers = scenario.worker_programs().flatten().flat_map(|rule| &rule.actions);
    let by_primary = scenario.primary.iter().flat_map(|rule| &rule.actions);
    by_workers.filter_map(opened).chain(by_primary.filter_map(opened_by_primary)).collect()
}

fn opened(action: &WorkerAction) -> Option<&str> {
    if let WorkerAction::Listen(Listen { server, .. }) | WorkerAction::Bind(Bind { server, .. }) = action {
        Some(server.as_str())
    } else {
        None
    }
}

fn opened_by_primary(action: &PrimaryAction) -> Option<&str> {
    if let PrimaryAction::Open(Open { server, .. }) = action { Some(server.as_str()) } else { None }
}

fn primary_rule(rule: &Rule<PrimaryAction>, servers: &BTreeSet<&str>) -> Valid {
    pattern(&rule.on, "a primary", vocabulary::PRIMARY)?;
    not_by_an_action(&rule.on)?;
    for action in &rule.actions {
        match action {
            PrimaryAction::Close(server) | PrimaryAction::SendHandle { what: Some(server), .. } => {
                known(server.as_str(), servers)?;
            }
            PrimaryAction::Reply(_) | PrimaryAction::End | PrimaryAction::SendHandle { .. } => {
                has_connection(&rule.on)?;
            }
            PrimaryAction::Setup(setup) => one_channel(setup)?,
            PrimaryAction::Fork(_)
            | PrimaryAction::ForkWith(_)
            | PrimaryAction::Settings
            | PrimaryAction::Policy(_)
            | PrimaryAction::Open(_)
            | PrimaryAction::Send { .. }
            | PrimaryAction::TrySend { .. }
            | PrimaryAction::BlockUntilExit(_)
            | PrimaryAction::Disconnect(_)
            | PrimaryAction::DisconnectAll
            | PrimaryAction::Kill { .. }
            | PrimaryAction::Inspect(_)
            | PrimaryAction::ExhaustFds
            | PrimaryAction::FreeFds
            | PrimaryAction::Exit(_)
            | PrimaryAction::Crash
            | PrimaryAction::Raise(_) => {}
        }
    }
    let about_a_worker =
        keys(&rule.on.asked.what, vocabulary::PRIMARY).is_some_and(|keys| keys.contains(&"worker"));
    if !about_a_worker && rule.actions.iter().any(|action| target(action) == Some(Target::Same)) {
        let what = format!("`{}` is about no worker: expected the id of a worker instead of `same`", rule.on);
        return Err(ValidationError::new("\"same\"", what));
    }
    Ok(())
}

/// Node throws at the fork: `ERR_CHILD_PROCESS_IPC_REQUIRED` without a channel, `ERR_IPC_ONE_PIPE` with two.
fn one_channel(setup: &Setup) -> Valid {
    let Some(stdio) = &setup.stdio else { return Ok(()) };
    let channels = stdio.iter().filter(|stdio| **stdio == Stdio::Ipc).count();
    if channels == 1 {
        return Ok(());
    }
    Err(ValidationError::new(
        "\"stdio\"",
        format!("`stdio` has `ipc` {channels} times, and no worker can fork: expected `ipc` once"),
    ))
}

/// A rule that answers needs a connection.
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
    if ["look", "env", "settings", "args", "exec_args", "cwd", "tried"].contains(&on.asked.what.as_str()) {
        let what =
            format!("`{on}` is written by an action: expected an event, for rules act on nothing else");
        return Err(ValidationError::new(format!("\"{on}\""), what));
    }
    Ok(())
}

/// The worker of an action, if any.
fn target(action: &PrimaryAction) -> Option<Target> {
    match action {
        PrimaryAction::Send { to: target, .. }
        | PrimaryAction::TrySend { to: target, .. }
        | PrimaryAction::BlockUntilExit(target)
        | PrimaryAction::Kill { worker: target, .. }
        | PrimaryAction::Disconnect(target)
        | PrimaryAction::Inspect(target) => Some(*target),
        PrimaryAction::Fork(_)
        | PrimaryAction::ForkWith(_)
        | PrimaryAction::Setup(_)
        | PrimaryAction::Settings
        | PrimaryAction::Policy(_)
        | PrimaryAction::Open(_)
        | PrimaryAction::Close(_)
        | PrimaryAction::SendHandle { .. }
        | PrimaryAction::Reply(_)
        | PrimaryAction::End
        | PrimaryAction::DisconnectAll
        | PrimaryAction::ExhaustFds
        | PrimaryAction::FreeFds
        | PrimaryAction::Exit(_)
        | PrimaryAction::Crash
        | PrimaryAction::Raise(_) => None,
    }
}

fn worker_rule(rule: &Rule<WorkerAction>, servers: &BTreeSet<&str>) -> Valid {
    pattern(&rule.on, "a worker", vocabulary::WORKER)?;
    not_by_an_action(&rule.on)?;
    for action in &rule.actions {
        form_suits(action)?;
        match action {
            WorkerAction::Close(server)
            | WorkerAction::SendDatagram { to: server, .. }
            | WorkerAction::SendHandle { what: Some(server), .. }
            | WorkerAction::Listen(
                Listen { port_of: Some(server), .. } | Listen { fd_of: Some(server), .. },
            )
            | WorkerAction::Bind(Bind { port_of: Some(server), .. } | Bind { fd_of: Some(server), .. }) => {
                known(server.as_str(), servers)?;
            }
            WorkerAction::Reply(_)
            | WorkerAction::End
            | WorkerAction::SendHandle { .. }
            | WorkerAction::LeaveChildWithChannel => {
                has_connection(&rule.on)?;
            }
            WorkerAction::Listen(_)
            | WorkerAction::Bind(_)
            | WorkerAction::Send(_)
            | WorkerAction::SendForm(_)
            | WorkerAction::TrySend(_)
            | WorkerAction::SendReserved
            | WorkerAction::Disconnect
            | WorkerAction::Kill
            | WorkerAction::DisconnectChannel
            | WorkerAction::BlockForever
            | WorkerAction::BlockUntilPath(_)
            | WorkerAction::Inspect
            | WorkerAction::Exit(_)
            | WorkerAction::Crash
            | WorkerAction::Raise(_)
            | WorkerAction::Args
            | WorkerAction::ExecArgs
            | WorkerAction::Cwd
            | WorkerAction::Write { .. }
            | WorkerAction::EndAll
            | WorkerAction::Env(_) => {}
        }
    }
    Ok(())
}

/// A worker opens the server, or sends the message, that the scenario names, in any form.
fn form_suits(action: &WorkerAction) -> Valid {
    let families = Families::ours();
    let (form, family, forms) = if let WorkerAction::Listen(listen) = action {
        (listen.form.as_ref(), listen.family(), &families.listen)
    } else if let WorkerAction::Bind(bind) = action {
        (bind.form.as_ref(), bind.family(), &families.bind)
    } else if let WorkerAction::SendForm(form) = action {
        (Some(form), families.message(form).map(str::to_owned), &families.send)
    } else {
        return Ok(());
    };
    let Some(form) = form else { return Ok(()) };
    let is_one = |family: String| forms.get(&family).is_some_and(|forms| forms.contains(form));
    if family.is_some_and(is_one) {
        return Ok(());
    }
    let what = format!("`{form}` is no form of this action: expected one of `forms/families.json`");
    Err(ValidationError::new("form\"", what))
}

fn known(server: &str, servers: &BTreeSet<&str>) -> Valid {
    if servers.contains(server) {
        return Ok(());
    }
    let names = servers.iter().copied().collect::<Vec<_>>().join("`, `");
    Err(ValidationError::new(
        format!("\"{server}\""),
        format!("no worker opens `{server}`: expected one of `{names}`"),
    ))
}

fn steps(clients: &Clients, servers: &BTreeSet<&str>, count: u32) -> Valid {
    let mut connected = false;
    for step in &clients.steps {
        let was_connected = connected;
        match step {
            Step::Await(line) => line_pattern(line, count, true)?,
            Step::SendDatagram { to: server, .. }
            | Step::SendDatagramV6 { to: server, .. }
            | Step::Mode(server)
            | Step::Backlog(server) => known(server.as_str(), servers)?,
            Step::Connect(server) | Step::ConnectV6(server) => {
                known(server.as_str(), servers)?;
                connected = true;
                if was_connected {
                    return Err(ValidationError::new(
                        "\"connect\"",
                        "a client connects once: expected another client",
                    ));
                }
            }
            Step::Write(_) | Step::End | Step::Reset if !was_connected => {
                return Err(ValidationError::new(
                    "\"steps\"",
                    "a client without a connection cannot write or end: expected `connect` before",
                ));
            }
            Step::Write(_) | Step::End | Step::Reset => {}
        }
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
            if first.whose != then.whose {
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

/// A clause that is always true, or never, is an error.
fn some(claims: bool, at: &impl ToString, expected: &str) -> Valid {
    if claims { Ok(()) } else { Err(ValidationError::new(at.to_string(), format!("expected {expected}"))) }
}

/// As if the pattern asked for the detail.
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
    let words = match line.whose {
        Whose::One(Observer::Client(number)) if number > clients => {
            let what = format!("`{line}`: expected one of the {clients} clients");
            return Err(ValidationError::new(line.to_string(), what));
        }
        Whose::Me if !by_a_client => {
            return Err(ValidationError::new(
                line.to_string(),
                format!("`{line}`: `me` is for clients: expected an observer"),
            ));
        }
        Whose::One(observer) => vocabulary::of(observer),
        Whose::Workers => vocabulary::WORKER,
        Whose::Clients | Whose::Me => vocabulary::CLIENT,
    };
    pattern(&line.pattern, &line.whose.to_string(), words)
}

/// A pattern without possible lines would make a clause always true.
fn pattern(pattern: &Pattern, whose: &str, words: &[Entry]) -> Valid {
    let Some(keys) = keys(&pattern.asked.what, words) else {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join("`, `");
        let what = format!("{whose} never observes `{}`: expected one of `{known}`", pattern.asked.what);
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
