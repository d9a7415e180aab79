//! The clients of a scenario. The script receives every line, and returns the next actions of each client.
//!
//! Clients name servers. The script finds the ports of servers in the workers' `listening` lines.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::observation::{Line, Observer};
use crate::scenario::{ClientOrder, Part, Property, Scenario, ScenarioVerb as _, Step};
use crate::vocabulary::ServerAddress;

/// A step that a client performs now. Its server has an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCommand {
    /// The client's number.
    pub client: u32,
    /// The step, never [`Step::Await`].
    pub step: Step,
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
    /// For each step, how many matching lines there were so far.
    met: Vec<u32>,
    /// The client for which this client waits before it starts.
    after: Option<u32>,
    phase: Phase,
}

/// Hashes only the fields that change: the number and the steps are constant.
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
            self.addresses.extend(ServerAddress::of(observation).map(|address| (server.to_owned(), address)));
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
            let is_busy = matches!(self.phase, Phase::Connecting | Phase::Over);
            if let Step::Await(line) = step {
                if is_busy || self.met[self.next] < line.pattern.nth.unwrap_or(1) {
                    return;
                }
            } else {
                let connects = step.has(Property::Connects);
                if is_busy && (connects || step.has(Property::OnConnection)) {
                    return;
                }
                let Some(step) = with_address(step, addresses) else { return };
                if connects {
                    self.phase = Phase::Connecting;
                } else if step == Step::Reset {
                    self.phase = Phase::Over;
                }
                commands.push(ClientCommand { client: self.number, step });
            }
            self.next += 1;
        }
    }
}

/// The step with the address of its server. `None`: the address is not known yet.
fn with_address(step: &Step, addresses: &BTreeMap<String, ServerAddress>) -> Option<Step> {
    let (mut step, mut is_known) = (step.clone(), true);
    step.complete(&mut |part| {
        if let Part::Server(server) = part {
            server.address = addresses.get(server.as_str()).cloned();
            is_known = server.address.is_some();
        }
    });
    is_known.then_some(step)
}
