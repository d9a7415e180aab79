//! The variables of a worker, valid and broken.

use std::env;
use std::process::{Command, Stdio};

use ::cluster::{Event, ExitStatus};
use libtest_mimic::Trial;
use serde_json::json;

use super::node::is_absent;
use super::support::{TestResult, asynchronous, fork, message, output, primary, rest, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("broken_variables_are_an_error", broken),
        trial("unsuitable_channel_is_an_error", no_channel),
        asynchronous("grandchildren_inherit_no_role", grandchildren),
        asynchronous("role_leaves_no_trace", no_trace),
        asynchronous("worker_joins_once", once),
        asynchronous("primary_cannot_join", primary_joins),
        asynchronous("forgotten_role_cannot_lead", forgotten),
        trial("primary_needs_a_runtime", || {
            no_runtime();
            Ok(())
        }),
        trial("command_is_freed_of_the_role", freed),
    ]
}

/// Broken variables: the id, the channel, the serialization, and the expected error.
const BROKEN: [(&str, Option<&str>, Option<&str>, &str); 9] = [
    ("", Some("3"), None, "NODE_UNIQUE_ID is \"\", expected an integer from 1"),
    ("0", Some("3"), None, "NODE_UNIQUE_ID is \"0\", expected an integer from 1"),
    ("-1", Some("3"), None, "NODE_UNIQUE_ID is \"-1\", expected an integer from 1"),
    ("x", Some("3"), None, "NODE_UNIQUE_ID is \"x\", expected an integer from 1"),
    ("1", None, None, "NODE_UNIQUE_ID is set, but NODE_CHANNEL_FD is not"),
    ("1", Some("0"), None, "NODE_CHANNEL_FD is \"0\", expected an integer from 3"),
    ("1", Some("three"), None, "NODE_CHANNEL_FD is \"three\", expected an integer from 3"),
    ("1", Some("1000"), None, "NODE_CHANNEL_FD is 1000, which is not an inherited channel: EBADF"),
    (
        "1",
        Some("3"),
        Some("v9"),
        "NODE_CHANNEL_SERIALIZATION_MODE is \"v9\", expected \"json\" or \"advanced\"",
    ),
];

fn broken() -> TestResult {
    for (id, channel, serialization, expected) in BROKEN {
        let mut command = Command::new(env::current_exe()?);
        command.env("NODE_UNIQUE_ID", id).stdin(Stdio::null());
        for (name, value) in
            [("NODE_CHANNEL_FD", channel), ("NODE_CHANNEL_SERIALIZATION_MODE", serialization)]
        {
            value.map(|value| command.env(name, value));
        }
        let output = command.output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(expected), "{stderr}");
    }
    Ok(())
}

fn no_channel() -> TestResult {
    let mut command = Command::new("sh");
    command.arg("-c").arg("exec \"$0\" 3</dev/null").arg(env::current_exe()?);
    let output = command.env("NODE_UNIQUE_ID", "1").env("NODE_CHANNEL_FD", "3").output()?;
    let stderr = String::from_utf8(output.stderr)?;
    let expected = "NODE_CHANNEL_FD is 3, which is not an inherited channel: ENOTSOCK";
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with(expected), "{stderr}");
    Ok(())
}

async fn grandchildren() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "environment");
    // The three standard descriptors and the directory that `ls` reads, as in any child of this process.
    assert_eq!(message(&mut primary).await?, json!({ "variables": [], "descriptors": 4 }));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

/// The programs that a worker starts are not workers, with any number of threads before the call of `role`.
async fn no_trace() -> TestResult {
    let node: &[&str] = if is_absent() { &[] } else { &["true undefined\n", "1\n"] };
    let expected: Vec<&str> = node.iter().copied().chain(["true\n"]).collect();
    for program in [vec![], vec![("EARLY", "1")], vec![("EARLY", "1"), ("THREADS", "4")]] {
        let mut primary = primary()?;
        primary.fork_with_env(program.iter().copied().chain([("PROGRAM", "start others")]))?;
        assert_eq!(message(&mut primary).await?, json!(expected));
        primary.fork_with_env(program.into_iter().chain([("PROGRAM", "environment")]))?;
        assert_eq!(message(&mut primary).await?["variables"].clone(), json!([]));
        primary.disconnect_all();
        rest(&mut primary).await?;
    }
    Ok(())
}

async fn once() -> TestResult {
    let mut primary = primary()?;
    fork(&mut primary, "join again");
    let report = message(&mut primary).await?;
    assert_eq!(report["role"].clone(), json!("Ok(Worker)"));
    assert!(report["again"].as_str().is_some_and(|text| text.contains("joined its cluster before")));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn primary_joins() -> TestResult {
    assert_eq!(::cluster::Worker::join().map(drop), Err(::cluster::JoinError::NotAWorker));
    Ok(())
}

async fn forgotten() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "forget the role");
    let exit = Event::Exit { worker, status: ExitStatus::Code(1), exited_after_disconnect: false };
    assert!(rest(&mut primary).await?.contains(&exit));
    Ok(())
}

fn no_runtime() {
    let primary = ::cluster::Primary::new(::cluster::Settings::default());
    assert_eq!(primary.map(drop), Err(::cluster::PrimaryError::Runtime(::cluster::NoRuntime)));
}

fn freed() -> TestResult {
    let mut command = Command::new("env");
    command.env("NODE_UNIQUE_ID", "1").env("NODE_CHANNEL_FD", "3").env("CLUSTER_SLOT", "0");
    let variables = output(::cluster::clear_cluster_env(&mut command))?;
    let left = ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "CLUSTER_SLOT"].map(|name| variables.contains(name));
    assert_eq!(left, [false; 3]);
    Ok(())
}
