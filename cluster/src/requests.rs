//! The queue of commands from other tasks: from remotes to a primary, from handles to a supervisor. The commands are opaque here.

use std::fmt;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

/// The bound of queued requests; further callers wait.
const PENDING_REQUESTS: usize = 64;

/// A command, including the code that sends the answer.
pub(crate) type Request<P> = Box<dyn FnOnce(&mut P) + Send>;

/// The receiving end, open while a sender exists.
pub(crate) struct Requests<P> {
    open: Option<RequestQueue<P>>,
}

struct RequestQueue<P> {
    sender: mpsc::WeakSender<Request<P>>,
    receiver: mpsc::Receiver<Request<P>>,
}

impl<P> Default for Requests<P> {
    fn default() -> Self {
        Requests { open: None }
    }
}

impl<P> Requests<P> {
    /// A further sender.
    pub(crate) fn sender(&mut self) -> mpsc::Sender<Request<P>> {
        let existing = self.open.as_ref().and_then(|queue| queue.sender.upgrade());
        existing.unwrap_or_else(|| {
            let (requests, receiver) = mpsc::channel(PENDING_REQUESTS);
            self.open = Some(RequestQueue { sender: requests.downgrade(), receiver });
            requests
        })
    }

    /// Whether a sender exists.
    pub(crate) fn are_possible(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Request<P>> {
        let Some(queue) = &mut self.open else { return Poll::Pending };
        match queue.receiver.poll_recv(cx) {
            Poll::Ready(Some(request)) => Poll::Ready(request),
            Poll::Ready(None) => {
                self.open = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<P> fmt::Debug for Requests<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("possible", &self.are_possible()).finish()
    }
}
