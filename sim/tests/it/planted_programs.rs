//! Async programs with planted mistakes: each is found, and the run shrinks to a short table.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster_sim::simulation::Simulation;

#[path = "../../examples/planted/programs.rs"]
mod programs;

use programs::{PLANTED, Planted, rows};

fn planted(mistake: &str) -> &'static Planted {
    PLANTED.iter().find(|planted| planted.mistake == mistake).expect("a mistake")
}

/// The right form passes, and the mistake is found with a table of at most 40 rows.
fn assert_found(mistake: &str) {
    let Planted { violation, program, property, .. } = planted(mistake);
    program(true).check(property).expect("the right form");
    let found = program(false).check(property).expect_err("the mistake is planted");
    assert_eq!(found.what, *violation, "{found}");
    assert!(rows(&found) <= 40, "{} rows\n{found}", rows(&found));
}

#[test]
fn lost_count_is_found() {
    assert_found("a respawn loop loses its count");
}

#[test]
fn forgotten_connection_is_found() {
    assert_found("a drain forgets a long connection");
}

#[test]
fn hasty_reload_is_found() {
    assert_found("a reload disconnects before the successor listens");
}

#[test]
fn wait_for_dead_worker_is_found() {
    assert_found("a request waits for a dead worker");
}

#[test]
fn leaking_map_is_found() {
    assert_found("a map of clients leaks");
}

/// The text with which a test on the leaking map fails.
fn report(test: impl FnOnce(Simulation)) -> String {
    let simulation = (planted("a map of clients leaks").program)(false);
    let panic = catch_unwind(AssertUnwindSafe(|| test(simulation))).expect_err("the mistake is planted");
    *panic.downcast::<String>().expect("a text")
}

/// A failed test prints the violation, the path of a page, the table with the log lines of the primary in
/// simulated time, and a line that replays the same failure.
#[test]
#[expect(clippy::disallowed_methods, reason = "the report writes the page to a file")]
fn failed_test_reports_the_run() {
    let Planted { violation, property, .. } = planted("a map of clients leaks");
    let text = report(|simulation| simulation.assert(property));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], *violation, "{text}");
    let page = lines[1].strip_prefix("page: ").expect("the path of the page");
    let page = fs::read_to_string(page).expect("the page");
    let columns = lines.iter().find(|line| line.starts_with(" step |")).expect("the head of the table");
    for actor in ["primary", "worker 1", "client 1"] {
        assert!(columns.contains(actor), "{text}");
        assert!(page.contains(actor), "the page has {actor}");
    }
    let observed: Vec<&str> = lines.iter().copied().filter(|line| line.contains("observes:")).collect();
    assert_eq!(observed.len(), 1, "{text}");
    assert!(observed[0].contains("observes: [1.000 s] INFO clients: 1"), "{text}");
    assert!(page.contains("clients: 1"), "the page has the log line");

    let line = lines.last().expect("a last line");
    assert!(line.starts_with("sim:"), "{text}");
    let again = report(|simulation| simulation.replay(line, property));
    let without_page =
        |text: &str| text.lines().filter(|line| !line.starts_with("page: ")).collect::<Vec<_>>().join("\n");
    assert_eq!(without_page(&again), without_page(&text));
}
