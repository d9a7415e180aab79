//! A tokio runtime that runs until nothing is ready, or until its clock has moved once. The clock is paused:
//! time passes only when the world lets it pass.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep_until};

/// The main future of a process: the error as a text.
pub(super) type Main = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The tasks of a process, and their clock.
pub(super) struct Tasks {
    /// `None` in the middle of the drop.
    runtime: Option<Runtime>,
    main: Option<Main>,
    waker: Arc<MainWaker>,
    parking: Arc<Parking>,
    /// The clock of the runtime, in milliseconds of the world.
    clock_ms: u64,
    start: Instant,
    start_ms: u64,
}

/// Reports that the thread of the runtime has no work. The callbacks of the runtime set the flags.
#[derive(Default)]
struct Parking {
    is_peeking: AtomicBool,
    is_idle: AtomicBool,
    /// The time at which a peek has begun.
    begin: Mutex<Option<Instant>>,
    root: Mutex<Option<Waker>>,
}

impl Parking {
    fn end(&self) {
        self.is_idle.store(true, Ordering::Relaxed);
        if let Some(root) = &*self.root.lock().unwrap_or_else(PoisonError::into_inner) {
            root.wake_by_ref();
        }
    }

    /// Whether the clock has advanced since the start of the peek. A wake of the runtime, for example by a
    /// new timer, ends a park although no time has passed.
    fn has_passed(&self) -> bool {
        let begin = *self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        begin.is_some_and(|begin| Instant::now() > begin)
    }

    fn is_peeking(&self) -> bool {
        self.is_peeking.load(Ordering::Relaxed)
    }
}

/// Polls the main future only when it was woken.
#[derive(Default)]
struct MainWaker {
    is_woken: AtomicBool,
    root: Mutex<Option<Waker>>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        if let Some(root) = &*self.root.lock().unwrap_or_else(PoisonError::into_inner) {
            root.wake_by_ref();
        }
    }
}

impl Tasks {
    /// A runtime at the time of the world. The main future is made inside of the runtime.
    pub(super) fn new(now_ms: u64, main: impl FnOnce() -> Main) -> Self {
        let parking = Arc::<Parking>::default();
        let (before, after) = (parking.clone(), parking.clone());
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || {
                if !before.is_peeking() {
                    before.end();
                }
            })
            .on_thread_unpark(move || {
                if after.is_peeking() && after.has_passed() {
                    after.end();
                }
            })
            .build()
            .expect("a runtime without IO needs no resource of the system");
        let (main, start) = {
            let _context = runtime.enter();
            (main(), Instant::now())
        };
        let waker = Arc::new(MainWaker { is_woken: AtomicBool::new(true), root: Mutex::default() });
        Tasks {
            runtime: Some(runtime),
            main: Some(main),
            waker,
            parking,
            clock_ms: now_ms,
            start,
            start_ms: now_ms,
        }
    }

    pub(super) fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    fn root(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime has not ended")
    }

    /// Runs every task that is ready. Returns the result of the main future, when it has completed.
    pub(super) fn run(&mut self) -> Option<Result<(), String>> {
        let Tasks { runtime, main, waker, parking, .. } = self;
        let runtime = runtime.as_ref().expect("the runtime has not ended");
        parking.is_peeking.store(false, Ordering::Relaxed);
        parking.is_idle.store(false, Ordering::Relaxed);
        let main_waker = Waker::from(waker.clone());
        runtime.block_on(poll_fn(|cx| {
            set_root(&parking.root, cx);
            set_root(&waker.root, cx);
            if waker.is_woken.swap(false, Ordering::Relaxed)
                && let Some(future) = main
                && let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&main_waker))
            {
                return Poll::Ready(Some(result));
            }
            if parking.is_idle.load(Ordering::Relaxed) { Poll::Ready(None) } else { Poll::Pending }
        }))
    }

    /// Lets the clock pass to the next timer, at most to `limit`. No task runs. Returns the new time.
    ///
    /// tokio keeps late timers in slots, so the clock may stop before a timer is due; no timer is passed.
    pub(super) fn peek(&mut self, limit: u64) -> u64 {
        if self.clock_ms >= limit {
            return self.clock_ms;
        }
        self.parking.is_peeking.store(true, Ordering::Relaxed);
        self.parking.is_idle.store(false, Ordering::Relaxed);
        let until = self.start + Duration::from_millis(limit - self.start_ms);
        let begin = self.start + Duration::from_millis(self.clock_ms - self.start_ms);
        *self.parking.begin.lock().unwrap_or_else(PoisonError::into_inner) = Some(begin);
        let (start, parking) = (self.start, self.parking.clone());
        let passed = self.root().block_on(async move {
            let mut bound = pin!(sleep_until(until));
            poll_fn(|cx| {
                set_root(&parking.root, cx);
                if parking.is_idle.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                let _ = bound.as_mut().poll(cx);
                Poll::Pending
            })
            .await;
            Instant::now() - start
        });
        let passed = u64::try_from(passed.as_millis()).expect("a time below the limit");
        self.clock_ms = self.start_ms + passed;
        self.clock_ms
    }

    /// Lets the clock pass to the time of the world.
    pub(super) fn pass(&mut self, now_ms: u64) {
        while self.clock_ms < now_ms {
            self.peek(now_ms);
        }
    }
}

fn set_root(root: &Mutex<Option<Waker>>, cx: &Context<'_>) {
    let mut root = root.lock().unwrap_or_else(PoisonError::into_inner);
    if !root.as_ref().is_some_and(|root| root.will_wake(cx.waker())) {
        *root = Some(cx.waker().clone());
    }
}

impl Drop for Tasks {
    /// The main future first: its destructors may use the runtime.
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let main = self.main.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            let context = runtime.enter();
            drop(main);
            drop(context);
            drop(runtime);
        }));
        if let Err(panic) = dropped
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
