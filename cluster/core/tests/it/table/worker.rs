//! The worker's table: one server, from the first message to the close of the channel.

use cluster_core::{
    Errno, HandleId, Limits, ListenAddress, ListenOptions, ListenerId, OsEvent, Serialization, SocketId,
    Worker,
};
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
                let _ = worker.send(json!("hello"));
            }),
        ),
        ("disconnect", Box::new(Worker::disconnect)),
        ("kill", Box::new(Worker::kill)),
    ]
}

/// The lines of the primary, and the other events of the operating system.
fn events() -> Vec<Input<Worker>> {
    let deaf = os_event(|_| OsEvent::ListenFailed { socket: SocketId(1), errno: Errno::EADDRINUSE });
    let broken = os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    let accepted =
        os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(2), client: None });
    vec![
        ("it may listen", read(GRANTED, None)),
        ("it may listen, with a socket", read(SHARED, Some(SocketId(1)))),
        ("it may listen, the socket is lost", read(SHARED, None)),
        ("it may not listen", read(REFUSED, None)),
        ("the socket listens", listening()),
        ("the socket does not listen", deaf),
        ("a connection is offered", read(NEWCONN, Some(SocketId(2)))),
        ("the socket accepts", accepted),
        ("it is asked to exit", read(DISCONNECT, None)),
        ("its exit is confirmed", read(GO, None)),
        ("the primary sends a message", read(r#"{"hello":"worker"}"#, None)),
        ("the primary sends garbage", read("", None)),
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
        ("asked to exit, a connection open", draining),
        ("exiting by itself", leaving),
        ("ending itself", destroying),
        ("the channel is closed", lost),
    ];
    let inputs: Vec<Input<Worker>> = commands().into_iter().chain(events()).collect();
    let summary = |worker: &Worker| {
        format!("connected={} after_disconnect={}", worker.is_connected(), worker.exited_after_disconnect())
    };
    insta::assert_snapshot!(table(&states, &inputs, &summary));
}

const DATAGRAMS: &str = r#"{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"0.0.0.0:undefined:udp4:-1:0","ack":1,"data":null,"seq":0}}"#;

/// The primary's answer to the report of an exit.
const MAY_GO: &str = r#"{"cmd":"NODE_CLUSTER","ack":1,"seq":0}"#;

fn listen_on(options: ListenOptions) -> Act<Worker> {
    Box::new(move |worker| {
        let _ = worker.listen(options.clone());
    })
}

/// Servers that share no TCP port: an exclusive server, a server for datagrams, a server with a path and a
/// limit.
#[test]
fn other_servers_times_input() {
    let online = after(&Worker::new(ONE, Serialization::Json, Limits::default()), &[Box::new(|_| {})]);
    let alone = ListenOptions { exclusive: true, ..ListenOptions::default() };
    let udp =
        ListenAddress::Udp { v6: false, host: None, port: None, ipv6_only: false, reuse_address: false };
    let path = ListenAddress::Path { path: "/run/x".into(), readable_all: false, writable_all: true };
    let few = ListenOptions { max_connections: Some(1), ..path.into() };
    let bound =
        || os_event(|_| OsEvent::Bound { handle: HandleId(1), socket: SocketId(1), address: address() });
    let unbound = os_event(|_| OsEvent::BindFailed { handle: HandleId(1), errno: Errno::EACCES });
    let accepted =
        || os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(2), client: None });
    let binding = after(&online, &[listen_on(alone)]);
    let serving = after(&binding, &[bound(), accept()]);
    let connected = after(&serving, &[accepted()]);
    let gone = after(&connected, &[Box::new(Worker::disconnect), read(MAY_GO, None)]);
    let asking = after(&online, &[listen_on(udp.into())]);
    let datagrams = after(&asking, &[read(DATAGRAMS, Some(SocketId(1))), listening()]);
    let path = r#"{"cmd":"NODE_CLUSTER","key":"null:0:4:undefined:0","ack":1,"data":null,"seq":0}"#;
    let limited = after(&online, &[listen_on(few), read(path, None), accept()]);
    let full = after(&limited, &[read(NEWCONN, Some(SocketId(3)))]);
    let states = [
        ("binding alone", binding),
        ("serving alone", serving),
        ("serving alone, a connection is ours", connected),
        ("serving alone, disconnected", gone),
        ("asking for datagrams", asking),
        ("serving datagrams", datagrams),
        ("serving a path, for one connection", limited),
        ("serving a path, with one connection", full),
    ];
    let other: Vec<Input<Worker>> = vec![
        ("the socket is bound", bound()),
        ("the socket is not bound", unbound),
        ("it may have datagrams", read(DATAGRAMS, Some(SocketId(1)))),
    ];
    let inputs: Vec<Input<Worker>> = commands().into_iter().chain(events()).chain(other).collect();
    let summary = |worker: &Worker| {
        format!("connected={} after_disconnect={}", worker.is_connected(), worker.exited_after_disconnect())
    };
    insta::assert_snapshot!(table(&states, &inputs, &summary));
}
