//! The sockets of a program, their events, and their transfer with messages.

use cluster_core::{BindAddress, Errno, OsEvent, SocketId};

use super::super::ready::Readiness;
use super::super::{Kernel, Step};
use super::{PRIMARY, UP, WORKER, accept, act, die, kernel, port, read, served, write};
use crate::event::ClientAction;
use crate::event::{ClientEvent, ClientId, Ending, SocketEvent};
use crate::kernel::process_table::Phase;
use crate::schedule::Schedule;

fn tcp() -> BindAddress {
    BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false }
}

fn udp(port: u16) -> BindAddress {
    let host = std::net::Ipv4Addr::UNSPECIFIED.into();
    BindAddress::Udp { host, port, ipv6_only: false, reuse_address: false, reuse_port: false }
}

/// A client connected to a listener of the primary's program, and the program's connection.
#[track_caller]
fn connected(kernel: &mut Kernel) -> (ClientId, SocketId) {
    let (listener, address) = kernel.program_sockets(PRIMARY).open(&tcp(), Some(1)).expect("a free port");
    let client = kernel.network.clients.add();
    act(kernel, client, ClientAction::Connect(port(address.port())));
    assert_eq!(kernel.next_client_event(client), ClientEvent::Connected);
    assert_eq!(kernel.readiness(Step::Accept(PRIMARY, listener)), Readiness::Enabled);
    let accepted = kernel.program_sockets(PRIMARY).accept(listener, &mut Schedule::quiet());
    let Some(SocketEvent::Accepted { connection, .. }) = accepted else { unreachable!("{accepted:?}") };
    (client, connection)
}

/// The socket that the worker reads from its channel, passed on to the program.
fn received(kernel: &mut Kernel) -> SocketId {
    let arrived = read(kernel, WORKER, UP);
    let Some(OsEvent::Read { socket: Some(socket), .. }) = arrived else { unreachable!("{arrived:?}") };
    kernel.processes.give_to_program(WORKER, socket, &mut kernel.ready);
    socket
}

#[test]
fn program_receives_from_its_connections() {
    let mut kernel = kernel();
    let (client, connection) = connected(&mut kernel);
    assert_eq!(kernel.network.clients.get(client).accepted_by, None, "no machine accepted it");
    act(&mut kernel, client, ClientAction::Send(b"hi".to_vec()));
    assert_eq!(kernel.readiness(Step::Receive(PRIMARY, connection)), Readiness::Enabled);
    let data = SocketEvent::Data { connection, bytes: b"hi".to_vec() };
    assert_eq!(kernel.program_sockets(PRIMARY).receive(connection), Some(data));
    act(&mut kernel, client, ClientAction::End);
    let ended = SocketEvent::Ended { connection, ending: Ending::Finished };
    assert_eq!(kernel.program_sockets(PRIMARY).receive(connection), Some(ended));
    assert_eq!(kernel.readiness(Step::Receive(PRIMARY, connection)), Readiness::Obsolete, "once");
}

#[test]
fn sent_connection_keeps_its_unread_bytes() {
    let mut kernel = kernel();
    let (client, connection) = connected(&mut kernel);
    act(&mut kernel, client, ClientAction::Send(b"hi".to_vec()));
    write(&mut kernel, PRIMARY, "take it", Some(connection));
    kernel.processes.give_to_machine(PRIMARY, connection);
    assert_eq!(
        kernel.readiness(Step::Receive(PRIMARY, connection)),
        Readiness::Obsolete,
        "the machine owns it"
    );
    kernel.close(PRIMARY, connection);
    let there = received(&mut kernel);
    let data = SocketEvent::Data { connection: there, bytes: b"hi".to_vec() };
    assert_eq!(kernel.program_sockets(WORKER).receive(there), Some(data));
    kernel.close(WORKER, there);
    assert_eq!(kernel.next_client_event(client), ClientEvent::End);
}

#[test]
fn bytes_before_a_reset_arrive() {
    let mut kernel = kernel();
    let (client, connection) = connected(&mut kernel);
    act(&mut kernel, client, ClientAction::Send(b"hi".to_vec()));
    act(&mut kernel, client, ClientAction::Reset);
    let data = SocketEvent::Data { connection, bytes: b"hi".to_vec() };
    assert_eq!(kernel.program_sockets(PRIMARY).receive(connection), Some(data));
    let ended = SocketEvent::Ended { connection, ending: Ending::Reset };
    assert_eq!(kernel.program_sockets(PRIMARY).receive(connection), Some(ended));
}

#[test]
fn connection_to_dead_worker_closes() {
    let mut kernel = kernel();
    let (client, connection) = connected(&mut kernel);
    write(&mut kernel, PRIMARY, "take it", Some(connection));
    kernel.close(PRIMARY, connection);
    assert_eq!(kernel.readiness(Step::ClientEvent(client)), Readiness::Obsolete, "the message references it");
    die(&mut kernel, WORKER);
    assert_eq!(kernel.next_client_event(client), ClientEvent::End);
}

#[test]
fn sent_listener_accepts_in_both_processes() {
    let mut kernel = kernel();
    let (listener, address) = kernel.program_sockets(PRIMARY).open(&tcp(), Some(2)).expect("a free port");
    write(&mut kernel, PRIMARY, "take it", Some(listener));
    let there = received(&mut kernel);
    assert_eq!(
        kernel.readiness(Step::Accept(WORKER, there)),
        Readiness::Obsolete,
        "the worker does not listen yet"
    );
    assert_eq!(kernel.program_sockets(WORKER).listen(there, 2), Ok(address.clone()));
    let client = kernel.network.clients.add();
    act(&mut kernel, client, ClientAction::Connect(port(address.port())));
    for step in [Step::Accept(PRIMARY, listener), Step::Accept(WORKER, there)] {
        assert_eq!(kernel.readiness(step), Readiness::Enabled);
    }
    assert!(kernel.program_sockets(WORKER).accept(there, &mut Schedule::quiet()).is_some());
    assert_eq!(
        kernel.readiness(Step::Accept(PRIMARY, listener)),
        Readiness::Obsolete,
        "the worker has accepted"
    );
    kernel.close(PRIMARY, listener);
    act(&mut kernel, client, ClientAction::Connect(port(address.port())));
    assert_eq!(kernel.next_client_event(client), ClientEvent::Connected, "the worker still listens");
}

#[test]
fn first_udp_reader_wins() {
    let mut kernel = kernel();
    let (socket, address) = kernel.program_sockets(PRIMARY).open(&udp(0), None).expect("a free port");
    write(&mut kernel, PRIMARY, "take it", Some(socket));
    let there = received(&mut kernel);
    let client = kernel.network.clients.add();
    let to = address.ip().expect("an IP address");
    act(&mut kernel, client, ClientAction::SendTo(to, b"ping".to_vec()));
    for step in [Step::Receive(PRIMARY, socket), Step::Receive(WORKER, there)] {
        assert_eq!(kernel.readiness(step), Readiness::Enabled);
    }
    let Some(SocketEvent::Datagram { from, bytes, .. }) = kernel.program_sockets(WORKER).receive(there)
    else {
        unreachable!("a datagram is queued")
    };
    assert_eq!((from, bytes), (([127, 0, 0, 1], 40_002).into(), b"ping".to_vec()));
    assert_eq!(kernel.readiness(Step::Receive(PRIMARY, socket)), Readiness::Obsolete);
    kernel.program_sockets(WORKER).send_to(there, from, b"pong");
    let from = ([127, 0, 0, 1], to.port()).into();
    assert_eq!(kernel.next_client_event(client), ClientEvent::Datagram { from, bytes: b"pong".to_vec() });
}

#[test]
fn datagram_reaches_another_process() {
    let mut kernel = kernel();
    let (socket, _) = kernel.program_sockets(PRIMARY).open(&udp(4000), None).expect("a free port");
    let (there, address) = kernel.program_sockets(WORKER).open(&udp(0), None).expect("a free port");
    kernel.program_sockets(WORKER).send_to(there, ([127, 0, 0, 1], 4000).into(), b"ping");
    let from = ([127, 0, 0, 1], address.port()).into();
    let event = SocketEvent::Datagram { socket, from, bytes: b"ping".to_vec() };
    assert_eq!(kernel.program_sockets(PRIMARY).receive(socket), Some(event));
    kernel.close(PRIMARY, socket);
    kernel.program_sockets(WORKER).send_to(there, ([127, 0, 0, 1], 4000).into(), b"ping");
    assert_eq!(
        kernel.readiness(Step::Receive(PRIMARY, socket)),
        Readiness::Obsolete,
        "an unreachable port is no error"
    );
}

#[test]
fn program_cannot_use_sockets_of_others() {
    let mut kernel = kernel();
    let (_, connection) = connected(&mut kernel);
    assert_eq!(kernel.program_sockets(PRIMARY).listen(connection, 1), Err(Errno::EINVAL));
    assert_eq!(kernel.program_sockets(WORKER).listen(connection, 1), Err(Errno::EBADF));
    let (socket, address) = kernel.program_sockets(PRIMARY).open(&tcp(), None).expect("a free port");
    kernel.processes.give_to_machine(PRIMARY, socket);
    assert_eq!(kernel.program_sockets(PRIMARY).listen(socket, 1), Err(Errno::EBADF));
    kernel.program_sockets(PRIMARY).send_to(
        connection,
        ([127, 0, 0, 1], address.port()).into(),
        b"no datagrams",
    );
    assert_eq!(kernel.readiness(Step::Receive(PRIMARY, socket)), Readiness::Obsolete);
    assert_eq!(kernel.readiness(Step::Accept(PRIMARY, socket)), Readiness::Obsolete);
}

/// A connection is out of reach while its process is stopped: both in flight to the process, and after the
/// process has received it.
#[test]
fn stopped_process_holds_connections() {
    let mut kernel = kernel();
    let client = served(&mut kernel);
    let Some(OsEvent::Accepted { socket, .. }) = accept(&mut kernel) else {
        unreachable!("a client is queued")
    };
    write(&mut kernel, PRIMARY, "a connection\n", Some(socket));
    for is_read in [false, true] {
        if is_read {
            read(&mut kernel, WORKER, UP);
        }
        assert!(!kernel.is_out_of_reach(client), "a running worker can serve the client, read: {is_read}");
        kernel.processes.enter(WORKER, Phase::Stopped);
        assert!(kernel.is_out_of_reach(client), "a stopped worker cannot serve the client, read: {is_read}");
        kernel.processes.enter(WORKER, Phase::Running);
    }
}
