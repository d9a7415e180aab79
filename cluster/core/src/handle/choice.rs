//! The rules that choose the worker of the first queued connection, each in a file of its own.

use serde::{Deserialize, Serialize};

use super::places::Places;
use super::policy::Loads;
use super::{least_connections, power_of_two, round_robin};
use crate::os::{SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Choice {
    RoundRobin,
    LeastConnections,
    PowerOfTwo,
}

impl Choice {
    /// The worker of the connection. `None`: no worker is ready.
    pub(super) fn choose(
        &mut self,
        connection: SocketId,
        places: &Places,
        loads: &dyn Loads,
    ) -> Option<WorkerId> {
        match self {
            Choice::RoundRobin => round_robin::choose(places),
            Choice::LeastConnections => least_connections::choose(places, loads),
            Choice::PowerOfTwo => power_of_two::choose(connection, places, loads),
        }
    }

    pub(super) fn reads_loads(&self) -> bool {
        match self {
            Choice::RoundRobin => false,
            Choice::LeastConnections | Choice::PowerOfTwo => true,
        }
    }
}
