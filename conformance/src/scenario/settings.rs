//! The settings of a primary: the scheduling policy, the serialization of channels, and the user.

use serde::Deserialize;

/// How the primary is set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The scheduling policy.
    #[serde(default)]
    pub policy: Policy,
    /// The source of the policy.
    #[serde(default)]
    pub policy_from: PolicyFrom,
    /// How channels are written.
    #[serde(default)]
    pub serialization: Serialization,
    /// Whether a primary on Node survives an uncaught error in Node's own code, as ours does in any case. Node: a
    /// listener of `uncaughtException`.
    #[serde(default)]
    pub catches: bool,
    /// The user of the cluster; by default the user of this process.
    #[serde(default, rename = "as")]
    pub user: Option<User>,
}

/// The user of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// A user without privileges.
    Nobody,
}

/// The scheduling policy. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The primary hands connections off in turn.
    #[default]
    RoundRobin,
    /// The workers share the listening socket.
    Shared,
}

/// The source of the scheduling policy.
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
    /// The variable of the scheduling policy, if that is its source.
    pub fn policy_variable(&self) -> Option<(String, String)> {
        let policy = match self.policy {
            Policy::RoundRobin => "rr",
            Policy::Shared => "none",
        };
        let is_told = self.policy_from == PolicyFrom::Environment;
        is_told.then(|| ("NODE_CLUSTER_SCHED_POLICY".to_owned(), policy.to_owned()))
    }
}
