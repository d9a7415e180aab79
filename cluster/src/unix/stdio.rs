//! The first descriptors of a worker: which of the primary's they are, and the pipes among them.
//! It starts nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::process;

use cluster_core::{SpawnOptions, Stdio};
use command_fds::{CommandFdExt, FdMapping};

use super::pipe::Pipe;

/// Our ends of a worker's pipes, by the numbers of its ends.
pub(crate) type Pipes = BTreeMap<u32, Pipe>;

/// What a worker is given, before it is there.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The worker's ends, by their numbers there. A standard one that is missing is inherited.
    theirs: BTreeMap<u32, OwnedFd>,
    /// Ours.
    pub(super) pipes: Pipes,
    /// The number of the channel.
    pub(super) channel: u32,
}

impl Layout {
    /// Opens everything that a command's worker is to have. If it fails, nothing is left open.
    pub(super) fn new(command: &SpawnOptions, channel: OwnedFd) -> io::Result<Self> {
        let mut layout = Layout::default();
        let mut channel = Some(channel);
        for (number, stdio) in (0..).zip(descriptors(command)) {
            let theirs = match stdio {
                Stdio::Inherit if number < 3 => None,
                Stdio::Inherit => Some(super::descriptor::duplicate(number)?),
                Stdio::Ignore if number < 3 => {
                    Some(File::options().read(true).write(true).open("/dev/null")?.into())
                }
                Stdio::Ignore => None,
                Stdio::Pipe => Some(layout.pipe(number)?),
                Stdio::Channel => {
                    layout.channel = number;
                    channel.take()
                }
                Stdio::Descriptor(of) => Some(super::descriptor::duplicate(of)?),
            };
            layout.theirs.extend(theirs.map(|theirs| (number, theirs)));
        }
        Ok(layout)
    }

    /// One more than the highest number that the worker is given.
    pub(super) fn len(&self) -> usize {
        self.theirs.last_key_value().map_or(0, |(number, _)| *number as usize + 1)
    }

    fn pipe(&mut self, number: u32) -> io::Result<OwnedFd> {
        let (ours, theirs) = net::UnixStream::pair()?;
        self.pipes.insert(number, Pipe::new(ours)?);
        Ok(theirs.into())
    }

    /// Has a program started with all of it.
    pub(super) fn give(self, program: &mut process::Command) -> io::Result<Pipes> {
        let mut mappings = Vec::new();
        for (number, theirs) in self.theirs {
            match number {
                0 => drop(program.stdin(theirs)),
                1 => drop(program.stdout(theirs)),
                2 => drop(program.stderr(theirs)),
                _ => mappings.push(FdMapping {
                    parent_fd: theirs,
                    child_fd: number.try_into().map_err(io::Error::other)?,
                }),
            }
        }
        program.fd_mappings(mappings).map_err(|collision| io::Error::other(collision.to_string()))?;
        Ok(self.pipes)
    }
}

/// One after the other, at least the three standard ones, as with Node: those that are not named are ignored.
fn descriptors(command: &SpawnOptions) -> Vec<Stdio> {
    let mut descriptors = command.get_stdio().to_vec();
    if descriptors.is_empty() {
        let standard = if command.is_silent() { Stdio::Pipe } else { Stdio::Inherit };
        descriptors = vec![standard, standard, standard, Stdio::Channel];
    }
    descriptors.resize(descriptors.len().max(3), Stdio::Ignore);
    descriptors
}
