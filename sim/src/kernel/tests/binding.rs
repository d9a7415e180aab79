//! Which sockets can be bound beside which others, and who gets what is sent to them. The errors are those that Linux 6
//! gave to the same calls.

use std::net::SocketAddr;

use cluster_core::{BindAddress, Errno, LocalAddress, SocketId};

use super::super::process_table::Origin;
use super::super::{Kernel, Readiness, Step};
use super::{PRIMARY, WORKER, kernel, port};
use crate::program::ClientAction;
use crate::program::{ClientEvent, ClientId};
use crate::schedule::Schedule;

fn ip(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A TCP address; `only` behind it leaves IPv4 alone, `share` shares the port.
fn tcp(text: &str) -> BindAddress {
    let mut words = text.split(' ');
    let address = ip(words.next().expect("an address"));
    let options: Vec<&str> = words.collect();
    let (ipv6_only, reuse_port) = (options.contains(&"only"), options.contains(&"share"));
    BindAddress::Tcp { host: Some(address.ip()), port: address.port(), ipv6_only, reuse_port }
}

/// A UDP address; `only`, `share` and `reuse` behind it.
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

/// Whether the second can be bound, and listen, where the first listens.
fn beside(one: &BindAddress, other: &BindAddress) -> Result<(), Errno> {
    let mut kernel = kernel();
    bind(&mut kernel, one, Some(1))?;
    bind(&mut kernel, other, Some(1)).map(drop)
}

#[test]
fn listeners_stand_in_each_others_way_as_on_linux() {
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
fn udp_sockets_stand_in_each_others_way_unless_both_want_to_share() {
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
fn two_tcp_sockets_can_be_bound_and_one_can_listen() {
    let mut kernel = kernel();
    let [one, other] = [(), ()].map(|()| bind(&mut kernel, &tcp("[::]:4000"), None).expect("nobody listens"));
    let file =
        |kernel: &Kernel, socket| kernel.process(PRIMARY).descriptor(socket).expect("it is there").file;
    let (one, other) = (file(&kernel, one), file(&kernel, other));
    assert_eq!(kernel.listen(one, 1), Ok(()));
    assert_eq!(kernel.listen(other, 1), Err(Errno::EADDRINUSE));
    assert_eq!(kernel.listen(one, 2), Ok(()), "a socket is not in its own way");
    assert_eq!(bind(&mut kernel, &tcp("[::]:4000"), None), Err(Errno::EADDRINUSE));
}

#[test]
fn an_address_must_be_of_this_machine_and_a_port_of_ones_own() {
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
fn every_address_is_of_ipv4_where_there_is_no_ipv6() {
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
fn a_path_is_taken_while_it_is_there_and_goes_with_who_bound_it() {
    let mut kernel = kernel();
    let socket = bind(&mut kernel, &path("/tmp/door"), Some(1)).expect("nothing is there");
    assert_eq!(kernel.mode("/tmp/door"), Some(0o755));
    assert_eq!(bind(&mut kernel, &path("/tmp/door"), Some(1)), Err(Errno::EADDRINUSE));
    super::write(&mut kernel, PRIMARY, "x", Some(socket));
    kernel.close(PRIMARY, socket);
    assert_eq!(kernel.mode("/tmp/door"), None, "though the socket is on its way to a worker");
    let open = BindAddress::Path { path: "/tmp/door".into(), readable_all: true, writable_all: true };
    assert!(bind(&mut kernel, &open, Some(1)).is_ok());
    assert_eq!(kernel.mode("/tmp/door"), Some(0o777));
    super::die(&mut kernel, PRIMARY);
    assert_eq!(kernel.mode("/tmp/door"), Some(0o777), "the dead remove nothing");
    let taken = kernel.bind(WORKER, Origin::Machine, &path("/tmp/door"), Some(1));
    assert_eq!(taken, Err(Errno::EADDRINUSE));
}

/// An abstract name makes no file, and is taken until the last socket that is bound to it is closed.
#[test]
fn abstract_name_ends_with_last_socket() {
    let mut kernel = kernel();
    let name = "\0door";
    let socket = bind(&mut kernel, &path(name), Some(1)).expect("it is free");
    assert_eq!(kernel.mode(name), None);
    assert_eq!(kernel.matching_listeners(&LocalAddress::Path(name.into())).len(), 1);
    assert_eq!(kernel.matching_listeners(&LocalAddress::Path("door".into())).len(), 0);
    assert_eq!(bind(&mut kernel, &path(name), Some(1)), Err(Errno::EADDRINUSE));
    bind(&mut kernel, &path("\0other"), Some(1)).expect("another name");
    kernel.close(PRIMARY, socket);
    bind(&mut kernel, &path(name), Some(1)).expect("it is free again");
    let long = format!("\0{}", "n".repeat(108));
    assert_eq!(bind(&mut kernel, &path(&long), None), Err(Errno::ENAMETOOLONG));
}

#[test]
fn a_path_can_be_impossible() {
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
fn a_descriptor_is_a_socket_that_the_process_has() {
    let mut kernel = kernel();
    let tcp = bind(&mut kernel, &tcp("127.0.0.1:4000"), None).expect("it is free");
    let udp = bind(&mut kernel, &udp("127.0.0.1:4000"), None).expect("it is free");
    let number = |kernel: &Kernel, socket| kernel.process(PRIMARY).number_of(socket).expect("it is there");
    let (tcp_fd, udp_fd) = (number(&kernel, tcp), number(&kernel, udp));
    let mut same = |fd, datagrams| bind(&mut kernel, &BindAddress::Descriptor { fd, datagrams }, Some(1));
    let copy = same(tcp_fd, false).expect("it is a stream socket");
    assert!(same(udp_fd, true).is_ok());
    for (fd, datagrams) in [(tcp_fd, true), (udp_fd, false), (0, false), (3, false), (999, false)] {
        assert_eq!(same(fd, datagrams), Err(Errno::EINVAL), "{fd} {datagrams}");
    }
    kernel.close(PRIMARY, tcp);
    assert_eq!(connect(&mut kernel, port(4000)).1, ClientEvent::Connected, "the copy listens");
    kernel.close(PRIMARY, copy);
    assert_eq!(connect(&mut kernel, port(4000)).1, ClientEvent::Refused);
}

fn connect(kernel: &mut Kernel, to: LocalAddress) -> (ClientId, ClientEvent) {
    let client = kernel.add_client();
    kernel.command(client, ClientAction::Connect(to));
    kernel.act(client, &mut Schedule::quiet());
    (client, kernel.next_client_event(client))
}

/// Whether a client is in the backlog.
fn waiting(kernel: &Kernel, socket: SocketId) -> bool {
    let file = kernel.process(PRIMARY).descriptor(socket).expect("it is there").file;
    kernel.listeners().any(|(id, listener)| id == file && !listener.backlog.is_empty())
}

#[test]
fn a_client_comes_to_the_listener_that_is_closest() {
    let mut kernel = kernel();
    let mut open = |text| bind(&mut kernel, &tcp(text), Some(1)).expect("it is free");
    let (every, six, path_of) = (open("0.0.0.0:4000"), open("[::]:4000 only"), open("[::1]:4001"));
    let door = bind(&mut kernel, &path("/tmp/door"), Some(1)).expect("it is free");
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
fn the_kernel_chooses_among_listeners_that_share_a_port() {
    for (choices, chosen) in [(vec![], 0), (vec![1], 1)] {
        let mut kernel = kernel();
        let sockets = [(), ()].map(|()| bind(&mut kernel, &tcp("0.0.0.0:4000 share"), Some(1)));
        let client = kernel.add_client();
        kernel.command(client, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.candidates(client), 2);
        kernel.act(client, &mut Schedule::replay(choices));
        let waits = sockets.map(|socket| waiting(&kernel, socket.expect("it is shared")));
        assert_eq!(waits, [chosen == 0, chosen == 1]);
        let late = kernel.add_client();
        kernel.command(late, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.candidates(late), 1, "the other one is full");
        kernel.act(late, &mut Schedule::quiet());
        kernel.command(late, ClientAction::Connect(port(4000)));
        assert_eq!(kernel.readiness(Step::ClientAction(late)), Readiness::Waiting);
    }
}

#[test]
fn a_datagram_goes_to_the_closest_and_newest_socket_or_nowhere() {
    let mut kernel = kernel();
    let mut open = |text| {
        kernel.bind(PRIMARY, Origin::Program, &udp(text), None).map(|(socket, _)| socket).expect("it is free")
    };
    let (_, old, new) =
        (open("0.0.0.0:4000 reuse"), open("127.0.0.1:4000 reuse"), open("127.0.0.1:4000 reuse"));
    send(&mut kernel, "127.0.0.1:4000");
    assert_eq!((letters(&kernel, old), letters(&kernel, new)), (0, 1));
    kernel.close(PRIMARY, new);
    send(&mut kernel, "127.0.0.1:4000");
    assert_eq!(letters(&kernel, old), 1);
    send(&mut kernel, "127.0.0.1:4999");
    assert_eq!(kernel.matching_udp_sockets(ip("127.0.0.1:4999")), []);
}

#[test]
fn a_socket_that_nobody_reads_loses_datagrams_at_last() {
    let mut kernel = kernel();
    let (socket, _) =
        kernel.bind(PRIMARY, Origin::Program, &udp("127.0.0.1:4000"), None).expect("it is free");
    (0..1000).for_each(|_| send(&mut kernel, "127.0.0.1:4000"));
    assert_eq!(letters(&kernel, socket), 212_992 / (768 + 2));
}

fn send(kernel: &mut Kernel, to: &str) {
    kernel.send_datagram(ip("127.0.0.1:9"), ip(to), b"hi".to_vec(), |_| 0);
}

fn letters(kernel: &Kernel, socket: SocketId) -> usize {
    let file = kernel.process(PRIMARY).descriptor(socket).expect("it is there").file;
    let found = kernel.udp_sockets().find(|(id, _)| *id == file);
    found.map_or(0, |(_, socket)| socket.queue.len())
}
