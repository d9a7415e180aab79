//! Messages: the messages between two processes arrive in the order of sending, each once, and no message is
//! lost that could be delivered.
//!
//! The check reads only numbered messages, as [`Process::send_numbered`](crate::Process::send_numbered) sends
//! them. A message in flight to or from a process that is killed may be lost.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{ChannelId, ExitStatus, Message, Primary, WorkerId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kernel::Kernel;
use crate::step::Pid;

/// The content of a numbered message.
#[derive(Deserialize)]
struct Numbered {
    nth: u64,
}

/// The numbers of messages sent and received, by sender and receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Messages {
    sent: BTreeMap<(Pid, Pid), u64>,
    received: BTreeMap<(Pid, Pid), u64>,
    /// Workers that have exited as asked: every message to and from such a worker must have been delivered.
    complete: BTreeSet<WorkerId>,
}

impl Messages {
    /// Numbers the next message of a sender to a receiver.
    pub(crate) fn next(&self, from: Pid, to: Pid) -> Value {
        json!({ "nth": self.sent.get(&(from, to)).map_or(1, |sent| sent + 1) })
    }

    pub(crate) fn sent(&mut self, from: Pid, to: Pid) {
        *self.sent.entry((from, to)).or_default() += 1;
    }

    /// Checks a received message; messages without a number are ignored.
    pub(crate) fn received(&mut self, from: Pid, to: Pid, message: &Message) -> Result<(), String> {
        if !self.sent.contains_key(&(from, to)) {
            return Ok(());
        }
        let Ok(Numbered { nth }) = message.to() else { return Ok(()) };
        let received = self.received.entry((from, to)).or_default();
        *received += 1;
        let (from, to) = (from.0, to.0);
        if nth == *received {
            return Ok(());
        }
        Err(format!("process {to} received message {nth} of process {from}, expected message {received}"))
    }

    /// Records a worker that exited as asked: every message was delivered.
    pub(crate) fn exited(&mut self, worker: WorkerId, status: ExitStatus, primary: &Primary) {
        let was_asked_to =
            primary.worker(worker).is_some_and(|life| life.exited_after_disconnect() == Some(true));
        if status == ExitStatus::Code(0) && was_asked_to {
            self.complete.insert(worker);
        }
    }

    /// Checks the final state: every message is received that could be delivered.
    pub(crate) fn at_the_end(&self, kernel: &Kernel) -> Result<(), String> {
        for (&(from, to), &sent) in &self.sent {
            let worker = if from == Pid::PRIMARY { to } else { from };
            let is_complete = from != Pid::PRIMARY && self.complete.contains(&worker.worker());
            let is_trusted = !kernel.processes.get(worker).hostile && !kernel.channels.is_cut(worker);
            let is_due = is_trusted && (is_complete || is_whole(kernel, worker));
            let received = self.received.get(&(from, to)).copied().unwrap_or_default();
            if is_due && received != sent {
                return Err(format!(
                    "process {} sent {sent} messages to process {}, which received {received}",
                    from.0, to.0
                ));
            }
        }
        Ok(())
    }
}

/// Whether both processes of a channel are alive, the worker is not stopped, and neither process has closed
/// the channel.
fn is_whole(kernel: &Kernel, worker: Pid) -> bool {
    let is_open =
        |pid: Pid, id: ChannelId| kernel.processes.get(pid).is_alive() && kernel.channels.has_open(pid, id);
    let is_stopped = kernel.processes.is_stopped(worker);
    !is_stopped && is_open(worker, ChannelId::PRIMARY) && is_open(Pid::PRIMARY, worker.channel())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Pid = Pid(1);

    #[test]
    fn missing_or_repeated_message_fails() {
        let mut messages = Messages::default();
        let sent = [(); 3].map(|()| {
            let message = messages.next(FROM, Pid::PRIMARY);
            messages.sent(FROM, Pid::PRIMARY);
            Message::from(message)
        });
        let receive = |order: &[usize]| {
            let mut messages = messages.clone();
            order.iter().try_for_each(|&nth| messages.received(FROM, Pid::PRIMARY, &sent[nth]))
        };
        assert_eq!(receive(&[0, 1, 2]), Ok(()));
        assert!(receive(&[0, 2]).is_err() && receive(&[0, 0]).is_err() && receive(&[1]).is_err());
    }
}
