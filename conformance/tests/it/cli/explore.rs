//! The search for a failing run, and its output.

use std::fs;

use super::fixture::{CliFixture, CliOutput, snapshot};

fn explore(cli: &CliFixture, scenario: &str, more: &[&str]) -> CliOutput {
    let file = cli.path("regressions.txt");
    cli.run(&[&["explore", scenario, "--regressions", &file.to_string_lossy()], more].concat())
}

/// The schedule decides which of two workers receives the connection. The contract does not.
fn luck() -> CliFixture {
    let cli = CliFixture::new();
    cli.scenario("luck", &fs::read_to_string(cli.path("scenarios/hello.json")).expect("a scenario"));
    cli.edit("scenarios/luck.json", "\"hello\",\n  \"desc", "\"luck\",\n  \"desc");
    cli.edit("scenarios/luck.json", "\"fork\": 1", "\"fork\": 2");
    let (greeted, first) =
        ("client 1: data text=hello\", \"times\": 1", "primary: message worker=2\", \"times\": 0");
    cli.edit("scenarios/luck.json", greeted, first);
    cli
}

#[test]
fn failure_is_shrunk_explained_and_kept() {
    let cli = luck();
    let printed = explore(&cli, "luck", &["--jobs", "1"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    let parts = [
        "Run ",
        "contract: primary, line",
        "Kept in DIR/regressions.txt",
        "The smallest failing run, ",
        " step | primary ",
        "faults: 0, switches: ",
        "The nearest passing run parts at step ",
        "\n  fails   ",
        "\n  passes  ",
        "\n  conformance replay 'sim:v1:...'\n",
    ];
    let places: Vec<_> = parts.iter().map(|part| printed.out.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{printed}");
    assert!(printed.out.ends_with(parts[9]), "the line is last: {printed}");
    let others = explore(&luck(), "luck", &["--jobs", "3"]);
    assert_eq!(others.out, printed.out, "the number of threads does not matter");

    let kept = fs::read_to_string(cli.path("regressions.txt")).expect("a file");
    let line = kept.lines().last().expect("a line");
    let printed = cli.run(&["replay", line]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("contract: primary, line"), "{printed}");

    let printed = explore(&cli, "luck", &["--seeds", "1"]);
    assert!(
        printed.code == Some(1) && printed.out.starts_with("A regression: this run has failed before."),
        "{printed}"
    );
    assert_eq!(fs::read_to_string(cli.path("regressions.txt")).expect("an existing path"), kept);
}

#[test]
fn passing_regressions_are_counted() {
    let cli = CliFixture::new();
    let quiet = "sim:v1:hello:3:-:9.0000000000000000.000000000000000000000000000000000000";
    cli.write("regressions.txt", &format!("# for people\n\n{quiet}\n"));
    let printed = explore(&cli, "hello", &["--seeds", "50", "--faults", "partial-read"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.starts_with("Known regressions: 1, all pass; 1 took another path"), "{printed}");
    assert!(
        printed.out.contains("bounded by --seeds. Every check of the simulator passes, and every run keeps"),
        "{printed}"
    );
}

#[test]
fn exhaustive_search_reports_coverage() {
    let cli = CliFixture::new();
    let printed = explore(&cli, "hello", &["--exhaustive"]);
    assert!(
        printed.code == Some(0) && printed.out.contains(": complete. Every check of the simulator passes"),
        "{printed}"
    );
    let printed = explore(&cli, "hello", &["--exhaustive", "--worlds", "100"]);
    assert!(
        printed.code == Some(0) && printed.out.contains(": bounded by the number of states."),
        "{printed}"
    );
    let printed = explore(&cli, "serve-1-1+shared", &["--exhaustive", "--faults", "kill", "--strikes", "1"]);
    assert!(
        printed.code == Some(0) && printed.out.contains(": complete. Every check of the simulator passes"),
        "{printed}"
    );
}

#[test]
fn explore_rejects_bad_arguments() {
    let cli = CliFixture::new();
    cli.write("regressions.txt", "sim:v0:hello");
    for (name, args) in [
        ("explore_unknown", &["explore", "helo"][..]),
        ("explore_all_and_some", &["explore", "hello", "--exhaustive", "--seeds", "9"]),
        ("explore_no_regressions", &["explore", "hello", "--regressions", "regressions.txt"]),
        ("explore_no_strikes", &["explore", "hello", "--strikes", "256"]),
    ] {
        let printed = cli.run(args);
        assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
        snapshot(name, &printed);
    }
}

#[test]
fn unknown_fault_lists_faults() {
    for faults in ["kill,flood", "none,kill", "Kill"] {
        let printed = CliFixture::new().run(&["explore", "hello", "--faults", faults]);
        assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
        for name in ["there are: ", "kill", "lost-descriptor", "or `all`, or `none` alone"] {
            assert!(printed.err.contains(name), "{name}: {printed}");
        }
    }
}

/// The worker refuses the only connection again and again.
const REFUSE: &str = r#"{
  "name": "refuse",
  "description": "A worker refuses every connection.",
  "primary": [{ "on": "start", "do": [{ "fork": 1 }] }],
  "worker": [{ "on": "start", "do": [{ "listen": { "server": "web", "max_connections": 0 } }] }],
  "clients": [{ "steps": [{ "connect": "web" }, "end"] }],
  "contract": [{ "because": "No client is served.", "seen": "worker: connection", "times": 0 }]
}
"#;

/// An endless run is found, the report names its steps, and shrinking ends.
#[test]
fn endless_run_names_its_circle() {
    for faults in ["none", "all"] {
        let cli = CliFixture::new();
        cli.scenario("refuse", REFUSE);
        let printed = explore(&cli, "refuse", &["--faults", faults, "--jobs", "1"]);
        assert_eq!(printed.code, Some(1), "{printed}");
        for part in [
            "the check `liveness` fails at step ",
            "endless: no program, client or observer notices any of the last 20000 steps",
            "a timer fires (",
            "the primary reads from worker 1 (",
            "worker 1 reads from the primary (",
        ] {
            assert!(printed.out.contains(part), "{part}: {printed}");
        }
    }
}
