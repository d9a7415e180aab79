//! A deterministic operating system for the machines of `cluster-core`.
//!
//! ```text
//!   Program (yours)          World                              Kernel
//!   primary, workers,  <---  one step = one enabled thing  ---> processes, channels, sockets, clients, a clock
//!   driver                     |            |
//!                          Schedule       checks: ledger, acks, ids, queues, harm, order, messages,
//!                   seed | list | priorities | bytes         fairness, turns, descriptors, liveness
//! ```
//!
//! A [`World`] is a value: processes with a machine and a [`Program`] each, a kernel, and a [`Schedule`]. Every choice
//! goes through one door, `schedule.choose(point, n)`, and 0 is always what a quiet machine would do; so a run is
//! `(scenario, choices)`, every prefix of a run ends by itself, and a failure is one line that replays it.
//! After every step the checks look; [`explore::reaches`] searches for a run with given observations.
//! Clients come by TCP, UDP and Unix sockets; a program may have sockets of its own, pass them with messages, and be
//! short of descriptors or rights.
//!
//! ```
//! use cluster_core::{Event, Primary, Settings, Worker};
//! use cluster_sim::{Process, Program, Schedule, World};
//!
//! /// One worker that says hello; the primary then sends it home.
//! #[derive(Debug, Clone, PartialEq, Eq, Hash)]
//! struct Hello;
//!
//! impl Program for Hello {
//!     fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
//!         primary.fork().expect("nothing impossible was set up");
//!     }
//!
//!     fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
//!         if let Event::Message { worker, message, .. } = event {
//!             process.observe(message.to::<String>().expect("it is a text"));
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
//! A failure is best shrunk before it is read: [`prop::check`] searches, shrinks, and explains what is left as a table
//! and one line, or as a [`diagram`] for a browser. `examples/respawn.rs` tests a respawn policy so; [`prop::runs`] is the strategy for properties of one's
//! own. Here a primary gives up too early, and the smallest run that shows it is one kill on an otherwise quiet machine:
//!
//! ```
//! use cluster_core::{Event, Primary, Settings};
//! use cluster_sim::{Fault, Faults, Process, Program, World, replay, prop};
//! use proptest::strategy::Just;
//!
//! #[derive(Debug, Clone, PartialEq, Eq, Hash)]
//! struct One;
//!
//! impl Program for One {
//!     fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
//!         primary.fork().expect("nothing impossible was set up");
//!     }
//! }
//!
//! let world = World::new(One, Settings::default()).with_faults(Faults::only(&[Fault::Kill]));
//! let broken = prop::check(Just(world.clone()), |world| match world.running().count() {
//!     1 => Err("the primary is alone".into()),
//!     _ => Ok(()),
//! });
//! let run = broken.expect_err("nobody forks again").run.expect("there is a run");
//! assert_eq!((run.faults(), run.switches()), (1, 0));
//!
//! // The last line that a failure prints brings its run back.
//! let line: replay::Line = run.line().parse().expect("it was just written");
//! assert_eq!(line.replay(world).left, None);
//! ```
//!
//! There is no real process, socket, clock or random number here, and nothing depends on an address or on hash order.

#![forbid(unsafe_code)]

mod check;
mod cow;
mod fault;
mod kernel;
mod livelock;
mod observations;
#[cfg(test)]
mod planted_bugs;
mod program;
mod running_process;
mod schedule;

mod shrink;
mod trace;
mod world;

pub mod diagram;
pub mod explore;
pub mod kernel_only;
pub mod prop;
pub mod replay;
pub mod scenarios;

pub use check::{Check, Failure};
pub use fault::{Fault, Faults};
pub use observations::Observation;
pub use program::{
    Actor, ClientAction, ClientEvent, ClientId, Driver, Ending, Process, Program, SocketEvent,
};
pub use schedule::{Choice, Point, Schedule};
pub use trace::{Crossing, Row, Trace};
pub use world::World;
