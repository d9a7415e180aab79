//! The primary's table: one worker, from before the fork to after the exit.

use cluster_core::{
    Errno, ExitStatus, HandleId, HandleType, OsEvent, OutgoingHandle, Primary, Settings, Signal, SocketId,
    TimerId,
};
use serde_json::json;

use super::{Act, Input, ONE, address, after, os_event, read, table};

const QUERY: &str = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"backlog":0,"seq":1}"#;
const CLOSE: &str = r#"{"cmd":"NODE_CLUSTER","act":"close","key":"null:0:4:undefined:0","seq":5}"#;
const ONLINE: &str = r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#;
const LISTENING: &str = r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"address":null,"port":40001,"addressType":4,"seq":2}"#;
const ACCEPTED: &str = r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#;
const REFUSED: &str = r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":false,"seq":3}"#;
const GOODBYE: &str = r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":4}"#;

fn bound() -> Act<Primary> {
    os_event(|_| OsEvent::Bound { handle: HandleId(1), socket: SocketId(1), address: address() })
}

fn accepted(socket: u64) -> Act<Primary> {
    os_event(move |_| OsEvent::Accepted { listener: SocketId(1), socket: SocketId(socket), client: None })
}

fn exited() -> Act<Primary> {
    os_event(|_| OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) })
}

fn closed() -> Act<Primary> {
    os_event(|channel| OsEvent::ChannelClosed { channel })
}

fn commands() -> Vec<Input<Primary>> {
    vec![
        (
            "fork",
            Box::new(|primary| {
                let _ = primary.fork_with_env([("A", "1")]).expect("the settings are valid");
            }),
        ),
        (
            "send",
            Box::new(|primary| {
                let _ = primary.send(ONE, json!("hello"));
            }),
        ),
        ("disconnect", Box::new(|primary| primary.disconnect_worker(ONE))),
        ("disconnect_all", Box::new(Primary::disconnect_all)),
        ("kill SIGTERM", Box::new(|primary| primary.kill(ONE, Signal::SIGTERM))),
    ]
}

/// The lines of the worker.
fn lines() -> Vec<Input<Primary>> {
    vec![
        ("it reports online", read(ONLINE, None)),
        ("it asks to listen", read(QUERY, None)),
        ("it reports a server", read(LISTENING, None)),
        ("the descriptor arrives", read(r#"{"cmd":"NODE_HANDLE_ACK"}"#, None)),
        ("the descriptor is lost", read(r#"{"cmd":"NODE_HANDLE_NACK"}"#, None)),
        ("it takes the connection", read(ACCEPTED, None)),
        ("it refuses the connection", read(REFUSED, None)),
        ("it closes its server", read(CLOSE, None)),
        ("it requests to exit", read(GOODBYE, None)),
        ("it sends a message", read(r#"{"hello":"primary"}"#, None)),
        ("it sends garbage", read("-", None)),
        ("it sends a stray descriptor", read("1", Some(SocketId(9)))),
    ]
}

/// The other events of the operating system.
fn events() -> Vec<Input<Primary>> {
    let failed = os_event(|_| OsEvent::BindFailed { handle: HandleId(1), errno: Errno::EACCES });
    let full = os_event(|_| OsEvent::AcceptFailed { listener: SocketId(1), errno: Errno::EMFILE });
    let broken = os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    vec![
        ("the socket is bound", bound()),
        ("the socket is not bound", failed),
        ("a connection is accepted", accepted(3)),
        ("accepting fails", full),
        ("a timer fires", os_event(|_| OsEvent::Timer { timer: TimerId(1) })),
        ("it cannot be written to", broken),
        ("its channel is closed", closed()),
        ("its process has ended", exited()),
    ]
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
    let open: Vec<String> = ledger.open().map(|(socket, state)| format!(" {}:{state:?}", socket.0)).collect();
    format!("worker 1 {life}; accepted {} owned {}{}", ledger.accepted(), ledger.owned(), open.concat())
}

#[test]
fn state_times_input() {
    let none = Primary::new(Settings::default());
    let forked = after(
        &none,
        &[Box::new(|primary| {
            let _ = primary.fork().expect("the settings are valid");
        })],
    );
    let running = after(&forked, &[read(ONLINE, None)]);
    let binding = after(&running, &[read(QUERY, None)]);
    let serving = after(&binding, &[bound(), read(LISTENING, None)]);
    let handed = after(&serving, &[accepted(2)]);
    let leaving = after(&handed, &[Box::new(|primary| primary.disconnect_worker(ONE))]);
    let disconnected = after(&handed, &[closed()]);
    let dead = after(&handed, &[exited()]);
    let states = [
        ("no workers", none),
        ("forked", forked),
        ("online", running),
        ("binding", binding),
        ("serving", serving),
        ("a connection is handed out", handed),
        ("asked to exit, a connection handed out", leaving),
        ("disconnected, not dead", disconnected),
        ("dead, not disconnected", dead),
    ];
    let inputs: Vec<Input<Primary>> = commands().into_iter().chain(lines()).chain(events()).collect();
    insta::assert_snapshot!(table(&states, &inputs, &primary_summary));
}

const PASSED: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":"tcp:80","msg":{"hello":"primary"}}"#;
const COUNT: &str = r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"tcp:80"}"#;
const TELL_ME: &str = r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"tcp:80"}"#;

fn pass(keep_open: bool) -> Act<Primary> {
    let passing = OutgoingHandle { socket: SocketId(7), kind: HandleType::Socket, keep_open };
    Box::new(move |primary| {
        let _ = primary.send_with(ONE, json!("take it"), passing);
    })
}

/// The sockets that accompany messages.
#[test]
fn passed_sockets_times_input() {
    let forked = after(
        &Primary::new(Settings::default()),
        &[Box::new(|primary| {
            let _ = primary.fork().expect("the settings are valid");
        })],
    );
    let online = after(&forked, &[read(ONLINE, None)]);
    let nack = || read(r#"{"cmd":"NODE_HANDLE_NACK"}"#, None);
    let given = after(&online, &[pass(false)]);
    let kept = after(&online, &[pass(true)]);
    let refused = after(&given, &[nack(), nack(), nack()]);
    let received = after(&online, &[read(PASSED, Some(SocketId(9)))]);
    let asked = after(&received, &[read(TELL_ME, None)]);
    let states = [
        ("online", online),
        ("a socket is on its way", given),
        ("a socket to be kept is on its way", kept),
        ("a socket was refused three times", refused),
        ("a socket was received", received),
        ("the end of a received socket is waited for", asked),
    ];
    let broken = os_event(|channel| OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    let inputs: Vec<Input<Primary>> = vec![
        ("pass it", pass(false)),
        ("pass it and keep it", pass(true)),
        ("release what was received", Box::new(|primary| primary.release(SocketId(9)))),
        ("disconnect", Box::new(|primary| primary.disconnect_worker(ONE))),
        ("it has arrived", read(r#"{"cmd":"NODE_HANDLE_ACK"}"#, None)),
        ("it has not arrived", nack()),
        ("a socket arrives", read(PASSED, Some(SocketId(10)))),
        ("a socket is lost", read(PASSED, None)),
        ("how many are open?", read(COUNT, None)),
        ("say when none is open", read(TELL_ME, None)),
        ("it cannot be written to", broken),
        ("its channel is closed", closed()),
        ("its process has ended", exited()),
    ];
    insta::assert_snapshot!(table(&states, &inputs, &primary_summary));
}
