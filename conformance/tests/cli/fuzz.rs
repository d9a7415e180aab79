//! `conformance fuzz`: the counts, the output for a diverging scenario, and the errors.

use crate::fixture::CliFixture;

#[test]
fn random_scenarios_on_the_real_system_fit_and_are_counted() {
    let printed =
        CliFixture::new().run(&["fuzz", "--runs", "6", "--seed", "1", "--worlds", "5000", "--arm", "unix"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.starts_with("unix: 6 scenarios\n"), "{printed}");
}

/// A silent runtime diverges in every scenario.
#[test]
fn a_scenario_that_does_not_fit_is_shrunk_and_written() {
    let cli = CliFixture::new();
    let node = cli.node("test \"$1\" = --version && echo v20.20.2");
    let out = cli.path("out");
    std::fs::create_dir(&out).expect("a new directory");
    let (node, out) = (node.to_string_lossy().into_owned(), out.to_string_lossy().into_owned());
    let printed = cli.run(&[
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
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("fuzz_5_0.json"), "{printed}");
    let scenario = std::fs::read_to_string(cli.path("out/fuzz_5_0.json")).expect("it was written");
    assert!(scenario.contains("\"clients\": []"), "{scenario}");
}

#[test]
fn the_simulator_is_no_arm_of_it() {
    let printed = CliFixture::new().run(&["fuzz", "--arm", "sim"]);
    assert_eq!(printed.code, Some(2), "{printed}");
}

#[test]
fn the_last_of_all_scenarios_can_be_named() {
    let last = u64::MAX.to_string();
    let cli = CliFixture::new();
    let out = cli.path("out").to_string_lossy().into_owned();
    let printed = cli.run(&["fuzz", "--only", &last, "--worlds", "5000", "--arm", "unix", "--out", &out]);
    assert!(printed.out.contains("unix: 1 scenarios\n"), "{printed}");
}

#[test]
fn a_place_where_nothing_can_be_written_is_refused_before_anything_is_run() {
    let cli = CliFixture::new();
    cli.write("file", "");
    let out = cli.path("file/out").to_string_lossy().into_owned();
    let printed = cli.run(&["fuzz", "--runs", "1000000000", "--arm", "unix", "--out", &out]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
    assert!(printed.err.contains("file/out: Not a directory"), "{printed}");
}
