//! A reload that hangs, and the commands behind the reload.

use std::net::TcpListener;

use super::support::{Running, SERVER, Service, command, error, text};

/// A program that never listens.
const HUNG: &str = "setInterval(() => {}, 1000)";

fn begin(service: &Service, name: &str, arguments: &[&str]) -> Running {
    Running::start(command(service.directory.path(), name).args(arguments))
}

/// The hung reload is visible, the reload behind waits with a line, and the hung reload can be abandoned.
/// Each client receives the records of its own reload.
#[test]
fn hung_reload_is_abandoned() {
    let service = Service::of_script(SERVER, &["-n", "1", "--lame-duck", "1ms"]);
    service.line("slot 0: worker 1 is ready");
    assert!(error(&service.command("reload", &["--abandon"])).contains("no reload is in progress"));
    let path = service.directory.path().join("app.js");
    std::fs::write(&path, HUNG).expect("a file");
    let first = begin(&service, "reload", &[]);
    first.line("reload 1 started");
    let second = begin(&service, "restart", &["0"]);
    let waits = second.line("waits for reload 1 (slot 0: worker 2 is not ready after ");
    assert!(waits.contains("`cluster reload --abandon`"), "{waits}");
    let status = text(&service.command("status", &[]));
    assert!(status.contains("reload 1 in progress for "), "{status}");
    assert!(status.contains("(slot 0: worker 2 is not ready after "), "{status}");
    let status: serde_json::Value =
        serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON");
    assert_eq!(status["reload"]["number"], 1);
    for client in [&first, &second] {
        client.line("worker 2 is not ready after 5s: the program listens on no port of the service");
    }
    assert!(text(&service.command("events", &[])).contains(" worker 2 is not ready after 5s: "));
    std::fs::write(&path, SERVER).expect("a file");
    let abandoned = text(&service.command("reload", &["--abandon"]));
    assert_eq!(abandoned, "reload 1 was abandoned: a command has requested the end\n");
    second.line("restart of slot 0 finished");
    let first = first.rest();
    assert!(first.iter().any(|line| line.contains("cluster: the reload was abandoned: ")), "{first:#?}");
    assert!(first.iter().all(|line| !line.contains("restart of slot 0")), "{first:#?}");
    let second = second.rest();
    assert!(second.iter().all(|line| !line.contains("reload 1")), "{second:#?}");
    assert!(second.iter().any(|line| line.contains("restart of slot 0 started")), "{second:#?}");
    let status = text(&service.command("status", &[]));
    assert!(!status.contains("in progress"), "{status}");
    text(&service.command("stop", &[]));
}

/// A program that hides the error of a port in use, as express 5 does, ends the first start of a service.
#[test]
fn port_in_use_ends_first_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let script = format!(
        "require('http').createServer().on('error', () => setInterval(() => {{}}, 1000)).listen({}, '127.0.0.1')",
        address.port()
    );
    let mut service = Service::of_script(&script, &["-n", "2"]);
    assert_eq!(service.code(), Some(1));
    let lines = service.rest();
    let end = format!(
        "cluster: cannot bind {address}: EADDRINUSE (the address is in use); stop what listens there, or choose another address; 5s later no worker was ready"
    );
    assert!(lines.contains(&end), "{lines:#?}");
}
