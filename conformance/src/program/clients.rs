//! The clients of a scenario: the script receives every line and returns the next actions of each client.
//!
//! Clients name servers, and learn the port from the workers' `listening` lines.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::observation::{Line, Observer};
use crate::scenario::{ClientOrder, Scenario, Step};

/// An action of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCommand {
    /// The client's number.
    pub client: u32,
    /// The action.
    pub action: ClientAction,
}

/// What a client can do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientAction {
    /// Connect to a server on this machine and write `connected` or `refused`.
    Connect {
        /// The server's name, for the line.
        server: String,
        /// The address.
        at: ServerAddress,
    },
    /// Send a datagram to a port on this machine.
    SendDatagram {
        /// The address.
        at: ServerAddress,
        /// The text.
        text: String,
    },
    /// Write the `mode` of a server's path.
    Mode {
        /// The server's name, for the line.
        server: String,
        /// The address.
        at: ServerAddress,
    },
    /// Write `backlog`: the limit of connections that the kernel queues for a server.
    Backlog {
        /// The server's name, for the line.
        server: String,
        /// The address.
        at: ServerAddress,
    },
    /// Write a line to the connection.
    Write {
        /// The text, without the end of the line.
        text: String,
    },
    /// End our side. The server's end is still observed.
    End,
    /// Reset the connection, and observe nothing more.
    Reset,
}

/// Where a client finds a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// At a port of 127.0.0.1.
    V4(u16),
    /// At a port of `::1`.
    V6(u16),
    /// At a path in the directory of the run.
    Path(String),
}

/// All clients of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientScript {
    clients: Vec<Client>,
    addresses: BTreeMap<String, ServerAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    number: u32,
    steps: Arc<[Step]>,
    next: usize,
    /// For each step, the number of matching lines so far.
    met: Vec<u32>,
    /// The client to wait for before the start.
    after: Option<u32>,
    phase: Phase,
}

/// Only the changing fields: the number and the steps are constant.
impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.next, &self.met, self.phase).hash(state);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Before,
    Connecting,
    Connected,
    Over,
}

impl ServerAddress {
    /// The same port of IPv6.
    fn in_v6(&self) -> ServerAddress {
        match self {
            ServerAddress::V4(port) | ServerAddress::V6(port) => ServerAddress::V6(*port),
            ServerAddress::Path(path) => ServerAddress::Path(path.clone()),
        }
    }
}

impl ClientScript {
    /// The clients of a scenario, before the first line.
    pub fn new(scenario: &Scenario) -> Self {
        let mut clients: Vec<Client> = Vec::new();
        for group in &scenario.clients {
            let first = u32::try_from(clients.len()).expect("a scenario has a handful of clients") + 1;
            let steps: Arc<[Step]> = group.steps.as_slice().into();
            let numbers: Range<u32> = first..first + group.count;
            clients.extend(numbers.map(|number| {
                let waits = group.order == ClientOrder::InTurn && number > first;
                Client::new(number, steps.clone(), waits.then(|| number - 1))
            }));
        }
        ClientScript { clients, addresses: BTreeMap::new() }
    }

    /// The actions of the clients after a line of any observer.
    pub(crate) fn on_line(&mut self, line: &Line) -> Vec<ClientCommand> {
        self.learn_address(line);
        self.clients.iter_mut().for_each(|client| client.on_line(line));
        let mut commands = Vec::new();
        for index in 0..self.clients.len() {
            let before = self.clients[index].after.map(|number| number as usize - 1);
            if before.is_none_or(|before| self.clients[before].phase == Phase::Over) {
                self.clients[index].advance(&self.addresses, &mut commands);
            }
        }
        commands
    }

    fn learn_address(&mut self, Line { observation, .. }: &Line) {
        let Some(server) = observation.detail("server") else { return };
        if ["listening", "opened"].contains(&observation.what.as_str()) {
            let path = || observation.detail("path").map(|path| ServerAddress::Path(path.to_owned()));
            let address = observation.port().map(ServerAddress::V4).or_else(path);
            self.addresses.extend(address.map(|address| (server.to_owned(), address)));
        }
    }
}

impl Client {
    fn new(number: u32, steps: Arc<[Step]>, after: Option<u32>) -> Self {
        Client { number, met: vec![0; steps.len()], steps, next: 0, after, phase: Phase::Before }
    }

    fn on_line(&mut self, line: &Line) {
        let me = Observer::Client(self.number);
        for (step, met) in self.steps.iter().zip(&mut self.met) {
            if matches!(step, Step::Await(awaited) if awaited.fits(line, Some(me))) {
                *met += 1;
            }
        }
        if line.observer == me {
            self.phase = match line.observation.what.as_str() {
                "connected" => Phase::Connected,
                "refused" | "end" | "reset" => Phase::Over,
                _ => self.phase,
            };
        }
    }

    fn advance(&mut self, addresses: &BTreeMap<String, ServerAddress>, commands: &mut Vec<ClientCommand>) {
        while let Some(step) = self.steps.get(self.next) {
            let action = match (step, self.phase) {
                (Step::Mode(server), _) => {
                    let Some(at) = addresses.get(server.as_str()).cloned() else { return };
                    Some(ClientAction::Mode { server: server.to_string(), at })
                }
                (Step::Backlog(server), _) => {
                    let Some(at) = addresses.get(server.as_str()).cloned() else { return };
                    Some(ClientAction::Backlog { server: server.to_string(), at })
                }
                (Step::SendDatagram { to, text }, _) => {
                    let Some(at) = addresses.get(to.as_str()).cloned() else { return };
                    Some(ClientAction::SendDatagram { at, text: text.to_string() })
                }
                (Step::SendDatagramV6 { to, text }, _) => {
                    let Some(at) = addresses.get(to.as_str()) else { return };
                    Some(ClientAction::SendDatagram { at: at.in_v6(), text: text.to_string() })
                }
                (_, Phase::Connecting | Phase::Over) => return,
                (Step::Await(line), _) if self.met[self.next] >= line.pattern.nth.unwrap_or(1) => None,
                (Step::Await(_), _) => return,
                (Step::Connect(server), _) => {
                    let Some(at) = addresses.get(server.as_str()).cloned() else { return };
                    self.phase = Phase::Connecting;
                    Some(ClientAction::Connect { server: server.to_string(), at })
                }
                (Step::ConnectV6(server), _) => {
                    let Some(at) = addresses.get(server.as_str()) else { return };
                    self.phase = Phase::Connecting;
                    Some(ClientAction::Connect { server: server.to_string(), at: at.in_v6() })
                }
                (Step::Write(text), _) => Some(ClientAction::Write { text: text.to_string() }),
                (Step::End, _) => Some(ClientAction::End),
                (Step::Reset, _) => {
                    self.phase = Phase::Over;
                    Some(ClientAction::Reset)
                }
            };
            self.next += 1;
            commands.extend(action.map(|action| ClientCommand { client: self.number, action }));
        }
    }
}
