//! Every interleaving of the driver and of the tasks that take events from a worker's inbox. loom tries all
//! interleavings, on the same file as in the library. The tests of the driver cover the contents of the
//! inbox.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread::{self, JoinHandle, Thread};

use crate::inbox::Inbox;

#[test]
fn event_is_taken_once() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(2));
        let takers = [(); 2].map(|()| spawn(&inbox, |inbox| block_on(inbox.next())));
        inbox.put(0);
        inbox.put(1);
        let mut taken = takers.map(|taker| taker.join().expect("no panic"));
        taken.sort_unstable();
        assert_eq!(taken, [Some(0), Some(1)]);
    });
}

#[test]
fn full_inbox_blocks_the_driver() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert_eq!(ask_once(&inbox, None), Poll::Pending);
        inbox.put(0);
        let taker = spawn(&inbox, |inbox| [block_on(inbox.next()), block_on(inbox.next())]);
        deliver(&inbox, 1);
        assert!(inbox.len() <= 1);
        assert_eq!(taker.join().expect("no panic"), [Some(0), Some(1)]);
    });
}

#[test]
fn unread_inbox_has_room() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert!(!inbox.is_asked());
        deliver(&inbox, 0);
        deliver(&inbox, 1);
        assert!(inbox.is_full());
        assert_eq!(block_on(inbox.next()), Some(0));
        assert!(inbox.is_asked() && inbox.is_full());
    });
}

#[test]
fn overfull_inbox_blocks_the_driver() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        inbox.put(0);
        inbox.put(1);
        let taker = spawn(&inbox, |inbox| [block_on(inbox.next()), block_on(inbox.next())]);
        deliver(&inbox, 2);
        assert_eq!(taker.join().expect("no panic"), [Some(0), Some(1)]);
        assert_eq!(block_on(inbox.next()), Some(2));
    });
}

#[test]
fn dropped_taker_takes_no_event() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        let dropping = spawn(&inbox, |inbox| {
            // A task may end before it returns a received event. Then the event returns to the inbox.
            if let Poll::Ready(Some(event)) = ask_once(inbox, None) {
                inbox.put(event);
            }
        });
        let waiting = spawn(&inbox, |inbox| block_on(inbox.next()));
        inbox.put(0);
        // No other step wakes the waiting task.
        assert_eq!(waiting.join().expect("no panic"), Some(0));
        dropping.join().expect("no panic");
    });
}

#[test]
fn dropped_taker_leaves_no_waker() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::<u32>::new(1));
        let task = Arc::new(Nobody);
        assert_eq!(ask_once(&inbox, Some(task.clone())), Poll::Pending);
        assert_eq!(Arc::strong_count(&task), 1);
    });
}

#[test]
fn taker_is_woken_by_last_waker() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        let taker = spawn(&inbox, |inbox| {
            let mut next = pin!(inbox.next());
            match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(event) => event,
                Poll::Pending => block_on(next),
            }
        });
        inbox.put(0);
        assert_eq!(taker.join().expect("no panic"), Some(0));
    });
}

#[test]
fn end_wakes_all_takers() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::<u32>::new(1));
        let takers = [(); 2].map(|()| spawn(&inbox, |inbox| block_on(inbox.next())));
        inbox.end();
        assert!(inbox.has_ended());
        for taker in takers {
            assert_eq!(taker.join().expect("no panic"), None);
        }
    });
}

#[test]
fn events_precede_the_end() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        let taker = spawn(&inbox, |inbox| [block_on(inbox.next()), block_on(inbox.next())]);
        inbox.put(0);
        inbox.end();
        assert_eq!(taker.join().expect("no panic"), [Some(0), None]);
        assert!(inbox.has_ended());
    });
}

/// A thread that waits for a future. Only a wake continues the thread, so loom reports a forgotten wake as a
/// deadlock.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Sleeper(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// A task that needs no wake.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

fn spawn<T: 'static>(inbox: &Arc<Inbox<u32>>, act: impl FnOnce(&Inbox<u32>) -> T + 'static) -> JoinHandle<T> {
    let inbox = inbox.clone();
    thread::spawn(move || act(&inbox))
}

/// Delivers an event if there is room, as the driver does.
fn deliver(inbox: &Inbox<u32>, event: u32) {
    block_on(poll_fn(|cx| inbox.poll_room(cx)));
    inbox.put(event);
}

/// Polls once for an event, and drops the future.
fn ask_once(inbox: &Inbox<u32>, task: Option<Arc<Nobody>>) -> Poll<Option<u32>> {
    let waker = task.map_or(Waker::noop().clone(), Waker::from);
    pin!(inbox.next()).poll(&mut Context::from_waker(&waker))
}
