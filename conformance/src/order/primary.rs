//! The lines of a primary about its workers: the events of each worker in order, each with the state of the
//! worker at the event.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, Broken, Checked, ExitRequests, expect, walk};
use crate::observation::Observation;
use crate::program::Rules;
use crate::requirement::{
    CONNECTED_AT_EXIT, DISCONNECT_ALL_LAST, DISCONNECT_EVENT, ENDS_IN_ANY_ORDER, EXIT_CODE, EXIT_EVENT,
    EXITED_AFTER_DISCONNECT, FORK_EVENT, FORK_FIRST, IS_CONNECTED, IS_DEAD, LISTENING_ADDRESS, ONLINE_EVENT,
    RUN_ENDS, Requirement, SPAWN_ERROR, WORKER_IDS, WORKER_STATE, WORKERS_LIST,
};
use crate::scenario::{PrimaryAction, Scenario, WorkerAction};

pub(super) fn check(lines: &[Observation], exit_requests: ExitRequests, to_the_end: bool) -> Option<Broken> {
    let mut primary = Primary { exit_requests, lives: BTreeMap::new() };
    walk(lines, |line| primary.observe(line)).or_else(|| {
        let alive = primary.lives.iter().find(|(_, life)| to_the_end && !life.is_over());
        alive.map(|(id, _)| Broken {
            line: None,
            breach: Breach::new(&RUN_ENDS, format!("one `disconnect` and one `exit` of worker {id}")),
        })
    })
}

/// The callback of `cluster.disconnect()` waits for the last worker that was forked before the call. This
/// rule is apart from the others, because Node breaks the rule.
pub(super) fn check_all_disconnected(scenario: &Scenario, lines: &[Observation]) -> Option<Broken> {
    let is_callback = |line: &Observation| line.what == "all_disconnected";
    let mut callbacks = (0..lines.len()).filter(|&index| is_callback(&lines[index]));
    callbacks.find_map(|callback| {
        let asked = asked_to_disconnect(scenario, &lines[..callback]);
        let is_end = |line: &Observation| ["disconnect", "exit"].contains(&line.what.as_str());
        let is_asked = |line: &Observation| line.worker().is_some_and(|id| id <= asked);
        let late = lines[callback..].iter().find(|line| is_end(line) && is_asked(line))?;
        let expected = format!("`{}` of worker {} before", late.what, late.worker().unwrap_or_default());
        Some(Broken { line: Some(callback), breach: Breach::new(&DISCONNECT_ALL_LAST, expected) })
    })
}

/// The last worker that was forked before the last `disconnect_all`. 0: there is no such action.
fn asked_to_disconnect(scenario: &Scenario, lines: &[Observation]) -> u64 {
    let mut rules = Rules::new(&scenario.primary);
    let (mut forked, mut asked) = (0, 0);
    for line in lines {
        for action in rules.due(line) {
            if *action == PrimaryAction::DisconnectAll {
                asked = forked;
            }
            forked += u64::from(action.forks());
        }
    }
    asked
}

/// A worker exits with 0, or with a code from its rules. This rule is apart from the others, because Node
/// breaks the rule.
pub(super) fn check_codes(scenario: &Scenario, lines: &[Observation]) -> Option<Broken> {
    let actions = || scenario.worker_programs().flatten().flat_map(|rule| &rule.actions);
    // The kernel keeps only the lowest byte of an exit code.
    let exits = actions()
        .filter_map(|action| if let WorkerAction::Exit(code) = action { Some(code & 0xff) } else { None });
    let crash = actions().any(|action| *action == WorkerAction::Crash).then_some(1);
    let codes: BTreeSet<String> = exits.chain(crash).chain([0]).map(|code| code.to_string()).collect();
    walk(lines, |line| {
        let code = line.detail("code").filter(|code| line.what == "exit" && *code != "-");
        let is_known = code.is_none_or(|code| codes.contains(code));
        expect(is_known, &EXIT_CODE, "code=0, or a code of the worker's rules")
    })
}

struct Primary {
    exit_requests: ExitRequests,
    lives: BTreeMap<u64, WorkerLines>,
}

impl Primary {
    fn observe(&mut self, line: &Observation) -> Checked {
        match line.what.as_str() {
            "start" => expect(self.lives.is_empty(), &FORK_FIRST, "nothing before `start`"),
            "all_disconnected" | "setup" | "settings" | "opened" | "tried" => Ok(()),
            _ if line.detail("server").is_some() => Ok(()),
            _ => self.observe_worker(line),
        }
    }

    fn observe_worker(&mut self, line: &Observation) -> Checked {
        let id = line.worker().ok_or_else(|| Breach::new(&WORKER_IDS, "the id of a worker"))?;
        let next = self.lives.values().filter(|life| life.had("fork")).count();
        if line.what == "fork" {
            let is_next = Ok(id) == u64::try_from(next + 1);
            expect(is_next, &WORKER_IDS, "ids from 1 in the order of the forks")?;
        }
        let exit_requests = self.exit_requests;
        self.lives.entry(id).or_default().observe(line, exit_requests)
    }
}

/// Events that occur once per worker.
const ONCE: [&str; 4] = ["fork", "online", "disconnect", "exit"];

/// The lines of the primary about one worker.
#[derive(Default)]
struct WorkerLines {
    once: BTreeSet<String>,
    after_disconnect: Option<bool>,
    unlisted: bool,
    /// The fork has failed, so no process exits.
    unborn: bool,
    /// The channel was closed because of a violation.
    torn: bool,
}

impl WorkerLines {
    fn had(&self, what: &str) -> bool {
        self.once.contains(what)
    }

    fn is_over(&self) -> bool {
        self.had("disconnect") && self.is_dead()
    }

    /// Node: `worker.isDead()`.
    fn is_dead(&self) -> bool {
        self.unborn || self.had("exit")
    }

    fn observe(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        expect(!self.is_over(), &EXIT_EVENT, "nothing after both `disconnect` and `exit`")?;
        self.happen(&line.what)?;
        self.state(line)?;
        let has_port = line.what != "listening" || line.detail("port") != Some("0");
        expect(has_port, &LISTENING_ADDRESS, "the port of the kernel's choice")?;
        self.ends(line)?;
        self.purpose(line, exit_requests)?;
        self.list(line, exit_requests)
    }

    /// Which events are possible now.
    fn happen(&mut self, what: &str) -> Checked {
        // The error of a fork precedes `fork`.
        self.unborn |= what == "error" && !self.had("fork");
        if ["look", "error"].contains(&what) {
            return Ok(());
        }
        let is_possible = !self.unborn || ["fork", "disconnect"].contains(&what);
        expect(is_possible, &SPAWN_ERROR, "no event of a worker without a process")?;
        let again = ONCE.contains(&what) && !self.once.insert(what.to_owned());
        expect(!again, requirement_of(what), &format!("one `{what}`"))?;
        expect(self.had("fork"), &FORK_FIRST, "`fork` first")?;
        if what == "pipe" {
            return Ok(());
        }
        let speaks = ["online", "listening", "message"].contains(&what);
        let is_online = !speaks || self.had("online");
        expect(is_online, &ONLINE_EVENT, "`online` before other events of the worker's channel")?;
        let is_open = !speaks || !self.had("disconnect");
        expect(is_open, &DISCONNECT_EVENT, "no event of the worker's channel after `disconnect`")
    }

    /// Node: `worker.state`, which the event itself sets.
    fn state(&self, line: &Observation) -> Checked {
        let states: &[&str] = match line.what.as_str() {
            "fork" => &["none"],
            "online" => &["online"],
            "listening" => &["listening"],
            "message" if self.had("exit") => &["dead"],
            "message" => &["online", "listening"],
            "disconnect" => &["disconnected"],
            "exit" => &["dead"],
            _ => return Ok(()),
        };
        let state = line.detail("state").ok_or_else(|| Breach::new(&WORKER_STATE, "a state"))?;
        expect(states.contains(&state), &WORKER_STATE, &format!("state={}", states.join(" or ")))
    }

    /// A worker is connected until `disconnect`, and runs until `exit`. The two events occur in either order,
    /// and the second event reports the new state of both. After a failed fork, Node reports `connected`
    /// until `disconnect`, although there is no peer. After a violation of the protocol, the channel is
    /// closed at the error. A message that waits for the acknowledgement of a socket is lost when the channel
    /// closes, and this error precedes `disconnect`; Node reports no such loss.
    fn ends(&mut self, line: &Observation) -> Checked {
        let breaks = line.what == "error" && ["EPROTO", "EPIPE"].map(Some).contains(&line.detail("error"));
        self.torn |= breaks && line.detail("connected") == Some("false");
        if !self.unborn || self.had("disconnect") {
            let connected = !(self.torn || self.had("disconnect"));
            let requirement = if line.what == "exit" { &CONNECTED_AT_EXIT } else { &IS_CONNECTED };
            yes_or_no(line, requirement, "connected", connected)?;
        }
        yes_or_no(line, &IS_DEAD, "dead", self.is_dead())
    }

    /// Node: `exitedAfterDisconnect`. The value is decided at the first of the two events at the latest, and
    /// does not change afterwards.
    fn purpose(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        let now = match line.detail("after_disconnect") {
            Some("undefined") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                let expected = "after_disconnect=undefined, true or false";
                return Err(Breach::new(&EXITED_AFTER_DISCONNECT, expected));
            }
        };
        let expect = |kept, expected| expect(kept, &EXITED_AFTER_DISCONNECT, expected);
        let ending = self.had("disconnect") || self.had("exit");
        expect(now.is_some() || !ending, "after_disconnect=true or false at an end")?;
        expect(now != Some(false) || ending, "after_disconnect=undefined before an end")?;
        expect(
            now != Some(true) || exit_requests.any(),
            "after_disconnect=false: no rule disconnects a worker",
        )?;
        let before = std::mem::replace(&mut self.after_disconnect, now);
        let kept = before.is_none() || before == now || (before == Some(false) && exit_requests.by_primary);
        expect(kept, "after_disconnect unchanged")
    }

    /// Node: `cluster.workers`. A disconnect by the primary removes a worker from the list at once. Otherwise
    /// the worker is removed when both `disconnect` and `exit` have occurred.
    fn list(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        let listed = line.detail("listed") == Some("true");
        expect(
            !(listed && self.unlisted),
            &WORKERS_LIST,
            "listed=false: a removed worker stays off the list",
        )?;
        self.unlisted = !listed;
        if self.is_over() {
            let expected = "listed=false when both `disconnect` and `exit` are over";
            return expect(!listed, &ENDS_IN_ANY_ORDER, expected);
        }
        let asked = exit_requests.by_primary && self.after_disconnect == Some(true);
        expect(
            listed || asked,
            &WORKERS_LIST,
            "listed=true: an end is missing, and the primary did not disconnect the worker",
        )
    }
}

fn yes_or_no(line: &Observation, requirement: &'static Requirement, key: &str, expected: bool) -> Checked {
    expect(line.detail(key) == Some(&expected.to_string()), requirement, &format!("{key}={expected}"))
}

/// The requirement that an event occurs once.
fn requirement_of(event: &str) -> &'static Requirement {
    match event {
        "online" => &ONLINE_EVENT,
        "disconnect" => &DISCONNECT_EVENT,
        "exit" => &EXIT_EVENT,
        _ => &FORK_EVENT,
    }
}
