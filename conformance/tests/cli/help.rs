//! The help texts.

use super::fixture::{CliFixture, snapshot};

#[test]
fn help_is_as_it_was_read_last() {
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
fn scenarios_are_listed_with_their_stories() {
    snapshot("list", &CliFixture::new().run(&["list"]));
}

#[test]
fn a_run_is_shown_in_columns() {
    snapshot("show", &CliFixture::new().run(&["show", "hello"]));
}

#[test]
fn there_are_no_colours_without_a_terminal() {
    let printed = CliFixture::new().run(&["run", "--arm", "sim"]);
    assert!(!printed.out.contains('\u{1b}') && !printed.err.contains('\u{1b}'), "{printed}");
}
