//! Every listening address of a worker: the primary's bind and the worker's events.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::net::{IpAddr, Ipv4Addr};

use cluster_core::testing::{TestCluster, TestProcess};
use cluster_core::{
    AddressType, BindAddress, Call, Errno, Event, Limits, ListenAddress, ListenOptions, ListenerId,
    ListeningAddress, LocalAddress, Machine, OsEvent, SchedulingPolicy, Serialization, Settings, SocketId,
    Worker, WorkerEvent, WorkerId,
};
use serde_json::Value;

pub(crate) const ONE: WorkerId = WorkerId(1);
pub(crate) const TWO: WorkerId = WorkerId(2);
pub(crate) const LISTENER: ListenerId = ListenerId(1);
/// The first bound socket of a process.
pub(crate) const BOUND: SocketId = SocketId(1);
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn policy(policy: SchedulingPolicy) -> Settings {
    Settings { policy, ..Settings::default() }
}

pub(crate) fn exclusive(address: ListenAddress) -> ListenOptions {
    ListenOptions { exclusive: true, ..address.into() }
}

/// Two workers with a server of these options.
pub(crate) fn serving(settings: Settings, options: &ListenOptions) -> TestCluster {
    TestCluster::serving(settings, 2, options)
}

pub(crate) fn binds(calls: &[Call]) -> Vec<(BindAddress, Option<u32>)> {
    let bind = |call: &Call| match call {
        Call::Bind { address, backlog, .. } => Some((address.clone(), *backlog)),
        _ => None,
    };
    calls.iter().filter_map(bind).collect()
}

/// The primary's listening events.
pub(crate) fn announced(cluster: &TestCluster) -> Vec<(WorkerId, ListeningAddress)> {
    let announced = cluster.events.iter().filter_map(|event| match event {
        Event::Listening { worker, address } => Some((*worker, address.clone())),
        _ => None,
    });
    announced.collect()
}

pub(crate) fn worker_events(cluster: &TestCluster, worker: WorkerId) -> &[WorkerEvent] {
    &cluster.processes[&worker].events
}

/// The primary's output to a worker, without acknowledgements of descriptors.
fn sent_lines(cluster: &TestCluster) -> String {
    let written = cluster.os.written().into_iter();
    written.filter(|line| !line.contains("NODE_HANDLE_ACK")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn path() -> ListenAddress {
    ListenAddress::Path { path: "/run/cluster".into(), readable_all: true, writable_all: false }
}

pub(crate) fn udp(port: Option<u16>) -> ListenAddress {
    ListenAddress::Udp { v6: false, host: Some(LOOPBACK), port, ipv6_only: false, reuse_address: true }
}

/// The primary binds a path, which has no port.
#[test]
fn path_is_bound_without_port() {
    for (policy_of, backlog) in [(SchedulingPolicy::RoundRobin, Some(511)), (SchedulingPolicy::Shared, None)]
    {
        let mut cluster = TestCluster::new(policy(policy_of));
        cluster.fork(1);
        let at = LocalAddress::Path("/run/cluster".into());
        cluster.processes.get_mut(&ONE).expect("a live worker").os.address = Some(at.clone());
        cluster.worker(ONE).listen(path().into());
        cluster.settle();
        let bound =
            BindAddress::Path { path: "/run/cluster".into(), readable_all: true, writable_all: false };
        assert_eq!(binds(&cluster.os.calls), [(bound, backlog)]);
        let listening = WorkerEvent::Listening { listener: LISTENER, address: at, socket: None };
        assert_eq!(worker_events(&cluster, ONE), [listening]);
        let address = ListeningAddress {
            address: Some("/run/cluster".into()),
            port: -1,
            address_type: AddressType::Path,
            fd: None,
        };
        assert_eq!(announced(&cluster), [(ONE, address)]);
        assert!(
            sent_lines(&cluster).contains("\"key\":\"/run/cluster:-1:-1:undefined:0\""),
            "{}",
            sent_lines(&cluster)
        );
        assert!(!sent_lines(&cluster).contains("sockname"), "{}", sent_lines(&cluster));
    }
}

/// The backlog of the first asking worker is used.
#[test]
fn first_backlog_decides() {
    for (asked, expected) in [(None, 511), (Some(0), 511), (Some(7), 7)] {
        let options = ListenOptions { backlog: asked, ..ListenAddress::any(80).into() };
        let cluster = serving(Settings::default(), &options);
        let [(_, backlog)] = binds(&cluster.os.calls)[..] else { unreachable!("both share a socket") };
        assert_eq!(backlog, Some(expected));
    }
}

/// Connections to a path rotate like connections to a port.
#[test]
fn path_is_round_robin() {
    let mut cluster = serving(Settings::default(), &path().into());
    for worker in [ONE, TWO] {
        cluster.worker(worker).accept(LISTENER);
    }
    cluster.connect(BOUND);
    cluster.connect(BOUND);
    assert_eq!((cluster.connections(ONE).len(), cluster.connections(TWO).len()), (1, 1));
}

/// UDP is shared under both policies, and the application gets the socket.
#[test]
fn udp_is_shared_under_both_policies() {
    for policy_of in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut cluster = TestCluster::new(policy(policy_of));
        cluster.fork(1);
        let at = LocalAddress::Ip("127.0.0.1:5353".parse().expect("an address"));
        cluster.processes.get_mut(&ONE).expect("a live worker").os.address = Some(at.clone());
        cluster.worker(ONE).listen(udp(Some(0)).into());
        cluster.worker(ONE).accept(LISTENER);
        cluster.settle();
        let (host, port) = (LOOPBACK, 0);
        let bound = BindAddress::Udp { host, port, ipv6_only: false, reuse_address: true, reuse_port: false };
        assert_eq!(binds(&cluster.os.calls), [(bound, None)]);
        assert!(sent_lines(&cluster).contains("\"type\":\"dgram.Native\""), "{}", sent_lines(&cluster));
        assert!(
            sent_lines(&cluster).contains("\"key\":\"127.0.0.1:0:udp4:-1:0\""),
            "{}",
            sent_lines(&cluster)
        );
        let listening = WorkerEvent::Listening { listener: LISTENER, address: at, socket: Some(BOUND) };
        assert_eq!(worker_events(&cluster, ONE), [listening]);
        let resumes = |calls: &[Call]| calls.iter().any(|call| matches!(call, Call::ResumeAccept { .. }));
        assert!(
            !resumes(&cluster.os.calls) && !resumes(&cluster.processes[&ONE].os.calls),
            "no process accepts"
        );
        let address = ListeningAddress {
            address: Some("127.0.0.1".into()),
            port: 5353,
            address_type: AddressType::Udp4,
            fd: Some(-1),
        };
        assert_eq!(announced(&cluster), [(ONE, address)]);
        cluster.worker(ONE).close(LISTENER);
        cluster.settle();
        assert!(cluster.processes[&ONE].os.calls.contains(&Call::Close { socket: BOUND }));
        assert!(cluster.os.calls.contains(&Call::Close { socket: BOUND }), "the last worker has left");
    }
}

/// UDP without a port does not share a socket with UDP at port 0.
#[test]
fn udp_without_port_is_separate() {
    let cluster = serving(Settings::default(), &udp(None).into());
    assert!(
        sent_lines(&cluster).contains("\"key\":\"127.0.0.1:undefined:udp4:-1:0\""),
        "{}",
        sent_lines(&cluster)
    );
    let mut cluster = serving(Settings::default(), &udp(Some(0)).into());
    cluster.worker(ONE).listen(udp(None).into());
    cluster.settle();
    assert_eq!(binds(&cluster.os.calls).len(), 2);
}

/// A worker can listen on a descriptor of the primary.
#[test]
fn descriptor_is_listened_on() {
    let address = ListenAddress::Descriptor { fd: 7, udp: false };
    let cluster = serving(Settings::default(), &address.into());
    let bound = BindAddress::Descriptor { fd: 7, datagrams: false };
    assert_eq!(binds(&cluster.os.calls), [(bound, Some(511))]);
    assert!(sent_lines(&cluster).contains("\"key\":\"null:null:null:7:0\""), "{}", sent_lines(&cluster));
    let address =
        ListeningAddress { address: None, port: 40_001, address_type: AddressType::Descriptor, fd: Some(7) };
    assert_eq!(announced(&cluster), [(ONE, address.clone()), (TWO, address)]);
}

/// A query that makes no sense is answered with an error, and nothing is bound.
#[test]
fn senseless_query_binds_nothing() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
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
        let line = format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer",{ask},"seq":{seq}}}"#);
        cluster.read(ONE, &line, None);
    }
    assert_eq!(binds(&cluster.os.calls), []);
    assert_eq!(sent_lines(&cluster).matches(&format!("\"errno\":-{}", Errno::EINVAL.0)).count(), asks.len());
    assert!(
        cluster.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected),
        "it may ask again"
    );
}

/// Sends a query of a Node worker with these fields.
fn query(cluster: &mut TestCluster, fields: &str) {
    cluster.read(
        ONE,
        &format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,{fields},"seq":1}}"#),
        None,
    );
}

/// Every value that Node's own JavaScript can put into the fields is accepted.
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
        let mut cluster = TestCluster::new(Settings::default());
        cluster.fork(1);
        query(&mut cluster, ask);
        assert_eq!(binds(&cluster.os.calls), [(bound.clone(), Some(backlog))], "{ask}");
        assert!(cluster.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected), "{ask}");
    }
}

/// A Node worker takes an abstract name for a relative path; the primary binds the name, with any directory
/// before it.
#[test]
fn abstract_name_is_bound_unchanged() {
    for (address, bound) in [
        (r"\u0000name", Some("\0name")),
        (r"/srv/app/\u0000name/with/slash", Some("\0name/with/slash")),
        (r"/srv/app/name\u0000", None),
    ] {
        for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
            let mut cluster = TestCluster::new(Settings { policy, ..Settings::default() });
            cluster.fork(1);
            query(&mut cluster, &format!(r#""address":"{address}","port":-1,"addressType":-1,"backlog":0"#));
            let asked: Vec<_> = binds(&cluster.os.calls).into_iter().map(|(address, _)| address).collect();
            let path = bound.unwrap_or("/srv/app/name\0").to_owned();
            assert_eq!(asked, [BindAddress::Path { path, readable_all: false, writable_all: false }]);
        }
    }
}

/// A Node worker puts its directory before the address of a negative UDP port.
#[test]
fn udp_port_below_0_is_bound() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    let fields = r#""addressType":"udp4","fd":-1,"flags":0"#;
    query(&mut cluster, &format!(r#""address":"/srv/app/127.0.0.1","port":-1,{fields}"#));
    let (reuse_address, reuse_port, ipv6_only) = (false, false, false);
    let bound = BindAddress::Udp { host: LOOPBACK, port: 65_535, ipv6_only, reuse_address, reuse_port };
    assert_eq!(binds(&cluster.os.calls), [(bound, None)]);
}

/// The number of a Node program's servers is not limited.
#[test]
fn servers_of_worker_have_no_limit() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    for port in 1..=2000 {
        query(&mut cluster, &format!(r#""address":null,"port":{port},"addressType":4,"backlog":0"#));
    }
    assert_eq!(binds(&cluster.os.calls).len(), 2000);
}

/// A Node TLS server reads its ticket keys from every answer, and crashes without them.
#[test]
fn refusal_echoes_data_of_query() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    let ask = r#""data":{"ticketKeys":"00"},"address":"nowhere","port":0,"addressType":4"#;
    query(&mut cluster, ask);
    assert!(sent_lines(&cluster).contains(r#""data":{"ticketKeys":"00"}"#), "{}", sent_lines(&cluster));
}

/// A query that is too long is answered with an error, and the worker continues.
#[test]
fn too_long_query_is_an_error() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    let path = ListenAddress::Path { path: "x".repeat(10_000), readable_all: false, writable_all: false };
    cluster.worker(ONE).listen(path.into());
    cluster.settle();
    assert_eq!(binds(&cluster.os.calls), []);
    assert!(cluster.processes[&ONE].events.iter().any(|event| match event {
        WorkerEvent::ListenFailed { error, .. } => error.errno == Errno::ENAMETOOLONG,
        _ => false,
    }));
    assert!(cluster.primary.worker(ONE).is_some_and(cluster_core::WorkerInfo::is_connected));
}

/// Connections beyond a worker's limit are handed to another worker.
#[test]
fn connection_limit_hands_to_others() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(2);
    let limited = ListenOptions { max_connections: Some(1), ..ListenOptions::default() };
    cluster.worker(ONE).listen(limited);
    cluster.worker(TWO).listen(ListenOptions::default());
    cluster.settle();
    let mut all = Vec::new();
    for _ in 0..4 {
        for worker in [ONE, TWO] {
            cluster.worker(worker).accept(LISTENER);
        }
        cluster.settle();
        all.push(cluster.connect(BOUND));
    }
    assert_eq!((cluster.connections(ONE), cluster.connections(TWO)), (vec![all[0]], all[1..].to_vec()));
    assert_eq!(cluster.primary.ledger().owned(), 4);
    cluster.worker(ONE).release(all[0]);
    // The end of the pause after the refusal.
    let timer = |call: &Call| match call {
        Call::SetTimer { timer, .. } => Some(*timer),
        _ => None,
    };
    let timers: Vec<_> = cluster.os.calls.iter().filter_map(timer).collect();
    for timer in timers {
        cluster.handle(OsEvent::Timer { timer });
    }
    for worker in [ONE, TWO] {
        cluster.worker(worker).accept(LISTENER);
    }
    let next = cluster.connect(BOUND);
    let last = cluster.connect(BOUND);
    let both = [ONE, TWO].map(|worker| cluster.connections(worker).last().copied());
    assert!(both.contains(&Some(next)) && both.contains(&Some(last)), "{both:?}");
}

/// A connection limit of 0 accepts nothing.
#[test]
fn limit_of_0_accepts_nothing() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    cluster.worker(ONE).listen(ListenOptions { max_connections: Some(0), ..ListenOptions::default() });
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    cluster.connect(BOUND);
    assert!(matches!(cluster.os.calls.last(), Some(Call::SetTimer { .. })), "{:?}", cluster.os.calls.last());
    assert_eq!(cluster.primary.ledger().owned(), 0);
}

/// A worker that accepts itself closes connections beyond its limit.
#[test]
fn shared_server_closes_beyond_limit() {
    let options = ListenOptions { max_connections: Some(1), ..exclusive(ListenAddress::any(0)) };
    let mut cluster = serving(Settings::default(), &options);
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    let accept = |cluster: &mut TestCluster, socket| {
        cluster.worker(ONE).handle(OsEvent::Accepted { listener: BOUND, socket, client: None });
        cluster.settle();
    };
    accept(&mut cluster, SocketId(98));
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    accept(&mut cluster, SocketId(99));
    let process = &cluster.processes[&ONE];
    assert_eq!(process.os.calls.last(), Some(&Call::Close { socket: SocketId(99) }));
    assert_eq!(cluster.connections(ONE).len(), 1);
}

/// With the right options, a worker of this crate sends the same queries as Node 20 workers.
#[test]
fn worker_query_matches_node() {
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

/// The query of a new worker.
#[track_caller]
fn question(options: ListenOptions) -> Value {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    worker.listen(options);
    let process = TestProcess::new(worker);
    assert_eq!(process.events, [], "it waits for the answer");
    let written = process.os.written();
    let question = written.iter().find(|line| line.contains("queryServer")).expect("a question");
    serde_json::from_str(question).expect("JSON")
}

/// The report of a listening server has the address family.
#[test]
fn listening_report_has_address_type() {
    for (host, kind) in [("127.0.0.1", AddressType::V4), ("::1", AddressType::V6)] {
        let address = ListenAddress::Tcp { host: host.parse().ok(), port: 0, ipv6_only: false };
        let cluster = serving(Settings::default(), &address.into());
        assert_eq!(announced(&cluster).iter().map(|(_, at)| at.address_type).collect::<Vec<_>>(), [kind; 2]);
    }
}
