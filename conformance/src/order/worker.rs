//! The lines of a worker: servers open and close, connections open and end, and `disconnect` is last.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Checked, ExitRequests, expect, walk};
use crate::observation::Observation;
use crate::requirement::{
    CONNECTION_EVENTS, CONNECTION_SERVED, DISCONNECT_CLOSES_SERVERS, DISCONNECT_IN_WORKER,
    EXITED_AFTER_DISCONNECT, FORK_EVENT, LISTEN_AGAIN, UDP_SHARED,
};

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
    /// A server that is closed in the tick in which the server begins to listen writes no `listening`.
    closed: bool,
    connections: usize,
}

impl Worker<'_> {
    fn observe(&mut self, line: &Observation, exit_requests: ExitRequests) -> Checked {
        let is_known = line.detail("server").is_none_or(|server| !self.unknown.servers.contains(server));
        let is_reported = is_known && line.what != "tried";
        expect(!(self.disconnected && is_reported), &DISCONNECT_IN_WORKER, "nothing after `disconnect`")?;
        let starts = !std::mem::replace(&mut self.started, true);
        expect(starts == (line.what == "start"), &FORK_EVENT, "one `start`, and first")?;
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
        expect(line.detail("connected") == Some("false"), &DISCONNECT_IN_WORKER, "connected=false")?;
        let on_purpose = line.detail("after_disconnect") == Some("true");
        expect(
            !on_purpose || exit_requests.any(),
            &EXITED_AFTER_DISCONNECT,
            "after_disconnect=false: no rule disconnects a worker",
        )?;
        let graceful = on_purpose && !exit_requests.by_kill;
        let known = self.servers.iter().filter(|(name, _)| !self.unknown.servers.contains(name.as_str()));
        let serving = known.map(|(_, server)| server).any(|server| server.serves);
        expect(!(graceful && serving), &DISCONNECT_CLOSES_SERVERS, "`closed` of every server before")
    }
}

impl Server {
    fn observe(&mut self, what: &str, passes: bool) -> Checked {
        match what {
            "listening" => {
                expect(!self.serves, &LISTEN_AGAIN, "`closed` before another `listening`")?;
                self.serves = true;
                self.closed = false;
            }
            "datagram" => expect(self.serves, &UDP_SHARED, "`listening` before, and not `closed`")?,
            "connection" => {
                expect(self.serves, &CONNECTION_SERVED, "`listening` before, and not `closed`")?;
                self.connections += 1;
            }
            "closed" => {
                expect(
                    self.serves || !self.closed,
                    &LISTEN_AGAIN,
                    "`listening` before, or no `closed` before",
                )?;
                expect(
                    passes || self.connections == 0,
                    &DISCONNECT_CLOSES_SERVERS,
                    "`end` or `reset` of every connection before",
                )?;
                self.serves = false;
                self.closed = true;
            }
            _ => {
                expect(self.connections > 0, &CONNECTION_EVENTS, "an open connection")?;
                self.connections -= usize::from(what != "data");
            }
        }
        Ok(())
    }
}
