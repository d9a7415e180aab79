//! Properties of a single action.

use super::PrimaryAction;

impl PrimaryAction {
    /// The number of forked workers.
    pub fn forks(&self) -> u32 {
        match self {
            PrimaryAction::Fork(count) => *count,
            PrimaryAction::ForkWith(_) => 1,
            PrimaryAction::Send { .. }
            | PrimaryAction::TrySend { .. }
            | PrimaryAction::BlockUntilExit(_)
            | PrimaryAction::Setup(_)
            | PrimaryAction::Settings
            | PrimaryAction::Policy(_)
            | PrimaryAction::Open(_)
            | PrimaryAction::Close(_)
            | PrimaryAction::SendHandle { .. }
            | PrimaryAction::Reply(_)
            | PrimaryAction::End
            | PrimaryAction::Disconnect(_)
            | PrimaryAction::DisconnectAll
            | PrimaryAction::Kill { .. }
            | PrimaryAction::Inspect(_)
            | PrimaryAction::ExhaustFds
            | PrimaryAction::FreeFds
            | PrimaryAction::Exit(_)
            | PrimaryAction::Crash
            | PrimaryAction::Raise(_) => 0,
        }
    }
}
