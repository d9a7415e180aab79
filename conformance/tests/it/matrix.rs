//! The committed matrix: its pages belong to its data, and a sample of its cells is run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_conformance::matrix::{CellResult, Markdown, Matrix};
use cluster_conformance::scenario::{self, Scenario};

/// The command that makes the pages from the data.
const REMEDY: &str =
    "run `conformance report --from matrix.json --markdown MATRIX.md --html matrix.html` in conformance/";

/// Scenarios with the same result in every run, which together take few seconds.
const SAMPLE: [&str; 4] = ["listen_zero_twice", "message", "worker_exit", "worker_init"];

fn committed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

fn data() -> Matrix {
    Matrix::from_json(&committed("matrix.json")).expect("a matrix")
}

fn report(arguments: &[&str], json: &PathBuf) -> Matrix {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let output = command.arg("report").args(arguments).arg("--json").arg(json).output();
    let output = output.expect("a running process");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Matrix::from_json(&fs::read_to_string(json).expect("the data")).expect("a matrix")
}

#[test]
fn matrix_pages_are_current() {
    let data = data();
    assert!(committed("MATRIX.md") == Markdown(&data).to_string(), "MATRIX.md is out of date: {REMEDY}");
    assert!(committed("matrix.html") == data.html(), "matrix.html is out of date: {REMEDY}");
    assert_eq!(committed("matrix.json"), data.json());
}

#[test]
fn matrix_has_every_scenario() {
    let scenarios = Scenario::all(Path::new(scenario::DIRECTORY)).expect("valid scenarios");
    let names: Vec<_> = scenarios.into_iter().map(|scenario| scenario.name).collect();
    let rows: Vec<_> = data().scenarios.into_iter().map(|row| row.name).collect();
    assert_eq!(rows, names);
}

/// Only the runtimes of this machine with a committed version are compared. Bun and Deno emit `exit` and
/// `disconnect` in either order, so a result there may change from run to run.
#[test]
fn sample_has_committed_results() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let committed = data();
    let mut arguments = vec!["--runs", "1"];
    arguments.extend(SAMPLE);
    let now = report(&arguments, &directory.path().join("now.json"));
    let results = |matrix: &Matrix, runtime: &str| -> Option<Vec<CellResult>> {
        let column = matrix.arms.iter().position(|arm| arm.name == runtime && arm.absent.is_none())?;
        let rows = matrix.scenarios.iter().filter(|row| SAMPLE.contains(&row.name.as_str()));
        Some(rows.map(|row| row.cells[column].result).collect())
    };
    let mut compared = 0;
    for arm in now.arms.iter().filter(|arm| !arm.name.starts_with("bun ") && !arm.name.starts_with("deno ")) {
        let (Some(now), Some(before)) = (results(&now, &arm.name), results(&committed, &arm.name)) else {
            continue;
        };
        assert_eq!(now, before, "{}: {SAMPLE:?}", arm.name);
        compared += 1;
    }
    assert!(compared > 0, "this system is on every machine");
}

#[test]
fn data_makes_the_same_data() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [first, again] = ["first.json", "again.json"].map(|name| directory.path().join(name));
    let made = report(&["message", "--runs", "1", "--worlds", "1000"], &first);
    let read = report(&["--from", first.to_str().expect("a path in UTF-8")], &again);
    assert_eq!(made, read);
    let cell = &made.scenarios[0].cells[made.arms.len() - 1];
    assert_ne!(cell.result, CellResult::Absent);
}
