//! What a worker may write down: its servers open and close, its connections come and end, and `disconnect` is the last.

use std::collections::BTreeMap;

use super::{Broken, Farewells, expect, walk};
use crate::observation::Observation;

type Kept = Result<(), String>;

pub(super) fn check(lines: &[Observation], farewells: Farewells) -> Option<Broken> {
    let mut worker = Worker::default();
    walk(lines, |line| worker.hear(line, farewells))
}

#[derive(Default)]
struct Worker {
    started: bool,
    disconnected: bool,
    servers: BTreeMap<String, Server>,
}

#[derive(Default)]
struct Server {
    serves: bool,
    connections: usize,
}

impl Worker {
    fn hear(&mut self, line: &Observation, farewells: Farewells) -> Kept {
        expect(!self.disconnected, "nothing after `disconnect`")?;
        let starts = !std::mem::replace(&mut self.started, true);
        expect(starts == (line.what == "start"), "one `start`, and first")?;
        if line.what == "disconnect" {
            self.disconnect(line, farewells)
        } else if let (Some(server), true) = (line.detail("server"), line.what != "listen_failed") {
            self.servers.entry(server.to_owned()).or_default().hear(&line.what)
        } else {
            Ok(())
        }
    }

    fn disconnect(&mut self, line: &Observation, farewells: Farewells) -> Kept {
        self.disconnected = true;
        expect(line.detail("connected") == Some("false"), "connected=false")?;
        let on_purpose = line.detail("after_disconnect") == Some("true");
        expect(!on_purpose || farewells.any(), "after_disconnect=false: nobody asks a worker to go")?;
        let graceful = on_purpose && !farewells.by_kill;
        let serving = self.servers.values().any(|server| server.serves);
        expect(!(graceful && serving), "`closed` of every server before")
    }
}

impl Server {
    fn hear(&mut self, what: &str) -> Kept {
        match what {
            "listening" => {
                expect(!self.serves, "`closed` before it listens again")?;
                self.serves = true;
            }
            "connection" => {
                expect(self.serves, "`listening` before, and not `closed`")?;
                self.connections += 1;
            }
            "closed" => {
                expect(self.serves, "one `closed`, after `listening`")?;
                expect(self.connections == 0, "`end` or `reset` of every connection before")?;
                self.serves = false;
            }
            _ => {
                expect(self.connections > 0, "an open connection")?;
                self.connections -= usize::from(what != "data");
            }
        }
        Ok(())
    }
}
