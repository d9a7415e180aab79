//! How a primary is set up, beyond its policy: who decides it, and how channels are written. Nothing is set here.

use serde::Deserialize;

use super::{Policy, Settings};

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
