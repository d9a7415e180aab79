//! The contract finds every wrong line: each test plants a wrong line in a good trace, and compares the
//! mismatch.

use std::path::Path;

use super::check;
use crate::observation::{Line, Observer};
use crate::scenario::Scenario;
use crate::trace::Trace;

const SCENARIO: &str = r#"{
  "name": "s",
  "description": "One worker serves one client and is disconnected.",
  "primary": [
    { "on": "start", "do": [{ "fork": 1 }] },
    { "on": "message", "do": ["disconnect_all"] }
  ],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web" } }] },
    { "on": "data text=fail", "do": [{ "exit": 2 }] }
  ],
  "clients": [{ "steps": [{ "connect": "web" }] }],
  "contract": [
    { "because": "Served once.", "seen": "client: data", "times": 1 },
    { "because": "First this.", "first": "worker: end", "then": "worker: closed" },
    { "because": "Either.", "one_of": [
      [{ "because": "Well.", "seen": "primary: exit code=0", "times": 1 }],
      [{ "because": "Badly.", "seen": "primary: exit code=1", "times": 1 }]
    ] }
  ]
}"#;

const GOOD: &str = "\
primary: start
primary: fork worker=1 state=none after_disconnect=undefined connected=true dead=false listed=true
primary: online worker=1 state=online after_disconnect=undefined connected=true dead=false listed=true
primary: listening worker=1 address=- type=4 port=4000 state=listening after_disconnect=undefined connected=true dead=false listed=true
primary: message worker=1 text=x state=listening after_disconnect=undefined connected=true dead=false listed=true
primary: disconnect worker=1 state=disconnected after_disconnect=true connected=false dead=false listed=false
primary: exit worker=1 code=0 signal=- state=dead after_disconnect=true connected=false dead=true listed=false
primary: all_disconnected
worker 1: start
worker 1: listening server=web port=4000
worker 1: connection server=web
worker 1: end server=web
worker 1: closed server=web
worker 1: disconnect after_disconnect=true connected=false
client 1: connected server=web
client 1: data text=hello
client 1: end";

fn misfits(lines: &str) -> Vec<String> {
    let scenario = Scenario::parse(Path::new("s.json"), SCENARIO).expect("the scenario above");
    let lines = lines.lines().map(|line| line.parse::<Line>().expect(line));
    check(&scenario, &Trace::of(lines, &scenario.datagram_servers()))
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The good trace with one line replaced. The replacement `""` removes the line.
#[track_caller]
fn with(line: &str, other: &str) -> Vec<String> {
    let place = GOOD.lines().position(|one| one.starts_with(line)).expect(line);
    let kept = |(index, one)| if index == place { other } else { one };
    let lines: Vec<_> = GOOD.lines().enumerate().map(kept).filter(|line| !line.is_empty()).collect();
    misfits(&lines.join("\n"))
}

#[test]
fn good_trace_has_no_mismatch() {
    assert_eq!(misfits(GOOD), [""; 0]);
}

#[test]
fn exit_may_precede_disconnect() {
    let inverted = GOOD
        .replace(
            "disconnect worker=1 state=disconnected after_disconnect=true connected=false dead=false",
            "SWAP",
        )
        .replace(
            "exit worker=1 code=0 signal=- state=dead after_disconnect=true connected=false dead=true",
            "exit worker=1 code=0 signal=- state=dead after_disconnect=true connected=true dead=true",
        );
    let lines: Vec<_> = inverted.lines().filter(|line| !line.contains("SWAP")).collect();
    let late = "primary: disconnect worker=1 state=disconnected after_disconnect=true connected=false dead=true listed=false";
    let lines =
        lines.join("\n").replace("primary: all_disconnected", &format!("{late}\nprimary: all_disconnected"));
    assert_eq!(misfits(&lines), [""; 0]);
    let unseen = misfits(&lines.replace("connected=true dead=true", "connected=false dead=true"));
    assert_eq!(unseen.len(), 1, "{unseen:?}");
    assert!(unseen[0].ends_with("expected connected=true"), "{unseen:?}");
}

#[test]
fn exit_code_is_of_the_rules() {
    let ends_with = |code: i32| {
        let exit = format!(
            "primary: exit worker=1 code={code} signal=- state=dead after_disconnect=true connected=false dead=true listed=false"
        );
        let misfits = with("primary: exit", &exit);
        misfits.iter().filter(|misfit| misfit.contains("code=0, or a code of the worker's rules")).count()
    };
    assert_eq!([0, 2, 3, 1].map(ends_with), [0, 0, 1, 1]);
}

#[test]
fn failed_fork_disconnects_without_exit() {
    let never = "\
primary: start
primary: error worker=1 error=ENOENT state=none after_disconnect=undefined connected=true dead=true listed=true
primary: fork worker=1 state=none after_disconnect=undefined connected=true dead=true listed=true
primary: disconnect worker=1 state=disconnected after_disconnect=false connected=false dead=true listed=false";
    let of_the_primary = |text: &str| {
        let broken = misfits(text);
        broken
            .into_iter()
            .filter(|misfit| misfit.contains("primary, line") || misfit.contains("of worker 1"))
            .collect::<Vec<_>>()
    };
    let exits = "exit worker=1 code=0 signal=- state=dead after_disconnect=false connected=false dead=true listed=false";
    assert_eq!(of_the_primary(never), [""; 0]);
    assert_eq!(of_the_primary(&format!("{never}\nprimary: {exits}")).len(), 1);
}

/// After the error of a violation, and after the error of messages that were never written, the channel is
/// closed. After any other error the channel is still open.
#[test]
fn errors_may_follow_closed_channel() {
    let error = |errno: &str| {
        let line =
            format!("primary: error worker=1 error={errno} state=listening after_disconnect=undefined");
        format!("{line} connected=false dead=false listed=true\nprimary: disconnect")
    };
    let after = |errno: &str| misfits(&GOOD.replacen("primary: disconnect", &error(errno), 1));
    let other = after("ENOBUFS");
    assert!(other.len() == 1 && other[0].ends_with("expected connected=true"), "{other:?}");
    let message = GOOD.lines().find(|line| line.starts_with("primary: message")).expect("there is one");
    for errno in ["EPROTO", "EPIPE"] {
        assert_eq!(after(errno), [""; 0]);
        let later = error(errno).replacen('\n', &format!("\n{message}\n"), 1);
        let found = misfits(&GOOD.replacen("primary: disconnect", &later, 1));
        assert!(found.iter().any(|misfit| misfit.ends_with("expected connected=false")), "{found:?}");
    }
}

/// A line of the good trace, its replacement, and the mismatch that follows.
type Wrong = (&'static str, &'static str, &'static str);

/// Wrong lines of the primary.
const WRONG_IN_THE_PRIMARY: &[Wrong] = &[
    ("primary: fork", "", "expected `fork` first"),
    ("primary: online", "", "expected `online` before other events of the worker's channel"),
    (
        "primary: message",
        "primary: online worker=1 state=online after_disconnect=undefined connected=true dead=false listed=true",
        "expected one `online`",
    ),
    (
        "primary: online",
        "primary: online worker=1 state=none after_disconnect=undefined connected=true dead=false listed=true",
        "expected state=online",
    ),
    (
        "primary: online",
        "primary: online worker=1 state=online after_disconnect=false connected=true dead=false listed=true",
        "expected after_disconnect=undefined before an end",
    ),
    (
        "primary: online",
        "primary: online worker=1 state=online after_disconnect=undefined connected=true dead=false listed=false",
        "expected listed=true",
    ),
    (
        "primary: disconnect",
        "primary: disconnect worker=1 state=disconnected after_disconnect=undefined connected=false dead=false listed=false",
        "expected after_disconnect=true or false at an end",
    ),
    (
        "primary: disconnect",
        "primary: disconnect worker=1 state=disconnected after_disconnect=true connected=true dead=false listed=false",
        "expected connected=false",
    ),
    (
        "primary: exit",
        "primary: exit worker=1 code=0 signal=- state=dead after_disconnect=false connected=false dead=true listed=false",
        "expected after_disconnect unchanged",
    ),
    (
        "primary: exit",
        "primary: exit worker=1 code=0 signal=- state=dead after_disconnect=true connected=false dead=true listed=true",
        "expected listed=false: a removed worker",
    ),
    (
        "primary: exit",
        "primary: message worker=1 text=x state=disconnected after_disconnect=true connected=false dead=false listed=false",
        "expected no event of the worker's channel after `disconnect`",
    ),
    (
        "primary: exit",
        "primary: exit worker=1 code=0 signal=- state=dead after_disconnect=true connected=false dead=false listed=false",
        "expected dead=true",
    ),
    (
        "primary: exit",
        "primary: exit worker=1 code=0 signal=- state=dead after_disconnect=undefined connected=false dead=true listed=false",
        "expected after_disconnect=true or false at an end",
    ),
    (
        "primary: all_disconnected",
        "primary: look worker=1 state=dead after_disconnect=true connected=false dead=true listed=false",
        "expected nothing after both `disconnect` and `exit`",
    ),
    (
        "primary: fork",
        "primary: fork worker=2 state=none after_disconnect=undefined connected=true dead=false listed=true",
        "expected ids from 1",
    ),
    ("primary: online", "", "expected primary: `online` of the started worker 1"),
    ("primary: exit", "", "expected primary: one `disconnect` and one `exit` of worker 1"),
    ("primary: disconnect", "", "expected connected=true"),
    ("primary: listening", "primary: start", "expected nothing before `start`"),
    (
        "primary: listening",
        "primary: listening worker=1 address=- type=4 port=0 state=listening after_disconnect=undefined connected=true dead=false listed=true",
        "expected the port of the kernel's choice",
    ),
];

/// Wrong lines of a worker or a client.
const WRONG_ELSEWHERE: &[Wrong] = &[
    (
        "worker 1: disconnect",
        "worker 1: disconnect after_disconnect=true connected=false\nworker 1: message text=x",
        "expected nothing after `disconnect`",
    ),
    (
        "worker 1: disconnect",
        "worker 1: disconnect after_disconnect=true connected=true",
        "expected connected=false",
    ),
    (
        "worker 1: closed",
        "worker 1: closed server=web\nworker 1: closed server=web",
        "expected `listening` before, or no `closed` before",
    ),
    (
        "worker 1: connection",
        "worker 1: listening server=web port=4000",
        "expected `closed` before another `listening`",
    ),
    ("worker 1: connection", "worker 1: data server=web text=x", "expected an open connection"),
    ("client 1: connected", "client 1: data text=hello", "expected `connected` or `refused` once, and first"),
    ("worker 1: listening", "", "expected `listening` before, and not `closed`"),
    ("worker 1: listening", "", "expected at most the 0 `listening` of worker 1"),
    ("worker 1: start", "", "expected one `start`, and first"),
    ("worker 1: end", "", "expected `end` or `reset` of every connection before"),
    ("worker 1: closed", "", "expected `closed` of every server before"),
    (
        "worker 1: closed",
        "worker 1: disconnect after_disconnect=true connected=false",
        "expected `closed` of every server before",
    ),
    ("client 1: connected", "client 1: refused server=web", "expected nothing after the connection is over"),
    (
        "client 1: connected",
        "client 1: refused server=web",
        "expected at most the 0 connections of the clients",
    ),
    ("client 1: end", "client 1: connected server=web", "expected `connected` or `refused` once, and first"),
    ("client 1: data", "", "expected 1 x `client: data`, found 0 (Served once)"),
    ("client 1: end", "client 1: data text=again", "expected 1 x `client: data`, found 2 (Served once)"),
];

#[test]
fn wrong_lines_are_found() {
    for (line, other, expected) in WRONG_IN_THE_PRIMARY.iter().chain(WRONG_ELSEWHERE) {
        let misfits = with(line, other);
        let found = misfits.iter().any(|misfit| misfit.contains(expected));
        assert!(found, "{line} => {other}\n{misfits:#?}\nno `{expected}`");
    }
}

#[test]
fn list_keeps_worker_until_both_ends() {
    let misfits = misfits(&GOOD.replace("listed=false", "listed=true"));
    assert_eq!(misfits.len(), 1, "{misfits:?}");
    assert!(
        misfits[0].ends_with("expected listed=false when both `disconnect` and `exit` are over"),
        "{misfits:?}"
    );
}

#[test]
fn deliberate_exit_needs_a_cause() {
    let scenario = SCENARIO.replace("\"disconnect_all\"", "{ \"inspect\": 1 }");
    let scenario =
        Scenario::parse(Path::new("s.json"), &scenario).expect("the scenario above, without a disconnect");
    let misfits = check(
        &scenario,
        &Trace::of(GOOD.lines().map(|line| line.parse().expect(line)), &scenario.datagram_servers()),
    );
    let misfits: Vec<_> = misfits.iter().map(ToString::to_string).collect();
    assert_eq!(misfits.len(), 2, "{misfits:?}");
    assert!(misfits.iter().all(|misfit| misfit.ends_with("no rule disconnects a worker")), "{misfits:?}");
}

#[test]
fn exiting_primary_may_miss_ends() {
    let scenario = SCENARIO.replace("\"disconnect_all\"", "{ \"exit\": 0 }");
    let scenario =
        Scenario::parse(Path::new("s.json"), &scenario).expect("the scenario above, with a short primary");
    let lines =
        GOOD.lines().filter(|line| !line.starts_with("primary: disconnect") && !line.contains("exit"));
    let lines = lines.map(|line| line.replace("after_disconnect=true", "after_disconnect=false"));
    let misfits = check(
        &scenario,
        &Trace::of(lines.map(|line| line.parse().expect(&line)), &scenario.datagram_servers()),
    );
    // Only the clause of the scenario still checks the exit.
    assert_eq!(misfits.len(), 1, "{misfits:?}");
    assert!(misfits[0].expected.ends_with("(Either)"), "{misfits:?}");
}

#[test]
fn all_disconnected_waits_for_last_end() {
    let early = GOOD
        .replace("\nprimary: all_disconnected", "")
        .replace("primary: exit", "primary: all_disconnected\nprimary: exit");
    assert_eq!(
        misfits(&early),
        ["primary, line 7: seen `all_disconnected`, expected `exit` of worker 1 before"]
    );
}

#[test]
fn clauses_are_checked() {
    let swapped = GOOD.replace(
        "worker 1: end server=web\nworker 1: closed server=web",
        "worker 1: closed server=web\nworker 1: end server=web",
    );
    assert!(
        misfits(&swapped)
            .iter()
            .any(|misfit| misfit.contains("`worker: end` before `worker: closed` (First this)"))
    );
    let other = misfits(&GOOD.replace("code=0", "code=2"));
    assert_eq!(
        other,
        [
            "expected 1 x `primary: exit code=0`, found 0 (Well); or 1 x `primary: exit code=1`, found 0 (Badly) (Either)"
        ]
    );
}

#[test]
fn cycle_requires_turns() {
    let claim = |trace: &[u32]| {
        let lines = trace.iter().zip(1..).map(|(worker, client)| {
            (Observer::Client(client), format!("data text=from-{worker}").parse().expect("a line"))
        });
        let mut seen = Trace::default();
        lines.for_each(|(observer, line)| seen.push(observer, line));
        let text = r#"{ "because": "Round.", "cycle": "client: data", "detail": "text", "over": 3 }"#;
        super::clauses::check(&serde_json::from_str(text).expect(text), &seen)
            .map(|misfit| misfit.to_string())
    };
    assert_eq!(claim(&[2, 3, 1, 2, 3, 1, 2]), None);
    let expected = "client 4, line 1: seen `data text=from-3`, expected 3 values of `text` in turn (Round)";
    assert_eq!(claim(&[2, 3, 1, 3, 2, 1]), Some(expected.to_owned()));
    assert_eq!(claim(&[2, 2]), Some("expected 3 values of `text` in turn, found 1 (Round)".to_owned()));
}
