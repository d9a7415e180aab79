//! The worker's table: one server, from the first word to the end of the channel.

use cluster_core::{Errno, Limits, ListenOptions, ListenerId, OsEvent, Serialization, SocketId, Worker};
use serde_json::json;

use super::{Act, Input, ONE, address, after, os_event, read, table};

const LISTENER: ListenerId = ListenerId(1);
const GRANTED: &str = r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"null:0:4:undefined:0","ack":1,"data":null,"sockname":{"address":"::","family":"IPv6","port":40001},"seq":0}"#;
const SHARED: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"null:0:4:undefined:0","ack":1,"data":null,"seq":0}}"#;
const NEWCONN: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"null:0:4:undefined:0","seq":1}}"#;
const REFUSED: &str = r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":1,"data":null,"seq":0}"#;
const DISCONNECT: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":3}"#;
const GO: &str = r#"{"cmd":"NODE_CLUSTER","ack":2,"seq":3}"#;

fn listening() -> Act<Worker> {
    os_event(|_| OsEvent::Listening { socket: SocketId(1), address: address() })
}

fn listen() -> Act<Worker> {
    Box::new(|worker| {
        let _ = worker.listen(ListenOptions::default());
    })
}

fn accept() -> Act<Worker> {
    Box::new(|worker| worker.accept(LISTENER))
}

fn closed() -> Act<Worker> {
    os_event(|channel| OsEvent::ChannelClosed { channel })
}

fn commands() -> Vec<Input<Worker>> {
    vec![
        ("listen", listen()),
        ("accept", accept()),
        ("withdraw", Box::new(|worker| worker.withdraw(LISTENER))),
        ("release", Box::new(|worker| worker.release(SocketId(2)))),
        ("close", Box::new(|worker| worker.close(LISTENER))),
        (
            "send",
            Box::new(|worker| {
                let _ = worker.send(&json!("hello"));
            }),
        ),
        ("disconnect", Box::new(Worker::disconnect)),
        ("kill", Box::new(Worker::kill)),
    ]
}

/// What the primary says, and what else the operating system tells.
fn events() -> Vec<Input<Worker>> {
    let deaf = os_event(|_| OsEvent::ListenFailed { socket: SocketId(1), errno: Errno::EADDRINUSE });
    let broken = os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    let accepted = os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(2) });
    vec![
        ("it may listen", read(GRANTED, None)),
        ("it may listen, with a socket", read(SHARED, Some(SocketId(1)))),
        ("it may listen, the socket is lost", read(SHARED, None)),
        ("it may not listen", read(REFUSED, None)),
        ("the socket listens", listening()),
        ("the socket does not listen", deaf),
        ("a connection is offered", read(NEWCONN, Some(SocketId(2)))),
        ("the socket accepts", accepted),
        ("it is to go", read(DISCONNECT, None)),
        ("it may go", read(GO, None)),
        ("the primary says something", read(r#"{"hello":"worker"}"#, None)),
        ("the primary says rubbish", read("", None)),
        ("the primary cannot be written to", broken),
        ("the channel is closed", closed()),
    ]
}

#[test]
fn state_times_input() {
    let online = after(&Worker::new(ONE, Serialization::Json, Limits::default()), &[Box::new(|_| {})]);
    let asking = after(&online, &[listen()]);
    let serving = after(&asking, &[read(GRANTED, None)]);
    let offered = after(&serving, &[read(NEWCONN, Some(SocketId(2)))]);
    let connected = after(&offered, &[accept()]);
    let sharing = after(&asking, &[read(SHARED, Some(SocketId(1))), listening(), accept()]);
    let draining = after(&connected, &[read(DISCONNECT, None)]);
    let leaving = after(&asking, &[read(GRANTED, None), Box::new(Worker::disconnect)]);
    let destroying = after(&online, &[Box::new(Worker::kill)]);
    let lost = after(&connected, &[closed()]);
    let states = [
        ("online", online),
        ("asking to listen", asking),
        ("serving", serving),
        ("a connection is offered", offered),
        ("a connection is ours", connected),
        ("serving a shared socket", sharing),
        ("told to go, a connection open", draining),
        ("going by itself", leaving),
        ("ending itself", destroying),
        ("the channel is gone", lost),
    ];
    let inputs: Vec<Input<Worker>> = commands().into_iter().chain(events()).collect();
    let summary = |worker: &Worker| {
        format!("connected={} after_disconnect={}", worker.is_connected(), worker.exited_after_disconnect())
    };
    insta::assert_snapshot!(table(&states, &inputs, &summary));
}
