//! Planted bugs: an action of a machine is dropped, changed or repeated, and a certain check must fail. Only
//! for tests.

use cluster_core::{Call, Event, OsEvent, Settings, SocketId, WorkerEvent};

use crate::program::Program;
use crate::running_process::NextAction;
use crate::scenarios::{self, Flood};
use crate::step::Pid;
use crate::world::{State, World};
use crate::{Check, Fault, Faults, Schedule};

/// How a planted bug changes an action.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tampering {
    None,
    Drop,
    Duplicate,
    /// A change of the next call.
    Change(fn(&mut Call)),
    /// A process does not read while its own write waits for room.
    StopReading,
}

pub(crate) type PlantedBug = fn(Pid, &NextAction) -> Tampering;

/// Applies the planted bug to `next`. Returns the action that remains, if any.
pub(crate) fn apply<P: Program>(state: &mut State<P>, pid: Pid, next: NextAction) -> Option<NextAction> {
    match state.planted_bug.map_or(Tampering::None, |planted_bug| planted_bug(pid, &next)) {
        Tampering::None => Some(next),
        Tampering::Drop => {
            state.react(pid, None);
            None
        }
        Tampering::Duplicate => {
            if let NextAction::Call(call) = &next {
                let answer = state.kernel.perform(pid, call.clone(), &mut Schedule::quiet());
                drop(answer);
            }
            Some(next)
        }
        Tampering::Change(change) => {
            let mut next = next;
            if let NextAction::Call(call) = &mut next {
                change(call);
            }
            Some(next)
        }
        Tampering::StopReading => {
            let NextAction::Call(call @ Call::Write { channel, .. }) = next else { return Some(next) };
            let answer = state.kernel.perform(pid, call, &mut Schedule::quiet());
            let is_full = matches!(&answer, Some(OsEvent::Wrote { rest, .. }) if !rest.is_empty());
            let reading = if is_full { Call::PauseRead { channel } } else { Call::ResumeRead { channel } };
            state.kernel.perform(pid, reading, &mut Schedule::quiet());
            state.react(pid, answer);
            None
        }
    }
}

/// Applies the planted change to an input of a machine.
pub(crate) fn apply_to_input<P>(state: &State<P>, event: Option<OsEvent>) -> Option<OsEvent> {
    let mut event = event?;
    if let Some(change) = state.planted_input {
        change(&mut event);
    }
    Some(event)
}

mod pool_bugs;
mod reexec_bugs;
mod supervisor_bugs;

/// The check that fails in a quiet standard run with this bug.
fn failed_check(planted_bug: PlantedBug) -> Option<Check> {
    let mut world = scenarios::standard_world();
    world.state.planted_bug = Some(planted_bug);
    let failure = world.run().err()?;
    assert!(failure.replay.starts_with("sim:v1:standard:"), "{failure}");
    Some(failure.check)
}

fn tamper_if(condition: bool, tampering: Tampering) -> Tampering {
    if condition { tampering } else { Tampering::None }
}

#[test]
fn no_bug_fails_no_check() {
    assert_eq!(failed_check(|_, _| Tampering::None), None);
}

#[test]
fn ledger_detects_a_kept_connection() {
    let keep = |pid, next: &NextAction| {
        let is_close = matches!(next, NextAction::Call(Call::Close { socket }) if *socket != SocketId(0));
        tamper_if(pid == Pid::PRIMARY && is_close, Tampering::Drop)
    };
    assert_eq!(failed_check(keep), Some(Check::Ledger));
}

#[test]
fn ledger_detects_two_owners() {
    let twice = |pid, next: &NextAction| {
        let is_handoff = matches!(next, NextAction::Call(Call::Write { socket: Some(_), .. }));
        tamper_if(pid == Pid::PRIMARY && is_handoff, Tampering::Duplicate)
    };
    assert_eq!(failed_check(twice), Some(Check::Ledger));
}

#[test]
fn acks_detects_a_repeated_answer() {
    let twice = |pid, next: &NextAction| {
        let is_answer = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("\"accepted\":");
        let is_ack = matches!(next, NextAction::Call(Call::Write { bytes, .. }) if is_answer(bytes));
        tamper_if(pid != Pid::PRIMARY && is_ack, Tampering::Duplicate)
    };
    assert_eq!(failed_check(twice), Some(Check::Acks));
}

#[test]
fn false_blame_detects_a_blamed_worker() {
    const ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
    // The reply to the offer is not repeated, because another check would fail first.
    fn repeat(call: &mut Call) {
        if let Call::Write { bytes, .. } = call {
            bytes.splice(..0, ACK.iter().copied());
        }
    }
    let twice = |pid, next: &NextAction| {
        let is_ack = matches!(next, NextAction::Call(Call::Write { bytes, .. }) if bytes.starts_with(ACK));
        if pid != Pid::PRIMARY && is_ack { Tampering::Change(repeat) } else { Tampering::None }
    };
    assert_eq!(failed_check(twice), Some(Check::FalseBlame));
}

#[test]
fn queues_detects_unlimited_accepting() {
    let go_on = |pid, next: &NextAction| {
        tamper_if(
            pid == Pid::PRIMARY && matches!(next, NextAction::Call(Call::PauseAccept { .. })),
            Tampering::Drop,
        )
    };
    let mut settings = Settings::default();
    settings.limits.queued_connections = 2;
    let start = World::new(scenarios::ReplyServer::new(1, 30), settings);
    let planted_bugs: [Option<PlantedBug>; 2] = [None, Some(go_on)];
    let [well, badly] = planted_bugs.map(|planted_bug| {
        let run = |seed| {
            let mut world = start.clone().on(Schedule::seed(seed));
            world.state.planted_bug = planted_bug;
            world.run().err().map(|failure| failure.check)
        };
        (0..30).find_map(run)
    });
    assert_eq!((well, badly), (None, Some(Check::Queues)));
}

/// Each connection counts as another client, as if the port belonged to the address.
#[test]
fn stickiness_detects_a_client_per_connection() {
    let start = "serve-2-8+sticky".parse::<scenarios::Scenario<scenarios::ReplyServer>>();
    let start = start.expect("a scenario name").world();
    let with_socket = |event: &mut OsEvent| {
        if let OsEvent::Accepted { socket, client, .. } = event {
            *client = Some(std::net::Ipv6Addr::from_bits(socket.0.into()).into());
        }
    };
    let planted_inputs: [Option<fn(&mut OsEvent)>; 2] = [None, Some(with_socket)];
    let [well, badly] = planted_inputs.map(|planted_input| {
        let run = |seed| {
            let mut world = start.clone().on(Schedule::seed(seed));
            world.state.planted_input = planted_input;
            world.run().err().map(|failure| failure.check)
        };
        (0..30).find_map(run)
    });
    assert_eq!((well, badly), (None, Some(Check::Stickiness)));
}

/// The primary reads the complement of each reported number, so the worker with the most connections counts
/// as the worker with the fewest.
#[test]
fn loads_detects_inverted_reports() {
    let invert = |event: &mut OsEvent| {
        if let OsEvent::Read { bytes, .. } = event {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let Some((before, after)) = text.split_once("\"count\":") else { return };
            let digits = after.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(after.len());
            let inverse = 99 - after[..digits].parse::<u64>().expect("a number");
            *bytes = format!("{before}\"count\":{inverse}{}", &after[digits..]).into_bytes();
        }
    };
    for scenario in ["serve-3-30+least", "serve-3-30+two"] {
        let start = scenario.parse::<scenarios::Scenario<scenarios::ReplyServer>>();
        let start = start.expect("a scenario name").world();
        let planted_inputs: [Option<fn(&mut OsEvent)>; 2] = [None, Some(invert)];
        let [well, badly] = planted_inputs.map(|planted_input| {
            let run = |seed| {
                let mut world = start.clone().on(Schedule::seed(seed));
                world.state.planted_input = planted_input;
                world.run().err().map(|failure| failure.check)
            };
            (0..60).find_map(run)
        });
        assert_eq!((well, badly), (None, Some(Check::Loads)), "{scenario}");
    }
}

#[test]
fn order_detects_a_missing_disconnect() {
    let silent = |_, next: &NextAction| {
        tamper_if(matches!(next, NextAction::Primary(Event::Disconnect { .. })), Tampering::Drop)
    };
    assert_eq!(failed_check(silent), Some(Check::Order));
}

#[test]
fn order_detects_listening_before_online() {
    let silent = |_, next: &NextAction| {
        tamper_if(matches!(next, NextAction::Primary(Event::Online { .. })), Tampering::Drop)
    };
    assert_eq!(failed_check(silent), Some(Check::Order));
}

/// The check that fails in some run of this program with the bug. Asserts that no check fails without the
/// bug.
fn failed_check_of_program(plan: &str, planted_bug: PlantedBug) -> Option<Check> {
    let start =
        plan.parse::<scenarios::Scenario<scenarios::RandomProgram>>().expect("a scenario name").world();
    let [well, badly] = [None, Some(planted_bug)].map(|planted_bug| {
        let run = |seed| {
            let mut world = start.clone().on(Schedule::seed(seed));
            world.state.planted_bug = planted_bug;
            world.run().err().map(|failure| failure.check)
        };
        (0..30).find_map(run)
    });
    assert_eq!(well, None);
    badly
}

/// Whether `next` delivers the `nth` message.
fn delivers(next: &NextAction, nth: u64) -> bool {
    match next {
        NextAction::Primary(Event::Message { message, .. })
        | NextAction::Worker(WorkerEvent::Message { message, .. }) => {
            message.json().is_ok_and(|message| message["nth"] == nth)
        }
        NextAction::Begin
        | NextAction::Call(_)
        | NextAction::Primary(_)
        | NextAction::Supervisor(_)
        | NextAction::Worker(_)
        | NextAction::Resume(_)
        | NextAction::Exit(_) => false,
    }
}

#[test]
fn messages_detects_a_missing_message() {
    for plan in ["plan-1-0-.s1s1-", "plan-1-0--ss"] {
        assert_eq!(
            failed_check_of_program(plan, |_, next| tamper_if(delivers(next, 1), Tampering::Drop)),
            Some(Check::Messages)
        );
    }
}

#[test]
fn messages_detects_a_missing_last_message() {
    let last = |_, next: &NextAction| tamper_if(delivers(next, 2), Tampering::Drop);
    for plan in ["plan-1-1-.s1s1-", "plan-1-1--ss", "plan-1-1--ssd"] {
        assert_eq!(failed_check_of_program(plan, last), Some(Check::Messages));
    }
}

#[test]
fn descriptors_detects_an_unused_listener() {
    let keep = |pid, next: &NextAction| {
        let is_close = matches!(next, NextAction::Call(Call::Close { socket: SocketId(0) }));
        tamper_if(pid == Pid::PRIMARY && is_close, Tampering::Drop)
    };
    assert_eq!(failed_check(keep), Some(Check::Descriptors));
}

/// A descriptor is sent with a later byte of its line.
#[test]
fn descriptors_detects_a_late_descriptor() {
    let start = scenarios::standard_world().with_faults(Faults::only(&[Fault::ShortWrite]));
    supervisor_bugs::finds(Check::Descriptors, &start, |pid, next| {
        let is_rest = |bytes: &[u8]| !bytes.starts_with(b"{");
        let is_rest = matches!(next, NextAction::Call(Call::Write { bytes, .. }) if is_rest(bytes));
        let add = |call: &mut Call| {
            if let Call::Write { socket, .. } = call {
                *socket = Some(SocketId(0));
            }
        };
        tamper_if(pid == Pid::PRIMARY && is_rest, Tampering::Change(add))
    });
}

/// A listening socket is closed instead of paused.
#[test]
fn listening_detects_a_closed_socket() {
    let mut settings = Settings { keep_listening: true, ..Settings::default() };
    settings.limits.queued_connections = 2;
    let start = World::new(scenarios::ReplyServer::new(1, 30), settings);
    supervisor_bugs::finds(Check::Listening, &start, |pid, next| {
        let close = |call: &mut Call| {
            if let Call::PauseAccept { socket } = *call {
                *call = Call::Close { socket };
            }
        };
        tamper_if(
            pid == Pid::PRIMARY && matches!(next, NextAction::Call(Call::PauseAccept { .. })),
            Tampering::Change(close),
        )
    });
}

#[test]
fn liveness_detects_a_worker_that_stays() {
    let stay = |pid, next: &NextAction| {
        let is_end = matches!(next, NextAction::Call(Call::CloseChannel { .. }));
        tamper_if(pid != Pid::PRIMARY && is_end, Tampering::Drop)
    };
    assert_eq!(failed_check(stay), Some(Check::Liveness));
}

/// Each process reads only after the other process has read. The simulator must detect this deadlock, which
/// the machines never cause.
#[test]
fn liveness_detects_mutual_waiting() {
    let deaf: PlantedBug =
        |_, next| tamper_if(matches!(next, NextAction::Call(Call::Write { .. })), Tampering::StopReading);
    for flood in Flood::ALL {
        let start = World::new(flood, Settings::default()).with_channel_bytes(24);
        let [well, badly] = [None, Some(deaf)].map(|planted_bug| {
            let mut world = start.clone();
            world.state.planted_bug = planted_bug;
            crate::explore::exhaustive(&world, 200_000).err().map(|failure| failure.check)
        });
        assert_eq!(well, None, "{flood:?}");
        assert!(matches!(badly, Some(Check::Liveness | Check::Messages)), "{flood:?}: {badly:?}");
    }
}

#[test]
fn liveness_detects_an_unserved_client() {
    let deaf = |pid, next: &NextAction| {
        let is_resume = matches!(next, NextAction::Call(Call::ResumeAccept { .. }));
        tamper_if(pid == Pid::PRIMARY && is_resume, Tampering::Drop)
    };
    assert_eq!(failed_check(deaf), Some(Check::Liveness));
}

/// A write fails although the peer is alive, and the peer observes no end. `inject` found this bug on the
/// real system. With the fault `write-failure` alone both ends observe an end, and no check fails.
#[test]
fn liveness_detects_a_half_open_channel() {
    let start = World::new(scenarios::ReplyServer::new(2, 2), Settings::default());
    let failed = |fault, is_planted| {
        (0..200).find_map(|seed| {
            let mut world =
                start.clone().with_faults(Faults::only(&[fault]).limit(1)).on(Schedule::seed(seed));
            world.state.kernel.channels.keeps_broken_directions = is_planted;
            world.run().err().map(|failure| failure.check)
        })
    };
    assert_eq!(failed(Fault::HalfClose, false), None);
    assert_eq!(failed(Fault::HalfClose, true), Some(Check::Liveness));
    assert_eq!(failed(Fault::WriteFailure, true), None);
}

#[test]
fn failed_assertion_is_a_failure() {
    let alien = |pid, next: &NextAction| {
        let is_timer = matches!(next, NextAction::Call(Call::CloseChannel { .. }));
        assert!(pid == Pid::PRIMARY || !is_timer, "planted");
        Tampering::None
    };
    assert_eq!(failed_check(alien), Some(Check::Assertion));
}

#[test]
fn exhaustive_search_finds_a_planted_bug() {
    let silent = |_, next: &NextAction| {
        tamper_if(matches!(next, NextAction::Primary(Event::Exit { .. })), Tampering::Drop)
    };
    let mut world = scenarios::Scenario::new(scenarios::ReplyServer::new(1, 1)).world();
    world.state.planted_bug = Some(silent);
    let failure = crate::explore::exhaustive(&world, 100_000).expect_err("the bug is planted");
    assert_eq!(failure.check, Check::Order);
    let line: crate::replay::Line = failure.replay.parse().expect("a valid line");
    let again = line.replay(world);
    assert_eq!((again.left, again.outcome), (None, Err(failure)));
}
