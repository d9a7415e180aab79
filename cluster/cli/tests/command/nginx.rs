//! A real nginx in front of the service, with keep-alive connections to the service.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::support::{LIMIT, SERVER, Service, exists, request, text, until};

/// Sends requests to nginx on a keep-alive connection until `is_over`. Returns the answers with another
/// status than 200.
fn load(port: u16, is_over: &AtomicBool, answered: &AtomicU64) -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a time above 0");
    let mut reader = BufReader::new(stream.try_clone().expect("a duplicate"));
    let mut failures = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("nginx reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("an answer") > 0 {}
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        if head.starts_with("HTTP/1.1 200 ") {
            answered.fetch_add(1, Ordering::Relaxed);
        } else {
            failures.push(head);
        }
    }
    failures
}

#[test]
fn reload_behind_nginx_loses_nothing() {
    if !exists("nginx") {
        return;
    }
    let with_length = "res.setHeader('Content-Length', String(process.pid).length).end(";
    let script = SERVER.replace("res.end(", with_length);
    let service = Service::of_script(&script, &["-n", "2"]);
    let upstream = service.port();
    service.line("slot 1: worker 2 is ready");
    let directory = service.directory.path();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let configuration = format!(
        "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  keepalive_requests 1000000;
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
  }}
}}"
    );
    std::fs::write(directory.join("nginx.conf"), configuration).expect("a file");
    let mut nginx = Command::new("nginx")
        .arg("-p")
        .arg(directory)
        .args(["-c", "nginx.conf"])
        // The variable is made for upgrades of nginx: descriptor 0 is an inherited listener.
        .stdin(OwnedFd::from(listener))
        .env("NGINX", "0;")
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    until("nginx answers", || request(port, "/").is_ok());
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (outputs, failures) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| load(port, &is_over, &answered))).collect();
        let outputs: Vec<_> = (0..3).map(|_| service.command("reload", &[])).collect();
        is_over.store(true, Ordering::Relaxed);
        let failures = clients.into_iter().flat_map(|client| client.join().expect("no panic"));
        (outputs, failures.collect::<Vec<_>>())
    });
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(nginx.id().cast_signed()),
        nix::sys::signal::Signal::SIGQUIT,
    );
    nginx.wait().expect("a child");
    for output in outputs {
        text(&output);
    }
    assert!(failures.is_empty(), "{failures:?}");
    assert!(answered.into_inner() > 0);
}
