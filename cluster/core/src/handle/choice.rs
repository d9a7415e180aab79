//! The rules that choose the worker of the first queued connection, each in a file of its own.

use serde::{Deserialize, Serialize};

use super::custom::Custom;
use super::places::Places;
use super::policy::Loads;
use super::weighted::Weighted;
use super::{least_connections, power_of_two, round_robin};
use crate::os::{SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Choice {
    RoundRobin,
    LeastConnections,
    PowerOfTwo,
    Weighted(Weighted),
    Custom(Custom),
}

impl Choice {
    /// The weights, if the rule has weights.
    pub(super) fn weighted(&self) -> Option<&Weighted> {
        match self {
            Choice::Weighted(weighted) => Some(weighted),
            Choice::RoundRobin | Choice::LeastConnections | Choice::PowerOfTwo | Choice::Custom(_) => None,
        }
    }

    /// As [`weighted`](Choice::weighted), but mutable.
    pub(super) fn weighted_mut(&mut self) -> Option<&mut Weighted> {
        match self {
            Choice::Weighted(weighted) => Some(weighted),
            Choice::RoundRobin | Choice::LeastConnections | Choice::PowerOfTwo | Choice::Custom(_) => None,
        }
    }

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
            Choice::Weighted(weighted) => weighted.choose(places),
            Choice::Custom(custom) => custom.choose(places),
        }
    }

    /// The questions to the program, if the program chooses.
    pub(super) fn custom_mut(&mut self) -> Option<&mut Custom> {
        match self {
            Choice::Custom(custom) => Some(custom),
            Choice::RoundRobin | Choice::LeastConnections | Choice::PowerOfTwo | Choice::Weighted(_) => None,
        }
    }

    pub(super) fn reads_loads(&self) -> bool {
        match self {
            Choice::RoundRobin | Choice::Weighted(_) => false,
            Choice::LeastConnections | Choice::PowerOfTwo | Choice::Custom(_) => true,
        }
    }
}
