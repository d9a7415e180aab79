//! The kernel alone: its answers, its events, and the end of a process.

use cluster_core::{
    BindAddress, Call, ChannelId, Errno, ExitStatus, HandleId, LocalAddress, OsEvent, Signal, SocketId,
    WorkerId,
};

use super::process_table::Phase;
use super::ready::Readiness;
use super::socket::Flow;
use super::{Kernel, Step};
use crate::event::ClientAction;
use crate::event::{ClientEvent, ClientId};
use crate::fault::{Fault, Faults};
use crate::schedule::Schedule;
use crate::step::Pid;

mod binding;
mod limits;
mod program_sockets;
mod zones;

const PRIMARY: Pid = Pid::PRIMARY;
const WORKER: Pid = Pid(1);
const DOWN: ChannelId = ChannelId(1);
const UP: ChannelId = ChannelId::PRIMARY;

/// A kernel with a primary and one worker, both running.
#[track_caller]
fn kernel() -> Kernel {
    let mut kernel = Kernel::new(100);
    let spawn =
        Call::Spawn { worker: WorkerId(1), options: cluster_core::SpawnOptions::new(), env: Vec::new() };
    assert!(matches!(perform(&mut kernel, PRIMARY, spawn), Some(OsEvent::Spawned { .. })));
    kernel.processes.get_mut(PRIMARY).phase = Phase::Running;
    kernel.processes.get_mut(WORKER).phase = Phase::Running;
    kernel
}

fn perform(kernel: &mut Kernel, pid: Pid, call: Call) -> Option<OsEvent> {
    kernel.perform(pid, call, &mut Schedule::quiet())
}

fn write(kernel: &mut Kernel, pid: Pid, text: &str, socket: Option<SocketId>) -> Option<OsEvent> {
    let channel = if pid == PRIMARY { DOWN } else { UP };
    perform(kernel, pid, Call::Write { channel, bytes: text.into(), socket })
}

fn bind(kernel: &mut Kernel, port: u16, backlog: Option<u32>) -> Option<OsEvent> {
    let address = BindAddress::Tcp { host: None, port, ipv6_only: false, reuse_port: false };
    perform(kernel, PRIMARY, Call::Bind { handle: HandleId(1), address, backlog })
}

/// Makes a listener of the primary at port 40001, and a client in its backlog.
#[track_caller]
fn served(kernel: &mut Kernel) -> ClientId {
    assert!(
        matches!(bind(kernel, 0, Some(1)), Some(OsEvent::Bound { address, .. }) if address.port() == 40_001)
    );
    let client = kernel.network.clients.add();
    act(kernel, client, ClientAction::Connect(port(40_001)));
    assert_eq!(kernel.next_client_event(client), ClientEvent::Connected);
    client
}

fn command(kernel: &mut Kernel, client: ClientId, action: ClientAction) {
    kernel.network.clients.command(client, action, &mut kernel.ready);
}

/// Performs an action of a client.
fn act(kernel: &mut Kernel, client: ClientId, action: ClientAction) {
    command(kernel, client, action);
    kernel.act(client, &mut Schedule::quiet());
}

fn port(port: u16) -> LocalAddress {
    LocalAddress::Ip(([127, 0, 0, 1], port).into())
}

fn accept(kernel: &mut Kernel) -> Option<OsEvent> {
    kernel.accept(PRIMARY, SocketId(0), &mut Schedule::quiet())
}

fn die(kernel: &mut Kernel, pid: Pid) {
    kernel.die(pid, ExitStatus::Signal(Signal::SIGKILL), &mut Schedule::quiet());
}

fn read(kernel: &mut Kernel, pid: Pid, channel: ChannelId) -> Option<OsEvent> {
    kernel.read(pid, channel, &mut Schedule::quiet())
}

#[test]
fn exit_follows_every_byte() {
    let mut kernel = kernel();
    write(&mut kernel, WORKER, "last bytes", None);
    die(&mut kernel, WORKER);
    assert_eq!(kernel.readiness(Step::Reap(WORKER)), Readiness::Waiting);
    assert!(
        matches!(read(&mut kernel, PRIMARY, DOWN), Some(OsEvent::Read { bytes, .. }) if bytes == b"last bytes")
    );
    assert_eq!(kernel.readiness(Step::Reap(WORKER)), Readiness::Enabled);
    assert_eq!(kernel.readiness(Step::Read(PRIMARY, DOWN)), Readiness::Enabled);
    assert_eq!(read(&mut kernel, PRIMARY, DOWN), Some(OsEvent::ChannelClosed { channel: DOWN }));
    let status = ExitStatus::Signal(Signal::SIGKILL);
    assert_eq!(
        kernel.reap(WORKER, &mut Schedule::quiet()),
        Some(OsEvent::Exited { worker: WorkerId(1), status })
    );
    assert_eq!(kernel.readiness(Step::Reap(WORKER)), Readiness::Obsolete);
}

#[test]
fn grandchild_holds_the_channel_open() {
    let mut kernel = kernel();
    let mut schedule = Schedule::replay(vec![1]).with_faults(Faults::only(&[Fault::Grandchild]));
    kernel.die(WORKER, ExitStatus::Code(0), &mut schedule);
    assert_eq!(kernel.readiness(Step::Read(PRIMARY, DOWN)), Readiness::Obsolete, "no end of file yet");
    assert_eq!(kernel.readiness(Step::Reap(WORKER)), Readiness::Enabled);
    kernel.close_inherited(WORKER);
    assert_eq!(kernel.readiness(Step::Read(PRIMARY, DOWN)), Readiness::Enabled);
}

#[test]
fn write_is_cut_at_the_capacity() {
    let mut kernel = kernel();
    let rest = vec![b'x'; 20];
    assert_eq!(
        write(&mut kernel, PRIMARY, &"x".repeat(120), None),
        Some(OsEvent::Wrote { channel: DOWN, rest })
    );
    assert_eq!(kernel.readiness(Step::Writable(PRIMARY, DOWN)), Readiness::Waiting);
    assert!(matches!(read(&mut kernel, WORKER, UP), Some(OsEvent::Read { bytes, .. }) if bytes.len() == 100));
    assert_eq!(kernel.readiness(Step::Writable(PRIMARY, DOWN)), Readiness::Enabled);
    die(&mut kernel, WORKER);
    let failed = OsEvent::WriteFailed { channel: DOWN, errno: Errno::EPIPE };
    assert_eq!(write(&mut kernel, PRIMARY, "y", None), Some(failed));
}

#[test]
fn paused_channel_delivers_nothing() {
    let mut kernel = kernel();
    perform(&mut kernel, WORKER, Call::PauseRead { channel: UP });
    write(&mut kernel, PRIMARY, "x", None);
    assert_eq!(kernel.readiness(Step::Read(WORKER, UP)), Readiness::Waiting);
    perform(&mut kernel, WORKER, Call::ResumeRead { channel: UP });
    assert_eq!(kernel.readiness(Step::Read(WORKER, UP)), Readiness::Enabled);
}

#[test]
fn port_is_freed_by_last_reference() {
    let mut kernel = kernel();
    assert!(matches!(bind(&mut kernel, 80, Some(1)), Some(OsEvent::Bound { .. })));
    let taken = Some(OsEvent::BindFailed { handle: HandleId(1), errno: Errno::EADDRINUSE });
    assert_eq!(bind(&mut kernel, 80, Some(1)), taken);
    write(&mut kernel, PRIMARY, "x", Some(SocketId(0)));
    perform(&mut kernel, PRIMARY, Call::Close { socket: SocketId(0) });
    assert_eq!(bind(&mut kernel, 80, Some(1)), taken, "the message in flight references the socket");
    die(&mut kernel, WORKER);
    assert!(matches!(bind(&mut kernel, 80, Some(1)), Some(OsEvent::Bound { .. })));
    kernel.system_mut().tcp_ports.insert(81);
    assert!(matches!(bind(&mut kernel, 81, Some(1)), Some(OsEvent::BindFailed { .. })));
}

#[test]
fn closed_listener_resets_its_backlog() {
    let mut kernel = kernel();
    let client = served(&mut kernel);
    perform(&mut kernel, PRIMARY, Call::Close { socket: SocketId(0) });
    assert_eq!(kernel.next_client_event(client), ClientEvent::Reset);
    let late = kernel.network.clients.add();
    act(&mut kernel, late, ClientAction::Connect(port(40_001)));
    assert_eq!(kernel.next_client_event(late), ClientEvent::Refused);
}

#[test]
fn client_waits_for_a_full_backlog() {
    let mut kernel = kernel();
    served(&mut kernel);
    let second = kernel.network.clients.add();
    command(&mut kernel, second, ClientAction::Connect(port(40_001)));
    assert_eq!(kernel.readiness(Step::ClientAction(second)), Readiness::Waiting);
    assert!(matches!(accept(&mut kernel), Some(OsEvent::Accepted { .. })));
    assert_eq!(kernel.readiness(Step::ClientAction(second)), Readiness::Enabled);
}

#[test]
fn connection_ends_with_the_last_reference() {
    let mut kernel = kernel();
    let client = served(&mut kernel);
    accept(&mut kernel);
    write(&mut kernel, PRIMARY, "take it", Some(SocketId(1)));
    let arrived = read(&mut kernel, WORKER, UP);
    assert!(matches!(arrived, Some(OsEvent::Read { socket: Some(SocketId(0)), .. })), "{arrived:?}");
    perform(&mut kernel, PRIMARY, Call::Close { socket: SocketId(1) });
    assert_eq!(kernel.readiness(Step::ClientEvent(client)), Readiness::Obsolete);
    kernel.close(WORKER, SocketId(0));
    assert_eq!(kernel.next_client_event(client), ClientEvent::End);
}

#[test]
fn connection_with_unread_bytes_is_reset() {
    let mut kernel = kernel();
    let client = served(&mut kernel);
    accept(&mut kernel);
    act(&mut kernel, client, ClientAction::Send(b"hello".to_vec()));
    die(&mut kernel, PRIMARY);
    assert_eq!(kernel.next_client_event(client), ClientEvent::Reset);
}

/// A Unix socket has no reset: the server reads an end of file. Only a client that leaves bytes unread resets
/// the connection.
#[test]
fn reset_at_path_is_an_end() {
    for (reply, ending) in [(None, Flow::Ended), (Some("hi"), Flow::Reset)] {
        let mut kernel = kernel();
        let path = "/tmp/door".to_owned();
        let address = BindAddress::Path { path: path.clone(), readable_all: false, writable_all: false };
        perform(&mut kernel, PRIMARY, Call::Bind { handle: HandleId(1), address, backlog: Some(1) });
        let client = kernel.network.clients.add();
        act(&mut kernel, client, ClientAction::Connect(LocalAddress::Path(path)));
        assert_eq!(kernel.next_client_event(client), ClientEvent::Connected);
        accept(&mut kernel);
        let bytes = reply.into_iter().flat_map(str::bytes).collect();
        kernel.network.clients.get_mut(client).outgoing.bytes = bytes;
        act(&mut kernel, client, ClientAction::Send(b"hello".to_vec()));
        act(&mut kernel, client, ClientAction::Reset);
        let incoming = &kernel.network.clients.get(client).incoming;
        assert_eq!((incoming.flow, incoming.bytes.as_slice()), (ending, &b"hello"[..]), "{reply:?}");
    }
}

#[test]
fn lost_descriptor_leaves_its_bytes() {
    let mut kernel = kernel();
    let client = served(&mut kernel);
    accept(&mut kernel);
    write(&mut kernel, PRIMARY, "take it", Some(SocketId(1)));
    perform(&mut kernel, PRIMARY, Call::Close { socket: SocketId(1) });
    let mut schedule = Schedule::replay(vec![1]).with_faults(Faults::only(&[Fault::LostDescriptor]));
    let arrived = kernel.read(WORKER, UP, &mut schedule);
    assert_eq!(arrived, Some(OsEvent::Read { channel: UP, bytes: b"take it".to_vec(), socket: None }));
    assert_eq!(kernel.next_client_event(client), ClientEvent::End, "no process references the connection");
}
