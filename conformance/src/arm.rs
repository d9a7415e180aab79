//! The arms: everything that can run a scenario.
//!
//! [`drive`] runs real processes, whatever they are written in; [`node`] is those of a JavaScript runtime,
//! [`unix`] our own, and [`mixed`] some of either.

mod client;
pub mod drive;
mod load;
pub mod mixed;
pub mod node;
mod run_dir;
pub mod sim;
mod translate;
pub mod unix;
