//! The queue of commands from other tasks: from remotes to a primary, from handles to a supervisor. The queue
//! does not look into the commands.

use std::fmt;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

/// The most commands in the queue; further callers wait for room.
const QUEUED_COMMANDS: usize = 64;

/// A command: a closure to execute the command and send the answer.
pub(crate) type Command<P> = Box<dyn FnOnce(&mut P) + Send>;

/// The receiving end, open while a sender exists.
pub(crate) struct CommandQueue<P> {
    open: Option<OpenQueue<P>>,
}

struct OpenQueue<P> {
    sender: mpsc::WeakSender<Command<P>>,
    receiver: mpsc::Receiver<Command<P>>,
}

impl<P> Default for CommandQueue<P> {
    fn default() -> Self {
        CommandQueue { open: None }
    }
}

impl<P> CommandQueue<P> {
    /// Another sender of the queue.
    pub(crate) fn sender(&mut self) -> mpsc::Sender<Command<P>> {
        let existing = self.open.as_ref().and_then(|queue| queue.sender.upgrade());
        existing.unwrap_or_else(|| {
            let (sender, receiver) = mpsc::channel(QUEUED_COMMANDS);
            self.open = Some(OpenQueue { sender: sender.downgrade(), receiver });
            sender
        })
    }

    /// Whether a sender exists, so a command can still arrive.
    pub(crate) fn are_possible(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Command<P>> {
        let Some(queue) = &mut self.open else { return Poll::Pending };
        match queue.receiver.poll_recv(cx) {
            Poll::Ready(Some(command)) => Poll::Ready(command),
            Poll::Ready(None) => {
                self.open = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<P> fmt::Debug for CommandQueue<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandQueue").field("possible", &self.are_possible()).finish()
    }
}
