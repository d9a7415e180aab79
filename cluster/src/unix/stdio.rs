//! The first descriptors of a worker: pipes, descriptors of the primary, and the channel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::process;

use cluster_core::{SpawnOptions, Stdio};
use command_fds::{CommandFdExt, FdMapping};

use super::pipe::Pipe;

/// The primary's ends of a worker's pipes, by the descriptor numbers in the worker.
pub(crate) type Pipes = BTreeMap<u32, Pipe>;

/// The descriptors for a worker, before the start.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The worker's ends, by number. A standard descriptor without an entry is inherited.
    theirs: BTreeMap<u32, OwnedFd>,
    pub(super) pipes: Pipes,
    /// The number of the channel in the worker.
    pub(super) channel: u32,
}

impl Layout {
    /// Opens the descriptors for a command. After a failure nothing is left open.
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

    /// The highest descriptor number plus one.
    pub(super) fn len(&self) -> usize {
        self.theirs.last_key_value().map_or(0, |(number, _)| *number as usize + 1)
    }

    fn pipe(&mut self, number: u32) -> io::Result<OwnedFd> {
        let (ours, theirs) = net::UnixStream::pair()?;
        self.pipes.insert(number, Pipe::new(ours)?);
        Ok(theirs.into())
    }

    /// Gives the descriptors to a program, and returns the primary's ends of the pipes.
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

/// The options of the descriptors in order, at least for the three standard descriptors. As in Node, a
/// descriptor without an option is ignored.
fn descriptors(command: &SpawnOptions) -> Vec<Stdio> {
    let mut descriptors = command.stdio.as_deref().unwrap_or_default().to_vec();
    if descriptors.is_empty() {
        let standard = if command.silent.unwrap_or_default() { Stdio::Pipe } else { Stdio::Inherit };
        descriptors = vec![standard, standard, standard, Stdio::Channel];
    }
    descriptors.resize(descriptors.len().max(3), Stdio::Ignore);
    descriptors
}
