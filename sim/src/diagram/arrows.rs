//! Finds causes and effects in the order of a trace: messages, connections, starts and ends.
//!
//! Everything in the diagram is in the trace, except an approximate kind of arrow: when a worker writes to a
//! client within a reaction of the program, the arrow begins at the last reaction before the client receives
//! the bytes.

use std::collections::BTreeMap;

use cluster_core::{Call, ChannelId, ExitStatus, OsEvent, WorkerEvent};

use super::channel::{Delivery, Lane};
use super::network::Connection;
use super::{Arrow, Bond, label};
use crate::{Actor, ClientAction, ClientEvent, ClientId, Crossing, Row};

/// Finds the arrows of rows.
pub(super) fn of(rows: &[Row], column: impl Fn(Actor) -> usize) -> Vec<Arrow> {
    let mut finder = Finder::default();
    rows.iter().enumerate().for_each(|(at, row)| finder.add_row(at, row));
    finder.finish();
    let place = |bond: &Found| Arrow {
        from: bond.from,
        to: bond.to,
        toward: column(bond.toward),
        kind: bond.kind,
        label: bond.label.clone(),
    };
    let mut arrows: Vec<_> = finder.found.iter().map(place).collect();
    arrows.sort_by_key(|arrow| (arrow.from, arrow.to));
    arrows
}

/// An arrow with an actor in place of the column.
#[derive(Debug)]
struct Found {
    from: usize,
    to: Option<usize>,
    toward: Actor,
    kind: Bond,
    label: String,
}

#[derive(Debug, Default)]
struct Finder {
    found: Vec<Found>,
    /// By writer and reader.
    lanes: BTreeMap<(Actor, Actor), Lane>,
    /// The row of the last request to start or end a process, until the process starts or ends.
    requests: BTreeMap<Actor, usize>,
    /// The row of the end of a process, or of the close of a channel to a peer.
    closed: BTreeMap<(Actor, Actor), usize>,
    connections: BTreeMap<ClientId, Connection>,
    /// The last row of each process with an effect on connections.
    reacted: BTreeMap<Actor, usize>,
}

impl Finder {
    fn add_row(&mut self, at: usize, row: &Row) {
        let actor = row.actor;
        match &row.what {
            Crossing::Started => self.requested(at, actor),
            Crossing::Ended(status) => self.ended(at, actor, *status),
            Crossing::Call { call, answer } => self.call(at, actor, call, answer.as_ref()),
            Crossing::Input { event, client } => self.input(at, actor, event, *client),
            Crossing::Begins
            | Crossing::PrimaryEvent(_)
            | Crossing::SupervisorEvent(_)
            | Crossing::SocketEvent(_) => self.reacts(at, actor),
            Crossing::WorkerEvent { event, client } => {
                self.reacts(at, actor);
                if let (WorkerEvent::Connection { .. }, Some(client)) = (event, client) {
                    self.connection(*client).server = Some(actor);
                }
            }
            Crossing::Arrived { client, what, .. } => {
                self.reacts(at, actor);
                if let Some(client) = client {
                    let sent = self.connection(*client).arrives(what.as_ref().ok().map(Vec::len));
                    for from in sent {
                        self.add(from, at, actor, Bond::Network, "");
                    }
                }
            }
            Crossing::ClientAction(act) => self.acts(at, actor, act),
            Crossing::ClientEvent(event) => self.client_event(at, actor, event),
            Crossing::Fault(_) | Crossing::Observation(_) => {}
        }
    }

    fn add(&mut self, from: usize, to: usize, toward: Actor, kind: Bond, label: &str) {
        self.found.push(Found { from, to: Some(to), toward, kind, label: label.to_owned() });
    }

    fn reacts(&mut self, at: usize, actor: Actor) {
        self.reacted.insert(actor, at);
    }

    fn connection(&mut self, client: ClientId) -> &mut Connection {
        self.connections.entry(client).or_default()
    }

    // ---- processes

    fn requested(&mut self, at: usize, actor: Actor) {
        if let Some(from) = self.requests.remove(&actor) {
            self.add(from, at, actor, Bond::Life, "");
        }
    }

    fn ended(&mut self, at: usize, actor: Actor, status: ExitStatus) {
        if matches!(status, ExitStatus::Signal(_)) {
            self.requested(at, actor);
        }
        self.reacts(at, actor);
        self.closed.insert((actor, actor), at);
    }

    // ---- channels

    fn call(&mut self, at: usize, actor: Actor, call: &Call, answer: Option<&OsEvent>) {
        if let Call::Write { channel, bytes, socket } = call {
            let left = if let Some(OsEvent::Wrote { rest, .. }) = answer { rest.len() } else { bytes.len() };
            let taken = &bytes[..bytes.len() - left];
            let lane = self.lanes.entry((actor, peer(actor, *channel))).or_default();
            lane.write(at, taken, socket.is_some() && !taken.is_empty());
        }
        if let (Call::Spawn { worker, .. }, Some(OsEvent::Spawned { .. })) = (call, answer) {
            self.requests.insert(Actor::Worker(*worker), at);
        }
        if let Call::Kill { worker, .. } = call {
            self.requests.insert(Actor::Worker(*worker), at);
        }
        if let Call::CloseChannel { channel } = call {
            self.closed.insert((actor, peer(actor, *channel)), at);
        }
        if let Call::Close { .. } = call {
            self.reacts(at, actor);
        }
    }

    fn input(&mut self, at: usize, actor: Actor, event: &OsEvent, client: Option<ClientId>) {
        if let OsEvent::Read { channel, bytes, socket } = event {
            let from = peer(actor, *channel);
            let lane = self.lanes.entry((from, actor)).or_default();
            let read = lane.read(bytes, socket.is_some());
            for message in read {
                self.delivered(at, actor, from, &message);
            }
        }
        if let OsEvent::ChannelClosed { channel } = event {
            let other = peer(actor, *channel);
            let closed = [(other, actor), (other, other)].into_iter().find_map(|key| self.closed.get(&key));
            if let Some(from) = closed.copied() {
                self.add(from, at, actor, Bond::Close, "");
            }
        }
        if let OsEvent::Exited { worker, .. } = event
            && let Some(from) = self.closed.get(&(Actor::Worker(*worker), Actor::Worker(*worker)))
        {
            self.add(*from, at, actor, Bond::Life, "");
        }
        if let Some(client) = client {
            let connection = self.connection(client);
            connection.server = Some(actor);
            if let Some(from) = connection.connect.take() {
                self.add(from, at, actor, Bond::Network, "");
            }
        }
    }

    /// Draws the arrow of a message that was read. A line that no machine wrote begins at the last reaction
    /// of the writer.
    fn delivered(&mut self, at: usize, reader: Actor, writer: Actor, message: &Delivery) {
        let Delivery { from, text, has_descriptor, has_arrived } = message;
        let kind = match (from, has_descriptor, has_arrived) {
            (None, ..) => Bond::Garbage,
            (Some(_), true, true) => Bond::Descriptor,
            (Some(_), true, false) => Bond::Lost,
            (Some(_), false, _) => Bond::Message,
        };
        if let Some(from) = from.or_else(|| self.reacted.get(&writer).copied()) {
            self.add(from, at, reader, kind, &label::message(text));
        }
    }

    // ---- clients

    fn acts(&mut self, at: usize, actor: Actor, act: &ClientAction) {
        let Actor::Client(client) = actor else { return };
        let connection = self.connection(client);
        match act {
            ClientAction::Connect(_) => connection.connect = Some(at),
            ClientAction::Send(bytes) => connection.sent.push_back((at, bytes.len())),
            // The receiver of a datagram is unknown.
            ClientAction::SendTo(..) => {}
            ClientAction::End => connection.end = Some(at),
            ClientAction::Reset => {
                connection.sent.clear();
                connection.end = Some(at);
            }
        }
    }

    fn client_event(&mut self, at: usize, actor: Actor, event: &ClientEvent) {
        let Actor::Client(client) = actor else { return };
        let reacted = self.connection(client).server.and_then(|server| self.reacted.get(&server).copied());
        match event {
            ClientEvent::Connected | ClientEvent::Refused | ClientEvent::Datagram { .. } => {}
            ClientEvent::Data(_) | ClientEvent::End | ClientEvent::Reset => {
                if let Some(from) = reacted {
                    self.add(from, at, actor, Bond::Network, "");
                }
                // The end of the server's side ends the client's side.
                if *event == ClientEvent::End {
                    self.connection(client).end.get_or_insert(at);
                }
            }
        }
    }

    /// Ends the arrows at the end of the run: what is in flight never arrives.
    fn finish(&mut self) {
        for ((_, reader), lane) in std::mem::take(&mut self.lanes) {
            self.found.extend(lane.rest().filter_map(|message| {
                let kind = if message.has_descriptor { Bond::Lost } else { Bond::Message };
                let label = label::message(&message.text);
                Some(Found { from: message.from?, to: None, toward: reader, kind, label })
            }));
        }
        for connection in std::mem::take(&mut self.connections).into_values() {
            let (toward, kind) = (connection.server.unwrap_or(Actor::Primary), Bond::Network);
            self.found.extend(connection.rest().map(|from| Found {
                from,
                to: None,
                toward,
                kind,
                label: String::new(),
            }));
        }
    }
}

/// The actor at the other end of a channel.
fn peer(actor: Actor, channel: ChannelId) -> Actor {
    match actor {
        Actor::Primary => Actor::Worker(cluster_core::WorkerId(channel.0)),
        Actor::Worker(_) | Actor::Client(_) => Actor::Primary,
    }
}
