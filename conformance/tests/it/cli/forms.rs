//! `conformance forms`: the forms of a Node program, tried on the installed Node. Ignored without Node.

use std::path::Path;

use cluster_conformance::arm::node::Runtime;

use super::fixture::CliFixture;

/// Every form of a call has the same result under the Rust primary as under Node's primary.
#[test]
fn forms_end_as_under_node() {
    if let Err(none) = Runtime::find(Path::new("node")) {
        eprintln!("ignored: {none}");
        return;
    }
    let cli = CliFixture::new();
    let settings = ["round robin", "advanced, shared", "silent", "execArgv", "stdio*"];
    let mut args = vec!["forms"];
    args.extend(settings.iter().flat_map(|setting| ["--setting", setting]));
    let mut command = cli.command(&args);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().expect("the command can be started");
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(out.lines().count(), 7, "{out}");
}

/// An unknown setting is rejected with the list of names.
#[test]
fn forms_refuse_unknown_setting() {
    let cli = CliFixture::new();
    let node = cli.node("echo v20.20.2").to_string_lossy().into_owned();
    let printed = cli.run(&["forms", "--node", &node, "--setting", "square robin"]);
    assert_eq!(printed.code, Some(2), "{printed}");
    assert!(printed.err.contains("round robin; shared; advanced;"), "{printed}");
}

/// A runtime with which no form can be tried is an error.
#[test]
fn forms_refuse_runtime_that_tries_nothing() {
    let cli = CliFixture::new();
    let node = cli.node("test \"$1\" = --version && echo v20.20.2").to_string_lossy().into_owned();
    let printed = cli.run(&["forms", "--node", &node, "--setting", "silent"]);
    assert_eq!(printed.code, Some(2), "{printed}");
    assert!(printed.err.contains("the worker ended after 0 forms"), "{printed}");
}
