//! Messages: those of one process to another come in the order in which they were sent, each once, and none is lost
//! that could be delivered.
//!
//! It knows only messages that say their number, as [`Process::send_numbered`](crate::Process::send_numbered) sends them. One
//! that was on its way to or from somebody who ended before his time may be lost; which, the operating system decides.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{ChannelId, ExitStatus, Message, Primary, WorkerId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;

/// The content of a message of [`Messages::next`].
#[derive(Deserialize)]
struct Numbered {
    nth: u64,
}

/// How many messages each has sent to whom, and has heard from whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Messages {
    sent: BTreeMap<(Pid, Pid), u64>,
    heard: BTreeMap<(Pid, Pid), u64>,
    /// Workers that have ended as they were to: everything they had to say was said.
    complete: BTreeSet<WorkerId>,
}

impl Messages {
    /// The next message from one to the other.
    pub(crate) fn next(&self, from: Pid, to: Pid) -> Value {
        json!({ "nth": self.sent.get(&(from, to)).map_or(1, |sent| sent + 1) })
    }

    pub(crate) fn sent(&mut self, from: Pid, to: Pid) {
        *self.sent.entry((from, to)).or_default() += 1;
    }

    /// One has heard a message of the other, perhaps of another kind.
    pub(crate) fn heard(&mut self, from: Pid, to: Pid, message: &Message) -> Result<(), String> {
        if !self.sent.contains_key(&(from, to)) {
            return Ok(());
        }
        let Ok(Numbered { nth }) = message.to() else { return Ok(()) };
        let heard = self.heard.entry((from, to)).or_default();
        *heard += 1;
        let (from, to) = (from.0, to.0);
        if nth == *heard {
            return Ok(());
        }
        Err(format!("process {to} hears message {nth} of process {from}, and {heard} is next"))
    }

    /// A worker that has ended as it was to has sent everything before.
    pub(crate) fn exited(&mut self, worker: WorkerId, status: ExitStatus, primary: &Primary) {
        let was_asked_to =
            primary.worker(worker).is_some_and(|life| life.exited_after_disconnect() == Some(true));
        if status == ExitStatus::Code(0) && was_asked_to {
            self.complete.insert(worker);
        }
    }

    /// Nothing can happen any more: everything has arrived that somebody lives to hear.
    pub(crate) fn at_the_end(&self, kernel: &Kernel) -> Result<(), String> {
        for (&(from, to), &sent) in &self.sent {
            let worker = if from == Pid::PRIMARY { to } else { from };
            let goes_well = from != Pid::PRIMARY && self.complete.contains(&worker.worker());
            let is_trusted = !kernel.process(worker).hostile && !kernel.is_cut(worker);
            let is_due = is_trusted && (goes_well || is_whole(kernel, worker));
            let heard = self.heard.get(&(from, to)).copied().unwrap_or_default();
            if is_due && heard != sent {
                return Err(format!(
                    "process {} has sent {sent} messages to process {}, which has heard {heard}",
                    from.0, to.0
                ));
            }
        }
        Ok(())
    }
}

/// Whether both processes of a channel live and neither has closed it.
fn is_whole(kernel: &Kernel, worker: Pid) -> bool {
    let is_open = |pid: Pid, id: ChannelId| kernel.process(pid).is_alive() && kernel.has_open(pid, id);
    is_open(worker, ChannelId::PRIMARY) && is_open(Pid::PRIMARY, worker.channel())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Pid = Pid(1);

    #[test]
    fn one_that_is_missing_or_comes_twice_is_seen() {
        let mut messages = Messages::default();
        let sent = [(); 3].map(|()| {
            let message = messages.next(FROM, Pid::PRIMARY);
            messages.sent(FROM, Pid::PRIMARY);
            Message::from(message)
        });
        let hears = |order: &[usize]| {
            let mut messages = messages.clone();
            order.iter().try_for_each(|&nth| messages.heard(FROM, Pid::PRIMARY, &sent[nth]))
        };
        assert_eq!(hears(&[0, 1, 2]), Ok(()));
        assert!(hears(&[0, 2]).is_err() && hears(&[0, 0]).is_err() && hears(&[1]).is_err());
    }
}
