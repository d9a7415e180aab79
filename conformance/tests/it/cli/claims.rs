//! Claims that hold and claims that fail, in all formats of the report.

use std::fs;

use super::fixture::{CliFixture, snapshot};

/// A suite in which every claim of the simulator fails.
fn wrong() -> CliFixture {
    let cli = CliFixture::new();
    cli.edit("scenarios/hello.json", "\"times\": 1", "\"times\": 2");
    cli.edit("recordings/node-v20.0.0/code.txt", "code=3", "code=4");
    cli.write(
        "exceptions.json",
        r#"[{ "scenario": "hello", "runtime": "node *", "lines": "primary: error", "reason": "None." }]"#,
    );
    cli
}

#[test]
fn holding_claims_print_a_table() {
    snapshot(
        "holds",
        &CliFixture::new().run(&["run", "--arm", "sim", "--arm", "unix", "--runs", "1", "--samples", "1"]),
    );
}

#[test]
fn named_scenarios_run_alone() {
    let printed = CliFixture::new().run(&["run", "code", "--arm", "sim", "--samples", "1"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.contains("3 claims about 1 scenario, "), "{printed}");
}

/// Without a terminal, a long run prints a line for each tenth, and a line for each failure.
#[test]
fn long_run_prints_few_lines() {
    let cli = wrong();
    let code = fs::read_to_string(cli.path("scenarios/code.json")).expect("a scenario");
    for number in 0..30 {
        let name = format!("code{number}");
        cli.scenario(&name, &code.replace("\"code\"", &format!("\"{name}\"")));
        cli.record(&name);
    }
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1"]);
    let lines: Vec<_> = printed.err.lines().filter(|line| line.starts_with('[')).collect();
    let failed = lines.iter().filter(|line| line.contains("] FAILS ")).count();
    assert!(failed == 4 && lines.len() <= 15 && printed.out.contains("96 claims"), "{printed}");
}

#[test]
fn failures_print_position_and_sides() {
    snapshot("fails", &wrong().run(&["run", "--arm", "sim", "--samples", "1"]));
}

/// With `--details`, the numbers of each claim are printed.
#[test]
fn details_print_numbers_per_claim() {
    snapshot("details", &wrong().run(&["run", "--arm", "sim", "--samples", "1", "--details"]));
}

#[test]
fn one_scenario_makes_no_exception_stale() {
    let printed = wrong().run(&["run", "--arm", "unix", "--scenario", "code"]);
    assert!(!printed.out.contains("FAILS exceptions.json"), "{printed}");
}

#[test]
fn one_arm_makes_no_exception_stale() {
    let printed = wrong().run(&["run", "--arm", "unix", "--runs", "1"]);
    assert!(!printed.out.contains("FAILS exceptions.json"), "{printed}");
}

#[test]
fn simulator_failures_can_be_replayed() {
    let cli = wrong();
    let output = cli.command(&["run", "--arm", "sim", "--scenario", "hello", "--samples", "1"]).output();
    let out = String::from_utf8(output.expect("the command can be started").stdout).expect("text");
    let (_, replay) = out.split_once("conformance replay '").expect("a line to replay");
    let (line, _) = replay.split_once('\'').expect("a closing quote");
    let printed = cli.run(&["replay", line]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("contract: expected 2 x `client 1: data text=hello`, found 1"), "{printed}");
    assert!(!printed.out.contains("departs from the recording"), "{printed}");
    let printed = CliFixture::new().run(&["replay", line]);
    assert_eq!(printed.code, Some(0), "{printed}");
    let other = line.replacen(":hello:", ":code:", 1);
    let printed = cli.run(&["replay", &other]);
    assert!(printed.out.contains("The run departs from the recording between steps"), "{printed}");
    let printed = CliFixture::new().run(&["replay", &other]);
    assert_eq!(printed.code, Some(2), "{printed}");
}

#[test]
fn own_scenarios_can_be_replayed() {
    let mut world = cluster_sim::scenarios::standard_world().on(cluster_sim::Schedule::seed(7));
    world.run().expect("no check fails");
    let line = world.replay_line();
    let printed = CliFixture::new().run(&["replay", &line]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.starts_with(" step | primary"), "{printed}");
    assert!(printed.out.ends_with("Every check passes.\n"), "{printed}");
    let printed = CliFixture::new().run(&["replay", &line.replacen(":standard:", ":serve-3-1:", 1)]);
    assert_eq!(printed.code, Some(2), "{printed}");
    assert!(printed.out.contains("departs from the recording"), "{printed}");
}

#[test]
fn search_with_hidden_lines_replays() {
    let cli = CliFixture::new();
    cli.edit("recordings/node-v20.0.0/hello.txt", "worker=1 code=0", "worker=1 code=4");
    cli.write(
        "exceptions.json",
        r#"[{ "scenario": "hello", "runtime": "node *", "lines": "primary: all_disconnected", "reason": "None." }]"#,
    );
    let output = cli.command(&["run", "--arm", "sim", "--scenario", "hello", "--samples", "1"]).output();
    let out = String::from_utf8(output.expect("the command can be started").stdout).expect("text");
    let (_, replay) = out.split_once("conformance replay '").expect("a line to replay");
    let (line, _) = replay.split_once('\'').expect("a closing quote");
    let printed = cli.run(&["replay", line]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.contains("all disconnected") || printed.out.contains("AllDisconnected"), "{printed}");
    cli.write("exceptions.json", "[]");
    assert_eq!(cli.run(&["replay", line]).code, Some(2));
}

#[test]
fn endless_runs_are_hangs() {
    let cli = CliFixture::new();
    cli.edit("scenarios/hello.json", "[\"disconnect_all\"]", "[]");
    cli.edit("scenarios/hello.json", ", \"end\"]", "]");
    let printed = cli.run(&["run", "--arm", "sim", "--scenario", "hello", "--samples", "1"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    let hang = "hangs: worker 1 never ends, client 1 waits for an end that never arrives";
    assert!(
        printed
            .out
            .contains(&format!("hello: simulator keeps the contract (sim): {hang}; the trace until then:\n")),
        "{printed}"
    );
    let printed = cli.run(&["show", "hello"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains(hang), "{printed}");
}

#[test]
fn show_applies_exceptions() {
    let cli = CliFixture::new();
    cli.edit(
        "scenarios/code.json",
        "\"primary: exit code=3\", \"times\": 1",
        "\"primary: exit\", \"times\": 0",
    );
    let printed = cli.run(&["show", "code"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    cli.write(
        "exceptions.json",
        r#"[{ "scenario": "code", "runtime": "sim", "lines": "primary: exit", "reason": "For a test." }]"#,
    );
    let printed = cli.run(&["show", "code"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.contains("Excused by an exception: primary, line"), "{printed}");
    assert!(printed.out.ends_with("For a test.\n"), "{printed}");
}

#[test]
fn excused_claims_are_marked() {
    let cli = CliFixture::new();
    cli.edit(
        "scenarios/code.json",
        "\"primary: exit code=3\", \"times\": 1",
        "\"primary: exit\", \"times\": 0",
    );
    cli.write(
        "exceptions.json",
        r#"[{ "scenario": "code", "runtime": "sim", "lines": "primary: exit", "reason": "For a test." }]"#,
    );
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1", "--details"]);
    assert!(
        printed
            .out
            .contains("\ncode      FAILS 1 of 1  1 (1)*  1 (1)\nhello            1 (1)  1 (1)   1 (1)\n"),
        "{printed}"
    );
    assert!(printed.out.contains("60 (6)*       without the lines that an exception names"), "{printed}");
}

#[test]
fn repository_exceptions_are_optional_elsewhere() {
    let cli = CliFixture::new();
    // Without the scenario that needs the exception.
    fs::remove_file(cli.path("scenarios/hello.json")).expect("a file");
    let all = ["run", "--arm", "sim", "--exceptions", cluster_conformance::exceptions::FILE];
    let printed = cli.run(&all);
    assert_eq!(printed.code, Some(0), "{printed}");
    let ones_own = fs::read_to_string(all[4]).expect("a file");
    cli.write("exceptions.json", &ones_own);
    let printed = cli.run(&all[..3]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("FAILS exceptions.json: no line of"), "{printed}");
}

#[test]
fn json_has_everything() {
    let printed = wrong().run(&["run", "--arm", "sim", "--samples", "1", "--json"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    let json: serde_json::Value = serde_json::from_str(&printed.out).expect("JSON and nothing else");
    assert_eq!(json["holds"], false);
    assert_eq!(json["stale_exceptions"].as_array().map(Vec::len), Some(1));
    let verdicts = json["verdicts"].as_array().expect("verdicts");
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict["holds"] == false).collect();
    let claims: Vec<_> = failed.iter().map(|verdict| (&verdict["scenario"], &verdict["claim"])).collect();
    let expected = [("code", "N ⊆ C"), ("code", "N ⊆ S"), ("hello", "N ⊆ C"), ("hello", "S ⊆ C")]
        .map(|(s, c)| (s.into(), c.into()));
    assert_eq!(claims, expected.iter().map(|(s, c)| (s, c)).collect::<Vec<_>>());
    assert!(failed[1]["failures"][0]["replay"].as_str().is_some_and(|line| line.starts_with("sim:v1:")));
}

#[test]
fn junit_has_every_claim() {
    let cli = wrong();
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1", "--junit", "report.xml"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    let xml = fs::read_to_string(cli.path("report.xml")).expect("a report");
    assert!(xml.contains("<testsuite name=\"N ⊆ S\" tests=\"2\""), "{xml}");
    assert_eq!(xml.matches("<failure").count(), 5, "{xml}");
}
