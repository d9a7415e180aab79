//! Planted bugs: what a machine gives out is dropped or doubled, and the check that is there for it must see it.
//! Only for tests.

use cluster_core::{Call, Event, OsEvent, Settings, SocketId, WorkerEvent};

use crate::host::Next;
use crate::kernel::process::Pid;
use crate::program::Program;
use crate::standard::{self, Flood};
use crate::world::World;
use crate::{Check, Schedule};

/// What happens to something that a machine gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Leave,
    Drop,
    Double,
    /// A process does not read while what it writes has no room.
    Deafen,
}

pub(crate) type Sabotage = fn(Pid, &Next) -> Fate;

/// What is left to be done of `next`.
pub(crate) fn apply<P: Program>(world: &mut World<P>, pid: Pid, next: Next) -> Option<Next> {
    match world.sabotage.map_or(Fate::Leave, |sabotage| sabotage(pid, &next)) {
        Fate::Leave => Some(next),
        Fate::Drop => {
            world.react(pid, None);
            None
        }
        Fate::Double => {
            if let Next::Call(call) = &next {
                let answer = world.kernel.perform(pid, call.clone(), &mut Schedule::quiet());
                drop(answer);
            }
            Some(next)
        }
        Fate::Deafen => {
            let Next::Call(call @ Call::Write { channel, .. }) = next else { return Some(next) };
            let answer = world.kernel.perform(pid, call, &mut Schedule::quiet());
            let is_full = matches!(&answer, Some(OsEvent::Wrote { rest, .. }) if !rest.is_empty());
            let reading = if is_full { Call::PauseRead { channel } } else { Call::ResumeRead { channel } };
            world.kernel.perform(pid, reading, &mut Schedule::quiet());
            world.react(pid, answer);
            None
        }
    }
}

/// The check that a quiet standard run fails with this bug.
fn caught(sabotage: Sabotage) -> Option<Check> {
    let mut world = standard::world();
    world.sabotage = Some(sabotage);
    let failure = world.run().err()?;
    assert!(failure.replay.starts_with("sim:v1:standard:"), "{failure}");
    Some(failure.check)
}

fn fate(condition: bool, fate: Fate) -> Fate {
    if condition { fate } else { Fate::Leave }
}

#[test]
fn without_a_bug_nothing_is_caught() {
    assert_eq!(caught(|_, _| Fate::Leave), None);
}

#[test]
fn ledger_sees_a_connection_that_the_primary_keeps() {
    let keep = |pid, next: &Next| {
        let is_close = matches!(next, Next::Call(Call::Close { socket }) if *socket != SocketId(0));
        fate(pid == Pid::PRIMARY && is_close, Fate::Drop)
    };
    assert_eq!(caught(keep), Some(Check::Ledger));
}

#[test]
fn ledger_sees_a_connection_with_two_owners() {
    let twice = |pid, next: &Next| {
        let is_handoff = matches!(next, Next::Call(Call::Write { socket: Some(_), .. }));
        fate(pid == Pid::PRIMARY && is_handoff, Fate::Double)
    };
    assert_eq!(caught(twice), Some(Check::Ledger));
}

#[test]
fn acks_sees_an_answer_that_is_given_twice() {
    let twice = |pid, next: &Next| {
        let is_answer = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("\"accepted\":");
        let is_ack = matches!(next, Next::Call(Call::Write { bytes, .. }) if is_answer(bytes));
        fate(pid != Pid::PRIMARY && is_ack, Fate::Double)
    };
    assert_eq!(caught(twice), Some(Check::Acks));
}

#[test]
fn harm_sees_an_honest_worker_that_is_blamed() {
    let twice = |pid, next: &Next| {
        let is_ack = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("NODE_HANDLE_ACK");
        let is_ack = matches!(next, Next::Call(Call::Write { bytes, .. }) if is_ack(bytes));
        fate(pid != Pid::PRIMARY && is_ack, Fate::Double)
    };
    assert_eq!(caught(twice), Some(Check::Harm));
}

#[test]
fn queues_sees_a_primary_that_goes_on_accepting() {
    let go_on = |pid, next: &Next| {
        fate(pid == Pid::PRIMARY && matches!(next, Next::Call(Call::PauseAccept { .. })), Fate::Drop)
    };
    let mut settings = Settings::default();
    settings.limits.queued_connections = 2;
    let start = World::new(standard::Serve::new(1, 30), settings);
    let sabotages: [Option<Sabotage>; 2] = [None, Some(go_on)];
    let [well, badly] = sabotages.map(|sabotage| {
        let run = |seed| {
            let mut world = start.clone().on(Schedule::seed(seed));
            world.sabotage = sabotage;
            world.run().err().map(|failure| failure.check)
        };
        (0..30).find_map(run)
    });
    assert_eq!((well, badly), (None, Some(Check::Queues)));
}

#[test]
fn order_sees_an_end_that_is_not_told() {
    let silent = |_, next: &Next| fate(matches!(next, Next::Primary(Event::Disconnect { .. })), Fate::Drop);
    assert_eq!(caught(silent), Some(Check::Order));
}

#[test]
fn order_sees_a_worker_that_listens_before_it_is_online() {
    let silent = |_, next: &Next| fate(matches!(next, Next::Primary(Event::Online { .. })), Fate::Drop);
    assert_eq!(caught(silent), Some(Check::Order));
}

/// The check that some run of this plan fails with this bug, if none fails without.
fn caught_in(plan: &str, sabotage: Sabotage) -> Option<Check> {
    let start = plan.parse::<standard::Scenario<standard::Plan>>().expect("it is a name").world();
    let [well, badly] = [None, Some(sabotage)].map(|sabotage| {
        let run = |seed| {
            let mut world = start.clone().on(Schedule::seed(seed));
            world.sabotage = sabotage;
            world.run().err().map(|failure| failure.check)
        };
        (0..30).find_map(run)
    });
    assert_eq!(well, None);
    badly
}

/// Whether this tells of the `nth` message.
fn tells(next: &Next, nth: u64) -> bool {
    match next {
        Next::Primary(Event::Message { message, .. })
        | Next::Worker(WorkerEvent::Message { message, .. }) => {
            message.json().is_ok_and(|it| it["nth"] == nth)
        }
        Next::Begin | Next::Call(_) | Next::Primary(_) | Next::Worker(_) | Next::Exit(_) => false,
    }
}

#[test]
fn messages_sees_one_that_is_missing() {
    for plan in ["plan-1-0-.s1s1-", "plan-1-0--ss"] {
        assert_eq!(caught_in(plan, |_, next| fate(tells(next, 1), Fate::Drop)), Some(Check::Messages));
    }
}

#[test]
fn messages_sees_that_the_last_does_not_come() {
    let last = |_, next: &Next| fate(tells(next, 2), Fate::Drop);
    for plan in ["plan-1-1-.s1s1-", "plan-1-1--ss", "plan-1-1--ssd"] {
        assert_eq!(caught_in(plan, last), Some(Check::Messages));
    }
}

#[test]
fn descriptors_sees_a_listener_that_nobody_needs() {
    let keep = |pid, next: &Next| {
        let is_close = matches!(next, Next::Call(Call::Close { socket: SocketId(0) }));
        fate(pid == Pid::PRIMARY && is_close, Fate::Drop)
    };
    assert_eq!(caught(keep), Some(Check::Descriptors));
}

#[test]
fn liveness_sees_a_worker_that_does_not_go() {
    let stay = |pid, next: &Next| {
        let is_end = matches!(next, Next::Call(Call::CloseChannel { .. }));
        fate(pid != Pid::PRIMARY && is_end, Fate::Drop)
    };
    assert_eq!(caught(stay), Some(Check::Liveness));
}

/// Both ends wait until the other reads: what the simulator must see, and what the machines must not do.
#[test]
fn liveness_sees_mutual_waiting() {
    let deaf: Sabotage = |_, next| fate(matches!(next, Next::Call(Call::Write { .. })), Fate::Deafen);
    for flood in Flood::ALL {
        let start = World::new(flood, Settings::default()).with_channel_bytes(24);
        let [well, badly] = [None, Some(deaf)].map(|sabotage| {
            let mut world = start.clone();
            world.sabotage = sabotage;
            crate::explore::every(&world, 200_000).err().map(|failure| failure.check)
        });
        assert_eq!(well, None, "{flood:?}");
        assert!(matches!(badly, Some(Check::Liveness | Check::Messages)), "{flood:?}: {badly:?}");
    }
}

#[test]
fn liveness_sees_a_client_that_nobody_serves() {
    let deaf = |pid, next: &Next| {
        let is_resume = matches!(next, Next::Call(Call::ResumeAccept { .. }));
        fate(pid == Pid::PRIMARY && is_resume, Fate::Drop)
    };
    assert_eq!(caught(deaf), Some(Check::Liveness));
}

#[test]
fn a_broken_assertion_of_a_machine_is_caught_too() {
    let alien = |pid, next: &Next| {
        let is_timer = matches!(next, Next::Call(Call::CloseChannel { .. }));
        assert!(pid == Pid::PRIMARY || !is_timer, "planted");
        Fate::Leave
    };
    assert_eq!(caught(alien), Some(Check::Assertion));
}

#[test]
fn a_bug_is_found_among_all_runs_and_its_line_replays_it() {
    let silent = |_, next: &Next| fate(matches!(next, Next::Primary(Event::Exit { .. })), Fate::Drop);
    let mut world = standard::Scenario::new(standard::Serve::new(1, 1)).world();
    world.sabotage = Some(silent);
    let failure = crate::explore::every(&world, 100_000).expect_err("the bug is planted");
    assert_eq!(failure.check, Check::Order);
    let line: crate::replay::Line = failure.replay.parse().expect("it was just written");
    let again = line.replay(world);
    assert_eq!((again.left, again.outcome), (None, Err(failure)));
}
