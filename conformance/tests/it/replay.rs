//! A replay line determines a run, in this process and in another process. An edited line is detected.

use std::path::Path;
use std::process::{Command, Output};

use cluster_conformance::arm::sim::Sim;
use cluster_conformance::scenario::{self, Scenario};
use cluster_sim::replay::Line;
use cluster_sim::scenarios::{self, RandomProgram, ReplyServer};
use cluster_sim::{Faults, Program, Schedule, Trace, World};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestRunner};

/// A scenario of conformance with every feature.
const SCENARIO: &str = "serve_and_disconnect";
const OWN: [&str; 3] = ["serve-2-3", "serve-1-2+shared+keep", "serve-2-1+300b"];
const PLAN: &str = "plan-2-1-..s1f.d1-.sc";

fn ours() -> Scenario {
    let path = Path::new(scenario::DIRECTORY).join(SCENARIO).with_extension("json");
    Scenario::load(&path).expect("a valid scenario")
}

fn line<P: Program>(world: World<P>, seed: u64) -> String {
    let mut world = world.with_faults(Faults::swarm(seed)).on(Schedule::seed(seed));
    // The result does not matter here.
    let _ = world.run();
    world.replay_line()
}

/// The replay line of a random run.
fn random(seed: u64) -> String {
    match usize::try_from(seed % 5).expect("less than 5") {
        own @ 0..3 => {
            line(OWN[own].parse::<scenarios::Scenario<ReplyServer>>().expect("a name").world(), seed)
        }
        3 => line(PLAN.parse::<scenarios::Scenario<RandomProgram>>().expect("a name").world(), seed),
        _ => line(Sim::new(&ours()).world().named(SCENARIO), seed),
    }
}

/// The steps of a line's run, and whether the run is the recorded run. `None`: the line is malformed, or its
/// scenario is unknown.
fn replay(text: &str) -> Option<(Trace, bool)> {
    let line: Line = text.parse().ok()?;
    if line.scenario() == SCENARIO {
        let again = Sim::new(&ours()).replay(&line);
        return Some((again.world.trace().cloned().unwrap_or_default(), again.left.is_none()));
    }
    let again = scenarios::replay(text).ok()?;
    Some((again.trace, again.left.is_none()))
}

fn fresh(line: &str) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_conformance")).args(["replay", "--", line]).output();
    command.expect("the program starts")
}

/// Random lines give the same run twice in this process, and once in a new process.
#[test]
fn line_replays_everywhere() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let same = |seed| {
        let line = random(seed);
        prop_assert_eq!(&random(seed), &line, "it was drawn twice");
        let (trace, is_recorded) = replay(&line).expect("a valid line");
        prop_assert!(is_recorded, "{}", line);
        prop_assert!(replay(&line).expect("as before").0 == trace, "{}", line);
        let output = fresh(&line);
        prop_assert_ne!(output.status.code(), Some(2), "{}: {:?}", line, output);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        prop_assert!(said.starts_with(&trace.to_string()), "{}:\n{}", line, said);
        Ok(())
    };
    TestRunner::new(config).run(&any::<u64>(), same).expect("no failure");
}

/// An edit of a line.
#[derive(Debug, Clone)]
enum Slip {
    Cut(Index),
    Drop(Index, usize),
    Put(Index, char),
    Change(Index, char),
    Twice(Index, Index),
}

fn slip() -> impl Strategy<Value = Slip> {
    let letters: Vec<char> = "0123456789abcdefxkswlr.:-+ ,v'é\u{0}".chars().collect();
    prop_oneof![
        any::<Index>().prop_map(Slip::Cut),
        (any::<Index>(), 1..9_usize).prop_map(|(at, many)| Slip::Drop(at, many)),
        (any::<Index>(), select(letters.clone())).prop_map(|(at, letter)| Slip::Put(at, letter)),
        (any::<Index>(), select(letters)).prop_map(|(at, letter)| Slip::Change(at, letter)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Slip::Twice(from, to)),
    ]
}

impl Slip {
    fn make(&self, line: &str) -> String {
        let mut letters: Vec<char> = line.chars().collect();
        let many = letters.len();
        if many == 0 {
            return String::new();
        }
        match self {
            Slip::Cut(at) => letters.truncate(at.index(many)),
            Slip::Drop(at, len) => drop(letters.drain(at.index(many)..many.min(at.index(many) + len))),
            Slip::Put(at, letter) => letters.insert(at.index(many), *letter),
            Slip::Change(at, letter) => letters[at.index(many)] = *letter,
            Slip::Twice(from, to) => {
                let (from, to) = (from.index(many), to.index(many));
                letters.extend_from_within(from.min(to)..from.max(to));
            }
        }
        letters.into_iter().collect()
    }
}

/// The number of a line, and the line after some edits.
fn slips() -> impl Strategy<Value = (u64, String)> {
    (0..200_u64, prop::collection::vec(slip(), 1..4))
        .prop_map(|(seed, slips)| (seed, slips.iter().fold(random(seed), |line, slip| slip.make(&line))))
}

fn runner(cases: u32) -> TestRunner {
    let rng_seed = RngSeed::Fixed(7);
    TestRunner::new(ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

/// An edited line is malformed, or is detected as different, or has the same run. It never passes with
/// another run, and never causes a panic.
#[test]
fn edited_line_is_never_another_run() {
    let honest = |(seed, text): (u64, String)| {
        if let Some((trace, true)) = replay(&text) {
            let original = replay(&random(seed)).map(|(trace, _)| trace);
            prop_assert!(original == Some(trace), "another run: {}", text);
        }
        Ok(())
    };
    runner(1500).run(&slips(), honest).expect("no failure");
}

/// With an edited line, the exit code and the output report a difference from the recorded run.
#[test]
fn command_survives_edited_lines() {
    let survives = |(_, text): (u64, String)| {
        // Arguments cannot contain NUL.
        let text = text.replace('\u{0}', "");
        let output = fresh(&text);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        prop_assert!(!err.contains("panicked"), "{}: {}", text, err);
        let is_recorded = replay(&text).is_some_and(|(_, is_recorded)| is_recorded);
        prop_assert_eq!(output.status.code() == Some(2), !is_recorded, "{}: {:?}", text, output);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        prop_assert!(
            is_recorded || err.starts_with("error: ") || out.contains("departs from the recording"),
            "{}",
            text
        );
        Ok(())
    };
    runner(60).run(&slips(), survives).expect("no failure");
}

#[test]
fn wrong_hash_is_detected() {
    let line = random(4);
    let (head, hash) = line.rsplit_once(':').expect("a hash is last");
    let parts: Vec<_> = hash.split('.').collect();
    let wrong = format!("{head}:{}.{:016x}.{}", parts[0], 7, parts[2]);
    let output = fresh(&wrong);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("The run departs from the recording between steps"), "{said}");
}

/// Every change of a choice that changes the run also changes the hash.
#[test]
fn different_runs_have_different_hashes() {
    let world = OWN[0].parse::<scenarios::Scenario<ReplyServer>>().expect("a name").world();
    let run = |schedule: Schedule| {
        let mut world = world.clone().with_faults(Faults::all()).on(schedule).traced();
        let _ = world.run();
        world
    };
    let mut different = 0;
    for seed in 0..8 {
        let original = run(Schedule::seed(seed));
        let taken = original.schedule().taken();
        for at in 0..taken.len() {
            let mut choices: Vec<_> = taken.iter().map(|choice| choice.value).collect();
            choices[at] = (choices[at] + 1) % taken[at].of;
            let other = run(Schedule::replay(choices));
            let is_same = other.trace() == original.trace();
            assert!(is_same || other.trace_hash() != original.trace_hash(), "seed {seed}, choice {at}");
            different += usize::from(!is_same);
        }
    }
    assert!(different > 200, "{different}");
}
