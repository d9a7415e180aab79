//! The user's own async program on the simulated operating system: feature `simulation`.
//!
//! The functions that run in production run here: a primary with `cluster::Primary` or `cluster::Supervisor`,
//! workers with `cluster::Worker`, and clients on a simulated network. Each process has a tokio runtime of
//! its own with a paused clock, so `tokio::spawn`, `tokio::time`, `tokio::select!` and channels work.
//!
//! A supervised axum server, in which any process may be killed at any call:
//!
//! ```
//! use axum::{Router, routing::get};
//! use cluster::{Signal, Supervisor, SupervisorSettings, Worker};
//! use cluster_sim::simulation::{Futures, Net, Simulation};
//! use cluster_sim::{Actor, Fault, Faults, World};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! type Outcome = Result<(), Box<dyn std::error::Error>>;
//!
//! async fn primary() -> Outcome {
//!     Ok(Supervisor::new(SupervisorSettings::new(2))?.run().await?)
//! }
//!
//! async fn worker() -> Outcome {
//!     let worker = Worker::join()?;
//!     let listener = worker.listen("127.0.0.1:8000").await?;
//!     Ok(cluster::serve(&worker, listener, Router::new().route("/", get(async || "hello"))).await?)
//! }
//!
//! /// Two requests, each on a connection of its own.
//! async fn client(net: Net) -> Outcome {
//!     for _ in 0..2 {
//!         let mut stream = net.connect_when_listening("127.0.0.1:8000".parse()?).await;
//!         stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
//!         let mut answer = String::new();
//!         let is_read = stream.read_to_string(&mut answer).await.is_ok();
//!         stream.observe(if is_read && answer.ends_with("hello") { "answered" } else { "lost" });
//!     }
//!     net.kill(Actor::Primary, Signal::SIGTERM);
//!     Ok(())
//! }
//!
//! /// No request is answered twice; none is lost unless its worker had the request when it was killed.
//! fn nothing_is_lost(world: &World<Futures>) -> Result<(), String> {
//!     for seen in world.observations().filter(|seen| seen.text == "lost") {
//!         let Actor::Client(client) = seen.observer else { continue };
//!         let holder = world.holder(client);
//!         if !world.is_killed(holder) {
//!             return Err(format!("client {} has no answer, and {holder} was not killed", client.0));
//!         }
//!     }
//!     let answers = world.observations().filter(|seen| seen.text == "answered").count();
//!     if answers <= 2 { Ok(()) } else { Err(format!("{answers} answers to 2 requests")) }
//! }
//!
//! let kill = Faults::only(&[Fault::Kill]).limit(1);
//! Simulation::new(primary, worker).client(client).faults(kill).assert(nothing_is_lost);
//! ```

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use cluster::simulated::{Created, SimulatedProcess};
use cluster_core::Settings;

use crate::explore::{self, Budget, Coverage};
use crate::fault::{Fault, Faults};
use crate::prop::{self, Counterexample, Run};
use crate::running_process::MachineSettings;
use crate::schedule::Schedule;
use crate::world::World;

mod client_net;
mod escape;
mod futures;
mod live;
mod log;
mod report;
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
    #[cfg(feature = "testing")]
    without: Option<Safeguard>,
}

/// A safeguard against lost requests, removed by [`Simulation::without`].
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// An old worker closes the connection with the next answer, before it is disconnected.
    LameDuck,
    /// A connection that a dead worker has not acknowledged is handed to another worker.
    Requeue,
    /// An old worker serves until its successor listens.
    ReadinessGate,
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
            #[cfg(feature = "testing")]
            without: None,
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

    /// Removes a safeguard, to show that a test fails without it.
    #[cfg(feature = "testing")]
    pub fn without(mut self, safeguard: Safeguard) -> Self {
        self.without = Some(safeguard);
        self
    }

    /// The world of the program, for [`prop`], [`Run`] and [`explore`].
    ///
    /// # Panics
    /// The primary's function panics before it creates a `Primary` or a `Supervisor`.
    pub fn world(self) -> World<Futures> {
        let machines = self.machines();
        #[cfg(feature = "testing")]
        let closes_idle_at_once = self.without == Some(Safeguard::LameDuck);
        #[cfg(not(feature = "testing"))]
        let closes_idle_at_once = false;
        let end_ms = u64::try_from(self.end.as_millis()).unwrap_or(u64::MAX);
        let Simulation { primary, worker, client, faults, .. } = self;
        let definition =
            Definition { primary, worker, client, machines: machines.clone(), closes_idle_at_once, end_ms };
        let world = World::with_machines(Futures::new(Arc::new(definition)), machines);
        world.with_patient_timers().with_faults(faults)
    }

    fn machines(&self) -> MachineSettings {
        let created = created(&self.primary);
        #[cfg(feature = "testing")]
        let created = match (self.without, created) {
            (Some(Safeguard::LameDuck), Created::Supervisor(settings)) => {
                Created::Supervisor(settings.lame_duck(Duration::ZERO))
            }
            (Some(Safeguard::ReadinessGate), Created::Supervisor(settings)) => {
                Created::Supervisor(settings.readiness(cluster_core::Readiness::Online))
            }
            (Some(_) | None, created) => created,
        };
        #[cfg_attr(not(feature = "testing"), expect(unused_mut, reason = "only tests remove safeguards"))]
        let mut machines = match created {
            Created::Primary(settings) => MachineSettings::of_primary(settings),
            Created::Supervisor(settings) => MachineSettings::of_supervisor(settings),
        };
        #[cfg(feature = "testing")]
        {
            machines.without_requeue = self.without == Some(Safeguard::Requeue);
        }
        machines
    }

    /// Searches for a run in which a check of the simulator fails, a `main` panics, or `property` returns an
    /// error, and shrinks the run: see [`prop::check`]. Before the search, a few schedules run twice: if a
    /// program depends on a thread, the wall clock or the order of a hash map, the two runs differ, and the
    /// error names the place of the first difference.
    ///
    /// # Errors
    /// The smallest run found.
    pub fn check(
        self,
        property: impl Fn(&World<Futures>) -> Result<(), String>,
    ) -> Result<(), Box<Counterexample<Futures>>> {
        let world = self.world();
        if let Some(what) = escape::divergence(&world) {
            return Err(Box::new(Counterexample { what, run: None }));
        }
        prop::check(proptest::strategy::Just(world), property)
    }

    /// Takes every run of a short program: every order of steps, and every armed fault at every point, up to
    /// the [`end`](Simulation::end). A step between equal worlds is taken once; worlds with different inputs
    /// of a process, different observations of an observer, or different holders of connections are not
    /// equal. `property` receives the first run to each final world, so it must not depend on the order of
    /// observations of different observers.
    ///
    /// `budget` bounds the number of worlds. The result displays the counts, and "complete" or the bound.
    ///
    /// # Errors
    /// The smallest failing run, as [`check`](Simulation::check) shrinks it.
    pub fn exhaustive(
        self,
        budget: impl Into<Budget>,
        property: impl Fn(&World<Futures>) -> Result<(), String>,
    ) -> Result<Coverage, Box<Counterexample<Futures>>> {
        let world = self.world();
        if let Some(what) = escape::divergence(&world) {
            return Err(Box::new(Counterexample { what, run: None }));
        }
        let run = |choices: &[u32]| Run::new(world.clone(), Schedule::replay(choices.to_vec()));
        let judge = |run: &Run<Futures>| prop::judge(run, &property);
        explore::exhaustive_with(&world, budget.into(), &mut |choices| judge(&run(choices)).is_err()).map_err(
            |choices| {
                let run = run(&choices).shrunk(|run| judge(run).is_err());
                let what = judge(&run).err().unwrap_or_else(|| explore::UNLIKE_ITSELF.to_owned());
                Box::new(Counterexample { what, run: Some(run) })
            },
        )
    }

    /// [`check`](Simulation::check) for a test, with a report of the smallest failing run.
    ///
    /// # Panics
    /// A run fails. The text has the violation, the path of a page for a browser with the run as a sequence
    /// diagram, the run as a table with the log lines of each process, and the line for
    /// [`replay`](Simulation::replay).
    #[track_caller]
    pub fn assert(self, property: impl Fn(&World<Futures>) -> Result<(), String>) {
        report::unwrap(self.check(property), Location::caller());
    }

    /// Repeats the run of a replay line, in place of [`assert`](Simulation::assert).
    ///
    /// # Panics
    /// As [`assert`](Simulation::assert), or the text is no replay line.
    #[track_caller]
    pub fn replay(self, line: &str, property: impl Fn(&World<Futures>) -> Result<(), String>) {
        report::unwrap(prop::replay(line, self.world(), property), Location::caller());
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
