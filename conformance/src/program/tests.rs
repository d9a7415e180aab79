//! The interpreter as a table of observations and the actions that follow.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::clients::{ClientCommand, ClientScript};
use super::*;
use crate::observation::Line;
use crate::scenario::{ServerName, Step, Token};

const SCENARIO: &str = r#"{
  "name": "s",
  "description": "-",
  "primary": [
    { "on": "start", "do": [{ "fork": 2 }, { "fork_with": { "COLOR": "blue" } }] },
    { "on": "online", "do": [{ "send": { "to": "same", "text": "ping" } }] },
    { "on": "online #2", "do": [{ "inspect": 1 }, { "kill": { "worker": "same", "signal": "SIGTERM" } }] },
    { "on": "exit worker=1", "do": ["disconnect_all", { "exit": 4 }, { "fork": 1 }] }
  ],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web", "host": "127.0.0.1" } }] },
    { "on": "listening server=web", "do": [{ "listen": { "server": "same", "port_of": "web" } }, { "send": "on-$worker" }] },
    { "on": "connection", "do": [{ "reply": "hello-$worker" }, "end"] }
  ],
  "workers": { "2": [{ "on": "start", "do": [{ "env": "COLOR" }, "crash", "end_all"] }] },
  "clients": [
    { "count": 2, "steps": [{ "connect": "web" }, { "write": "hi" }, { "await": "me: data" }, "end"] },
    { "count": 2, "steps": [{ "await": "primary: online #2" }, { "connect": "web" }, "reset"] }
  ],
  "contract": [{ "because": "-", "seen": "primary: start", "times": 1 }]
}"#;

fn scenario() -> Scenario {
    Scenario::parse(Path::new("s.json"), SCENARIO).expect("the scenario above")
}

fn seen(text: &str) -> Observation {
    text.parse().expect(text)
}

/// An action of either side, with complete arguments.
fn action<Action: DeserializeOwned>(json: &str) -> Action {
    serde_json::from_str(json).expect(json)
}

#[test]
fn primary_follows_its_rules() {
    let mut primary = Primary::new(&scenario());
    let ping = |worker| action(&format!(r#"{{ "send": {{ "to": {worker}, "text": "ping" }} }}"#));
    let blue = action(r#"{ "fork_with": { "COLOR": "blue" } }"#);
    assert_eq!(primary.react(&seen("start")), [PrimaryAction::Fork(2), blue]);
    assert_eq!(primary.react(&seen("online worker=2")), [ping(2)]);
    let kill = action(r#"{ "kill": { "worker": 1, "signal": "SIGTERM" } }"#);
    assert_eq!(
        primary.react(&seen("online worker=1")),
        [ping(1), PrimaryAction::Inspect(Target::Id(1)), kill]
    );
    assert_eq!(primary.react(&seen("online worker=3")), [ping(3)]);
    assert_eq!(primary.react(&seen("exit worker=2")), []);
    let last = [PrimaryAction::DisconnectAll, PrimaryAction::Exit(4)];
    assert_eq!(primary.react(&seen("exit worker=1 code=0")), last);
}

#[test]
fn worker_follows_its_rules() {
    let mut worker = Worker::new(&scenario(), 7);
    let web = action(r#"{ "listen": { "server": "web", "host": "127.0.0.1" } }"#);
    assert_eq!(worker.react(&seen("start")), [web]);
    let same = worker.react(&seen("listening server=web port=4000"));
    let port = |action: &WorkerAction| {
        if let WorkerAction::Listen(listen) = action {
            listen.port_of.as_ref().map(ServerName::port)
        } else {
            None
        }
    };
    assert_eq!(same.iter().map(port).collect::<Vec<_>>(), [Some(4000), None]);
    assert_eq!(same[1], action(r#"{ "send": "on-7" }"#));
    let hello = action(r#"{ "reply": "hello-7" }"#);
    assert_eq!(worker.react(&seen("connection server=web")), [hello, WorkerAction::End]);
}

#[test]
fn worker_rules_replace_common_rules() {
    let mut worker = Worker::new(&scenario(), 2);
    let env = WorkerAction::Env("COLOR".to_owned());
    assert_eq!(worker.react(&seen("start")), [env, WorkerAction::Crash]);
    assert_eq!(worker.react(&seen("connection server=web")), []);
}

#[track_caller]
fn after_line(script: &mut ClientScript, line: &str, expected: &[(u32, &Step)]) {
    let commands = script.on_line(&line.parse::<Line>().expect(line));
    let expected: Vec<_> =
        expected.iter().map(|&(client, step)| ClientCommand { client, step: step.clone() }).collect();
    assert_eq!(commands, expected, "{line}");
}

#[test]
fn clients_wait_for_turn_and_lines() {
    let mut script = ClientScript::new(&scenario());
    let mut web = ServerName::from("web".parse::<Token>().expect("a word"));
    web.address = Some(ServerAddress::Port(4001));
    let connect = Step::Connect(web);
    let hi = action(r#"{ "write": "hi" }"#);
    after_line(&mut script, "primary: online worker=1", &[]);
    after_line(&mut script, "worker 1: listening server=web port=4001", &[(1, &connect)]);
    after_line(&mut script, "client 1: connected server=web", &[(1, &hi)]);
    after_line(&mut script, "primary: online worker=2", &[(3, &connect)]);
    after_line(&mut script, "client 1: data text=x", &[(1, &Step::End)]);
    after_line(&mut script, "client 3: connected server=web", &[(3, &Step::Reset), (4, &connect)]);
    after_line(&mut script, "client 1: end", &[(2, &connect)]);
    after_line(&mut script, "client 2: refused server=web", &[]);
}
