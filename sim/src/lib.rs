//! A deterministic operating system for the machines of `cluster-core`.
//!
//! ```text
//!   Program (yours)          World                              Kernel
//!   primary, workers,  <---  one step = one enabled thing  ---> processes, channels, sockets, clients, a clock
//!   driver                     |            |
//!                          Schedule       checks: ledger, order, descriptors, liveness
//!                          seed | list
//! ```
//!
//! A [`World`] is a value: processes with a machine and a [`Program`] each, a kernel, and a [`Schedule`]. Every choice
//! goes through one door, `schedule.choose(point, n)`, and 0 is always what a quiet machine would do; so a run is
//! `(scenario, choices)`, every prefix of a run ends by itself, and a failure is one line that replays it.
//! After every step the checks look; [`explore::reaches`] searches for a run with given observations.
//!
//! There is no real process, socket, clock or random number here, and nothing depends on an address or on hash order.

#![forbid(unsafe_code)]

mod check;
mod fault;
mod host;
mod journal;
mod kernel;
mod program;
#[cfg(test)]
mod sabotage;
mod schedule;
mod trace;
mod world;

pub mod explore;
pub mod replay;
pub mod standard;

pub use check::{Check, Failure};
pub use fault::{Fault, Faults};
pub use journal::Observation;
pub use program::{Actor, ClientEvent, ClientId, Driver, Ending, Process, Program};
pub use schedule::{Choice, Point, Schedule};
pub use trace::Trace;
pub use world::World;
