//! `conformance fuzz`: the counts, the output for a diverging scenario, and the errors.

use super::fixture::CliFixture;

#[test]
fn fuzz_counts_fitting_scenarios() {
    let printed =
        CliFixture::new().run(&["fuzz", "--runs", "6", "--seed", "1", "--worlds", "5000", "--arm", "unix"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.starts_with("unix: 6 scenarios\n"), "{printed}");
}

/// Recorded runs are compared again, without real processes.
#[test]
fn fuzz_compares_recorded_runs() {
    let cli = CliFixture::new();
    let recorded = cli.path("recorded").to_string_lossy().into_owned();
    let searches = ["fuzz", "--worlds", "5000"];
    let live = ["--runs", "3", "--seed", "1", "--arm", "unix", "--record", &recorded];
    let live = cli.run(&[&searches[..], &live].concat());
    let again = cli.run(&[&searches[..], &["--recorded", &recorded]].concat());
    assert_eq!((again.code, live.code), (Some(0), Some(0)), "{again}");
    assert!(again.out.starts_with("unix: 3 scenarios\n"), "{again}");
    cli.write("recorded/other.json", "{}");
    let other = cli.run(&["fuzz", "--recorded", &recorded]);
    assert_eq!(other.code, Some(2), "{other}");
    assert!(other.err.contains("missing field `runtime`"), "{other}");
}

/// The scenario of a recording may be of another version.
#[test]
fn fuzz_names_unreadable_scenario() {
    let cli = CliFixture::new();
    let recorded = cli.path("recorded");
    std::fs::create_dir(&recorded).expect("a new directory");
    for name in ["one", "other"] {
        let text = format!(r#"{{ "runtime": "unix", "name": "{name}", "scenario": "{{}}", "trace": {{}} }}"#);
        cli.write(&format!("recorded/{name}.json"), &text);
    }
    let printed = cli.run(&["fuzz", "--recorded", &recorded.to_string_lossy()]);
    assert_eq!(printed.code, Some(2), "{printed}");
    assert!(printed.err.contains("one.json") && !printed.err.contains("panicked"), "{printed}");
}

/// A runtime that writes nothing diverges in every scenario.
#[test]
fn fuzz_writes_shrunk_scenario() {
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
    let scenario = std::fs::read_to_string(cli.path("out/fuzz_5_0.json")).expect("a written file");
    assert!(scenario.contains("\"clients\": []"), "{scenario}");
}

#[test]
fn fuzz_rejects_the_simulator() {
    let printed = CliFixture::new().run(&["fuzz", "--arm", "sim"]);
    assert_eq!(printed.code, Some(2), "{printed}");
}

#[test]
fn fuzz_runs_the_last_number() {
    let last = u64::MAX.to_string();
    let cli = CliFixture::new();
    let out = cli.path("out").to_string_lossy().into_owned();
    let printed = cli.run(&["fuzz", "--only", &last, "--worlds", "5000", "--arm", "unix", "--out", &out]);
    assert!(printed.out.contains("unix: 1 scenarios\n"), "{printed}");
}

#[test]
fn fuzz_rejects_unwritable_directory() {
    let cli = CliFixture::new();
    cli.write("file", "");
    let out = cli.path("file/out").to_string_lossy().into_owned();
    let printed = cli.run(&["fuzz", "--runs", "1000000000", "--arm", "unix", "--out", &out]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
    assert!(printed.err.contains("file/out: Not a directory"), "{printed}");
}
