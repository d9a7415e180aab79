//! The clients of a scenario: told every line that anybody writes, they say what each client does next.
//!
//! They know servers by name and learn the port from the workers' `listening` lines.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::observation::{Line, Observer};
use crate::scenario::{ClientOrder, Scenario, Step};

/// What a client has to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCommand {
    /// Which client.
    pub client: u32,
    /// What.
    pub act: ClientAct,
}

/// What a client can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientAct {
    /// Connect to this port on 127.0.0.1 and write `connected` or `refused`.
    Connect {
        /// The server's name, for the line.
        server: String,
        /// Its port.
        port: u16,
    },
    /// Write a line to the connection.
    Say {
        /// What, without the end of the line.
        text: String,
    },
    /// End our side. The server's end is still awaited and seen.
    End,
    /// Break the connection off. Nothing more is seen of it.
    Reset,
}

/// All clients of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    clients: Vec<Client>,
    ports: BTreeMap<String, u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    number: u32,
    steps: Arc<[Step]>,
    next: usize,
    /// For each step, how many lines it could have been waiting for.
    met: Vec<u32>,
    /// This client comes after that one.
    after: Option<u32>,
    phase: Phase,
}

/// Only what changes: a client keeps its number and its steps.
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

impl Cast {
    /// The clients of this scenario, before the first line.
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
        Cast { clients, ports: BTreeMap::new() }
    }

    /// What the clients do now that somebody, perhaps one of them, wrote this line.
    pub fn hear(&mut self, line: &Line) -> Vec<ClientCommand> {
        self.learn_port(line);
        self.clients.iter_mut().for_each(|client| client.hear(line));
        let mut commands = Vec::new();
        for index in 0..self.clients.len() {
            let before = self.clients[index].after.map(|number| number as usize - 1);
            if before.is_none_or(|before| self.clients[before].phase == Phase::Over) {
                self.clients[index].go_on(&self.ports, &mut commands);
            }
        }
        commands
    }

    fn learn_port(&mut self, line: &Line) {
        let Line { observer: Observer::Worker(_), observation } = line else { return };
        if let ("listening", Some(server), Some(port)) =
            (observation.what.as_str(), observation.detail("server"), observation.port())
        {
            self.ports.insert(server.to_owned(), port);
        }
    }
}

impl Client {
    fn new(number: u32, steps: Arc<[Step]>, after: Option<u32>) -> Self {
        Client { number, met: vec![0; steps.len()], steps, next: 0, after, phase: Phase::Before }
    }

    fn hear(&mut self, line: &Line) {
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

    fn go_on(&mut self, ports: &BTreeMap<String, u16>, commands: &mut Vec<ClientCommand>) {
        while let Some(step) = self.steps.get(self.next) {
            let act = match (step, self.phase) {
                (_, Phase::Connecting | Phase::Over) => return,
                (Step::Await(line), _) if self.met[self.next] >= line.pattern.nth.unwrap_or(1) => None,
                (Step::Await(_), _) => return,
                (Step::Connect(server), _) => {
                    let Some(port) = ports.get(server.as_str()).copied() else { return };
                    self.phase = Phase::Connecting;
                    Some(ClientAct::Connect { server: server.to_string(), port })
                }
                (Step::Say(text), _) => Some(ClientAct::Say { text: text.to_string() }),
                (Step::End, _) => Some(ClientAct::End),
                (Step::Reset, _) => {
                    self.phase = Phase::Over;
                    Some(ClientAct::Reset)
                }
            };
            self.next += 1;
            commands.extend(act.map(|act| ClientCommand { client: self.number, act }));
        }
    }
}
