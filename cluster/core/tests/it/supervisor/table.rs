//! The table state x input -> state + outputs of the supervisor, as a snapshot. One slot, and two for a
//! removed slot.

use std::fmt::Write as _;
use std::time::Duration;

use super::story::{Story, serving, settings};
use cluster_core::{SlotId, Supervisor, WorkerId};

type Input = (&'static str, fn(&mut Story) -> Vec<String>);

fn reload(story: &mut Story) -> Vec<String> {
    story.command(|supervisor| {
        let _ = supervisor.reload();
    })
}

fn scale(story: &mut Story, workers: u32) -> Vec<String> {
    story.command(|supervisor| supervisor.scale(workers).expect("a possible number"))
}

/// The inputs of worker 1, of worker 2, of time, and of the program.
fn inputs() -> Vec<Input> {
    vec![
        ("worker 1 serves", |story| story.serves(1)),
        ("worker 1 exits with 0", |story| story.exits(1, 0)),
        ("worker 1 is killed", |story| story.dies(1)),
        ("the channel of worker 1 closes", |story| story.closes(1)),
        ("worker 2 serves", |story| story.serves(2)),
        ("worker 2 is killed", |story| story.dies(2)),
        ("the next timer fires", Story::next_timer),
        ("reload", reload),
        ("restart slot 0", |story| {
            story.command(|supervisor| {
                let _ = supervisor.restart_slot(SlotId(0));
            })
        }),
        ("abandon the reload", |story| {
            story.command(|supervisor| {
                let _ = supervisor.abandon_reload();
            })
        }),
        ("report much memory", |story| {
            story.command(|supervisor| supervisor.report_memory(WorkerId(1), 1_001))
        }),
        ("scale to 1", |story| scale(story, 1)),
        ("scale to 2", |story| scale(story, 2)),
        ("shut down", |story| story.command(Supervisor::shutdown)),
    ]
}

fn after(story: &Story, inputs: &[fn(&mut Story) -> Vec<String>]) -> Story {
    let mut story = story.clone();
    for input in inputs {
        input(&mut story);
    }
    story
}

/// One state for each phase of a slot, of a reload and of a shutdown.
fn states() -> Vec<(&'static str, Story)> {
    let options = settings(1).max_memory(1_000).intensity(2, Duration::from_mins(1));
    let starting = Story::new(options.clone());
    let only_start = Story::new(options.clone().failed_starts(1));
    let ready = serving(options, 1);
    let resting = after(&starting, &[|story| story.exits(1, 1), |story| story.exits(2, 1)]);
    let suspended = after(&resting, &[|story| story.wait(100), |story| story.dies(3)]);
    let overdue = after(&starting, &[|story| story.wait(10_000)]);
    let replacing = after(&ready, &[reload]);
    let lame = after(&replacing, &[|story| story.serves(2)]);
    let draining = after(&lame, &[|story| story.wait(500)]);
    let terminating = after(&draining, &[|story| story.wait(3_000)]);
    let killed = after(&terminating, &[|story| story.wait(1_000)]);
    let again = after(&replacing, &[reload]);
    let two = serving(settings(2), 2);
    let removed = after(&two, &[|story| scale(story, 1)]);
    let emptying = after(&ready, &[|story| story.connect(), |story| story.command(Supervisor::shutdown)]);
    let leaving = after(&ready, &[|story| story.command(Supervisor::shutdown)]);
    let hurried = after(&leaving, &[|story| story.command(Supervisor::shutdown)]);
    let hurried_twice = after(&hurried, &[|story| story.command(Supervisor::shutdown)]);
    let finished = after(&leaving, &[|story| story.exits(1, 0)]);
    vec![
        ("starting", starting),
        ("starting, a failed start is the last", only_start),
        ("ready", ready),
        ("backing off", resting),
        ("suspended, given up", suspended),
        ("late, terminating", overdue),
        ("reload: the successor starts", replacing),
        ("reload: the predecessor is lame", lame),
        ("reload: the predecessor drains", draining),
        ("reload: the predecessor got SIGTERM", terminating),
        ("reload: the predecessor got SIGKILL", killed),
        ("reload: another is requested", again),
        ("the second slot was removed", removed),
        ("shutdown: a connection is handed off", emptying),
        ("shutdown: the worker is lame", leaving),
        ("shutdown: SIGTERM", hurried),
        ("shutdown: SIGKILL", hurried_twice),
        ("finished", finished),
    ]
}

/// Every state with every input.
#[test]
fn state_times_input() {
    let mut table = String::new();
    for (name, mut state) in states() {
        state.lines();
        let _ = writeln!(table, "== {name}: {}", state.slots());
        for (label, input) in inputs() {
            let mut story = state.clone();
            let lines = input(&mut story);
            let _ = writeln!(table, "   {label}");
            for line in lines {
                let _ = writeln!(table, "        {line}");
            }
            let unchanged = story.supervisor == state.supervisor;
            let slots = if unchanged { "(unchanged)".to_owned() } else { story.slots() };
            let _ = writeln!(table, "     -> {slots}");
        }
    }
    insta::assert_snapshot!(table);
}
