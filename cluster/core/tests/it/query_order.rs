//! The order of a primary's answers to one read with a query and the request to exit.

use cluster_core::testing::{Answer, TestProcess};
use cluster_core::{Call, Errno, Event, Machine, OsEvent, Primary, SchedulingPolicy, Settings, pump};

/// The sequence numbers that the primary acknowledges, in order, when a worker listens and disconnects at
/// once: 1 for the query, 2 for the request to exit.
fn answers(primary: &mut TestProcess<Primary>) -> Vec<u64> {
    let worker = primary.machine.fork().expect("possible settings");
    primary.drain();
    primary.os.take_calls();
    let lines = concat!(
        r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
        "\n",
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"seq":1}"#,
        "\n",
        r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":2}"#
    );
    primary.read(worker.into(), lines, None);
    let acknowledged = |line: &String| (1..=2).find(|seq| line.contains(&format!("\"ack\":{seq}")));
    primary.os.written().iter().filter_map(acknowledged).collect()
}

fn primary(settings: Settings) -> TestProcess<Primary> {
    TestProcess::new(Primary::new(settings))
}

/// Node: the query waits for `'listening'`. A worker of Node 26 that has its answer before it exits keeps
/// running.
#[test]
fn first_query_is_answered_later() {
    for bind_fails in [false, true] {
        let mut primary = primary(Settings::default());
        primary.os.binds = Answer::Failures(usize::from(bind_fails), Errno::EADDRINUSE);
        assert_eq!(answers(&mut primary), [2, 1]);
    }
}

/// A worker of Node.js 22 or later does not reuse the index of a failed attempt. Its later server shares a
/// port other than 0 nevertheless.
#[test]
fn lost_index_shares_a_port() {
    for (port, sockets) in [(8000, 1), (0, 2)] {
        let mut primary = primary(Settings::default());
        for index in 0..2 {
            let worker = primary.machine.fork().expect("possible settings");
            primary.drain();
            let query = format!(
                r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":{index},"data":null,"address":null,"port":{port},"addressType":4,"seq":1}}"#
            );
            primary.read(worker.into(), &query, None);
            assert!(primary.os.written().iter().any(|line| line.contains("\"sockname\"")), "{port}");
        }
        let binds = primary.os.calls.iter().filter(|call| matches!(call, Call::Bind { .. }));
        assert_eq!(binds.count(), sockets, "port {port}");
    }
}

/// The keys of queries in one read, in the order of their answers. In Node, the lookup of a host takes a tick
/// before the bind, so a user message behind the query is emitted and answered before the query.
#[test]
fn query_with_host_waits_longer() {
    let orders: [(&[&str], &[&str]); 6] = [
        (&["127.0.0.1", "any"], &["any", "127.0.0.1"]),
        (&["any", "127.0.0.1"], &["any", "127.0.0.1"]),
        (&["127.0.0.1", "path"], &["path", "127.0.0.1"]),
        (&["127.0.0.1", "any", "::1", "path"], &["any", "path", "127.0.0.1", "::1"]),
        (&["127.0.0.1", "message", "any"], &["message", "any", "127.0.0.1"]),
        (&["127.0.0.1", "fe80::1%lo", "any"], &["any", "127.0.0.1", "fe80::1%lo"]),
    ];
    for (queries, answers) in orders {
        assert_eq!(order_of_answers(queries), answers, "{queries:?}");
    }
}

/// The program answers the user message of the worker at once.
fn order_of_answers(queries: &[&str]) -> Vec<String> {
    let mut primary = primary(Settings::default());
    let worker = primary.machine.fork().expect("possible settings");
    primary.drain();
    primary.os.take_calls();
    let lines: Vec<String> = (0..).zip(queries).map(|(seq, query)| line(seq, query)).collect();
    let bytes = format!("{}\n", lines.join("\n")).into_bytes();
    primary.machine.handle(OsEvent::Read { channel: worker.into(), bytes, socket: None });
    while let Some(event) = pump(&mut primary.machine, &mut primary.os) {
        if matches!(event, Event::Message { .. }) {
            primary.machine.send(worker, "answer").expect("a connected worker");
        }
    }
    let answered = |text: &String| {
        let seq = (0..).zip(queries).find(|(seq, _)| text.contains(&format!("\"ack\":{seq},")));
        let answer = text.contains("answer").then_some("message");
        answer.or(seq.map(|(_, query)| *query)).map(str::to_owned)
    };
    primary.os.written().iter().filter_map(answered).collect()
}

fn line(seq: u64, query: &str) -> String {
    let (address, port, kind) = match query {
        "message" => return r#""hello""#.to_owned(),
        "any" => ("null".to_owned(), 0, 4),
        "path" => (r#""/run/web.sock""#.to_owned(), -1, -1),
        host => (format!("{host:?}"), 0, if host.contains(':') { 6 } else { 4 }),
    };
    format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":{address},"port":{port},"addressType":{kind},"seq":{seq}}}"#
    )
}

/// The only worker that waits for the lookup closes its server: nothing is bound.
#[test]
fn closed_handle_is_not_bound() {
    let mut primary = primary(Settings::default());
    let worker = primary.machine.fork().expect("possible settings");
    primary.drain();
    primary.os.take_calls();
    let close = r#"{"cmd":"NODE_CLUSTER","act":"close","key":"127.0.0.1:0:4:undefined:0","seq":2}"#;
    primary.read(worker.into(), &format!("{}\n{close}", line(1, "127.0.0.1")), None);
    let calls = primary.os.take_calls();
    assert!(!calls.iter().any(|call| matches!(call, Call::Bind { .. })), "{calls:?}");
}

/// The socket listens already, and Node waits for no event.
#[test]
fn later_query_is_answered_at_once() {
    let mut primary = primary(Settings::default());
    answers(&mut primary);
    assert_eq!(answers(&mut primary), [1, 2]);
}

/// Node: a `SharedHandle` answers at once. The worker acknowledges the descriptor before the next answer is
/// written.
#[test]
fn shared_query_is_answered_at_once() {
    let settings = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    assert_eq!(answers(&mut primary(settings)), [1]);
}

/// Two workers ask in the same turn: the second query arrives after the bind and before the answer to the
/// first, and waits.
#[test]
fn later_query_waits_for_earlier() {
    let mut primary = primary(Settings::default());
    let workers = [1, 2].map(|seq| (primary.machine.fork().expect("possible settings"), seq));
    primary.drain();
    primary.os.take_calls();
    for (worker, seq) in workers {
        let query = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"seq":{seq}}}"#
        );
        let bytes = format!("{query}\n").into_bytes();
        primary.machine.handle(OsEvent::Read { channel: worker.into(), bytes, socket: None });
    }
    primary.drain();
    let written = primary.os.written();
    let acknowledged: Vec<bool> = written.iter().map(|text| text.contains("\"ack\":1")).collect();
    assert_eq!(acknowledged, [true, false], "{written:?}");
}
