//! What can go wrong, and which of it can go wrong in this run. It decides nothing: the schedule does.

use core::fmt;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A process, the primary too, is killed before it makes a call.
    Kill,
    /// A process cannot be started: EAGAIN or ENOMEM.
    SpawnFailure,
    /// A socket cannot be bound: EADDRINUSE or EACCES.
    BindFailure,
    /// A connection cannot be accepted: EMFILE or ENFILE.
    AcceptFailure,
    /// A descriptor does not arrive with its bytes, as when the receiver has no number left for it.
    LostDescriptor,
    /// A client resets its connection instead of what it was about to do.
    ClientReset,
    /// A process that dies has left a child behind that holds its channel open for a while.
    Grandchild,
    /// A worker writes a line that breaks the protocol, or a forged answer, before what it meant to write.
    Garbage,
    /// A write takes fewer bytes than it was given, perhaps none.
    ShortWrite,
    /// A read is cut anywhere.
    PartialRead,
    /// A client is gone before it is accepted: ECONNABORTED.
    Aborted,
    /// A process is stopped after a call, and goes on at some later time: SIGSTOP and SIGCONT, or a slow machine.
    Stop,
    /// The clock jumps: a timer fires that was not the next.
    TimeJump,
    /// A write fails with any error number that `sendmsg` can give; a number that means a broken connection breaks it for
    /// both ends.
    WriteFailure,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 14] = [
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
    ];

    /// Its letter in a replay line.
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
        }
    }

    /// A fault that only cuts bytes or takes time loses nothing, and may strike without limit.
    fn is_harmless(self) -> bool {
        matches!(self, Fault::ShortWrite | Fault::PartialRead | Fault::Stop | Fault::TimeJump)
    }
}

/// Its name on a command line: `lost-descriptor`.
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
        })
    }
}

/// How many faults that do harm may strike, if [`Faults::limit`] does not say otherwise.
const STRIKES: u8 = 3;

/// The faults that are armed for a run, and how many of the harmful ones may still strike: three, unless
/// [`limit`](Faults::limit) says otherwise.
///
/// The limit is what makes every run settle: after the last strike nothing fails any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    armed: u16,
    left: u8,
}

impl Faults {
    /// Nothing fails.
    pub fn none() -> Self {
        Faults { armed: 0, left: STRIKES }
    }

    /// Everything can fail.
    pub fn all() -> Self {
        Faults::only(&Fault::ALL)
    }

    /// Only these can strike.
    pub fn only(faults: &[Fault]) -> Self {
        faults.iter().fold(Faults::none(), |faults, &fault| faults.and(fault))
    }

    /// About half of the kinds, decided by `seed`: some failures only show when another kind is absent.
    pub fn swarm(seed: u64) -> Self {
        let bits = seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40;
        let chosen = Fault::ALL.iter().filter(|&&fault| bits >> (fault as u8) & 1 == 1);
        chosen.fold(Faults::none(), |faults, &fault| faults.and(fault))
    }

    /// Those of them that a swarm arms.
    #[must_use]
    pub(crate) fn thinned(mut self, seed: u64) -> Self {
        self.armed &= Faults::swarm(seed).armed;
        self
    }

    /// This one too.
    #[must_use]
    pub fn and(mut self, fault: Fault) -> Self {
        self.armed |= 1 << fault as u8;
        self
    }

    /// At most this many strikes that do harm.
    #[must_use]
    pub fn limit(mut self, strikes: u8) -> Self {
        self.left = strikes;
        self
    }

    /// Whether this one is armed.
    pub fn is_armed(self, fault: Fault) -> bool {
        self.armed >> fault as u8 & 1 == 1
    }

    /// Whether nothing is armed.
    pub fn is_none(self) -> bool {
        self.armed == 0
    }

    pub(crate) fn may_strike(self, fault: Fault) -> bool {
        self.armed != 0 && self.is_armed(fault) && (fault.is_harmless() || self.left > 0)
    }

    pub(crate) fn struck(&mut self, fault: Fault) {
        if !fault.is_harmless() {
            self.left -= 1;
        }
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Option<Faults> {
        let (letters, limit) = text.split_at(text.find(|c: char| c.is_ascii_digit())?);
        let fault = |letter| Fault::ALL.into_iter().find(|fault| fault.letter() == letter);
        let armed: Option<Vec<Fault>> = letters.chars().map(fault).collect();
        Some(Faults::only(&armed?).limit(limit.parse().ok()?))
    }
}

impl Default for Faults {
    fn default() -> Self {
        Faults::none()
    }
}

/// The letters of what is armed and the limit: `kw3`.
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
    fn the_text_form_round_trips() {
        for faults in [Faults::none(), Faults::all().limit(12), Faults::only(&[Fault::ShortWrite])] {
            assert_eq!(Faults::parse(&faults.to_string()), Some(faults));
        }
        assert_eq!(Faults::parse("kz3"), None);
        assert_eq!(Faults::parse("k"), None);
    }

    #[test]
    fn a_swarm_arms_every_kind_in_some_run_and_leaves_it_out_in_another() {
        for fault in Fault::ALL {
            assert!((0..64).any(|seed| Faults::swarm(seed).is_armed(fault)), "{fault:?}");
            assert!((0..64).any(|seed| !Faults::swarm(seed).is_armed(fault)), "{fault:?}");
        }
    }
}
