//! Random scenarios: the simulator must be able to produce each trace of real processes.
//!
//! proptest generates and shrinks a [`Plan`]. Here the plan becomes a scenario, which runs on real processes.
//! Its trace is compared with the contract of all scenarios, and is searched in the simulator. A seed and a
//! number identify each plan.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cluster_sim::explore::Budget;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::arm::drive::RunError;
use crate::arm::mixed::Mixed;
use crate::arm::node::Runtime;
use crate::arm::sim::{Reach, Sim};
use crate::arm::unix::Unix;
use crate::exceptions::Exceptions;
use crate::observation::{Observation, Observer};
use crate::order::{self, Misfit};
use crate::scenario::Scenario;
use crate::suite::UNIX;
use crate::trace::Trace;
use crate::verdict::Failure;

mod defects;
mod plan;
mod recording;

pub use defects::Defect;
pub use plan::Plan;
pub use recording::Recording;

/// The number of random schedules on which a scenario must end before it runs on real processes.
const TRIED: u64 = 60;

/// The budget, in worlds, to search for another reading of an undecided trace. If the simulator has a trace,
/// some thousands of worlds mostly suffice.
const WORLDS_OF_READING: usize = 20_000;

/// The runtime of real processes that run a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Real {
    /// Live Node.
    Node(Runtime),
    /// The real system.
    Unix(Unix),
    /// Both in one cluster.
    Mixed(Mixed),
}

impl Real {
    /// The name, as exceptions use it.
    pub fn name(&self) -> String {
        match self {
            Real::Node(node) => node.name(),
            Real::Unix(_) => UNIX.to_owned(),
            Real::Mixed(mixed) => mixed.name(),
        }
    }

    fn run(&self, scenario: &Scenario) -> Result<(Trace, String), RunError> {
        match self {
            Real::Node(node) => node.run_with_stderr(scenario),
            Real::Unix(unix) => unix.run_with_stderr(scenario),
            Real::Mixed(mixed) => mixed.run_with_stderr(scenario),
        }
    }
}

/// The result of a random scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The trace obeys the contract of all scenarios, and the simulator can produce it.
    Fits,
    /// The search ended at its budget.
    Undecided(Failure),
    /// The runtime has shown a known defect, after which the trace cannot be compared.
    Known(String),
    /// The trace breaks the contract, or the simulator cannot produce it.
    Diverges(Failure),
}

/// What a trace is compared with.
#[derive(Debug)]
pub struct RunChecker {
    /// Deliberate differences from a runtime.
    pub exceptions: Exceptions,
    /// Known defects of runtimes.
    pub defects: Vec<Defect>,
    /// The budget of a search.
    pub budget: Budget,
    /// The directory of recordings of complete runs; `None`: nothing is recorded.
    pub record: Option<PathBuf>,
}

impl RunChecker {
    /// Runs a scenario once and compares the trace.
    pub fn check(&self, scenario: &Scenario, real: &Real) -> RunOutcome {
        let runtime = real.name();
        let (ended, hang) = match real.run(scenario) {
            Ok(ended) => (ended, None),
            Err(error) => match hang(scenario, &error) {
                Some((ended, expected)) => (ended, Some(Misfit { seen: None, expected, requirement: None })),
                None => return RunOutcome::Diverges(Failure::broken(&error)),
            },
        };
        let run = Recording::new(runtime, scenario, ended);
        let record = |run: &Recording| match (&self.record, &hang) {
            (Some(directory), None) => run.write(directory),
            (Some(_), Some(_)) | (None, _) => Ok(()),
        };
        let run = match run.and_then(|run| record(&run).map(|()| run)) {
            Ok(run) => run,
            Err(error) => return RunOutcome::Diverges(Failure::broken(&error)),
        };
        self.compare(scenario, &run, hang.as_ref())
    }

    /// Compares a recorded run.
    ///
    /// # Errors
    ///
    /// As [`Recording::scenario`].
    pub fn check_recorded(&self, recording: &Recording) -> io::Result<RunOutcome> {
        Ok(self.compare(&recording.scenario()?, recording, None))
    }

    fn compare(&self, scenario: &Scenario, run: &Recording, hang: Option<&Misfit>) -> RunOutcome {
        let Recording { runtime, trace, .. } = run;
        let mut misfits = order::check(scenario, trace);
        misfits.extend(violation(trace));
        misfits.retain(|misfit| self.exceptions.excuse_for(&scenario.name, runtime, misfit).is_none());
        if let Some(known) = misfits.iter().chain(hang).find_map(|misfit| self.known(run, misfit)) {
            return RunOutcome::Known(known.to_owned());
        }
        // A missing line is no mismatch if a run of the simulator can also end without the line. The search
        // decides.
        misfits.retain(|misfit| hang.is_none() || misfit.seen.is_some());
        if !misfits.is_empty() {
            return RunOutcome::Diverges(Failure::breaks(&misfits, trace, None));
        }
        self.search(scenario, runtime, trace)
    }

    fn known(&self, run: &Recording, misfit: &Misfit) -> Option<&str> {
        let defect =
            self.defects.iter().find(|defect| defect.is_behind(&run.runtime, &run.stderr, misfit))?;
        Some(&defect.defect)
    }

    fn search(&self, scenario: &Scenario, runtime: &str, trace: &Trace) -> RunOutcome {
        let name = &scenario.name;
        let concerning = self.exceptions.concerning(name, runtime);
        let hidden: Vec<_> = concerning.map(|known| known.lines.clone()).collect();
        let compared = self.exceptions.clone().apply(name, runtime, trace);
        let sim = Sim::new(scenario).like(runtime).hiding(hidden);
        // A trace with the lines of a defect is in no run, but a search rarely proves this within its budget,
        // so the budget is smaller.
        let short = self.budget.at_most(WORLDS_OF_READING);
        let late = sim.closing_late(&compared);
        let late = |budget| late.as_ref().map(|late| late.reaches(&compared, budget));
        if let Some(Reach::Yes(_)) = late(short) {
            return RunOutcome::Fits;
        }
        let (outcome, budget) = match sim.reaches(&compared, self.budget) {
            Reach::Yes(_) => return RunOutcome::Fits,
            Reach::Unknown(nearest) => (RunOutcome::Undecided(Failure::undecided(&nearest)), short),
            Reach::No(nearest) => match late(self.budget) {
                Some(Reach::Yes(_)) => return RunOutcome::Fits,
                Some(Reach::Unknown(_)) => (RunOutcome::Undecided(Failure::undecided(&nearest)), short),
                Some(Reach::No(_)) | None => {
                    (RunOutcome::Diverges(Failure::unreached(&nearest)), self.budget)
                }
            },
        };
        self.read_otherwise(&sim, runtime, &compared, budget)
            .map_or(outcome, |known| RunOutcome::Known(known.to_owned()))
    }

    /// The defect because of which the runtime has reported other events, if the simulator can produce the
    /// trace with these reports.
    fn read_otherwise(&self, sim: &Sim, runtime: &str, trace: &Trace, budget: Budget) -> Option<&str> {
        let is_reached =
            |lines| matches!(sim.clone().misreading(lines).reaches(trace, budget), Reach::Yes(_));
        let explains = |defect: &&Defect| defect.readings(runtime, trace).into_iter().any(is_reached);
        self.defects.iter().find(explains).map(|defect| defect.defect.as_str())
    }
}

/// The first worker with a channel that the primary has closed because of a violation. No worker of a random
/// scenario violates the protocol.
fn violation(trace: &Trace) -> Option<Misfit> {
    let mut lines = (1..).zip(trace.seen_by(Observer::Primary));
    let is_violation = |line: &Observation| line.what == "error" && line.detail("error") == Some("EPROTO");
    let (number, line) = lines.find(|(_, line)| is_violation(line))?;
    let expected = "no violation: every worker keeps the protocol".to_owned();
    Some(Misfit { seen: Some((Observer::Primary, number, line.clone())), expected, requirement: None })
}

/// For a run that did not end: the trace, the standard error, and the missing lines if any.
fn hang(scenario: &Scenario, error: &RunError) -> Option<((Trace, String), String)> {
    let RunError::Hang { seen, stderr, .. } = error else { return None };
    Some(((seen.clone(), stderr.clone()), Sim::new(scenario).hang(seen)?))
}

/// A generated scenario that can shrink.
pub struct Generated {
    tree: Box<dyn ValueTree<Value = Plan>>,
    /// The plan with parts removed, after proptest can shrink no further.
    reduced: Option<Plan>,
    name: String,
}

impl Generated {
    /// The scenario with this number under a seed. The scenario ends on all tried schedules.
    ///
    /// # Panics
    ///
    /// If nearly no plan ends, which is a defect of the plans.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let tree = plan::plan().prop_filter("it ends", ends).new_tree(&mut runner).expect("most plans end");
        Generated { tree: Box::new(tree), reduced: None, name: format!("fuzz_{seed}_{number}") }
    }

    /// Writes the current scenario into a directory, as a file for the suite.
    ///
    /// # Errors
    ///
    /// The directory cannot be created, or the file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<Scenario> {
        write(&self.plan(), &self.name, directory)
    }

    fn plan(&self) -> Plan {
        self.reduced.clone().unwrap_or_else(|| self.tree.current())
    }

    /// Shrinks while the scenario diverges, in at most `tries` steps.
    ///
    /// proptest tries to shrink each part of a plan once, in order. A part that another part needed at that
    /// time remains. Therefore the parts are removed one by one afterwards, until every part is necessary.
    pub fn shrink(&mut self, tries: u32, directory: &Path, diverges: impl Fn(&Scenario) -> bool) {
        let still = |plan: &Plan| {
            ends(plan) && write(plan, &self.name, directory).is_ok_and(|scenario| diverges(&scenario))
        };
        let (mut left, mut simpler) = (tries, self.tree.simplify());
        while simpler && left > 0 {
            left -= 1;
            simpler = if still(&self.tree.current()) { self.tree.simplify() } else { self.tree.complicate() };
        }
        while self.tree.complicate() {}
        let mut plan = self.tree.current();
        while left > 0 {
            let candidates = plan.simpler().into_iter().take(left as usize);
            let mut spent = 0;
            let found = candidates.inspect(|_| spent += 1).find(still);
            left -= spent;
            let Some(found) = found else { break };
            plan = found;
        }
        self.reduced = Some(plan);
    }
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated")
            .field("name", &self.name)
            .field("plan", &self.plan())
            .finish_non_exhaustive()
    }
}

fn write(plan: &Plan, name: &str, directory: &Path) -> io::Result<Scenario> {
    let path: PathBuf = directory.join(format!("{name}.json"));
    let text = format!("{:#}\n", plan.scenario(name));
    std::fs::create_dir_all(directory)?;
    std::fs::write(&path, &text)?;
    Scenario::parse(&path, &text).map_err(io::Error::other)
}

/// Whether the plan is a valid scenario that ends on a quiet machine and on some random schedules.
fn ends(plan: &Plan) -> bool {
    let text = plan.scenario("plan").to_string();
    let Ok(scenario) = Scenario::parse(Path::new("plan.json"), &text) else { return false };
    let sim = Sim::new(&scenario);
    let ends = |run: Result<crate::arm::sim::Run, _>| run.is_ok_and(|run| sim.hang(&run.trace).is_none());
    ends(sim.quiet()) && (0..TRIED).all(|seed| ends(sim.sample(seed)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::exceptions;

    /// Four workers, each of which may serve a client that resets its connection. With a kill, none serves
    /// the client.
    fn outcome(rule: &str, runtime: &str, lines: &[&str]) -> RunOutcome {
        outcome_of_workers(rule, "", runtime, lines)
    }

    /// [`outcome`], with further rules of the workers.
    fn outcome_of_workers(rule: &str, worker: &str, runtime: &str, lines: &[&str]) -> RunOutcome {
        let text = format!(
            r#"{{
              "name": "fuzz_test",
              "description": "A random scenario.",
              "primary": [{{ "on": "start", "do": [{{ "fork": 4 }}] }}, {rule}],
              "worker": [
                {{ "on": "start", "do": [{{ "listen": {{ "server": "web" }} }}] }},
                {{ "on": "data", "do": [{{ "send": "hello" }}] }}{worker}
              ],
              "clients": [{{ "count": 1, "order": "in_turn", "steps": [
                {{ "await": "primary: listening #4" }}, {{ "connect": "web" }}, {{ "write": "hello" }}, "reset"
              ] }}],
              "contract": [{{ "because": "There is a primary.", "seen": "primary: start", "times": 1 }}]
            }}"#
        );
        let lines = lines.iter().map(|line| line.parse().expect(line));
        let trace = serde_json::to_value(Trace::of(lines, &BTreeSet::new())).expect("lines");
        let run = serde_json::json!({
            "runtime": runtime, "name": "fuzz_test", "scenario": text, "trace": trace
        });
        let run: Recording = serde_json::from_value(run).expect("a recording");
        let defects = Defect::parse(include_str!("../defects.json")).expect("a list of them");
        let exceptions = Exceptions::load(Path::new(exceptions::FILE)).expect("no error");
        RunChecker { exceptions, defects, budget: 3000.into(), record: None }
            .check_recorded(&run)
            .expect("a scenario")
    }

    const FORKS: [&str; 5] = [
        "primary: start",
        "primary: fork worker=1 state=none after_disconnect=undefined connected=true dead=false listed=true",
        "primary: fork worker=2 state=none after_disconnect=undefined connected=true dead=false listed=true",
        "primary: fork worker=3 state=none after_disconnect=undefined connected=true dead=false listed=true",
        "primary: fork worker=4 state=none after_disconnect=undefined connected=true dead=false listed=true",
    ];

    /// All four workers listen, each in this order.
    fn listening(workers: [u32; 4], state: &str) -> Vec<String> {
        let lines = |worker| {
            let address = "address=- type=4 port=p1";
            [
                format!("primary: listening worker={worker} {address} state=listening {state}"),
                format!("worker {worker}: start"),
                format!("worker {worker}: listening server=web port=p1"),
            ]
        };
        workers.into_iter().flat_map(lines).collect()
    }

    /// These workers close, disconnect and exit after a disconnect of all.
    fn ended(workers: &[u32]) -> Vec<String> {
        let ends = "after_disconnect=true connected=false";
        let lines = |worker| {
            [
                format!("worker {worker}: closed server=web"),
                format!("worker {worker}: disconnect {ends}"),
                format!(
                    "primary: disconnect worker={worker} state=disconnected {ends} dead=false listed=false"
                ),
                format!(
                    "primary: exit worker={worker} code=0 signal=- state=dead {ends} dead=true listed=false"
                ),
            ]
        };
        workers.iter().flat_map(lines).collect()
    }

    /// The search for the written lines is given up, and the search for the corrected lines succeeds.
    #[test]
    fn undecided_trace_is_read_otherwise() {
        let mut lines: Vec<String> = FORKS.map(str::to_owned).into();
        let state = "after_disconnect=undefined connected=true dead=false listed=true";
        for worker in [2, 1, 4, 3] {
            lines.push(format!("primary: online worker={worker} state=online {state}"));
        }
        lines.extend(listening([1, 2, 4, 3], state));
        lines.push(format!("primary: message worker=2 text=hello state=listening {state}"));
        for line in ["connection server=web", "data server=web text=hello", "end server=web"] {
            lines.push(format!("worker 2: {line}"));
        }
        lines.extend(ended(&[1, 3, 4, 2]));
        lines.push("client 1: connected server=web".to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rule = r#"{ "on": "message", "do": ["disconnect_all"] }"#;
        let known = outcome(rule, "node v20.20.2", &lines);
        let reset = "A reset that arrives together with the last bytes is reported as an end.".to_owned();
        assert_eq!(known, RunOutcome::Known(reset));
    }

    /// The worker performs the rules for the end, although the true event was a reset. So the trace fits only
    /// with the known defect.
    #[test]
    fn misread_end_triggers_rules() {
        let text = |line: &str| line.to_owned();
        let mut lines: Vec<String> = FORKS.map(str::to_owned).into();
        let state = "after_disconnect=undefined connected=true dead=false listed=true";
        for worker in [1, 2, 3, 4] {
            lines.push(format!("primary: online worker={worker} state=online {state}"));
        }
        lines.extend(listening([1, 2, 3, 4], state));
        let served = ["connection server=web", "data server=web text=hello", "end server=web"];
        lines.extend(served.map(|line| format!("worker 1: {line}")));
        lines.push(format!("primary: message worker=1 text=hello state=listening {state}"));
        lines.push(format!("primary: message worker=1 text=ended state=listening {state}"));
        let ends = "after_disconnect=false connected=false";
        lines.push(format!("primary: disconnect worker=1 state=disconnected {ends} dead=false listed=true"));
        lines
            .push(format!("primary: exit worker=1 code=3 signal=- state=dead {ends} dead=true listed=false"));
        lines.push(text("client 1: connected server=web"));
        lines.extend(ended(&[2, 3, 4]));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rule = r#"{ "on": "exit", "do": ["disconnect_all"] }"#;
        let on_end = r#", { "on": "end", "do": [{ "send": "ended" }, { "exit": 3 }] }"#;
        let reset = "A reset that arrives together with the last bytes is reported as an end.".to_owned();
        let outcome = |runtime| outcome_of_workers(rule, on_end, runtime, &lines);
        assert_eq!(outcome("node v20.20.2"), RunOutcome::Known(reset));
        assert!(matches!(outcome("node v24.22.3"), RunOutcome::Undecided(_) | RunOutcome::Diverges(_)));
    }

    /// Node emits `error` for a write to a killed worker, and a Rust primary emits none.
    #[test]
    fn error_of_failed_write_is_excused() {
        let mut lines: Vec<String> = FORKS.map(str::to_owned).into();
        for worker in [1, 2, 3, 4] {
            let online = "after_disconnect=undefined connected=true dead=false listed=true";
            lines.push(format!("primary: online worker={worker} state=online {online}"));
            if worker == 3 {
                lines.push(format!("primary: error worker={worker} error=EPIPE state=online {online}"));
            }
            lines.push(format!("worker {worker}: start"));
        }
        for worker in [1, 2, 3, 4] {
            let ends = "after_disconnect=false connected=false";
            lines.push(format!(
                "primary: disconnect worker={worker} state=disconnected {ends} dead=false listed=true"
            ));
            lines.push(format!(
                "primary: exit worker={worker} code=- signal=SIGKILL state=dead {ends} dead=true listed=false"
            ));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rule = r#"{ "on": "online", "do": [{ "kill": { "signal": "SIGKILL", "worker": "same" } }] }"#;
        let runtimes = ["node v20.20.2", "node v20.20.2 with workers on unix"];
        for runtime in runtimes {
            assert_eq!(outcome(rule, runtime, &lines), RunOutcome::Fits, "{runtime}");
        }
        assert_ne!(outcome(rule, "unix", &lines), RunOutcome::Fits);
    }

    #[test]
    fn seed_and_number_determine_scenario() {
        let plan = |seed, number| Generated::new(seed, number).tree.current();
        assert_eq!(plan(1, 1), plan(1, 1));
        assert_ne!(plan(1, 1), plan(1, 2));
        assert_ne!(plan(1, 1), plan(2, 1));
    }

    /// Every part of a shrunk scenario is necessary: without the part the worker does not crash, or the
    /// scenario does not end.
    #[test]
    fn shrinking_keeps_only_the_cause() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let crashes = |scenario: &Scenario| {
            std::fs::read_to_string(&scenario.path).is_ok_and(|text| text.contains("\"crash\""))
        };
        let is_big =
            |number: &u64| crashes(&Generated::new(7, *number).write(directory.path()).expect("a file"));
        for number in (0..200).filter(is_big).take(4) {
            let mut generated = Generated::new(7, number);
            generated.shrink(2000, directory.path(), crashes);
            assert!(crashes(&generated.write(directory.path()).expect("a file")), "scenario {number}");
            let is_cause = |plan: &Plan| {
                ends(plan) && write(plan, "simpler", directory.path()).is_ok_and(|file| crashes(&file))
            };
            let simpler = generated.plan().simpler().into_iter().find(is_cause);
            assert_eq!(simpler, None, "scenario {number}");
        }
    }
}
