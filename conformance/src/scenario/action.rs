//! What can be told of an action by itself.

use super::PrimaryAction;

impl PrimaryAction {
    /// How many workers it forks.
    pub fn forks(&self) -> u32 {
        match self {
            PrimaryAction::Fork(count) => *count,
            PrimaryAction::ForkWith(_) => 1,
            PrimaryAction::Send { .. }
            | PrimaryAction::TrySend { .. }
            | PrimaryAction::Outlive(_)
            | PrimaryAction::Setup(_)
            | PrimaryAction::Settings
            | PrimaryAction::Policy(_)
            | PrimaryAction::Open(_)
            | PrimaryAction::Close(_)
            | PrimaryAction::Pass { .. }
            | PrimaryAction::Reply(_)
            | PrimaryAction::End
            | PrimaryAction::Disconnect(_)
            | PrimaryAction::DisconnectAll
            | PrimaryAction::Kill { .. }
            | PrimaryAction::Look(_)
            | PrimaryAction::Hoard
            | PrimaryAction::Release
            | PrimaryAction::Exit(_)
            | PrimaryAction::Crash
            | PrimaryAction::Die(_) => 0,
        }
    }
}
