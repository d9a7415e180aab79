//! The kinds of faults, and the faults that are armed in a run. The schedule decides when a fault strikes.

use core::fmt;

use crate::numbers;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A process, including the primary, is killed before a call.
    Kill,
    /// A process cannot be started: EAGAIN, EMFILE or another error before the program is executed.
    SpawnFailure,
    /// A socket cannot be bound: EADDRINUSE or EACCES.
    BindFailure,
    /// A connection cannot be accepted: EMFILE or ENFILE.
    AcceptFailure,
    /// A descriptor is lost while the bytes beside it arrive, as when the receiver's table of descriptors is
    /// full.
    LostDescriptor,
    /// A client resets its connection instead of the next action.
    ClientReset,
    /// A child of a dying worker holds the channel open for a while.
    Grandchild,
    /// A worker writes a line that breaks the protocol, or a forged answer, before a write of the machine.
    Garbage,
    /// A write takes fewer bytes than given, perhaps no byte.
    ShortWrite,
    /// A read is cut at any byte.
    PartialRead,
    /// A client has disconnected before its connection is accepted: ECONNABORTED.
    Aborted,
    /// A process is stopped after a call and continues later: SIGSTOP and SIGCONT, or a slow machine.
    Stop,
    /// The clock jumps: a timer fires before an earlier timer.
    TimeJump,
    /// A write fails with any error of `sendmsg`. If the error means a broken connection, both ends break.
    WriteFailure,
    /// The kernel assigns a port that a closed socket has had. Without this fault every assigned port is new.
    ReusedPort,
    /// A worker is stopped after a call and never continues: SIGSTOP alone. SIGKILL ends the process; any
    /// other signal stays pending.
    StopForever,
    /// The exit status of a worker is unknown: SIGCHLD is ignored, or other code of the primary's process has
    /// reaped the worker.
    LostStatus,
    /// The primary replaces its program: the machine is restored from its serialized state, in the same
    /// process, with the same children, descriptors and timers.
    Reexec,
    /// The program of a worker cannot be executed after the fork: ENOENT, ETXTBSY or EACCES, as while the
    /// file is replaced, or another error of `execve`.
    ExecFailure,
    /// A write fails with EPIPE or ECONNRESET, although the peer is alive. Only this direction ends: the
    /// peer's bytes arrive until the peer closes.
    HalfClose,
    /// A signal to a worker fails with EPERM, because the worker has another user. The process continues.
    KillFailure,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 21] = [
        Fault::Kill,
        Fault::SpawnFailure,
        Fault::BindFailure,
        Fault::AcceptFailure,
        Fault::LostDescriptor,
        Fault::ClientReset,
        Fault::Grandchild,
        Fault::Garbage,
        Fault::ShortWrite,
        Fault::PartialRead,
        Fault::Aborted,
        Fault::Stop,
        Fault::TimeJump,
        Fault::WriteFailure,
        Fault::ReusedPort,
        Fault::StopForever,
        Fault::LostStatus,
        Fault::Reexec,
        Fault::ExecFailure,
        Fault::HalfClose,
        Fault::KillFailure,
    ];

    /// The letter in a replay line.
    pub fn letter(self) -> char {
        match self {
            Fault::Kill => 'k',
            Fault::SpawnFailure => 's',
            Fault::BindFailure => 'b',
            Fault::AcceptFailure => 'a',
            Fault::LostDescriptor => 'l',
            Fault::ClientReset => 'r',
            Fault::Grandchild => 'g',
            Fault::Garbage => 'h',
            Fault::ShortWrite => 'w',
            Fault::PartialRead => 'p',
            Fault::Aborted => 'e',
            Fault::Stop => 't',
            Fault::TimeJump => 'j',
            Fault::WriteFailure => 'f',
            Fault::ReusedPort => 'o',
            Fault::StopForever => 'i',
            Fault::LostStatus => 'u',
            Fault::Reexec => 'x',
            Fault::ExecFailure => 'v',
            Fault::HalfClose => 'c',
            Fault::KillFailure => 'd',
        }
    }

    /// Whether a fault loses nothing, and may therefore strike without limit: faults that only cut bytes,
    /// take time, choose a port, or replace the primary by an equal primary.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(
            self,
            Fault::ShortWrite
                | Fault::PartialRead
                | Fault::Stop
                | Fault::TimeJump
                | Fault::ReusedPort
                | Fault::Reexec
        )
    }
}

impl Fault {
    /// The possible mean numbers of opportunities for each strike; each run draws one of the four. A re-exec
    /// is rarer, because a re-exec takes as long as some hundred steps.
    pub(crate) fn odds(self) -> [u32; 4] {
        if self == Fault::Reexec { [32, 128, 512, 2048] } else { [2, 8, 32, 128] }
    }

    /// A rough upper bound of the opportunities in a small run. Some faults have an opportunity at each call
    /// of a process, some at each write, some less often.
    pub(crate) fn opportunities(self) -> u32 {
        match self {
            Fault::Kill | Fault::Stop | Fault::StopForever | Fault::Reexec => 256,
            Fault::Garbage
            | Fault::ShortWrite
            | Fault::PartialRead
            | Fault::WriteFailure
            | Fault::HalfClose => 64,
            Fault::SpawnFailure
            | Fault::BindFailure
            | Fault::AcceptFailure
            | Fault::LostDescriptor
            | Fault::ClientReset
            | Fault::Grandchild
            | Fault::Aborted
            | Fault::TimeJump
            | Fault::ReusedPort
            | Fault::LostStatus
            | Fault::ExecFailure
            | Fault::KillFailure => 16,
        }
    }
}

/// The name on a command line, such as `lost-descriptor`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "kill",
            Fault::SpawnFailure => "spawn-failure",
            Fault::BindFailure => "bind-failure",
            Fault::AcceptFailure => "accept-failure",
            Fault::LostDescriptor => "lost-descriptor",
            Fault::ClientReset => "client-reset",
            Fault::Grandchild => "grandchild",
            Fault::Garbage => "garbage",
            Fault::ShortWrite => "short-write",
            Fault::PartialRead => "partial-read",
            Fault::Aborted => "aborted",
            Fault::Stop => "stop",
            Fault::TimeJump => "time-jump",
            Fault::WriteFailure => "write-failure",
            Fault::ReusedPort => "reused-port",
            Fault::StopForever => "stop-forever",
            Fault::LostStatus => "lost-status",
            Fault::Reexec => "reexec",
            Fault::ExecFailure => "exec-failure",
            Fault::HalfClose => "half-close",
            Fault::KillFailure => "kill-failure",
        })
    }
}

/// The default limit of harmful faults.
const STRIKES: u8 = 3;

/// The greatest number of strikes of one harmful fault on an independent schedule.
pub(crate) const STRIKES_OF_ONE: u8 = 3;

/// The armed faults, and how many harmful faults may still strike: three, unless [`limit`](Faults::limit)
/// sets another number.
///
/// Because of the limit every run settles: after the last strike nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    armed: u32,
    left: u8,
}

impl Faults {
    /// No fault is armed.
    pub fn none() -> Self {
        Faults { armed: 0, left: STRIKES }
    }

    /// Every fault is armed.
    pub fn all() -> Self {
        Faults::only(&Fault::ALL)
    }

    /// Arms only the given faults.
    pub fn only(faults: &[Fault]) -> Self {
        faults.iter().fold(Faults::none(), |faults, &fault| faults.and(fault))
    }

    /// About half of the faults, chosen by `seed`: some failures occur only without a certain other fault.
    pub fn swarm(seed: u64) -> Self {
        let bits = seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40;
        let chosen = Fault::ALL.iter().filter(|&&fault| bits >> (fault as u8) & 1 == 1);
        chosen.fold(Faults::none(), |faults, &fault| faults.and(fault))
    }

    /// Each fault with the same probability, independent of the others. The limit of harmful strikes grows
    /// with the number of faults. So on [`Schedule::independent`](crate::Schedule::independent) no fault
    /// takes a strike from another.
    pub fn independent(seed: u64) -> Self {
        let chosen = Fault::ALL.into_iter().filter(|&fault| number(seed, fault) >> 63 == 1);
        chosen.fold(Faults::none().limit(0), |faults, fault| {
            let strikes = if fault.is_harmless() { 0 } else { STRIKES_OF_ONE };
            faults.and(fault).limit(faults.left + strikes)
        })
    }

    /// The faults that are armed here and also in the swarm of `seed`.
    #[cfg(feature = "proptest")]
    #[must_use]
    pub(crate) fn thinned(mut self, seed: u64) -> Self {
        self.armed &= Faults::swarm(seed).armed;
        self
    }

    /// Arms a further fault.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.armed |= 1 << fault as u8;
        self
    }

    /// Limits the number of harmful strikes.
    #[must_use]
    pub fn limit(mut self, strikes: u8) -> Self {
        self.left = strikes;
        self
    }

    /// Whether a fault is armed.
    pub fn is_armed(self, fault: Fault) -> bool {
        self.armed >> fault as u8 & 1 == 1
    }

    /// Whether no fault is armed.
    pub fn is_none(self) -> bool {
        self.armed == 0
    }

    /// All but one fault.
    #[cfg(feature = "simulation")]
    pub(crate) fn without(mut self, fault: Fault) -> Self {
        self.armed &= !(1 << fault as u32);
        self
    }

    pub(crate) fn may_strike(self, fault: Fault) -> bool {
        self.armed != 0 && self.is_armed(fault) && (fault.is_harmless() || self.left > 0)
    }

    pub(crate) fn struck(&mut self, fault: Fault) {
        if !fault.is_harmless() {
            self.left -= 1;
        }
    }

    /// Parses the text of [`Display`](fmt::Display).
    pub(crate) fn parse(text: &str) -> Option<Faults> {
        let (letters, limit) = text.split_at(text.find(|c: char| c.is_ascii_digit())?);
        let fault = |letter| Fault::ALL.into_iter().find(|fault| fault.letter() == letter);
        let armed: Option<Vec<Fault>> = letters.chars().map(fault).collect();
        Some(Faults::only(&armed?).limit(limit.parse().ok()?))
    }
}

/// 64 random bits for a fault, in the run of a seed.
pub(crate) fn number(seed: u64, fault: Fault) -> u64 {
    numbers::number(seed, fault.letter().into())
}

impl Default for Faults {
    fn default() -> Self {
        Faults::none()
    }
}

/// The letters of the armed faults and the limit: `kw3`.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let armed = Fault::ALL.into_iter().filter(|&fault| self.is_armed(fault));
        armed.map(Fault::letter).try_for_each(|letter| write!(f, "{letter}"))?;
        write!(f, "{}", self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for faults in [Faults::none(), Faults::all().limit(12), Faults::only(&[Fault::ShortWrite])] {
            assert_eq!(Faults::parse(&faults.to_string()), Some(faults));
        }
        assert_eq!(Faults::parse("kz3"), None);
        assert_eq!(Faults::parse("k"), None);
    }

    /// No fault takes a strike from another.
    #[test]
    fn independent_faults_have_every_strike() {
        for seed in 0..64 {
            let faults = Faults::independent(seed);
            let harmful = Fault::ALL.iter().filter(|&&fault| faults.is_armed(fault) && !fault.is_harmless());
            assert_eq!(usize::from(faults.left), usize::from(STRIKES_OF_ONE) * harmful.count());
        }
    }

    #[test]
    fn swarm_varies_every_kind() {
        for fault in Fault::ALL {
            assert!((0..64).any(|seed| Faults::swarm(seed).is_armed(fault)), "{fault:?}");
            assert!((0..64).any(|seed| !Faults::swarm(seed).is_armed(fault)), "{fault:?}");
        }
    }
}
