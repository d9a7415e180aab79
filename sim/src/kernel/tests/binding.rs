//! Conflicts between bound sockets, and the receivers of connections and datagrams. The errors were recorded
//! on Linux 6.

use std::net::SocketAddr;

use cluster_core::{BindAddress, Errno, LocalAddress, SocketId};

use super::super::datagram::Datagram;
use super::super::process_table::Origin;
use super::super::ready::Readiness;
use super::super::{Kernel, Step};
use super::{PRIMARY, WORKER, act, command, kernel, port};
use crate::event::ClientAction;
use crate::event::{ClientEvent, ClientId};
use crate::schedule::Schedule;

fn ip(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A TCP address. In the text, the word `only` excludes IPv4, and `share` shares the port.
fn tcp(text: &str) -> BindAddress {
    let mut words = text.split(' ');
    let address = ip(words.next().expect("an address"));
    let options: Vec<&str> = words.collect();
    let (ipv6_only, reuse_port) = (options.contains(&"only"), options.contains(&"share"));
    BindAddress::Tcp { host: Some(address.ip()), port: address.port(), ipv6_only, reuse_port }
}

/// A UDP address; the words `only`, `share` and `reuse` may follow.
fn udp(text: &str) -> BindAddress {
    let mut words = text.split(' ');
    let address = ip(words.next().expect("an address"));
    let options: Vec<&str> = words.collect();
    let [ipv6_only, reuse_port, reuse_address] =
        ["only", "share", "reuse"].map(|option| options.contains(&option));
    BindAddress::Udp { host: address.ip(), port: address.port(), ipv6_only, reuse_address, reuse_port }
}

fn path(path: &str) -> BindAddress {
    BindAddress::Path { path: path.into(), readable_all: false, writable_all: false }
}

fn bind(kernel: &mut Kernel, address: &BindAddress, backlog: Option<u32>) -> Result<SocketId, Errno> {
    kernel.bind(PRIMARY, Origin::Machine, address, backlog).map(|(socket, _)| socket)
}

/// Whether the second address can be bound and listen while the first address listens.
fn beside(one: &BindAddress, other: &BindAddress) -> Result<(), Errno> {
    let mut kernel = kernel();
    bind(&mut kernel, one, Some(1))?;
    bind(&mut kernel, other, Some(1)).map(drop)
}

#[test]
fn listeners_conflict_as_on_linux() {
    let in_use = Err(Errno::EADDRINUSE);
    for (one, other, outcome) in [
        ("[::]:4000", "0.0.0.0:4000", in_use),
        ("[::]:4000", "127.0.0.1:4000", in_use),
        ("[::]:4000 only", "0.0.0.0:4000", Ok(())),
        ("[::1]:4000", "0.0.0.0:4000", Ok(())),
        ("[::]:4000", "[::1]:4000", in_use),
        ("0.0.0.0:4000", "127.0.0.1:4000", in_use),
        ("127.0.0.1:4000", "127.0.0.2:4000", Ok(())),
        ("0.0.0.0:4000 share", "127.0.0.1:4000 share", Ok(())),
        ("0.0.0.0:4000 share", "0.0.0.0:4000", in_use),
        ("0.0.0.0:4000", "0.0.0.0:4001", Ok(())),
    ] {
        assert_eq!(beside(&tcp(one), &tcp(other)), outcome, "{one} and {other}");
        assert_eq!(beside(&tcp(other), &tcp(one)), outcome, "{other} and {one}");
    }
}

#[test]
fn udp_sockets_conflict_unless_both_share() {
    let in_use = Err(Errno::EADDRINUSE);
    for (one, other, outcome) in [
        ("127.0.0.1:4000", "127.0.0.1:4000", in_use),
        ("127.0.0.1:4000 reuse", "127.0.0.1:4000", in_use),
        ("127.0.0.1:4000 reuse", "0.0.0.0:4000 reuse", Ok(())),
        ("127.0.0.1:4000 share", "127.0.0.1:4000 share", Ok(())),
        ("127.0.0.1:4000 share", "127.0.0.1:4000 reuse", in_use),
        ("[::]:4000", "0.0.0.0:4000", in_use),
        ("[::]:4000 only", "0.0.0.0:4000", Ok(())),
    ] {
        assert_eq!(beside(&udp(one), &udp(other)), outcome, "{one} and {other}");
    }
    assert_eq!(beside(&tcp("127.0.0.1:4000"), &udp("127.0.0.1:4000")), Ok(()), "two kinds of ports");
}

#[test]
fn second_bound_socket_cannot_listen() {
    let mut kernel = kernel();
    let [one, other] =
        [(), ()].map(|()| bind(&mut kernel, &tcp("[::]:4000"), None).expect("no socket listens"));
    let file = |kernel: &Kernel, socket| {
        kernel.processes.get(PRIMARY).descriptor(socket).expect("an open descriptor").file
    };
    let (one, other) = (file(&kernel, one), file(&kernel, other));
    assert_eq!(kernel.network.sockets.listen(one, 1).map(|_| ()), Ok(()));
    assert_eq!(kernel.network.sockets.listen(other, 1), Err(Errno::EADDRINUSE));
    assert_eq!(
        kernel.network.sockets.listen(one, 2).map(|_| ()),
        Ok(()),
        "a socket does not conflict with itself"
    );
    assert_eq!(bind(&mut kernel, &tcp("[::]:4000"), None), Err(Errno::EADDRINUSE));
}

#[test]
fn bind_needs_local_address_and_rights() {
    let mut kernel = kernel();
    assert_eq!(bind(&mut kernel, &tcp("192.0.2.1:4000"), None), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(bind(&mut kernel, &udp("[2001:db8::1]:4000"), None), Err(Errno::EADDRNOTAVAIL));
    assert!(bind(&mut kernel, &tcp("127.0.0.1:80"), None).is_ok(), "root may");
    kernel.system_mut().no_root = true;
    assert_eq!(bind(&mut kernel, &tcp("127.0.0.1:81"), None), Err(Errno::EACCES));
    assert_eq!(bind(&mut kernel, &udp("127.0.0.1:81"), None), Err(Errno::EACCES));
    assert!(bind(&mut kernel, &tcp("127.0.0.1:0"), None).is_ok());
    kernel.system_mut().tcp_ports.insert(4000);
    kernel.system_mut().udp_ports.insert(4001);
    assert_eq!(bind(&mut kernel, &tcp("127.0.0.1:4000"), None), Err(Errno::EADDRINUSE));
    assert_eq!(bind(&mut kernel, &udp("127.0.0.1:4001"), None), Err(Errno::EADDRINUSE));
}

#[test]
fn every_address_without_ipv6_is_ipv4() {
    let mut kernel = kernel();
    let every = BindAddress::Tcp { host: None, port: 4000, ipv6_only: false, reuse_port: false };
    let address = |kernel: &mut Kernel| {
        kernel.bind(PRIMARY, Origin::Machine, &every, None).map(|(_, address)| address.to_string())
    };
    assert_eq!(address(&mut kernel), Ok("[::]:4000".into()));
    kernel.system_mut().no_ipv6 = true;
    assert_eq!(address(&mut kernel), Ok("0.0.0.0:4000".into()));
    assert_eq!(bind(&mut kernel, &tcp("[::1]:4000"), None), Err(Errno::EAFNOSUPPORT));
}

#[test]
fn path_is_removed_by_its_owner() {
    let mut kernel = kernel();
    let socket = bind(&mut kernel, &path("/tmp/door"), Some(1)).expect("a free path");
    assert_eq!(kernel.system().mode("/tmp/door"), Some(0o755));
    assert_eq!(bind(&mut kernel, &path("/tmp/door"), Some(1)), Err(Errno::EADDRINUSE));
    super::write(&mut kernel, PRIMARY, "x", Some(socket));
    kernel.close(PRIMARY, socket);
    assert_eq!(
        kernel.system().mode("/tmp/door"),
        None,
        "removed although the socket is in flight to a worker"
    );
    let open = BindAddress::Path { path: "/tmp/door".into(), readable_all: true, writable_all: true };
    assert!(bind(&mut kernel, &open, Some(1)).is_ok());
    assert_eq!(kernel.system().mode("/tmp/door"), Some(0o777));
    super::die(&mut kernel, PRIMARY);
    assert_eq!(kernel.system().mode("/tmp/door"), Some(0o777), "a dead process removes no path");
    let taken = kernel.bind(WORKER, Origin::Machine, &path("/tmp/door"), Some(1));
    assert_eq!(taken, Err(Errno::EADDRINUSE));
}

/// An abstract name makes no file, and is in use until the last socket with this name is closed.
#[test]
fn abstract_name_ends_with_last_socket() {
    let mut kernel = kernel();
    let name = "\0door";
    let socket = bind(&mut kernel, &path(name), Some(1)).expect("a free port");
    assert_eq!(kernel.system().mode(name), None);
    assert_eq!(listeners_at(&kernel, &LocalAddress::Path(name.into())), 1);
    assert_eq!(listeners_at(&kernel, &LocalAddress::Path("door".into())), 0);
    assert_eq!(bind(&mut kernel, &path(name), Some(1)), Err(Errno::EADDRINUSE));
    bind(&mut kernel, &path("\0other"), Some(1)).expect("another name");
    kernel.close(PRIMARY, socket);
    bind(&mut kernel, &path(name), Some(1)).expect("a free name");
    let long = format!("\0{}", "n".repeat(108));
    assert_eq!(bind(&mut kernel, &path(&long), None), Err(Errno::ENAMETOOLONG));
}

#[test]
fn broken_path_fails() {
    let mut kernel = kernel();
    kernel.system_mut().occupy_path("/tmp/file".into());
    kernel.system_mut().break_path("/nowhere".into(), Errno::ENOENT);
    kernel.system_mut().break_path("/forbidden".into(), Errno::EPERM);
    for (text, errno) in [
        ("/tmp/file", Errno::EADDRINUSE),
        ("/nowhere/door", Errno::EACCES),
        ("/forbidden/below/door", Errno::EPERM),
        ("", Errno::EINVAL),
        ("/tmp/\0", Errno::EINVAL),
    ] {
        assert_eq!(bind(&mut kernel, &path(text), None), Err(errno), "{text:?}");
    }
}

#[test]
fn descriptor_number_must_be_a_socket() {
    let mut kernel = kernel();
    let tcp = bind(&mut kernel, &tcp("127.0.0.1:4000"), None).expect("a free port");
    let udp = bind(&mut kernel, &udp("127.0.0.1:4000"), None).expect("a free port");
    let number = |kernel: &Kernel, socket| {
        kernel.processes.get(PRIMARY).number_of(socket).expect("an open descriptor")
    };
    let (tcp_fd, udp_fd) = (number(&kernel, tcp), number(&kernel, udp));
    let mut same = |fd, datagrams| bind(&mut kernel, &BindAddress::Descriptor { fd, datagrams }, Some(1));
    let copy = same(tcp_fd, false).expect("a stream socket");
    assert!(same(udp_fd, true).is_ok());
    for (fd, datagrams) in [(tcp_fd, true), (udp_fd, false), (0, false), (3, false), (999, false)] {
        assert_eq!(same(fd, datagrams), Err(Errno::EINVAL), "{fd} {datagrams}");
    }
    kernel.close(PRIMARY, tcp);
    assert_eq!(connect(&mut kernel, port(4000)).1, ClientEvent::Connected, "the copy listens");
    kernel.close(PRIMARY, copy);
    assert_eq!(connect(&mut kernel, port(4000)).1, ClientEvent::Refused);
}

fn listeners_at(kernel: &Kernel, to: &LocalAddress) -> usize {
    kernel.network.sockets.matching_listeners(to, kernel.system()).len()
}

fn connect(kernel: &mut Kernel, to: LocalAddress) -> (ClientId, ClientEvent) {
    let client = kernel.network.clients.add();
    act(kernel, client, ClientAction::Connect(to));
    (client, kernel.next_client_event(client))
}

/// Whether the backlog holds a client.
fn waiting(kernel: &Kernel, socket: SocketId) -> bool {
    let file = kernel.processes.get(PRIMARY).descriptor(socket).expect("an open descriptor").file;
    kernel.network.sockets.listeners().any(|(id, listener)| id == file && !listener.backlog.is_empty())
}

#[test]
fn client_reaches_the_most_specific_listener() {
    let mut kernel = kernel();
    let mut open = |text| bind(&mut kernel, &tcp(text), Some(1)).expect("a free port");
    let (every, six, path_of) = (open("0.0.0.0:4000"), open("[::]:4000 only"), open("[::1]:4001"));
    let door = bind(&mut kernel, &path("/tmp/door"), Some(1)).expect("a free port");
    for (to, socket) in [
        (port(4000), every),
        (LocalAddress::Ip(ip("[::1]:4000")), six),
        (LocalAddress::Ip(ip("[::1]:4001")), path_of),
        (LocalAddress::Path("/tmp/door".into()), door),
    ] {
        assert!(!waiting(&kernel, socket));
        assert_eq!(connect(&mut kernel, to).1, ClientEvent::Connected);
        assert!(waiting(&kernel, socket));
    }
    assert_eq!(connect(&mut kernel, port(4001)).1, ClientEvent::Refused);
    assert_eq!(connect(&mut kernel, LocalAddress::Path("/tmp".into())).1, ClientEvent::Refused);
}

#[test]
fn shared_port_has_several_receivers() {
    for (choices, chosen) in [(vec![], 0), (vec![1], 1)] {
        let mut kernel = kernel();
        let sockets = [(), ()].map(|()| bind(&mut kernel, &tcp("0.0.0.0:4000 share"), Some(1)));
        let client = kernel.network.clients.add();
        command(&mut kernel, client, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.candidates(client), 2);
        kernel.act(client, &mut Schedule::replay(choices));
        let waits = sockets.map(|socket| waiting(&kernel, socket.expect("a shared socket")));
        assert_eq!(waits, [chosen == 0, chosen == 1]);
        let late = kernel.network.clients.add();
        command(&mut kernel, late, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.candidates(late), 1, "the backlog of the other is full");
        kernel.act(late, &mut Schedule::quiet());
        command(&mut kernel, late, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.readiness(Step::ClientAction(late)), Readiness::Waiting);
    }
}

#[test]
fn datagram_reaches_the_newest_specific_socket() {
    let mut kernel = kernel();
    let mut open = |text| {
        kernel
            .bind(PRIMARY, Origin::Program, &udp(text), None)
            .map(|(socket, _)| socket)
            .expect("a free port")
    };
    let (_, old, new) =
        (open("0.0.0.0:4000 reuse"), open("127.0.0.1:4000 reuse"), open("127.0.0.1:4000 reuse"));
    send(&mut kernel, "127.0.0.1:4000");
    assert_eq!((queued(&kernel, old), queued(&kernel, new)), (0, 1));
    kernel.close(PRIMARY, new);
    send(&mut kernel, "127.0.0.1:4000");
    assert_eq!(queued(&kernel, old), 1);
    send(&mut kernel, "127.0.0.1:4999");
    assert_eq!(kernel.network.sockets.matching_udp_sockets(ip("127.0.0.1:4999")), []);
}

#[test]
fn full_udp_queue_drops_datagrams() {
    let mut kernel = kernel();
    let (socket, _) =
        kernel.bind(PRIMARY, Origin::Program, &udp("127.0.0.1:4000"), None).expect("a free port");
    (0..1000).for_each(|_| send(&mut kernel, "127.0.0.1:4000"));
    assert_eq!(queued(&kernel, socket), 212_992 / (768 + 2));
}

fn send(kernel: &mut Kernel, to: &str) {
    let datagram = Datagram { from: ip("127.0.0.1:9"), bytes: b"hi".to_vec() };
    kernel.network.send_datagram(ip(to), datagram, |_| 0, (&kernel.processes, &mut kernel.ready));
}

fn queued(kernel: &Kernel, socket: SocketId) -> usize {
    let file = kernel.processes.get(PRIMARY).descriptor(socket).expect("an open descriptor").file;
    let found = kernel.network.sockets.udp_sockets().find(|(id, _)| *id == file);
    found.map_or(0, |(_, socket)| socket.queue.len())
}
