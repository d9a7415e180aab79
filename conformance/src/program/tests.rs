//! The interpreter as a table: observation, commands.

use std::path::Path;

use super::clients::{ClientAction, ClientCommand, ClientScript, ServerAddress};
use super::*;
use crate::observation::Line;

const SCENARIO: &str = r#"{
  "name": "s",
  "description": "-",
  "primary": [
    { "on": "start", "do": [{ "fork": 2 }, { "fork_with": { "COLOR": "blue" } }] },
    { "on": "online", "do": [{ "send": { "to": "same", "text": "go" } }] },
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

#[test]
fn primary_follows_its_rules() {
    let mut primary = Primary::new(&scenario());
    let plain = PrimaryCommand::Fork { env: Vec::new() };
    let blue = PrimaryCommand::Fork { env: vec![("COLOR".to_owned(), "blue".to_owned())] };
    let go = |worker| PrimaryCommand::Send { worker, text: "go".to_owned() };
    assert_eq!(primary.react(&seen("start")), [plain.clone(), plain, blue]);
    assert_eq!(primary.react(&seen("online worker=2")), [go(2)]);
    let kill = PrimaryCommand::Kill { worker: 1, signal: Signal::Term };
    assert_eq!(primary.react(&seen("online worker=1")), [go(1), PrimaryCommand::Inspect { worker: 1 }, kill]);
    assert_eq!(primary.react(&seen("online worker=3")), [go(3)]);
    assert_eq!(primary.react(&seen("exit worker=2")), []);
    let last = [PrimaryCommand::DisconnectAll, PrimaryCommand::Exit { code: 4 }];
    assert_eq!(primary.react(&seen("exit worker=1 code=0")), last);
}

#[test]
fn worker_follows_its_rules() {
    let mut worker = Worker::new(&scenario(), 7);
    let listen = |json: &str, port| {
        let listen = serde_json::from_str(json).expect(json);
        WorkerCommand::Listen { listen, port, fd: None }
    };
    let web = listen(r#"{ "server": "web", "host": "127.0.0.1" }"#, 0);
    assert_eq!(worker.react(&seen("start")), [web]);
    let on = WorkerCommand::Send { text: "on-7".to_owned() };
    let same = listen(r#"{ "server": "same", "port_of": "web" }"#, 4000);
    assert_eq!(worker.react(&seen("listening server=web port=4000")), [same, on]);
    let hello = WorkerCommand::Reply { text: "hello-7".to_owned() };
    assert_eq!(worker.react(&seen("connection server=web")), [hello, WorkerCommand::End]);
}

#[test]
fn worker_rules_replace_common_rules() {
    let mut worker = Worker::new(&scenario(), 2);
    let env = WorkerCommand::Env { name: "COLOR".to_owned() };
    assert_eq!(worker.react(&seen("start")), [env, WorkerCommand::Crash]);
    assert_eq!(worker.react(&seen("connection server=web")), []);
}

#[track_caller]
fn after_line(script: &mut ClientScript, line: &str, expected: &[(u32, ClientAction)]) {
    let commands = script.on_line(&line.parse::<Line>().expect(line));
    let expected: Vec<_> =
        expected.iter().map(|(client, act)| ClientCommand { client: *client, action: act.clone() }).collect();
    assert_eq!(commands, expected, "{line}");
}

#[test]
fn clients_wait_for_turn_and_lines() {
    let mut script = ClientScript::new(&scenario());
    let connect = ClientAction::Connect { server: "web".to_owned(), at: ServerAddress::V4(4001) };
    let hi = ClientAction::Write { text: "hi".to_owned() };
    after_line(&mut script, "primary: online worker=1", &[]);
    after_line(&mut script, "worker 1: listening server=web port=4001", &[(1, connect.clone())]);
    after_line(&mut script, "client 1: connected server=web", &[(1, hi)]);
    after_line(&mut script, "primary: online worker=2", &[(3, connect.clone())]);
    after_line(&mut script, "client 1: data text=x", &[(1, ClientAction::End)]);
    after_line(
        &mut script,
        "client 3: connected server=web",
        &[(3, ClientAction::Reset), (4, connect.clone())],
    );
    after_line(&mut script, "client 1: end", &[(2, connect)]);
    after_line(&mut script, "client 2: refused server=web", &[]);
}
