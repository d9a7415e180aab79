//! The help texts.

use std::process::Command;

use super::fixture::{CliFixture, snapshot};

#[test]
fn help_matches_snapshots() {
    let cli = CliFixture::new();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help_run", &["run", "--help"]),
        ("help_record", &["record", "--help"]),
        ("help_list", &["list", "--help"]),
        ("help_show", &["show", "--help"]),
        ("help_replay", &["replay", "--help"]),
        ("help_explore", &["explore", "--help"]),
    ] {
        snapshot(name, &cli.run(args));
    }
}

#[test]
fn help_is_a_command() {
    let output = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_conformance"))
            .args(args)
            .output()
            .expect("the command can be started")
    };
    for (args, same) in [(&["help"][..], &["--help"][..]), (&["help", "run"], &["run", "--help"])] {
        let printed = output(args);
        assert!(printed.status.success(), "{printed:?}");
        assert_eq!(printed.stdout, output(same).stdout);
    }
}

#[test]
fn list_prints_descriptions() {
    let cli = CliFixture::new();
    snapshot("list", &cli.run(&["list"]));
    assert!(
        cli.run(&["list", "co*"]).out.starts_with("code\n")
            && !cli.run(&["list", "co*"]).out.contains("hello")
    );
}

#[test]
fn show_prints_columns() {
    snapshot("show", &CliFixture::new().run(&["show", "hello"]));
}

#[test]
fn output_has_no_colours_without_terminal() {
    let printed = CliFixture::new().run(&["run", "--arm", "sim"]);
    assert!(!printed.out.contains('\u{1b}') && !printed.err.contains('\u{1b}'), "{printed}");
}
