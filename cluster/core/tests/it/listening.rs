//! Everything a worker can listen on: what the primary binds, what the worker hears, and what it does alone.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use std::net::{IpAddr, Ipv4Addr};

use crate::house::{Desk, House};
use cluster_core::{
    AddressType, BindAddress, Call, Errno, Event, HandleId, Limits, ListenAddress, ListenError,
    ListenOptions, ListenerId, ListeningAddress, LocalAddress, Machine, OsEvent, SchedulingPolicy,
    Serialization, Settings, SocketId, Worker, WorkerEvent, WorkerId,
};
use serde_json::Value;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
const LISTENER: ListenerId = ListenerId(1);
/// The first socket that a process binds.
const BOUND: SocketId = SocketId(1);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn policy(policy: SchedulingPolicy) -> Settings {
    Settings { policy, ..Settings::default() }
}

/// Two workers that listen there.
fn serving(settings: Settings, options: &ListenOptions) -> House {
    let mut house = House::new(settings);
    for worker in house.fork(2) {
        house.worker(worker).listen(options.clone());
    }
    house.settle();
    house
}

fn binds(calls: &[Call]) -> Vec<(BindAddress, Option<u32>)> {
    let bind = |call: &Call| match call {
        Call::Bind { address, backlog, .. } => Some((address.clone(), *backlog)),
        _ => None,
    };
    calls.iter().filter_map(bind).collect()
}

/// What the primary has heard of servers.
fn told(house: &House) -> Vec<(WorkerId, ListeningAddress)> {
    let told = house.events.iter().filter_map(|event| match event {
        Event::Listening { worker, address } => Some((*worker, address.clone())),
        _ => None,
    });
    told.collect()
}

fn heard(house: &House, worker: WorkerId) -> &[WorkerEvent] {
    &house.processes[&worker].events
}

/// What the primary said to a worker, the acknowledgements of descriptors left out.
fn said(house: &House) -> String {
    let written = house.desk.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    written.filter(|text| !text.contains("NODE_HANDLE_ACK")).collect()
}

fn path() -> ListenAddress {
    ListenAddress::Path { path: "/run/house".into(), readable_all: true, writable_all: false }
}

fn udp(port: Option<u16>) -> ListenAddress {
    ListenAddress::Udp { v6: false, host: Some(LOOPBACK), port, ipv6_only: false, reuse_address: true }
}

#[test]
fn a_path_is_bound_by_the_primary_and_has_no_port() {
    for (policy_of, backlog) in [(SchedulingPolicy::RoundRobin, Some(511)), (SchedulingPolicy::Shared, None)]
    {
        let mut house = House::new(policy(policy_of));
        house.fork(1);
        let at = LocalAddress::Path("/run/house".into());
        house.processes.get_mut(&ONE).expect("a live worker").desk.received_at = Some(at.clone());
        house.worker(ONE).listen(path().into());
        house.settle();
        let bound = BindAddress::Path { path: "/run/house".into(), readable_all: true, writable_all: false };
        assert_eq!(binds(&house.desk.calls), [(bound, backlog)]);
        let listening = WorkerEvent::Listening { listener: LISTENER, address: at, socket: None };
        assert_eq!(heard(&house, ONE), [listening]);
        let address = ListeningAddress {
            address: Some("/run/house".into()),
            port: -1,
            address_type: AddressType::Path,
            fd: None,
        };
        assert_eq!(told(&house), [(ONE, address)]);
        assert!(said(&house).contains("\"key\":\"/run/house:-1:-1:undefined:0\""), "{}", said(&house));
        assert!(!said(&house).contains("sockname"), "{}", said(&house));
    }
}

#[test]
fn the_kernel_holds_as_many_connections_as_the_first_asks_for() {
    for (asked, held) in [(None, 511), (Some(0), 511), (Some(7), 7)] {
        let options = ListenOptions { backlog: asked, ..ListenAddress::any(80).into() };
        let house = serving(Settings::default(), &options);
        let [(_, backlog)] = binds(&house.desk.calls)[..] else { unreachable!("both share a socket") };
        assert_eq!(backlog, Some(held));
    }
}

#[test]
fn workers_take_turns_at_a_path_as_at_a_port() {
    let mut house = serving(Settings::default(), &path().into());
    for worker in [ONE, TWO] {
        house.worker(worker).accept(LISTENER);
    }
    let got = |house: &House, worker| {
        heard(house, worker).iter().filter(|event| matches!(event, WorkerEvent::Connection { .. })).count()
    };
    house.connect(BOUND);
    house.connect(BOUND);
    assert_eq!((got(&house, ONE), got(&house, TWO)), (1, 1));
}

#[test]
fn udp_is_shared_whatever_the_policy_and_the_application_gets_the_socket() {
    for policy_of in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut house = House::new(policy(policy_of));
        house.fork(1);
        let at = LocalAddress::Ip("127.0.0.1:5353".parse().expect("an address"));
        house.processes.get_mut(&ONE).expect("a live worker").desk.received_at = Some(at.clone());
        house.worker(ONE).listen(udp(Some(0)).into());
        house.worker(ONE).accept(LISTENER);
        house.settle();
        let (host, port) = (LOOPBACK, 0);
        let bound = BindAddress::Udp { host, port, ipv6_only: false, reuse_address: true, reuse_port: false };
        assert_eq!(binds(&house.desk.calls), [(bound, None)]);
        assert!(said(&house).contains("\"type\":\"dgram.Native\""), "{}", said(&house));
        assert!(said(&house).contains("\"key\":\"127.0.0.1:0:udp4:-1:0\""), "{}", said(&house));
        let listening = WorkerEvent::Listening { listener: LISTENER, address: at, socket: Some(BOUND) };
        assert_eq!(heard(&house, ONE), [listening]);
        let resumes = |calls: &[Call]| calls.iter().any(|call| matches!(call, Call::ResumeAccept { .. }));
        assert!(!resumes(&house.desk.calls) && !resumes(&house.processes[&ONE].asked), "nobody accepts");
        let address = ListeningAddress {
            address: Some("127.0.0.1".into()),
            port: 5353,
            address_type: AddressType::Udp4,
            fd: Some(-1),
        };
        assert_eq!(told(&house), [(ONE, address)]);
        house.worker(ONE).close(LISTENER);
        house.settle();
        assert!(house.processes[&ONE].asked.contains(&Call::Close { socket: BOUND }));
        assert!(house.desk.calls.contains(&Call::Close { socket: BOUND }), "the last one is gone");
    }
}

#[test]
fn udp_without_a_port_is_not_shared_with_port_0() {
    let house = serving(Settings::default(), &udp(None).into());
    assert!(said(&house).contains("\"key\":\"127.0.0.1:undefined:udp4:-1:0\""), "{}", said(&house));
    let mut house = serving(Settings::default(), &udp(Some(0)).into());
    house.worker(ONE).listen(udp(None).into());
    house.settle();
    assert_eq!(binds(&house.desk.calls).len(), 2);
}

#[test]
fn a_descriptor_of_the_primary_is_listened_on_by_its_number() {
    let address = ListenAddress::Descriptor { fd: 7, udp: false };
    let house = serving(Settings::default(), &address.into());
    let bound = BindAddress::Descriptor { fd: 7, datagrams: false };
    assert_eq!(binds(&house.desk.calls), [(bound, Some(511))]);
    assert!(said(&house).contains("\"key\":\"null:null:null:7:0\""), "{}", said(&house));
    let address =
        ListeningAddress { address: None, port: 40_001, address_type: AddressType::Descriptor, fd: Some(7) };
    assert_eq!(told(&house), [(ONE, address.clone()), (TWO, address)]);
}

#[test]
fn what_makes_no_sense_is_an_error_and_binds_nothing() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    let asks = [
        r#""address":null,"port":0,"addressType":null"#,
        r#""address":"","port":-1,"addressType":-1"#,
        r#""address":null,"port":-1,"addressType":-1"#,
        r#""address":"::1","port":0,"addressType":"udp4","fd":-1"#,
        r#""address":"127.0.0.1","port":0,"addressType":"udp6","fd":-1"#,
        r#""address":"nowhere","port":0,"addressType":4"#,
        r#""address":null,"port":65536,"addressType":4"#,
        r#""address":null,"port":null,"addressType":null,"fd":4294967296"#,
    ];
    for (seq, ask) in asks.iter().enumerate() {
        let line = format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",{ask},\"seq\":{seq}}}\n");
        house.tell(OsEvent::Read { channel: ONE.into(), bytes: line.into_bytes(), socket: None });
    }
    assert_eq!(binds(&house.desk.calls), []);
    assert_eq!(said(&house).matches(&format!("\"errno\":-{}", Errno::EINVAL.0)).count(), asks.len());
    assert!(
        house.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected),
        "it may ask again"
    );
}

/// A worker of Node asks, with these fields.
fn query(house: &mut House, fields: &str) {
    let line = format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,{fields},"seq":1}}"#) + "\n";
    house.tell(OsEvent::Read { channel: ONE.into(), bytes: line.into_bytes(), socket: None });
}

/// Everything that Node's own JavaScript can put into the fields is served.
#[test]
fn query_of_every_call_form_binds() {
    let any = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
    let local = BindAddress::Tcp {
        host: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
        ipv6_only: false,
        reuse_port: false,
    };
    let v6 = BindAddress::Tcp { host: None, port: 0, ipv6_only: true, reuse_port: false };
    for (ask, bound, backlog) in [
        (r#""address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":false"#, &local, 511),
        (r#""address":null,"port":0,"addressType":4,"backlog":"20""#, &any, 20),
        (r#""address":null,"port":0,"addressType":4,"backlog":-1"#, &any, u32::MAX),
        (r#""address":null,"port":0,"addressType":4,"backlog":1.5"#, &any, 1),
        (r#""address":null,"port":0,"addressType":4,"backlog":null"#, &any, 511),
        (r#""address":null,"port":0,"addressType":4"#, &any, 511),
        (r#""address":null,"port":0,"addressType":4,"flags":1,"backlog":false"#, &v6, 511),
        (r#""address":"127.0.0.1","port":0,"flags":0,"further":{"deep":[[[]]]}"#, &local, 511),
    ] {
        let mut house = House::new(Settings::default());
        house.fork(1);
        query(&mut house, ask);
        assert_eq!(binds(&house.desk.calls), [(bound.clone(), Some(backlog))], "{ask}");
        assert!(house.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected), "{ask}");
    }
}

/// A worker of Node takes an abstract name for a relative path; the primary binds the name, whatever directory is before it.
#[test]
fn abstract_name_is_bound_unchanged() {
    for (address, bound) in [
        (r"\u0000name", Some("\0name")),
        (r"/srv/app/\u0000name/with/slash", Some("\0name/with/slash")),
        (r"/srv/app/name\u0000", None),
    ] {
        for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
            let mut house = House::new(Settings { policy, ..Settings::default() });
            house.fork(1);
            query(&mut house, &format!(r#""address":"{address}","port":-1,"addressType":-1,"backlog":0"#));
            let asked: Vec<_> = binds(&house.desk.calls).into_iter().map(|(address, _)| address).collect();
            let path = bound.unwrap_or("/srv/app/name\0").to_owned();
            assert_eq!(asked, [BindAddress::Path { path, readable_all: false, writable_all: false }]);
        }
    }
}

/// A worker of Node puts its directory before the address of a UDP port below 0.
#[test]
fn udp_port_below_0_is_bound() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    let fields = r#""addressType":"udp4","fd":-1,"flags":0"#;
    query(&mut house, &format!(r#""address":"/srv/app/127.0.0.1","port":-1,{fields}"#));
    let (reuse_address, reuse_port, ipv6_only) = (false, false, false);
    let bound = BindAddress::Udp { host: LOOPBACK, port: 65_535, ipv6_only, reuse_address, reuse_port };
    assert_eq!(binds(&house.desk.calls), [(bound, None)]);
}

/// No honest program of Node has too many servers.
#[test]
fn servers_of_worker_have_no_limit() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    for port in 1..=2000 {
        query(&mut house, &format!(r#""address":null,"port":{port},"addressType":4,"backlog":0"#));
    }
    assert_eq!(binds(&house.desk.calls).len(), 2000);
}

/// A TLS server of Node reads its ticket keys from every answer, and dies of one without.
#[test]
fn refusal_echoes_data_of_query() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    let ask = r#""data":{"ticketKeys":"00"},"address":"nowhere","port":0,"addressType":4"#;
    query(&mut house, ask);
    assert!(said(&house).contains(r#""data":{"ticketKeys":"00"}"#), "{}", said(&house));
}

#[test]
fn what_is_too_long_to_be_kept_is_an_error_and_its_worker_goes_on() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    let path = ListenAddress::Path { path: "x".repeat(10_000), readable_all: false, writable_all: false };
    house.worker(ONE).listen(path.into());
    house.settle();
    assert_eq!(binds(&house.desk.calls), []);
    assert!(house.processes[&ONE].events.iter().any(|event| match event {
        WorkerEvent::ListenFailed { error, .. } => error.errno == Errno::ENAMETOOLONG,
        _ => false,
    }));
    assert!(house.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected));
}

// ---- alone

fn exclusive(address: ListenAddress) -> ListenOptions {
    ListenOptions { exclusive: true, ..address.into() }
}

#[test]
fn an_exclusive_server_is_bound_by_the_worker_and_the_primary_hears_nothing() {
    let reuse = ListenOptions { reuse_port: true, backlog: Some(5), ..ListenAddress::any(80).into() };
    for (options, reuse_port, backlog) in [(exclusive(ListenAddress::any(80)), false, 511), (reuse, true, 5)]
    {
        let mut house = serving(Settings::default(), &options);
        assert_eq!(binds(&house.desk.calls), []);
        assert_eq!(told(&house), []);
        let bound = BindAddress::Tcp { host: None, port: 80, ipv6_only: false, reuse_port };
        assert_eq!(binds(&house.processes[&ONE].asked), [(bound, Some(backlog))]);
        house.worker(ONE).accept(LISTENER);
        house.settle();
        let asked = &house.processes[&ONE].asked;
        assert_eq!(asked.last(), Some(&Call::ResumeAccept { socket: BOUND }));
        let connection = SocketId(99);
        house.worker(ONE).handle(OsEvent::Accepted { listener: BOUND, socket: connection });
        house.settle();
        let last = heard(&house, ONE).last();
        assert_eq!(last, Some(&WorkerEvent::Connection { listener: LISTENER, connection }));
    }
}

#[test]
fn a_worker_that_leaves_neither_closes_an_exclusive_server_nor_waits_for_it() {
    let mut house = serving(Settings::default(), &exclusive(ListenAddress::any(0)));
    house.worker(ONE).disconnect();
    let worker = house.worker(ONE).clone();
    house.settle();
    assert!(house.events.contains(&Event::Disconnect { worker: ONE }));
    // The house takes a process away whose channel is closed; this is what it did, seen alone.
    let mut worker = worker;
    let mut outputs = Vec::new();
    while let Some(output) = worker.poll() {
        outputs.push(output);
    }
    let closes = |output: &_| matches!(output, cluster_core::Output::Call(Call::Close { .. }));
    assert!(!outputs.iter().any(closes), "{outputs:?}");
}

#[test]
fn an_exclusive_server_may_be_opened_and_closed_without_a_channel() {
    let mut worker = cluster_core::Worker::new(ONE, cluster_core::Serialization::Json, Limits::default());
    let mut desk = Desk::default();
    let mut events = Vec::new();
    let mut drain = |worker: &mut _| {
        while let Some(event) = cluster_core::pump(worker, &mut desk) {
            events.push(event);
        }
    };
    let held = worker.listen(exclusive(ListenAddress::any(0)));
    worker.disconnect();
    drain(&mut worker);
    let ack = b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"seq\":0}\n".to_vec();
    worker.handle(OsEvent::Read { channel: cluster_core::ChannelId::PRIMARY, bytes: ack, socket: None });
    drain(&mut worker);
    assert!(!worker.is_connected());
    worker.close(held);
    let late = worker.listen(exclusive(ListenAddress::any(0)));
    drain(&mut worker);
    let exits = desk.calls.iter().any(|call| matches!(call, Call::Exit { .. }));
    assert!(!exits, "it was asked to go: its program decides when");
    assert!(desk.calls.contains(&Call::Close { socket: BOUND }));
    let lives = |event: &WorkerEvent| match event {
        WorkerEvent::Listening { listener, .. } => Some(("listening", *listener)),
        WorkerEvent::Closed { listener } => Some(("closed", *listener)),
        _ => None,
    };
    let lives: Vec<_> = events.iter().filter_map(lives).collect();
    assert_eq!(lives, [("listening", held), ("closed", held), ("listening", late)]);
}

#[test]
fn an_exclusive_server_that_cannot_be_bound_says_so_as_node_does() {
    let mut worker = cluster_core::Worker::new(ONE, cluster_core::Serialization::Json, Limits::default());
    let listener =
        worker.listen(exclusive(ListenAddress::Tcp { host: Some(LOOPBACK), port: 80, ipv6_only: false }));
    while let Some(output) = worker.poll() {
        if let cluster_core::Output::Call(Call::Bind { handle, .. }) = output {
            assert_eq!(handle, HandleId(listener.0));
            worker.handle(OsEvent::BindFailed { handle, errno: Errno::EADDRINUSE });
        } else if let cluster_core::Output::Event(event) = output {
            let WorkerEvent::ListenFailed { error, .. } = event else { unreachable!("{event:?}") };
            assert_eq!(
                error.to_string(),
                "cannot listen on 127.0.0.1:80: EADDRINUSE (the address is in use); stop what listens there, or choose another address"
            );
            return;
        }
    }
    unreachable!("nothing was told");
}

#[test]
fn an_error_names_who_was_to_bind_and_what() {
    let text =
        |address: ListenAddress| ListenError { errno: Errno::EACCES, address, exclusive: false }.to_string();
    assert_eq!(
        text(ListenAddress::any(80)),
        "cannot bind port 80 on every address: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
    assert_eq!(
        text(path()),
        "cannot bind /run/house: EACCES (permission denied); the directory of the path must exist, and the primary must be allowed to write in it"
    );
    assert_eq!(
        text(udp(Some(53))),
        "cannot bind 127.0.0.1:53: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
    assert_eq!(
        text(ListenAddress::Descriptor { fd: 7, udp: false }),
        "cannot bind descriptor 7: EACCES (permission denied); a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    );
}

// ---- only so many

#[test]
fn connections_beyond_the_limit_of_a_worker_go_to_another() {
    let mut house = House::new(Settings::default());
    house.fork(2);
    let limited = ListenOptions { max_connections: Some(1), ..ListenOptions::default() };
    house.worker(ONE).listen(limited);
    house.worker(TWO).listen(ListenOptions::default());
    house.settle();
    let mut all = Vec::new();
    for _ in 0..4 {
        for worker in [ONE, TWO] {
            house.worker(worker).accept(LISTENER);
        }
        house.settle();
        all.push(house.connect(BOUND));
    }
    let got = |house: &House, worker| -> Vec<SocketId> {
        let got = heard(house, worker).iter().filter_map(|event| match event {
            WorkerEvent::Connection { connection, .. } => Some(*connection),
            _ => None,
        });
        got.collect()
    };
    assert_eq!((got(&house, ONE), got(&house, TWO)), (vec![all[0]], all[1..].to_vec()));
    assert_eq!(house.primary.ledger().owned(), 4);
    house.worker(ONE).release(all[0]);
    // The pause after its refusal is over.
    let timer = |call: &Call| match call {
        Call::SetTimer { timer, .. } => Some(*timer),
        _ => None,
    };
    let timers: Vec<_> = house.desk.calls.iter().filter_map(timer).collect();
    for timer in timers {
        house.tell(OsEvent::Timer { timer });
    }
    for worker in [ONE, TWO] {
        house.worker(worker).accept(LISTENER);
    }
    let next = house.connect(BOUND);
    let last = house.connect(BOUND);
    let both = [got(&house, ONE).last().copied(), got(&house, TWO).last().copied()];
    assert!(both.contains(&Some(next)) && both.contains(&Some(last)), "{both:?}");
}

#[test]
fn a_limit_of_0_takes_nothing() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    house.worker(ONE).listen(ListenOptions { max_connections: Some(0), ..ListenOptions::default() });
    house.worker(ONE).accept(LISTENER);
    house.settle();
    house.connect(BOUND);
    assert!(matches!(house.desk.calls.last(), Some(Call::SetTimer { .. })), "{:?}", house.desk.calls.last());
    assert_eq!(house.primary.ledger().owned(), 0);
}

#[test]
fn who_accepts_itself_closes_what_is_beyond_its_limit() {
    let options = ListenOptions { max_connections: Some(1), ..exclusive(ListenAddress::any(0)) };
    let mut house = serving(Settings::default(), &options);
    house.worker(ONE).accept(LISTENER);
    house.settle();
    let accept = |house: &mut House, socket| {
        house.worker(ONE).handle(OsEvent::Accepted { listener: BOUND, socket });
        house.settle();
    };
    accept(&mut house, SocketId(98));
    house.worker(ONE).accept(LISTENER);
    house.settle();
    accept(&mut house, SocketId(99));
    let process = &house.processes[&ONE];
    assert_eq!(process.asked.last(), Some(&Call::Close { socket: SocketId(99) }));
    let connections = process.events.iter().filter(|event| matches!(event, WorkerEvent::Connection { .. }));
    assert_eq!(connections.count(), 1);
}

/// What workers of Node 20 ask their primary, and what makes a worker of ours ask the same.
#[test]
fn a_worker_asks_with_every_field_as_node_fills_it_in() {
    let ip = |host: &str| Some(host.parse().expect("an address"));
    let tcp = |host, ipv6_only| ListenAddress::Tcp { host, port: 0, ipv6_only };
    let path =
        |readable_all, writable_all| ListenAddress::Path { path: "/a".into(), readable_all, writable_all };
    let udp =
        |v6, host, all| ListenAddress::Udp { v6, host, port: Some(0), ipv6_only: all, reuse_address: all };
    for (asked, address, backlog) in [
        (r#""address":null,"port":0,"addressType":4,"backlog":7"#, tcp(None, false), Some(7)),
        (
            r#""address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":0"#,
            tcp(ip("127.0.0.1"), false),
            None,
        ),
        (r#""address":"::1","port":0,"addressType":6,"flags":1,"backlog":0"#, tcp(ip("::1"), true), None),
        (
            r#""address":"/a","port":-1,"addressType":-1,"backlog":0,"readableAll":true"#,
            path(true, false),
            None,
        ),
        (
            r#""address":"/a","port":-1,"addressType":-1,"backlog":3,"writableAll":true"#,
            path(false, true),
            Some(3),
        ),
        (
            r#""address":null,"port":null,"addressType":null,"fd":0,"backlog":0"#,
            ListenAddress::Descriptor { fd: 0, udp: false },
            None,
        ),
        (
            r#""address":"0.0.0.0","port":0,"addressType":"udp4","fd":-1,"flags":0"#,
            udp(false, None, false),
            None,
        ),
        (
            r#""address":"::1","port":0,"addressType":"udp6","fd":-1,"flags":5"#,
            udp(true, ip("::1"), true),
            None,
        ),
    ] {
        let asks = ListenOptions { address, backlog, ..ListenOptions::default() };
        let node =
            format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,{asked},"seq":1}}"#);
        assert_eq!(question(asks), serde_json::from_str::<Value>(&node).expect(&node));
    }
}

/// The line by which a new worker asks for a server.
fn question(options: ListenOptions) -> Value {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    worker.listen(options);
    let mut desk = Desk::default();
    assert_eq!(cluster_core::pump(&mut worker, &mut desk), None, "it waits for the answer");
    let said: Vec<u8> = desk
        .calls
        .into_iter()
        .filter_map(|call| match call {
            Call::Write { bytes, .. } => Some(bytes),
            _ => None,
        })
        .flatten()
        .collect();
    let said = String::from_utf8(said).expect("it is JSON");
    let question = said.lines().find(|line| line.contains("queryServer")).expect("it asks");
    serde_json::from_str(question).expect("it is JSON")
}

#[test]
fn the_primary_hears_whether_it_is_of_ipv6() {
    for (host, kind) in [("127.0.0.1", AddressType::V4), ("::1", AddressType::V6)] {
        let address = ListenAddress::Tcp { host: host.parse().ok(), port: 0, ipv6_only: false };
        let house = serving(Settings::default(), &address.into());
        assert_eq!(told(&house).iter().map(|(_, at)| at.address_type).collect::<Vec<_>>(), [kind; 2]);
    }
}
