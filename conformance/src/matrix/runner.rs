//! Fills a matrix: runs every scenario on every runtime, and judges a cell after the last run of the cell.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use cluster_sim::explore::Budget;

use super::drawing::{Drawing, Texts};
use super::judge::{Judged, TraceJudge};
use super::nearest::RecordedTraces;
use super::{CellResult, Matrix, MatrixCell, MatrixRow, Numbered, RuntimeColumn, summary};
use crate::arm::drive::RunError;
use crate::arm::mixed::Mixed;
use crate::arm::node::Runtime;
use crate::arm::sim::{Reach, Sim};
use crate::arm::unix::Unix;
use crate::exceptions::Exceptions;
use crate::fixture::{Fixture, Load};
use crate::scenario::Scenario;
use crate::suite::UNIX;
use crate::trace::Trace;

/// The jobs at the same time on each core: a run mostly waits for processes.
const JOBS_A_CORE: usize = 2;

/// A runtime of the matrix.
#[derive(Debug)]
pub enum Contestant {
    /// JavaScript: Node.js, Bun, Deno.
    Live(Runtime),
    /// This system.
    Unix(Unix),
    /// This system and Node.js in one cluster.
    Mixed(Mixed),
    /// A missing runtime: the name, and the remedy.
    Absent(String, String),
}

impl Contestant {
    /// The name and the version.
    pub fn name(&self) -> String {
        match self {
            Contestant::Live(runtime) => runtime.name(),
            Contestant::Unix(_) => UNIX.to_owned(),
            Contestant::Mixed(mixed) => mixed.name(),
            Contestant::Absent(name, _) => name.clone(),
        }
    }

    fn column(&self) -> RuntimeColumn {
        let absent = if let Contestant::Absent(_, why) = self { Some(why.clone()) } else { None };
        RuntimeColumn { name: self.name(), absent }
    }

    fn run(&self, scenario: &Scenario) -> Option<Result<Trace, RunError>> {
        match self {
            Contestant::Live(runtime) => Some(runtime.run(scenario)),
            Contestant::Unix(unix) => Some(unix.run(scenario)),
            Contestant::Mixed(mixed) => Some(mixed.run(scenario)),
            Contestant::Absent(..) => None,
        }
    }
}

/// The scenarios, the runtimes and the recordings.
#[derive(Debug)]
pub struct Runner {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The runtimes, in the order of the columns.
    pub contestants: Vec<Contestant>,
    /// The directories of recordings, the oldest Node first.
    pub recordings: Vec<PathBuf>,
    /// The deliberate differences.
    pub exceptions: Exceptions,
    /// The number of runs of a cell.
    pub runs: u32,
    /// The limit of worlds per search.
    pub budget: Budget,
}

/// The result of the runs of a cell.
enum Ended {
    Judged(Judged, u64),
    Without(CellResult, String),
}

impl Runner {
    /// The number of cells of [`run`](Runner::run), unless stopped.
    pub fn cells(&self) -> usize {
        self.scenarios.len() * self.contestants.len()
    }

    /// Runs everything, and reports every cell. After `stopped` is set, no further run starts, and the matrix
    /// means nothing.
    pub fn run(&self, stopped: &AtomicBool, mut report: impl FnMut(&str, &str, CellResult)) -> Matrix {
        let recorded: Vec<_> =
            self.scenarios.iter().map(|it| RecordedTraces::load(&self.recordings, it)).collect();
        let next = AtomicUsize::new(0);
        let (sender, cells) = mpsc::channel();
        let work = |sender: mpsc::Sender<_>| {
            let columns = self.contestants.len();
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= self.cells() || stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (row, column) = (job / columns, job % columns);
                let ended =
                    self.cell(&self.scenarios[row], &self.contestants[column], &recorded[row], stopped);
                sender.send((row, column, ended)).expect("the receiver outlives the senders");
            }
        };
        let mut all: Vec<Vec<Option<Ended>>> =
            self.scenarios.iter().map(|_| self.contestants.iter().map(|_| None).collect()).collect();
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            for _ in 0..cores * JOBS_A_CORE {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender));
            }
            drop(sender);
            for (row, column, ended) in cells {
                let result = ended.result();
                report(&self.scenarios[row].name, &self.contestants[column].name(), result);
                all[row][column] = Some(ended);
            }
        });
        self.matrix(all, &recorded)
    }

    /// Runs and judges a cell. A hanging run is not repeated.
    fn cell(
        &self,
        scenario: &Scenario,
        contestant: &Contestant,
        recorded: &RecordedTraces,
        stopped: &AtomicBool,
    ) -> Ended {
        let name = contestant.name();
        if !scenario.runs_on(name.rsplit(" with workers on ").next().unwrap_or_default())
            || !scenario.runs_on(&name)
        {
            let least = scenario.min_node.unwrap_or_default();
            return Ended::Without(CellResult::CannotRun, format!("The scenario needs Node {least}."));
        }
        let mut traces = Fixture::new(&scenario.name, &name);
        let mut hang = None;
        for _ in 0..self.runs {
            if stopped.load(Ordering::Relaxed) || hang.is_some() {
                break;
            }
            match contestant.run(scenario) {
                None => return Ended::Without(CellResult::Absent, String::new()),
                Some(Ok(trace)) => traces.add(Load::Idle, trace),
                Some(Err(RunError::Hang { seen, limit, .. })) => {
                    hang = Some(format!("The run did not end: {limit}."));
                    traces = Fixture::new(&scenario.name, &name);
                    traces.add(Load::Idle, seen);
                }
                Some(Err(error)) => return Ended::Without(CellResult::CannotRun, first_lines(&error)),
            }
        }
        let exceptions = &self.exceptions;
        let judge = TraceJudge { scenario, recorded, exceptions, budget: self.budget };
        let runs = traces.runs.values().copied().map(u64::from).sum();
        match judge.worst(&traces) {
            Some(judged) => Ended::Judged(judged.with_hang(hang), runs),
            None => Ended::Without(CellResult::CannotRun, "There was no run.".to_owned()),
        }
    }

    fn matrix(&self, cells: Vec<Vec<Option<Ended>>>, recorded: &[RecordedTraces]) -> Matrix {
        let mut store = Store::default();
        let mut matrix = Matrix {
            runs: self.runs,
            arms: self.contestants.iter().map(Contestant::column).collect(),
            ..Matrix::default()
        };
        for ((scenario, cells), recorded) in self.scenarios.iter().zip(cells).zip(recorded) {
            matrix.scenarios.push(self.row(scenario, cells, recorded, &mut store));
        }
        (matrix.lines, matrix.labels, matrix.drawings) = (store.lines.all, store.labels.all, store.drawings);
        matrix.summaries = summary::of(&matrix);
        matrix
    }

    fn row(
        &self,
        scenario: &Scenario,
        cells: Vec<Option<Ended>>,
        recorded: &RecordedTraces,
        store: &mut Store,
    ) -> MatrixRow {
        let sim = Sim::new(scenario);
        let quiet = sim.quiet().ok();
        let expected = recorded.usual().or(quiet.as_ref().map(|run| &run.trace)).cloned().unwrap_or_default();
        let replay = match self.reference(&sim, &expected) {
            Some(replay) => Some(replay),
            None => quiet.map(|run| run.replay),
        };
        let drawing = replay.as_deref().and_then(|replay| store.draw(replay, &sim));
        let ended = cells.into_iter().map(|ended| {
            let ended = ended.unwrap_or(Ended::Without(CellResult::Absent, String::new()));
            store.cell(ended, &expected, recorded, &sim)
        });
        let cells = ended.collect();
        let (name, description) = (scenario.name.clone(), scenario.description.clone());
        MatrixRow { name, description, expected: store.number(&expected), drawing, replay, cells }
    }

    /// The run of the simulator with a trace of the newest Node.
    fn reference(&self, sim: &Sim, expected: &Trace) -> Option<String> {
        let newest = self.recordings.last()?.file_name()?.to_string_lossy().replacen('-', " ", 1);
        let name = &sim.scenario().name;
        let concerning = self.exceptions.concerning(name, &newest);
        let hidden: Vec<_> = concerning.map(|exception| exception.lines.clone()).collect();
        let compared = self.exceptions.clone().apply(name, &newest, expected);
        match sim.clone().like(&newest).hiding(hidden).reaches(&compared, self.budget) {
            Reach::Yes(run) => Some(run.replay),
            Reach::No(_) | Reach::Unknown(_) => None,
        }
    }
}

impl Ended {
    fn result(&self) -> CellResult {
        match self {
            Ended::Judged(judged, _) => judged.result,
            Ended::Without(result, _) => *result,
        }
    }
}

/// Lines, labels and drawings without repetition.
#[derive(Default)]
struct Store {
    lines: Texts,
    labels: Texts,
    drawings: Vec<Drawing>,
}

impl Store {
    fn number(&mut self, trace: &Trace) -> Numbered {
        let mut numbered = Numbered::new();
        for (observer, line) in trace.lines() {
            let number = self.lines.number(line.to_string());
            numbered.entry(observer.to_string()).or_default().push(number);
        }
        numbered
    }

    fn draw(&mut self, replay: &str, sim: &Sim) -> Option<usize> {
        let drawing = Drawing::of(replay, sim, &mut self.labels)?;
        let known = self.drawings.iter().position(|known| *known == drawing);
        Some(known.unwrap_or_else(|| {
            self.drawings.push(drawing);
            self.drawings.len() - 1
        }))
    }

    fn cell(&mut self, ended: Ended, expected: &Trace, recorded: &RecordedTraces, sim: &Sim) -> MatrixCell {
        let (judged, runs) = match ended {
            Ended::Judged(judged, runs) => (judged, runs),
            Ended::Without(result, note) => {
                return MatrixCell::without_trace(result, Some(note).filter(|note| !note.is_empty()));
            }
        };
        let differs = judged.result == CellResult::Differs;
        let nearest = recorded.nearest(&judged.trace).filter(|nearest| *nearest != expected);
        let replay = judged.replay.filter(|_| differs);
        MatrixCell {
            level: judged.differences.iter().map(|one| one.level).min(),
            seen: Some((judged.seen, runs)),
            note: judged.note,
            trace: (judged.trace != *expected).then(|| self.number(&judged.trace)),
            expected: nearest.map(|nearest| self.number(nearest)),
            drawing: replay.as_deref().and_then(|replay| self.draw(replay, sim)),
            replay,
            differences: judged.differences,
            result: judged.result,
        }
    }
}

/// The first lines of an error: the rest is the standard error of the processes.
fn first_lines(error: &RunError) -> String {
    let text = console::strip_ansi_codes(&error.to_string()).into_owned();
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(4).collect();
    lines.join("\n")
}
