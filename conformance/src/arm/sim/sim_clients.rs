//! The clients of a scenario in the simulator: the driver reads the log, passes each line to the script, and
//! lets the clients act.

use std::collections::BTreeMap;

use cluster_core::LocalAddress;
use cluster_sim::{ClientEvent, ClientId, Driver};

use super::PLACE;
use super::observation_writer::{ScenarioContext, has_port};
use crate::observation::{Line, Observation, Observer};
use crate::program::clients::ClientScript;
use crate::program::lines::Lines;
use crate::scenario::{ServerName, Step};
use crate::vocabulary::{self, ServerAddress};

/// The script, and for each connected client of the scenario the client of the simulator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SimClients {
    context: ScenarioContext,
    script: ClientScript,
    clients: BTreeMap<ClientId, Client>,
}

/// A client with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Client {
    number: u32,
    server: String,
    lines: Lines,
}

impl SimClients {
    pub(super) fn new(context: ScenarioContext) -> Self {
        SimClients { script: ClientScript::new(&context.scenario), context, clients: BTreeMap::new() }
    }

    /// Receives a line of any observer. Ignores a line with a port, which the notice after it repeats with
    /// the real port.
    pub(super) fn observed(&mut self, driver: &mut Driver<'_>, observer: Observer, text: &str) {
        let observation = parse(text);
        if !has_port(&observation) {
            self.forward(driver, &Line { observer, observation });
        }
    }

    /// Receives a line with its real port.
    pub(super) fn notified(&mut self, driver: &mut Driver<'_>, observer: Observer, text: &str) {
        self.forward(driver, &Line { observer, observation: parse(text) });
    }

    /// Writes a line for an event of a client.
    pub(super) fn on_event(&mut self, driver: &mut Driver<'_>, id: ClientId, event: ClientEvent) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let seen = match event {
            ClientEvent::Connected => vec![vocabulary::client("connected", &client.server)],
            ClientEvent::Refused => vec![vocabulary::client("refused", &client.server)],
            ClientEvent::Data(bytes) => {
                client.lines.push(&bytes).iter().map(|text| vocabulary::client_data(text)).collect()
            }
            ClientEvent::End => vec![vocabulary::client_over("end")],
            ClientEvent::Reset => vec![vocabulary::client_over("reset")],
            ClientEvent::Datagram { bytes, .. } => {
                vec![vocabulary::client_data(&String::from_utf8_lossy(&bytes))]
            }
        };
        let number = client.number;
        for observation in seen {
            let line = Line { observer: Observer::Client(number), observation };
            if self.context.hides(&line) {
                self.forward(driver, &line);
            } else {
                driver.observe(ClientId(number), line.observation.to_string());
            }
        }
    }

    fn forward(&mut self, driver: &mut Driver<'_>, line: &Line) {
        for command in self.script.on_line(line) {
            self.perform(driver, command.client, &command.step);
        }
    }

    fn perform(&mut self, driver: &mut Driver<'_>, number: u32, step: &Step) {
        match step {
            // The script itself waits, so the client has nothing to do.
            Step::Await(_) => {}
            Step::Connect(server) | Step::ConnectV6(server) => {
                let id = driver.connect_to(address(server, step));
                let server = server.to_string();
                self.clients.insert(id, Client { number, server, lines: Lines::default() });
            }
            Step::SendDatagram(send) | Step::SendDatagramV6(send) => {
                let Some(to) = address(&send.to, step).ip() else { return };
                let id = self.client(number).unwrap_or_else(|| driver.client());
                let client = Client { number, server: String::new(), lines: Lines::default() };
                self.clients.entry(id).or_insert(client);
                driver.send_to(id, to, send.text.as_str().as_bytes());
            }
            Step::Mode(server) => {
                let path = address(server, step).to_string();
                let mode = driver.mode(&path).map(|mode| format!("{:o}", mode & 0o666));
                let seen = vocabulary::outside("mode", server.as_str(), mode.as_deref());
                self.observe_as(driver, number, &seen);
            }
            Step::Backlog(server) => {
                let backlog = driver.backlog(address(server, step)).map(|backlog| backlog.to_string());
                let seen = vocabulary::outside("backlog", server.as_str(), backlog.as_deref());
                self.observe_as(driver, number, &seen);
            }
            Step::Write(text) => self.with(number, |id| driver.send(id, format!("{text}\n").as_bytes())),
            Step::End => self.with(number, |id| driver.end(id)),
            Step::Reset => self.with(number, |id| driver.reset(id)),
        }
    }

    /// Writes a line for a client that may have no connection.
    fn observe_as(&mut self, driver: &mut Driver<'_>, number: u32, seen: &Observation) {
        let id = self.client(number).unwrap_or_else(|| driver.client());
        let client = Client { number, server: String::new(), lines: Lines::default() };
        self.clients.entry(id).or_insert(client);
        driver.observe(ClientId(number), seen.to_string());
    }

    /// The number that the scenario gives to a client of the simulator.
    pub(super) fn number(&self, id: ClientId) -> ClientId {
        self.clients.get(&id).map_or(id, |client| ClientId(client.number))
    }

    fn client(&self, number: u32) -> Option<ClientId> {
        self.clients.iter().find(|(_, client)| client.number == number).map(|(id, _)| *id)
    }

    fn with(&self, number: u32, act: impl FnMut(ClientId)) {
        self.client(number).into_iter().for_each(act);
    }
}

/// The address of the server of a step.
fn address(server: &ServerName, step: &Step) -> LocalAddress {
    match server.address.as_ref().expect("a due step has the address of its server") {
        ServerAddress::Port(port) => LocalAddress::Ip((step.loopback(), *port).into()),
        ServerAddress::Path(path) => LocalAddress::Path(format!("{PLACE}/{path}")),
    }
}

fn parse(text: &str) -> Observation {
    text.parse().expect("a line of this arm")
}
