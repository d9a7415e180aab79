//! The clients of a scenario in the simulator: the driver hears the log, tells the cast, and moves the clients.

use std::collections::BTreeMap;

use cluster_sim::{ClientEvent, ClientId, Driver};

use super::pen::{Play, has_port};
use crate::observation::{Line, Observation, Observer};
use crate::program::clients::{Cast, ClientAct};
use crate::program::lines::Lines;
use crate::words;

/// The cast, and who of it is connected as which client of the simulator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stage {
    play: Play,
    cast: Cast,
    clients: BTreeMap<ClientId, Client>,
}

/// A client that was told to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Client {
    number: u32,
    server: String,
    lines: Lines,
}

impl Stage {
    pub(super) fn new(play: Play) -> Self {
        Stage { cast: Cast::new(&play.scenario), play, clients: BTreeMap::new() }
    }

    /// A line that somebody wrote. Those with a port are read in the note that comes with them.
    pub(super) fn observed(&mut self, driver: &mut Driver<'_>, observer: Observer, text: &str) {
        let observation = parse(text);
        if !has_port(&observation) {
            self.tell(driver, &Line { observer, observation });
        }
    }

    /// A line with a port, as it is.
    pub(super) fn noted(&mut self, driver: &mut Driver<'_>, observer: Observer, text: &str) {
        self.tell(driver, &Line { observer, observation: parse(text) });
    }

    /// Something happened to a client: it writes that down.
    pub(super) fn hear(&mut self, driver: &mut Driver<'_>, id: ClientId, event: ClientEvent) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let seen = match event {
            ClientEvent::Connected => vec![words::client("connected", &client.server)],
            ClientEvent::Refused => vec![words::client("refused", &client.server)],
            ClientEvent::Data(bytes) => {
                client.lines.push(&bytes).iter().map(|text| words::client_data(text)).collect()
            }
            ClientEvent::End => vec![words::client_over("end")],
            ClientEvent::Reset => vec![words::client_over("reset")],
            // No scenario has datagrams.
            ClientEvent::Datagram { .. } => Vec::new(),
        };
        let number = client.number;
        for observation in seen {
            let line = Line { observer: Observer::Client(number), observation };
            if self.play.hides(&line) {
                self.tell(driver, &line);
            } else {
                driver.observe(ClientId(number), line.observation.to_string());
            }
        }
    }

    fn tell(&mut self, driver: &mut Driver<'_>, line: &Line) {
        for command in self.cast.hear(line) {
            self.act(driver, command.client, command.act);
        }
    }

    fn act(&mut self, driver: &mut Driver<'_>, number: u32, act: ClientAct) {
        if let ClientAct::Connect { server, port } = act {
            let id = driver.connect(port);
            self.clients.insert(id, Client { number, server, lines: Lines::default() });
            return;
        }
        let connected = self.clients.iter().find(|(_, client)| client.number == number);
        let Some(id) = connected.map(|(id, _)| *id) else { return };
        match act {
            ClientAct::Say { text } => driver.send(id, format!("{text}\n").as_bytes()),
            ClientAct::End => driver.end(id),
            ClientAct::Reset => driver.reset(id),
            ClientAct::Connect { .. } => {}
        }
    }
}

fn parse(text: &str) -> Observation {
    text.parse().expect("a line that was written by this arm")
}
