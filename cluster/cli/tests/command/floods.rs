//! Several workers that each write 10,000 lines a second. No line is lost to a reader that reads, and a
//! reader that does not read blocks neither the workers nor the other readers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::support::{Service, text, until};

/// The lines of each worker.
const LINES: usize = 20_000;

const WORKERS: usize = 3;

/// A worker that writes 10,000 numbered lines a second, then answers each request.
const SCRIPT: &str = "
const start = Date.now();
let written = 0;
const flood = setInterval(() => {
  const due = Math.min(LINES, (Date.now() - start) * 10);
  let text = '';
  for (; written < due; written++) text += `flood ${process.env.CLUSTER_SLOT} ${written} ${'x'.repeat(40)}\\n`;
  process.stdout.write(text);
  if (written === LINES) clearInterval(flood);
}, 10);
require('http').createServer((_, res) => res.end()).listen(0, '127.0.0.1');
";

/// The slot and the number in a line of a worker.
fn flood(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_once("flood ")?.1.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Reads lines until each worker's last line, and checks the order of each worker's lines. Returns the number
/// of lines.
fn read_all(mut line: impl FnMut() -> String) -> usize {
    let (mut next, mut count) = ([0; WORKERS], 0);
    while next.iter().any(|next| *next < LINES) {
        let Some((slot, number)) = flood(&line()) else { continue };
        assert!(number >= next[slot], "line {number} of slot {slot} after line {}", next[slot]);
        next[slot] = number + 1;
        count += 1;
    }
    count
}

/// The largest resident memory of a process so far, in MiB.
fn peak_memory(service: &Service) -> u64 {
    let status = procfs::process::Process::new(service.id().cast_signed()).and_then(|own| own.status());
    status.ok().and_then(|status| status.vmhwm).expect("a process") / 1_024
}

/// The output and `logs -f` have every line, in the order of each worker, although another reader of the log
/// never reads. The events are complete as well.
#[test]
fn flood_of_lines_is_complete() {
    let script = SCRIPT.replace("LINES", &LINES.to_string());
    let service = Service::of_script(&script, &["-n", &WORKERS.to_string()]);
    let socket = service.directory.path().join("cluster/app.sock");
    until("the service can be controlled", || UnixStream::connect(&socket).is_ok());
    let follower = service.follow("logs");
    let mut stuck = UnixStream::connect(&socket).expect("a service");
    stuck
        .write_all(b"{\"command\":\"records\",\"kind\":\"output\",\"slot\":null,\"follow\":true}\n")
        .expect("a service");
    assert_eq!(read_all(|| service.line("flood ")), WORKERS * LINES);
    assert_eq!(read_all(|| follower.line("flood ")), WORKERS * LINES);
    let memory = peak_memory(&service);
    assert!(memory < 64, "{memory} MiB");
    let events = text(&service.command("events", &["--json"]));
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let forks = events.iter().filter(|event| event["event"] == "fork");
    assert_eq!(forks.map(|event| event["slot"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    text(&service.command("stop", &[]));
    // The stuck reader receives what the socket has kept, and then the end.
    let mut kept = Vec::new();
    let _ = stuck.read_to_end(&mut kept);
    assert!(!kept.is_empty());
}
