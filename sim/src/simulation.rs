//! The user's own async program on the simulated operating system: feature `simulation`.
//!
//! The functions that run in production run here: a primary with `cluster::Primary` or `cluster::Supervisor`,
//! workers with `cluster::Worker`, and clients on a simulated network. Each process has a tokio runtime of
//! its own with a paused clock, so `tokio::spawn`, `tokio::time`, `tokio::select!` and channels work.
//!
//! ```
//! use cluster::{Event, Primary, Settings, Worker};
//! use cluster_sim::simulation::{Net, Simulation};
//! use cluster_sim::{Fault, Faults};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! async fn primary() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut primary = Primary::new(Settings::default())?;
//!     primary.fork()?;
//!     while let Some(event) = primary.next().await {
//!         if let Event::Exit { .. } = event {
//!             primary.fork()?;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! async fn worker() -> Result<(), Box<dyn std::error::Error>> {
//!     let worker = Worker::join()?;
//!     let mut listener = worker.listen("127.0.0.1:8000").await?;
//!     while let Some(mut connection) = listener.accept().await? {
//!         tokio::spawn(async move { connection.write_all(b"hello").await });
//!     }
//!     Ok(())
//! }
//!
//! async fn client(net: Net) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut stream = loop {
//!         match net.connect(([127, 0, 0, 1], 8000).into()).await {
//!             Ok(stream) => break stream,
//!             Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
//!         }
//!     };
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer).await?;
//!     net.observe(answer);
//!     Ok(())
//! }
//!
//! let simulation = Simulation::new(primary, worker).client(client);
//! simulation.check(|world| {
//!     let answers = world.observations().filter(|observation| observation.text == "hello").count();
//!     if answers == 1 { Ok(()) } else { Err(format!("{answers} answers")) }
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use cluster::simulated::{Created, SimulatedProcess};
use cluster_core::Settings;

use crate::fault::{Fault, Faults};
use crate::world::World;

mod client_net;
#[cfg(feature = "proptest")]
mod escape;
mod futures;
mod live;
mod log;
mod own_machine;
mod runtime;

pub use client_net::{ClientStream, Net};
pub use futures::Futures;
use live::Definition;
use runtime::{Main, Tasks};

/// The time of the world at which a run ends, by default.
const END: Duration = Duration::from_mins(1);

/// The result of an async `main`: nothing, or an error.
pub trait MainResult {
    /// The error as a text.
    ///
    /// # Errors
    /// The program has failed: its process exits with code 1.
    fn into_result(self) -> Result<(), String>;
}

impl MainResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> MainResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// An async program under simulation: see the [module](self).
#[must_use = "a simulation does nothing until it is checked"]
pub struct Simulation {
    primary: Box<dyn Fn() -> Main + Send + Sync>,
    worker: Box<dyn Fn() -> Main + Send + Sync>,
    client: Box<dyn Fn(Net) -> Main + Send + Sync>,
    faults: Faults,
    end: Duration,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("faults", &self.faults).finish_non_exhaustive()
    }
}

fn main_of<F: Future<Output: MainResult> + 'static>(future: F) -> Main {
    Box::pin(async move { future.await.into_result() })
}

impl Simulation {
    /// A program with the main function of the primary and that of the workers, without clients and faults.
    pub fn new<P, W>(
        primary: impl Fn() -> P + Send + Sync + 'static,
        worker: impl Fn() -> W + Send + Sync + 'static,
    ) -> Self
    where
        P: Future<Output: MainResult> + 'static,
        W: Future<Output: MainResult> + 'static,
    {
        Simulation {
            primary: Box::new(move || main_of(primary())),
            worker: Box::new(move || main_of(worker())),
            client: Box::new(|_| Box::pin(async { Ok(()) })),
            faults: Faults::none(),
            end: END,
        }
    }

    /// Sets the main function of the clients, which starts with the primary. The function spawns a task for
    /// each of several clients.
    pub fn client<C>(mut self, client: impl Fn(Net) -> C + Send + Sync + 'static) -> Self
    where
        C: Future<Output: MainResult> + 'static,
    {
        self.client = Box::new(move |net| main_of(client(net)));
        self
    }

    /// Arms faults, except the re-exec: futures cannot be restored after a re-exec.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults.without(Fault::Reexec);
        self
    }

    /// Sets the time of the world at which a run ends, for programs with an endless timer. Default: one
    /// minute.
    pub fn end(mut self, end: Duration) -> Self {
        self.end = end;
        self
    }

    /// The world of the program, for [`prop`](crate::prop), [`Run`](crate::Run) and
    /// [`explore`](crate::explore).
    ///
    /// # Panics
    /// The primary's function panics before it creates a `Primary` or a `Supervisor`.
    pub fn world(self) -> World<Futures> {
        let created = created(&self.primary);
        let end_ms = u64::try_from(self.end.as_millis()).unwrap_or(u64::MAX);
        let Simulation { primary, worker, client, faults, .. } = self;
        let definition = Arc::new(Definition { primary, worker, client, created: created.clone(), end_ms });
        let program = Futures::new(definition);
        let world = match created {
            Created::Primary(settings) => World::new(program, settings),
            Created::Supervisor(settings) => World::supervised(program, settings),
        };
        world.with_patient_timers().with_faults(faults)
    }

    /// Searches for a run in which a check of the simulator fails, a `main` panics, or `property` returns an
    /// error, and shrinks the run: see [`prop::check`](crate::prop::check). A few schedules run twice first:
    /// a program with nondeterminism of its own, as a thread, the wall clock or the order of a hash map, is
    /// an error with the place at which two runs part.
    ///
    /// # Errors
    /// The smallest run found.
    #[cfg(feature = "proptest")]
    pub fn check(
        self,
        property: impl Fn(&World<Futures>) -> Result<(), String>,
    ) -> Result<(), Box<crate::prop::Counterexample<Futures>>> {
        let world = self.world();
        if let Some(what) = escape::divergence(&world) {
            return Err(Box::new(crate::prop::Counterexample { what, run: None }));
        }
        crate::prop::check(proptest::strategy::Just(world), property)
    }
}

/// Runs the primary's function until it creates a primary or a supervisor, and returns the settings.
fn created(primary: &dyn Fn() -> Main) -> Created {
    let mut process = SimulatedProcess::unknown();
    let ran = process.enter(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let mut tasks = Tasks::new(0, primary);
            while tasks.run().is_none() && tasks.peek(u64::from(u32::MAX)) < u64::from(u32::MAX) {}
        }))
    });
    if let Err(payload) = ran
        && !SimulatedProcess::is_exit(&*payload)
    {
        resume_unwind(payload);
    }
    let created = process.created().cloned();
    created.unwrap_or_else(|| {
        // The primary has no workers: the world shows what the program does otherwise.
        Created::Primary(Settings::default())
    })
}
