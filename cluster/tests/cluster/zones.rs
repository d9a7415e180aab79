//! Link-local addresses in a zone, on an interface in a new network namespace. Ignored where no namespace can
//! be made.

use std::ffi::OsStr;
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::process::Command;
use std::thread;

use ::cluster::{Event, Primary, SchedulingPolicy, Settings};
use libtest_mimic::{Failed, Trial};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::node::{is_absent, leading, lines, script};
use super::support::{TestResult, message, read_answer, rest, runtime, trial, until};

/// A link-local address of the namespace.
const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The interface of the address.
const ZONE: &str = "veth-a";
const ADDRESS: &str = "fe80::1%veth-a";

const POLICIES: [SchedulingPolicy; 2] = [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared];

/// Reports the address of the server.
const NODE_WORKER: &str = "
    const server = require('net').createServer((connection) => connection.end('node'));
    server.listen({ port: 0, host: process.argv[2] }, () => process.send(server.address().address));
";

/// A Node primary. The worker runs a script, or is a Rust worker with the address in the variable LISTEN.
const NODE_PRIMARY: &str = "
    const cluster = require('cluster');
    if (process.argv[5]) {
        cluster.setupPrimary({ exec: process.argv[5], args: [process.argv[4]] });
    } else {
        process.execPath = process.argv[2];
        cluster.setupPrimary({ exec: 'none', args: [] });
    }
    if (process.argv[3] === 'shared') cluster.schedulingPolicy = cluster.SCHED_NONE;
    const worker = cluster.fork({ PROGRAM: 'serve the script', LISTEN: process.argv[4] });
    const seen = new Set(['listening', 'message']);
    const done = (event, text) => {
        console.log(event, text);
        seen.delete(event);
        if (seen.size === 0) cluster.disconnect();
    };
    worker.on('listening', ({ address }) => done('listening', address));
    worker.on('message', (text) => done('message', text.replace(/:\\d+$/, '')));
";

pub(crate) fn trials() -> Vec<Trial> {
    let is_impossible = in_namespace(|| Ok(())).is_err();
    if is_impossible {
        eprintln!(
            "no network namespace with a `veth` interface can be made here: the tests of zones are ignored"
        );
    }
    let here = |name, test: fn() -> TestResult| {
        trial(name, move || in_namespace(test)).with_ignored_flag(is_impossible)
    };
    let with_node =
        |name, test: fn() -> TestResult| here(name, test).with_ignored_flag(is_impossible || is_absent());
    vec![
        here("link_local_address_is_served", || runtime()?.block_on(our_worker())),
        here("link_local_datagrams_are_served", || runtime()?.block_on(our_datagrams())),
        with_node("node_worker_has_zone_name", || runtime()?.block_on(node_worker())),
        with_node("node_primary_names_zone", node_primary),
    ]
}

/// Runs a test in a thread with a new network of its own.
fn in_namespace(test: fn() -> TestResult) -> TestResult {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        for arguments in [
            "link set lo up",
            "link add veth-a type veth peer name veth-b",
            "link set veth-a up",
            "link set veth-b up",
            // `nodad`: the kernel does not wait for other hosts with the same address.
            "address add fe80::1/64 dev veth-a nodad",
        ] {
            let output = Command::new("ip").args(arguments.split(' ')).output()?;
            if !output.status.success() {
                return Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
        }
        test()
    });
    thread.join().map_err(|_| Failed::from("the thread panicked"))?
}

fn serving(policy: SchedulingPolicy, listen: &Value) -> Result<Primary, Failed> {
    let mut primary = Primary::new(Settings { policy, ..Settings::default() })?;
    primary.fork_with_env([("PROGRAM", "serve the script".to_owned()), ("LISTEN", listen.to_string())])?;
    Ok(primary)
}

/// A Rust worker reports the address with the number of the zone. The primary reports the name of the zone.
async fn our_worker() -> TestResult {
    for policy in POLICIES {
        for zone in [ZONE.to_owned(), if_nametoindex(ZONE)?.to_string()] {
            let mut primary = serving(policy, &json!({ "host": HOST, "zone": zone, "port": 0 }))?;
            let (address, port, own) = addresses(&mut primary).await?;
            assert_eq!(address.as_deref(), Some(ADDRESS));
            let at = SocketAddrV6::new(HOST, port, 0, if_nametoindex(ZONE)?);
            assert_eq!(own, json!(at));
            assert_eq!(read_answer(&mut primary, TcpStream::connect(at)?).await?, "1");
            primary.disconnect_all();
            rest(&mut primary).await?;
        }
    }
    Ok(())
}

/// The host and the port in `Listening`, and the address in the worker's message. The two arrive in either
/// order.
async fn addresses(primary: &mut Primary) -> Result<(Option<String>, u16, Value), Failed> {
    let (mut reported, mut own) = (None, None);
    loop {
        let is_address = |event: &Event| matches!(event, Event::Listening { .. } | Event::Message { .. });
        match until(primary, is_address).await?.pop() {
            Some(Event::Listening { address, .. }) => {
                reported = Some((address.address, address.port.try_into()?));
            }
            Some(Event::Message { message, .. }) => own = Some(message.json()?),
            other => return Err(format!("{other:?}").into()),
        }
        if let (Some((address, port)), Some(own)) = (&reported, &own) {
            return Ok((address.clone(), *port, Value::clone(own)));
        }
    }
}

async fn our_datagrams() -> TestResult {
    for policy in POLICIES {
        let listen = json!({ "udp": true, "host": HOST, "zone": ZONE, "port": 0 });
        let mut primary = serving(policy, &listen)?;
        let at: SocketAddrV6 = message(&mut primary).await?.as_str().ok_or("a text")?.parse()?;
        assert_eq!((*at.ip(), at.scope_id()), (HOST, if_nametoindex(ZONE)?));
        primary.disconnect_all();
        rest(&mut primary).await?;
    }
    Ok(())
}

/// In a worker, `server.address()` is the same under a Rust primary and under a Node primary.
async fn node_worker() -> TestResult {
    let script = script(NODE_WORKER)?;
    for (policy, name) in POLICIES.into_iter().zip(["round-robin", "shared"]) {
        let mut primary = leading(&script, &[ADDRESS.as_ref()], policy)?;
        primary.fork()?;
        let ours = message(&mut primary).await?;
        assert_eq!(&ours, &json!(ADDRESS));
        primary.disconnect_all();
        rest(&mut primary).await?;
        let mut theirs = lines(NODE_PRIMARY, &[name.as_ref(), ADDRESS.as_ref(), script.as_os_str()])?;
        theirs.sort();
        assert_eq!(theirs, vec![format!("listening {ADDRESS}"), format!("message {ADDRESS}")]);
    }
    Ok(())
}

/// Under a Node primary, a Rust worker has the number of the zone.
fn node_primary() -> TestResult {
    let listen = json!({ "host": HOST, "zone": ZONE, "port": 0 }).to_string();
    for policy in ["round-robin", "shared"] {
        let mut lines = lines(NODE_PRIMARY, &[policy.as_ref(), OsStr::new(&listen)])?;
        lines.sort();
        let number = if_nametoindex(ZONE)?;
        assert_eq!(lines, vec![format!("listening {ADDRESS}"), format!("message [{HOST}%{number}]")]);
    }
    Ok(())
}
