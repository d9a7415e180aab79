//! The clients of a run, numbered from 1.

use std::net::IpAddr;

use super::datagram::Datagram;
use super::object_set::ObjectSet;
use super::ready::{Dependencies, Ready};
use super::socket::{Client, ClientState, Flow};
use super::table::Table;
use crate::event::{ClientAction, ClientId};
use crate::step::Step;

/// The clients.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Clients {
    table: Table<Client>,
}

fn row(ClientId(client): ClientId) -> usize {
    client as usize - 1
}

impl Clients {
    pub(super) fn new() -> Self {
        Clients { table: [].into_iter().collect() }
    }

    pub(super) fn copy_from(&mut self, other: &Clients) {
        self.table.copy_from(&other.table);
    }

    pub(super) fn take_touched(&mut self) -> Dependencies {
        self.table.take_touched()
    }

    pub(super) fn written_since(&self, before: &Clients) -> ObjectSet {
        self.table.written_since(&before.table, |at, _, _| ObjectSet::nth_client(at))
    }

    pub(crate) fn get(&self, id: ClientId) -> &Client {
        &self.table[row(id)]
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> &mut Client {
        self.table.get_mut(row(id), Dependencies::client(id)).expect("the client exists")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        (1..).map(ClientId).zip(self.table.iter())
    }

    /// Adds a client that does nothing.
    pub(crate) fn add(&mut self) -> ClientId {
        self.table.push(Client::default());
        ClientId(u32::try_from(self.table.len()).expect("fewer than 2^32 clients in a run"))
    }

    /// Sets the source address for later connections of a client.
    pub(crate) fn set_address(&mut self, id: ClientId, from: IpAddr) {
        self.get_mut(id).from = Some(from);
    }

    /// Adds an action of a client.
    pub(crate) fn command(&mut self, id: ClientId, action: ClientAction, ready: &mut Ready) {
        self.get_mut(id).actions.push_back(action);
        ready.last(Step::ClientAction(id));
    }

    pub(crate) fn next_action(&self, id: ClientId) -> Option<&ClientAction> {
        self.get(id).actions.front()
    }

    /// Whether the next action of a client depends on which sockets are open.
    pub(crate) fn looks_up_sockets(&self, id: ClientId) -> bool {
        matches!(self.next_action(id), Some(ClientAction::Connect(_) | ClientAction::SendTo(..)))
    }

    /// Sends bytes to a client.
    pub(crate) fn write(&mut self, id: ClientId, bytes: &[u8], ready: &mut Ready) {
        let client = self.get_mut(id);
        if client.outgoing.flow == Flow::Open {
            client.outgoing.bytes.extend_from_slice(bytes);
            ready.last(Step::ClientEvent(id));
        }
    }

    /// Ends the server's side of a connection.
    pub(crate) fn finish(&mut self, id: ClientId, flow: Flow, ready: &mut Ready) {
        self.get_mut(id).outgoing.finish(flow);
        ready.last(Step::ClientEvent(id));
    }

    /// Closes the server's end of a connection.
    pub(super) fn close(&mut self, id: ClientId, flow: Flow, ready: &mut Ready) {
        self.get_mut(id).state = ClientState::Closed;
        self.finish(id, flow, ready);
    }

    /// Delivers a datagram to the client with this port, if there is one.
    pub(super) fn push_datagram(&mut self, port: u16, datagram: Datagram, ready: &mut Ready) {
        let found = self.iter().find(|(_, client)| client.udp_port == Some(port)).map(|(id, _)| id);
        if let Some(client) = found {
            self.get_mut(client).datagrams.push_back(datagram);
            ready.last(Step::ClientEvent(client));
        }
    }
}
