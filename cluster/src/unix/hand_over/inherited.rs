//! The state and the part of a program in a hand-over, both inherited by an environment variable. `variables`
//! removes the variable before `main`.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use super::super::variables::handed_over;

/// The most characters of a failure in the variable: the kernel executes no program with a variable above 128
/// KiB.
const LONGEST_FAILURE: usize = 4_096;

/// The number of bytes in a read.
const CHUNK: usize = 1 << 16;

/// The part of a program in a hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A child of the running program: reads everything, reports a verdict and exits.
    Trial { verdict: RawFd },
    /// The new program; `former` is the file of the old program.
    New { former: RawFd },
    /// The old program, executed again because the new program has failed.
    Former { failure: String },
}

/// The values of the variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// The descriptor of the state.
    pub(crate) state: RawFd,
    pub(crate) part: Part,
}

impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state;
        match &self.part {
            Part::Trial { verdict } => write!(f, "trial:{state}:{verdict}"),
            Part::New { former } => write!(f, "new:{state}:{former}"),
            Part::Former { failure } => {
                let failure: String = failure.chars().take(LONGEST_FAILURE).collect();
                write!(f, "former:{state}:{}", failure.replace('\0', " "))
            }
        }
    }
}

impl Inherited {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (part, state, rest) = (parts.next()?, number(parts.next()?)?, parts.next()?);
        let part = match part {
            "trial" => Part::Trial { verdict: number(rest)? },
            "new" => Part::New { former: number(rest)? },
            "former" => Part::Former { failure: rest.to_owned() },
            _ => return None,
        };
        Some(Inherited { state, part })
    }

    /// The bytes of the state. Each read has an explicit offset, because other processes may share the
    /// position in the file.
    pub(crate) fn read_state(&self) -> io::Result<Vec<u8>> {
        #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
        // SAFETY: nothing in the process owns the number, and `ManuallyDrop` does not close the number. A
        // closed number is an error of the read.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(self.state) });
        let mut bytes = Vec::new();
        loop {
            let read = bytes.len();
            bytes.resize(read + CHUNK, 0);
            let more = file.read_at(&mut bytes[read..], read as u64)?;
            bytes.truncate(read + more);
            if more == 0 {
                return Ok(bytes);
            }
        }
    }
}

/// The number of a descriptor, except the standard descriptors: these are never handed over.
fn number(text: &str) -> Option<RawFd> {
    text.parse().ok().filter(|number| *number > 2)
}

/// The values of the variable. `None`: the process was not started by a hand-over.
pub(crate) fn inherited() -> Option<Inherited> {
    Inherited::parse(handed_over()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_values_have_a_text() {
        let failure = "no: such, file".to_owned();
        for part in [Part::Trial { verdict: 9 }, Part::New { former: 8 }, Part::Former { failure }] {
            let inherited = Inherited { state: 7, part };
            assert_eq!(Inherited::parse(&inherited.to_string()), Some(inherited));
        }
        for wrong in
            ["", "new", "new:7", "new:7:x", "other:7:8", "new:-7:8", "new:7:-1", "trial:7:2", "former:0:x"]
        {
            assert_eq!(Inherited::parse(wrong), None, "{wrong}");
        }
    }
}
