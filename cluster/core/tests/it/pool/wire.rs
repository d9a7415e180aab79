//! The messages of the pool, as a Node worker reads and writes them.

use cluster_core::{Message, Structured, TaskId, TaskReply, TaskRequest};
use serde_json::json;

fn message(text: &str) -> Message {
    Message::from_json_text(text).expect("JSON")
}

/// The documented texts; the payload is passed byte for byte.
#[test]
fn messages_have_documented_texts() {
    let payload = message(r#"{"n": 1e400,"s":"\ud800"}"#);
    let run = TaskRequest::Run { task: TaskId(7), payload: payload.clone() };
    let cases = [
        (run.to_message(), r#"{"cmd":"CLUSTER_TASK","id":7,"task":{"n": 1e400,"s":"\ud800"}}"#),
        (TaskRequest::Cancel { task: TaskId(7) }.to_message(), r#"{"cmd":"CLUSTER_TASK_CANCEL","id":7}"#),
        (TaskReply::Ready.to_message(), r#""CLUSTER_TASKS_READY""#),
        (
            TaskReply::Done { task: TaskId(7), result: payload }.to_message(),
            r#"{"cmd":"CLUSTER_TASK_DONE","id":7,"result":{"n": 1e400,"s":"\ud800"}}"#,
        ),
        (
            TaskReply::Failed { task: TaskId(7), error: "bad \"luck\"".to_owned() }.to_message(),
            r#"{"cmd":"CLUSTER_TASK_FAILED","id":7,"error":"bad \"luck\""}"#,
        ),
    ];
    for (message, text) in cases {
        let message = message.expect("a form in JSON");
        assert_eq!(message.json_text().expect("JSON"), text);
        let same = TaskRequest::from_message(&message).map(|request| request.to_message());
        let same = same.or_else(|| TaskReply::from_message(&message).map(|reply| reply.to_message()));
        assert_eq!(same, Some(Ok(message)));
    }
}

/// Members in any order and further members are permitted; an absent result is `null`, as `undefined` in
/// Node; an error that is no text is its JSON.
#[test]
fn replies_of_node_are_read() {
    let reply = |text| TaskReply::from_message(&message(text));
    let done = |result: &str| Some(TaskReply::Done { task: TaskId(1), result: message(result) });
    assert_eq!(reply(r#"{"result":[1, 2],"id":1,"x":0,"cmd":"CLUSTER_TASK_DONE"}"#), done("[1, 2]"));
    assert_eq!(reply(r#"{"cmd":"CLUSTER_TASK_DONE","id":1}"#), done("null"));
    let failed = |error: &str| Some(TaskReply::Failed { task: TaskId(1), error: error.to_owned() });
    assert_eq!(reply(r#"{"cmd":"CLUSTER_TASK_FAILED","id":1,"error":{"code":3}}"#), failed(r#"{"code":3}"#));
    assert_eq!(reply(r#"{"cmd":"CLUSTER_TASK_FAILED","id":1,"error":"\ud800"}"#), failed("\u{fffd}"));
    assert_eq!(reply(r#"{"cmd":"CLUSTER_TASK_FAILED","id":1}"#), failed("null"));
}

/// The pool reads structured clones as well.
#[test]
fn structured_clones_are_read() {
    let clone = Structured::Object(vec![
        ("cmd".into(), Structured::String("CLUSTER_TASK_DONE".into())),
        ("id".into(), Structured::Number(1.0)),
        ("result".into(), Structured::Bool(true)),
    ]);
    let reply = TaskReply::from_message(&Message::from_structured(&clone).expect("a clone"));
    assert_eq!(reply, Some(TaskReply::Done { task: TaskId(1), result: message("true") }));
}

/// Other messages belong to the program.
#[test]
fn other_messages_are_foreign() {
    let long = json!("x".repeat(99)).to_string();
    for text in [
        r#"{"cmd":"CLUSTER_TASKS","id":1}"#,
        r#"{"cmd":"CLUSTER_TASK_DONE"}"#,
        r#"{"cmd":"CLUSTER_TASK_DONE","id":-1}"#,
        r#"{"cmd":"CLUSTER_TASK_DONE","id":"1"}"#,
        r#"["CLUSTER_TASK"]"#,
        r#"["CLUSTER_TASK",1]"#,
        r#"["CLUSTER_TASK_DONE",1]"#,
        r#""CLUSTER_TASK""#,
        "null",
        &long,
    ] {
        let message = message(text);
        assert_eq!(TaskReply::from_message(&message), None, "{text}");
        assert_eq!(TaskRequest::from_message(&message), None, "{text}");
    }
}
