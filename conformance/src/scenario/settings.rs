//! How a primary is set up: who gets which connection, how channels are written, and as whom it all runs. Nothing is set here.

use serde::Deserialize;

/// How the primary is set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How connections find their worker.
    #[serde(default)]
    pub policy: Policy,
    /// Who says so.
    #[serde(default)]
    pub policy_from: PolicyFrom,
    /// How channels are written.
    #[serde(default)]
    pub serialization: Serialization,
    /// Whether a primary on Node goes on when Node's own code fails in it, as ours does in any case. Node: a listener of
    /// `uncaughtException`.
    #[serde(default)]
    pub catches: bool,
    /// As whom the cluster runs; without, as whoever runs the scenario.
    #[serde(default, rename = "as")]
    pub user: Option<User>,
}

/// As whom a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// Somebody without privileges.
    Nobody,
}

/// How connections find their worker. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The primary gives them out in turn.
    #[default]
    RoundRobin,
    /// The workers share the listening socket.
    Shared,
}

/// Who says how connections find their worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyFrom {
    /// The program of the primary.
    #[default]
    Program,
    /// The variable `NODE_CLUSTER_SCHED_POLICY`.
    Environment,
}

/// How channels are written. Node: the `serialization` of `cluster.settings`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serialization {
    /// Lines of JSON.
    #[default]
    Json,
    /// V8's structured clone.
    Advanced,
}

impl Settings {
    /// The variable that says how connections find their worker, if it does.
    pub fn policy_variable(&self) -> Option<(String, String)> {
        let policy = match self.policy {
            Policy::RoundRobin => "rr",
            Policy::Shared => "none",
        };
        let is_told = self.policy_from == PolicyFrom::Environment;
        is_told.then(|| ("NODE_CLUSTER_SCHED_POLICY".to_owned(), policy.to_owned()))
    }
}
