//! What the command says about itself.

use super::stage::{Stage, snapshot};

#[test]
fn help_is_as_it_was_read_last() {
    let stage = Stage::new();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help_run", &["run", "--help"]),
        ("help_record", &["record", "--help"]),
        ("help_list", &["list", "--help"]),
        ("help_show", &["show", "--help"]),
        ("help_replay", &["replay", "--help"]),
        ("help_explore", &["explore", "--help"]),
    ] {
        snapshot(name, &stage.run(args));
    }
}

#[test]
fn scenarios_are_listed_with_their_stories() {
    snapshot("list", &Stage::new().run(&["list"]));
}

#[test]
fn a_run_is_shown_in_columns() {
    snapshot("show", &Stage::new().run(&["show", "hello"]));
}

#[test]
fn there_are_no_colours_without_a_terminal() {
    let said = Stage::new().run(&["run", "--arm", "sim"]);
    assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "{said}");
}
