//! Named runtimes, with a shell script in the place of a runtime.

use std::fs;

use super::fixture::CliFixture;

/// A runtime that starts no worker.
const MINE: &str = "[ \"$1\" = --version ] && echo mine 1.2.3 && exit\necho primary: start";

fn mine() -> (CliFixture, String) {
    let cli = CliFixture::new();
    let node = cli.node(MINE);
    let path = node.with_file_name("mine");
    fs::rename(node, &path).expect("a written file");
    (cli, path.to_string_lossy().into_owned())
}

#[test]
fn foreign_runtime_is_compared() {
    let (cli, _) = mine();
    // A run starts in another directory, so a relative path must not depend on the present one.
    let printed = cli.run(&["run", "--runtime", "bin/mine"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("scenario  mine 1.2.3\ncode      FAILS"), "{printed}");
    assert!(
        printed.out.contains("code: the runtime keeps the contract (mine 1.2.3): in 1 of 1 runs"),
        "{printed}"
    );
}

#[test]
fn expected_differences_hold() {
    let (cli, mine) = mine();
    let printed = cli.run(&["run", "--runtime", &mine, "--write-expected", "expected.json"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    let args = ["run", "--runtime", &mine, "--expected", "expected.json"];
    let printed = cli.run(&[&args[..], &["--junit", "report.xml"]].concat());
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.contains("\ncode      known\n"), "{printed}");
    let xml = fs::read_to_string(cli.path("report.xml")).expect("a report");
    assert!(xml.contains("<testcase name=\"code\" classname=\"mine.contract\">"), "{xml}");
    assert_eq!(xml.matches("<skipped").count(), 4, "{xml}");
    let printed = cli.run(&[&args[..], &["--json"]].concat());
    assert!(printed.out.contains("\"id\": \"mine/contract/code\""), "{printed}");
    // An entry that is not needed fails the run.
    cli.edit("expected.json", "mine *", "sim");
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1", "--expected", "expected.json"]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(printed.out.contains("`sim` is expected to differ in `code`, and does not"), "{printed}");
}

#[test]
fn absent_runtime_never_passes() {
    let cli = CliFixture::new();
    for runtime in ["bun", "all"] {
        let printed = cli.run(&["run", "--runtime", runtime, "--runtimes", "empty"]);
        assert_eq!(printed.code, Some(2), "{printed}");
        assert!(printed.out.contains("requested, but did not run: "), "{printed}");
        assert!(printed.out.contains("not fetched; `conformance fetch bun` fetches it"), "{printed}");
    }
}
