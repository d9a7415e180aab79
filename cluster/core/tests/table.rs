//! The table state x input -> state + outputs of each machine, as a snapshot: a change of behaviour is a visible diff.
//! It asserts nothing itself; the rows are read when they change.

use std::fmt::Write as _;
use std::net::SocketAddr;

use cluster_core::{
    Call, ChannelId, Errno, Event, ExitStatus, HandleId, Limits, ListenOptions, ListenerId, Machine, OsEvent,
    Output, Primary, Settings, Signal, SocketId, TimerId, Worker, WorkerId,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const LISTENER: ListenerId = ListenerId(1);
const KEY: &str = "null:0:4:undefined:0";

type Act<M> = Box<dyn Fn(&mut M)>;
type Input<M> = (&'static str, Act<M>);

/// Gives a machine one input and drains it; every write is taken whole.
fn turn<M: Machine>(machine: &mut M, input: &dyn Fn(&mut M)) -> Vec<Output<M::Event>> {
    input(machine);
    let mut outputs = Vec::new();
    while let Some(output) = machine.poll() {
        if let Output::Call(Call::Write { channel, .. }) = &output {
            machine.handle(OsEvent::Wrote { channel: *channel, rest: Vec::new() });
        }
        outputs.push(output);
    }
    outputs
}

fn text<E: std::fmt::Debug>(output: &Output<E>) -> String {
    match output {
        Output::Call(Call::Write { channel, bytes, socket }) => {
            let with = socket.map_or(String::new(), |socket| format!(" + {socket:?}"));
            format!("write to {}: {}{with}", channel.0, String::from_utf8_lossy(bytes).trim_end())
        }
        Output::Call(Call::Spawn { worker, env, .. }) => format!("call Spawn {worker} {env:?}"),
        Output::Call(call) => format!("call {call:?}"),
        Output::Event(event) => format!("EVENT {event:?}"),
    }
}

fn table<M>(states: &[(&str, M)], inputs: &[Input<M>], summary: &dyn Fn(&M) -> String) -> String
where
    M: Machine + Clone + PartialEq,
    M::Event: std::fmt::Debug,
{
    let mut table = String::new();
    for (name, state) in states {
        let _ = writeln!(table, "== {name}: {}", summary(state));
        for (label, input) in inputs {
            let mut machine = state.clone();
            let outputs = turn(&mut machine, input.as_ref());
            let _ = writeln!(table, "   {label}");
            for output in &outputs {
                let _ = writeln!(table, "        {}", text(output));
            }
            let after = if machine == *state { "(unchanged)".to_owned() } else { summary(&machine) };
            let _ = writeln!(table, "     -> {after}");
        }
    }
    table
}

fn read<M: Machine>(line: &'static str, socket: Option<SocketId>) -> Act<M> {
    os_event(move |channel| OsEvent::Read { channel, bytes: format!("{line}\n").into_bytes(), socket })
}

fn os_event<M: Machine>(event: impl Fn(ChannelId) -> OsEvent + 'static) -> Act<M> {
    let channel =
        if std::any::type_name::<M>().ends_with("Primary") { ChannelId(1) } else { ChannelId::PRIMARY };
    Box::new(move |machine| machine.handle(event(channel)))
}

fn address() -> SocketAddr {
    "[::]:40001".parse().expect("an address")
}

fn after<M: Machine + Clone>(state: &M, inputs: &[Act<M>]) -> M {
    let mut machine = state.clone();
    for input in inputs {
        turn(&mut machine, input.as_ref());
    }
    machine
}

fn primary_summary(primary: &Primary) -> String {
    let ledger = primary.ledger();
    let life = primary.worker(ONE).map_or("unknown".to_owned(), |life| {
        let flag = life.exited_after_disconnect().map_or("undecided".to_owned(), |flag| flag.to_string());
        let is = |is: bool, word: &'static str| if is { word } else { "" };
        format!(
            "{:?} after_disconnect={flag}{}{}{}",
            life.state(),
            is(life.is_connected(), " connected"),
            is(life.is_dead(), " dead"),
            is(life.is_listed(), " listed")
        )
    });
    let standing: Vec<String> =
        ledger.open().map(|(socket, standing)| format!(" {}:{standing:?}", socket.0)).collect();
    format!("worker 1 {life}; accepted {} owned {}{}", ledger.accepted(), ledger.owned(), standing.concat())
}

#[test]
fn the_primarys_table() {
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"backlog":0,"seq":1}"#;
    let close: &'static str =
        format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"close\",\"key\":\"{KEY}\",\"seq\":5}}").leak();
    let online = r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#;
    let listening = r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"address":null,"port":40001,"addressType":4,"seq":2}"#;
    let bound =
        || os_event(|_| OsEvent::Bound { handle: HandleId(1), socket: SocketId(1), address: address() });
    let accepted = || os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(2) });
    let exited = || os_event(|_| OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    let closed = || os_event(|channel| OsEvent::ChannelClosed { channel });
    let inputs: Vec<Input<Primary>> = vec![
        (
            "fork",
            Box::new(|primary| {
                let _ = primary.fork(vec![("A".into(), "1".into())]);
            }),
        ),
        (
            "send",
            Box::new(|primary| {
                let _ = primary.send(ONE, &json!("hello"));
            }),
        ),
        ("disconnect", Box::new(|primary| primary.disconnect(ONE))),
        ("disconnect_all", Box::new(Primary::disconnect_all)),
        ("kill SIGTERM", Box::new(|primary| primary.kill(ONE, Signal::SIGTERM))),
        ("it says online", read(online, None)),
        ("it asks to listen", read(query, None)),
        ("the socket is bound", bound()),
        (
            "the socket is not bound",
            os_event(|_| OsEvent::BindFailed { handle: HandleId(1), errno: Errno::EACCES }),
        ),
        ("it says listening", read(listening, None)),
        (
            "a connection is accepted",
            os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(3) }),
        ),
        (
            "accepting fails",
            os_event(|_| OsEvent::AcceptFailed { listener: SocketId(1), errno: Errno::EMFILE }),
        ),
        ("the descriptor arrives", read(r#"{"cmd":"NODE_HANDLE_ACK"}"#, None)),
        ("the descriptor is lost", read(r#"{"cmd":"NODE_HANDLE_NACK"}"#, None)),
        ("it takes the connection", read(r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#, None)),
        (
            "it refuses the connection",
            read(r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":false,"seq":3}"#, None),
        ),
        ("a timer fires", os_event(|_| OsEvent::Timer { timer: TimerId(1) })),
        ("it closes its server", read(close, None)),
        ("it wants to go", read(r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":4}"#, None)),
        ("it says something", read(r#"{"hello":"primary"}"#, None)),
        ("it says rubbish", read("{", None)),
        ("it sends a descriptor nobody wants", read("1", Some(SocketId(9)))),
        (
            "it cannot be written to",
            os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE }),
        ),
        ("its channel is closed", closed()),
        ("its process has ended", exited()),
    ];
    let none = Primary::new(Settings::default());
    let forked = after(
        &none,
        &[Box::new(|primary| {
            let _ = primary.fork(Vec::new());
        })],
    );
    let running = after(&forked, &[read(online, None)]);
    let binding = after(&running, &[read(query, None)]);
    let serving = after(&binding, &[bound(), read(listening, None)]);
    let handed = after(&serving, &[accepted()]);
    let leaving = after(&handed, &[Box::new(|primary| primary.disconnect(ONE))]);
    let disconnected = after(&handed, &[closed()]);
    let dead = after(&handed, &[exited()]);
    let states = [
        ("no workers", none),
        ("forked", forked),
        ("online", running),
        ("binding", binding),
        ("serving", serving),
        ("a connection is handed out", handed),
        ("asked to go, a connection handed out", leaving),
        ("disconnected, not dead", disconnected),
        ("dead, not disconnected", dead),
    ];
    insta::assert_snapshot!(table(&states, &inputs, &primary_summary));
}

#[test]
fn the_workers_table() {
    let granted: &'static str = format!(
        "{{\"cmd\":\"NODE_CLUSTER\",\"errno\":null,\"key\":\"{KEY}\",\"ack\":1,\"data\":null,\"sockname\":{{\"address\":\"::\",\"family\":\"IPv6\",\"port\":40001}},\"seq\":0}}"
    )
    .leak();
    let shared: &'static str = format!(
        "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{{\"cmd\":\"NODE_CLUSTER\",\"errno\":0,\"key\":\"{KEY}\",\"ack\":1,\"data\":null,\"seq\":0}}}}"
    )
    .leak();
    let newconn: &'static str = format!(
        "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":\"{KEY}\",\"seq\":1}}}}"
    )
    .leak();
    let refused = r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":1,"data":null,"seq":0}"#;
    let disconnect = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":3}"#;
    let listening = || os_event(|_| OsEvent::Listening { socket: SocketId(1), address: address() });
    let listen = || -> Act<Worker> {
        Box::new(|worker| {
            let _ = worker.listen(ListenOptions::default());
        })
    };
    let accept = || -> Act<Worker> { Box::new(|worker| worker.accept(LISTENER)) };
    let closed = || os_event(|channel| OsEvent::ChannelClosed { channel });
    let inputs: Vec<Input<Worker>> = vec![
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
        ("it may listen", read(granted, None)),
        ("it may listen, with a socket", read(shared, Some(SocketId(1)))),
        ("it may listen, the socket is lost", read(shared, None)),
        ("it may not listen", read(refused, None)),
        ("the socket listens", listening()),
        (
            "the socket does not listen",
            os_event(|_| OsEvent::ListenFailed { socket: SocketId(1), errno: Errno::EADDRINUSE }),
        ),
        ("a connection is offered", read(newconn, Some(SocketId(2)))),
        (
            "the socket accepts",
            os_event(|_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(2) }),
        ),
        ("it is to go", read(disconnect, None)),
        ("it may go", read(r#"{"cmd":"NODE_CLUSTER","ack":2,"seq":3}"#, None)),
        ("the primary says something", read(r#"{"hello":"worker"}"#, None)),
        ("the primary says rubbish", read("", None)),
        (
            "the primary cannot be written to",
            os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE }),
        ),
        ("the channel is closed", closed()),
    ];
    let online = after(&Worker::new(ONE, Limits::default()), &[Box::new(|_| {})]);
    let asking = after(&online, &[listen()]);
    let serving = after(&asking, &[read(granted, None)]);
    let offered = after(&serving, &[read(newconn, Some(SocketId(2)))]);
    let connected = after(&offered, &[accept()]);
    let sharing = after(&asking, &[read(shared, Some(SocketId(1))), listening(), accept()]);
    let draining = after(&connected, &[read(disconnect, None)]);
    let leaving = after(&asking, &[read(granted, None), Box::new(Worker::disconnect)]);
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
    let summary = |worker: &Worker| {
        format!("connected={} after_disconnect={}", worker.is_connected(), worker.exited_after_disconnect())
    };
    insta::assert_snapshot!(table(&states, &inputs, &summary));
}

/// The table speaks of events in words that a reader knows.
#[test]
fn an_event_is_printed_as_it_is_written() {
    assert_eq!(text(&Output::Event(Event::AllDisconnected)), "EVENT AllDisconnected");
}
