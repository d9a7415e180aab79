//! The lines of a worker: servers open and close, connections open and end, and `disconnect` is last.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Checked, ExitRequests, expect, walk};
use crate::observation::Observation;

/// Facts that the lines of a worker do not show.
pub(super) struct Unknown<'a> {
    /// Servers outside the cluster.
    pub(super) servers: BTreeSet<&'a str>,
    /// Whether the worker sends connections away. Such connections end elsewhere.
    pub(super) passes: bool,
}

pub(super) fn check(
    lines: &[Observation],
    exit_requests: ExitRequests,
    unknown: &Unknown<'_>,
) -> Option<Broken> {
    let mut worker = Worker { unknown, started: false, disconnected: false, servers: BTreeMap::new() };
    walk(lines, |line| worker.observe(line, exit_requests))
}

struct Worker<'a> {
    unknown: &'a Unknown<'a>,
    started: bool,
    disconnected: bool,
    servers: BTreeMap<String, Server>,
}

#[derive(Default)]
struct Server {
    serves: bool,
    /// Closed in the same tick in which the server begins to listen: then there is no `listening`.
    closed: bool,
    connections: usize,
}

impl Worker<'_> {
    fn observe(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        let is_known = line.detail("server").is_none_or(|server| !self.unknown.servers.contains(server));
        let is_reported = is_known && line.what != "tried";
        expect(!(self.disconnected && is_reported), "nothing after `disconnect`")?;
        let starts = !std::mem::replace(&mut self.started, true);
        expect(starts == (line.what == "start"), "one `start`, and first")?;
        if line.what == "disconnect" {
            self.disconnect(line, exit_requests)
        } else if let (Some("connection"), Some(text)) = (line.detail("with"), line.detail("text")) {
            self.servers.entry(text.to_owned()).or_default().connections += 1;
            Ok(())
        } else if let Some(text) = line.detail("with").and(line.detail("text")) {
            self.servers.entry(text.to_owned()).or_default().serves = true;
            Ok(())
        } else if let (Some(server), true) = (line.detail("server"), line.what != "listen_failed") {
            self.servers.entry(server.to_owned()).or_default().observe(&line.what, self.unknown.passes)
        } else {
            Ok(())
        }
    }

    fn disconnect(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        self.disconnected = true;
        expect(line.detail("connected") == Some("false"), "connected=false")?;
        let on_purpose = line.detail("after_disconnect") == Some("true");
        expect(!on_purpose || exit_requests.any(), "after_disconnect=false: no rule disconnects a worker")?;
        let graceful = on_purpose && !exit_requests.by_kill;
        let known = self.servers.iter().filter(|(name, _)| !self.unknown.servers.contains(name.as_str()));
        let serving = known.map(|(_, server)| server).any(|server| server.serves);
        expect(!(graceful && serving), "`closed` of every server before")
    }
}

impl Server {
    fn observe(&mut self, what: &str, passes: bool) -> Checked {
        match what {
            "listening" => {
                expect(!self.serves, "`closed` before another `listening`")?;
                self.serves = true;
                self.closed = false;
            }
            "datagram" => expect(self.serves, "`listening` before, and not `closed`")?,
            "connection" => {
                expect(self.serves, "`listening` before, and not `closed`")?;
                self.connections += 1;
            }
            "closed" => {
                expect(self.serves || !self.closed, "`listening` before, or no `closed` before")?;
                expect(passes || self.connections == 0, "`end` or `reset` of every connection before")?;
                self.serves = false;
                self.closed = true;
            }
            _ => {
                expect(self.connections > 0, "an open connection")?;
                self.connections -= usize::from(what != "data");
            }
        }
        Ok(())
    }
}
