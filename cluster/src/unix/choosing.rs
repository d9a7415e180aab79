//! The function of the program that chooses the worker of a connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use cluster_core::{Candidate, HandleId, OsEvent, SocketId};

/// Returns the index of the chosen candidate. The arguments are the address of the client and the candidates.
pub(crate) type Choose = Arc<dyn Fn(Option<IpAddr>, &[Candidate]) -> usize + Send + Sync>;

/// The function, if the program has set one.
#[derive(Clone, Default)]
pub(crate) struct Chooser(pub(crate) Option<Choose>);

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chooser").field(&self.0.is_some()).finish()
    }
}

impl Chooser {
    /// The answer to a question. Without a function, and for an index of no candidate, the first is chosen.
    pub(crate) fn choose(
        &self,
        handle: HandleId,
        connection: SocketId,
        client: Option<IpAddr>,
        candidates: &[Candidate],
    ) -> Option<OsEvent> {
        let at = self.0.as_ref().map_or(0, |choose| choose(client, candidates));
        let chosen = candidates.get(at).or(candidates.first())?;
        Some(OsEvent::Chosen { handle, connection, worker: chosen.worker })
    }
}
