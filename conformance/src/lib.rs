//! The conformance suite: scenarios as data, run on live Node.js and on every implementation of ours.
//!
//! ```text
//! scenario --> program, recorder.cjs --> arm --> trace --> order, fixture
//!                                         |        |          |
//!                                         +----- suite ---> verdict --> report
//! ```
//!
//! A [`scenario`] is read from a file, and a [`program`] interprets it inside an arm. The lines of all
//! observers are a [`trace`]. Traces are compared with the contract in [`order`], and with the recordings in
//! [`fixture`]. A [`suite`] runs the claims, a [`verdict`] is the result of a claim, and [`command`] prints a
//! [`report`], or the [diagram](cluster_sim::diagram) of a run. The suite has no knowledge of how a primary
//! or a worker works, because this is under test.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod arm;
pub mod command;
pub mod coverage;
pub mod exceptions;
pub mod expected;
pub mod families;
pub mod fixture;
pub mod forms;
pub mod fuzz;
pub mod matrix;
pub mod observation;
pub mod order;
pub mod pattern;
pub mod program;
pub mod report;
pub mod requirement;
pub mod runtimes;
pub mod scenario;
pub mod suite;
mod text;
pub mod trace;
pub mod verdict;
pub mod vocabulary;
