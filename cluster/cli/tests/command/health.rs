//! Metrics and health checks of a service, also with a real Prometheus.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::foreign::SERVER as FOREIGN_SERVER;
use super::support::{Running, SERVER, Service, error, exists, get, metrics_port, request, text, until};

#[test]
fn metrics_count_and_are_clean() {
    let service = Service::of_script(SERVER, &["-n", "2", "--metrics", "127.0.0.1:0"]);
    let metrics = metrics_port(&service);
    let port = service.port();
    service.line("slot 1: worker 2 is ready");
    for _ in 0..3 {
        get(port);
    }
    let pid: i32 = get(port).parse().expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a worker");
    service.line("restarts at once: the worker exited: signal: SIGKILL");
    text(&service.command("reload", &[]));
    let answer = request(metrics, "/metrics").expect("an answer");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    for line in [
        "cluster_connections_accepted_total 4",
        "cluster_connections_owned_total 4",
        "cluster_connections_lost_total 0",
        "cluster_reloads_total{result=\"finished\"} 1",
        "cluster_slots 2",
        "cluster_slot_ready{slot=\"0\"} 1",
    ] {
        assert!(body.lines().any(|found| found == line), "no {line} in:\n{body}");
    }
    assert!(body.contains("cluster_restarts_total{reason=\"exited\",slot="), "{body}");
    assert!(body.contains("cluster_worker_resident_memory_bytes{slot=\"1\"}"), "{body}");
    let cpu =
        body.lines().find_map(|line| line.strip_prefix("cluster_worker_cpu_seconds_total{slot=\"0\"} "));
    let cpu: f64 = cpu.and_then(|cpu| cpu.parse().ok()).expect("a number");
    assert!(cpu > 0.0 && cpu.fract() > 0.0, "fractions of seconds: {cpu}");
    if exists("promtool") {
        let mut check = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        check.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("promtool reads");
        let output = check.wait_with_output().expect("an end");
        assert_eq!(text(&output) + &String::from_utf8_lossy(&output.stderr), "");
    }
}

/// The connections of a foreign program do not pass through the primary, so the figures are absent rather
/// than zero.
#[test]
fn foreign_connections_are_unknown() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.py"), FOREIGN_SERVER).expect("a file");
    let options = ["-n", "1", "--listen", "127.0.0.1:0", "--heartbeat", "100ms", "--metrics", "127.0.0.1:0"];
    let program = ["--name", "app", "/usr/bin/env", "python3", "app.py"];
    let service = Service::start(directory, &[&options[..], &program].concat());
    let metrics = metrics_port(&service);
    service.line("slot 0: worker 1 is ready");
    let status = text(&service.command("status", &["--json"]));
    assert!(status.contains("\"acknowledged_connections\":null,\"open_connections\":null"), "{status}");
    let answer = request(metrics, "/metrics").expect("an answer");
    assert!(answer.contains("cluster_slot_ready{slot=\"0\"} 1"), "{answer}");
    for name in ["cluster_connections", "cluster_worker_connections", "cluster_worker_open_connections"] {
        assert!(!answer.contains(name), "{answer}");
    }
}

/// The service is not ready before the first worker is, nor during a shutdown. Here an open request delays
/// the shutdown.
#[test]
fn readiness_follows_the_workers() {
    let script = "const server = require('http').createServer(() => console.log('asked'));
process.on('SIGUSR2', () => server.listen(0, '127.0.0.1', () => console.log('port', server.address().port)));
setInterval(() => {}, 1000);
console.log('pid', process.pid);";
    let mut service = Service::of_script(script, &["-n", "1", "--metrics", "127.0.0.1:0"]);
    let metrics = metrics_port(&service);
    let status = |path| request(metrics, path).map(|answer| answer[9..12].to_owned()).ok();
    let line = service.line("| pid ");
    assert_eq!(status("/healthz").as_deref(), Some("200"));
    assert_eq!(status("/readyz").as_deref(), Some("503"));
    let pid = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a number");
    kill(Pid::from_raw(pid), Signal::SIGUSR2).expect("a worker");
    service.line("slot 0: worker 1 is ready");
    assert_eq!(status("/readyz").as_deref(), Some("200"));
    assert_eq!(status("/other").as_deref(), Some("404"));
    let mut client = TcpStream::connect(("127.0.0.1", service.port())).expect("a listener");
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("a connection");
    service.line("| asked");
    service.signal(Signal::SIGTERM);
    until("503 during the shutdown", || status("/readyz").as_deref() == Some("503"));
    assert_eq!(status("/healthz").as_deref(), Some("200"));
    drop(client);
    assert_eq!(service.code(), Some(0));
}

#[test]
fn taken_metrics_address_is_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("an address").to_string();
    let mut service = Service::of_script(SERVER, &["-n", "1", "--metrics", &address]);
    service.line(&format!("cannot listen on {address} for `metrics`"));
    assert_eq!(service.code(), Some(1));
    assert!(error(&service.command("status", &[])).contains("no service runs"));
}

/// The worker is a shell, and the memory of the process below the shell counts.
#[test]
fn greedy_worker_is_replaced() {
    let script = "const all = []; setInterval(() => all.push(Buffer.alloc(8 << 20, 1)), 20);
require('http').createServer().listen(0, '127.0.0.1');";
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), script).expect("a file");
    let program = ["sh", "-c", "node app.js; exit $?"];
    let service = Service::start(directory, &[&["-n", "1", "--max-rss", "200MiB"][..], &program].concat());
    service.line("slot 0: worker 1 is ready");
    service.line("slot 0: worker 2 is ready");
}

/// A real Prometheus scrapes the service.
#[cfg(target_os = "linux")]
#[test]
fn prometheus_scrapes_the_service() {
    if !exists("prometheus") {
        return;
    }
    let service = Service::of_script(SERVER, &["-n", "1", "--metrics", "127.0.0.1:0"]);
    let metrics = metrics_port(&service);
    service.line("slot 0: worker 1 is ready");
    let directory = service.directory.path();
    let configuration = format!(
        "scrape_configs:\n- job_name: cluster\n  scrape_interval: 100ms\n  static_configs:\n  - targets: ['127.0.0.1:{metrics}']\n"
    );
    fs::write(directory.join("prometheus.yml"), configuration).expect("a file");
    let mut prometheus = Command::new("prometheus");
    prometheus
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg("--web.listen-address=127.0.0.1:0")
        .current_dir(directory);
    let prometheus = Running::start(&mut prometheus);
    // Prometheus does not print the port that the kernel has chosen.
    let mut port = None;
    until("a port of Prometheus", || {
        port = prometheus.listening_port();
        port.is_some()
    });
    let (port, query) = (port.expect("a port"), "/api/v1/query?query=cluster_slot_ready");
    until("a scrape", || request(port, query).is_ok_and(|answer| answer.contains("\"slot\":\"0\"")));
}
