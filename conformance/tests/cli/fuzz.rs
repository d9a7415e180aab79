//! `conformance fuzz`: what it counts, what it shows of a scenario that does not fit, and what it refuses.

use crate::stage::Stage;

#[test]
fn random_scenarios_on_the_real_system_fit_and_are_counted() {
    let said = Stage::new().run(&["fuzz", "--runs", "6", "--seed", "1", "--worlds", "5000", "--arm", "unix"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.out.starts_with("unix: 6 scenarios\n"), "{said}");
}

/// A runtime that says nothing diverges from everything.
#[test]
fn a_scenario_that_does_not_fit_is_shrunk_and_written() {
    let stage = Stage::new();
    let node = stage.node("test \"$1\" = --version && echo v20.20.2");
    let out = stage.path("out");
    std::fs::create_dir(&out).expect("a new directory");
    let (node, out) = (node.to_string_lossy().into_owned(), out.to_string_lossy().into_owned());
    let said = stage.run(&[
        "fuzz",
        "--runs",
        "1",
        "--seed",
        "5",
        "--shrinks",
        "300",
        "--arm",
        "node",
        "--node",
        &node,
        "--out",
        &out,
    ]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.out.contains("fuzz_5_0.json"), "{said}");
    let scenario = std::fs::read_to_string(stage.path("out/fuzz_5_0.json")).expect("it was written");
    assert!(scenario.contains("\"clients\": []"), "{scenario}");
}

#[test]
fn the_simulator_is_no_arm_of_it() {
    let said = Stage::new().run(&["fuzz", "--arm", "sim"]);
    assert_eq!(said.code, Some(2), "{said}");
}

#[test]
fn the_last_of_all_scenarios_can_be_named() {
    let last = u64::MAX.to_string();
    let stage = Stage::new();
    let out = stage.path("out").to_string_lossy().into_owned();
    let said = stage.run(&["fuzz", "--only", &last, "--worlds", "5000", "--arm", "unix", "--out", &out]);
    assert!(said.out.contains("unix: 1 scenarios\n"), "{said}");
}

#[test]
fn a_place_where_nothing_can_be_written_is_refused_before_anything_is_run() {
    let stage = Stage::new();
    stage.write("file", "");
    let out = stage.path("file/out").to_string_lossy().into_owned();
    let said = stage.run(&["fuzz", "--runs", "1000000000", "--arm", "unix", "--out", &out]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said}");
    assert!(said.err.contains("file/out: Not a directory"), "{said}");
}
