//! The settings of a primary: the scheduling policy, the serialization of channels, the user, and the setup
//! of workers.

use serde::Deserialize;

use super::Token;
use super::error::ValidationError;

/// The settings of a primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The scheduling policy.
    #[serde(default)]
    pub policy: Policy,
    /// Where the policy is set.
    #[serde(default)]
    pub policy_from: PolicyFrom,
    /// The serialization of messages on channels.
    #[serde(default)]
    pub serialization: Serialization,
    /// Whether a primary on Node survives an uncaught error in Node's own code. A Rust primary always
    /// survives. Node: a listener of `uncaughtException`.
    #[serde(default)]
    pub catches: bool,
    /// The user of the cluster. Without it, the user of this process.
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

/// Where the scheduling policy is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyFrom {
    /// In the program of the primary.
    #[default]
    Program,
    /// In the variable `NODE_CLUSTER_SCHED_POLICY`.
    Environment,
}

/// The serialization of messages on channels. Node: the `serialization` of `cluster.settings`.
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
    /// The variable with the scheduling policy, if the policy is set in the environment.
    pub fn policy_variable(&self) -> Option<(String, String)> {
        let policy = match self.policy {
            Policy::RoundRobin => "rr",
            Policy::Shared => "none",
        };
        let from_variable = self.policy_from == PolicyFrom::Environment;
        from_variable.then(|| ("NODE_CLUSTER_SCHED_POLICY".to_owned(), policy.to_owned()))
    }
}

/// The argument of Node's `cluster.setupPrimary()`. An omitted setting keeps its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The arguments of workers, after the arguments that every run needs.
    #[serde(default)]
    pub args: Option<Vec<Token>>,
    /// The options of Node's executable, before the script.
    #[serde(default)]
    pub exec_argv: Option<Vec<Token>>,
    /// The port of the workers' inspectors.
    #[serde(default)]
    pub inspect_port: Option<u16>,
    /// The directory of workers.
    #[serde(default)]
    pub cwd: Option<Token>,
    /// Whether the standard descriptors of workers are pipes to the primary.
    #[serde(default)]
    pub silent: Option<bool>,
    /// The first descriptors of workers.
    #[serde(default)]
    pub stdio: Option<Vec<Stdio>>,
}

/// One of the first descriptors of a worker. Node: an element of `stdio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// The descriptor of the primary with the same number.
    Inherit,
    /// No descriptor of the parent: `/dev/null`.
    Ignore,
    /// A pipe to the primary.
    Pipe,
    /// The channel.
    Ipc,
}

impl Setup {
    /// Checks that there is exactly one channel. Otherwise Node throws at the fork:
    /// `ERR_CHILD_PROCESS_IPC_REQUIRED` without a channel, `ERR_IPC_ONE_PIPE` with two.
    pub(super) fn check_channel(&self) -> Result<(), ValidationError> {
        let Some(stdio) = &self.stdio else { return Ok(()) };
        let channels = stdio.iter().filter(|stdio| **stdio == Stdio::Ipc).count();
        if channels == 1 {
            return Ok(());
        }
        let what = format!("`stdio` has `ipc` {channels} times, and no worker can fork: expected `ipc` once");
        Err(ValidationError::new("\"stdio\"", what))
    }
}
