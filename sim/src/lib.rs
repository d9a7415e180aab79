//! A deterministic operating system for the machines of `cluster-core`.
//!
//! ```text
//!   Program (yours)          World                              Kernel
//!   primary, workers,  <---  one step = one enabled thing  ---> processes, channels, sockets, clients, a clock
//!   driver                     |            |
//!                          Schedule       checks: ledger, acks, ids, queues, false_blame, order, messages,
//!                   seed | list | priorities | bytes         fairness, stickiness, fifo, descriptors, liveness
//! ```
//!
//! A [`World`] is a value: the running processes (each a machine and a [`Program`]), a kernel and a
//! [`Schedule`]. Every choice is made by `schedule.choose(point, n)`, and choice 0 is what a quiet
//! first-in-first-out machine does. Hence a run is `(scenario, choices)`, every prefix of a run is a run that
//! ends, and one line replays a failure. The checks run after every step. [`explore::reaches`] searches for a
//! run with given observations. Clients use TCP, UDP and Unix sockets. A program can open sockets, pass them
//! with messages, and run out of descriptors or rights.
//!
//! ```
//! use cluster_core::{Event, Primary, Settings, Worker};
//! use cluster_sim::{Process, Program, Schedule, World};
//!
//! /// One worker sends hello; the primary disconnects the worker.
//! #[derive(Debug, Clone, PartialEq, Eq, Hash)]
//! struct Hello;
//!
//! impl Program for Hello {
//!     fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
//!         primary.fork().expect("the settings are valid");
//!     }
//!
//!     fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
//!         if let Event::Message { worker, message, .. } = event {
//!             process.observe(message.to::<String>().expect("the message is a string"));
//!             primary.disconnect_worker(worker);
//!         }
//!     }
//!
//!     fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
//!         worker.send("hello").expect("the channel is open");
//!     }
//! }
//!
//! for seed in 0..100 {
//!     let mut world = World::new(Hello, Settings::default()).on(Schedule::seed(seed));
//!     world.run().unwrap_or_else(|failure| panic!("{failure}"));
//!     assert!(world.observations().any(|observation| observation.text == "hello"));
//! }
//! ```
//!
//! [`prop::check`] searches for a failure, shrinks the run, and explains the shrunk run as a table, or as a
//! `diagram` for a browser. [`prop::replay`] repeats the run. `examples/respawn.rs` tests a policy in this
//! way; [`prop::runs`] is the proptest strategy for further properties. In the following example a primary
//! does not replace a dead worker, and the smallest failing run is one kill on an otherwise quiet machine:
//!
//! ```
//! use cluster_core::{Event, Primary, Settings};
//! use cluster_sim::{Fault, Faults, Process, Program, World, prop};
//! use proptest::strategy::Just;
//!
//! #[derive(Debug, Clone, PartialEq, Eq, Hash)]
//! struct One;
//!
//! impl Program for One {
//!     fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
//!         primary.fork().expect("the settings are valid");
//!     }
//! }
//!
//! let world = World::new(One, Settings::default()).with_faults(Faults::only(&[Fault::Kill]));
//! let property = |world: &World<One>| match world.running().count() {
//!     1 => Err("the primary is alone".into()),
//!     _ => Ok(()),
//! };
//! let broken = prop::check(Just(world.clone()), property);
//! let run = broken.expect_err("the dead worker has no successor").run.expect("there is a run");
//! assert_eq!((run.faults(), run.switches()), (1, 0));
//!
//! // A printed failure contains this call, with the replay line as a text.
//! let again = prop::replay(&run.line(), world, property);
//! assert_eq!(again.expect_err("the same failure").what, "the primary is alone");
//! ```
//!
//! The feature `simulation` runs your own async program: the functions of production, with
//! `cluster::Primary` and `cluster::Worker`, under the same schedules and faults.
//!
//! The features `diagram` and `scenarios` add the modules of these names, and `bench` adds `kernel_only`.
//! `proptest`, a default feature, adds [`prop`]. With the feature `testing`, counters can continue after a
//! large number, as in a process that has run for a long time.
//!
//! The simulator uses no real process, socket, clock or random number, and no result depends on a memory
//! address or on hash order.

#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

mod check;
mod cow;
mod event;
mod fault;
mod kernel;
mod line;
mod livelock;
mod numbers;
mod observations;
#[cfg(test)]
mod planted_bugs;
mod program;
mod run;
mod running_process;
mod schedule;

mod shrink;
mod step;
mod trace;
mod trace_hash;
mod world;

#[cfg(feature = "diagram")]
pub mod diagram;
pub mod explore;
#[cfg(feature = "bench")]
pub mod kernel_only;
#[cfg(feature = "proptest")]
pub mod prop;
pub mod replay;
#[cfg(feature = "scenarios")]
pub mod scenarios;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use check::{Check, Failure};
pub use event::{Actor, ClientAction, ClientEvent, ClientId, Ending, SocketEvent};
pub use fault::{Fault, Faults};
pub use observations::Observation;
pub use program::{Driver, MachineMut, Process, Program, Resumption};
pub use run::Run;
pub use schedule::{Choice, Point, Schedule};
pub use trace::{Crossing, Row, Trace};
pub use world::World;
