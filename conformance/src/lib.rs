//! The conformance suite: scenarios as data, run on live Node.js and on everything of ours that claims to behave like it.
//!
//! ```text
//! scenario --> program, recorder.cjs --> arm --> trace --> order, fixture
//!                                         |        |          |
//!                                         +----- suite ---> verdict --> report
//! ```
//!
//! A [`scenario`] is read from a file; a [`program`] interprets it inside an arm; what the observers write down is a
//! [`trace`]. Traces are held against the contract in [`order`] and against the recordings in [`fixture`].
//! A [`suite`] tries the claims, a [`verdict`] says whether one holds, and [`command`] is how a person asks for a [`report`], or for
//! the [diagram](cluster_sim::diagram) of a run.
//! Nothing here knows how a primary or a worker works: that is what is being tested.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod arm;
pub mod command;
pub mod coverage;
pub mod exceptions;
pub mod families;
pub mod fixture;
pub mod forms;
pub mod fuzz;
pub mod observation;
pub mod order;
pub mod pattern;
pub mod program;
pub mod report;
pub mod scenario;
pub mod suite;
mod text;
pub mod trace;
pub mod verdict;
pub mod vocabulary;
