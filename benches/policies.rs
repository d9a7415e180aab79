//! The policies of the measurements. A new policy is a new entry.

use cluster_core::SchedulingPolicy;

/// A policy with its name in tables and on command lines.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The name.
    pub name: &'static str,
    /// The value in the settings of a primary.
    pub setting: SchedulingPolicy,
}

const fn policy(name: &'static str, setting: SchedulingPolicy) -> Policy {
    Policy { name, setting }
}

/// The policies with handoffs: the primary assigns the connections.
pub const ASSIGNED: [Policy; 4] = [
    policy("round-robin", SchedulingPolicy::RoundRobin),
    policy("sticky", SchedulingPolicy::Sticky),
    policy("least-connections", SchedulingPolicy::LeastConnections),
    policy("power-of-two", SchedulingPolicy::PowerOfTwo),
];

/// The policies without handoffs: the kernel assigns the connections.
pub const KERNEL: [Policy; 1] = [policy("shared", SchedulingPolicy::Shared)];

/// Every policy without options of its own, so without `weighted` and `custom`.
pub fn all() -> impl Iterator<Item = Policy> {
    ASSIGNED.into_iter().chain(KERNEL)
}

/// The policy with this name.
pub fn named(name: &str) -> Option<Policy> {
    all().find(|policy| policy.name == name)
}
