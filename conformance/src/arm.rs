//! The arms: everything that can run a scenario.
//!
//! [`drive`] runs real processes of any language. [`node`] starts a JavaScript runtime, [`unix`] starts this
//! program, and [`mixed`] starts a primary on one side with workers on the other side.

mod client;
pub mod drive;
mod load;
pub mod mixed;
pub mod node;
mod run_dir;
mod run_processes;
pub mod sim;
#[cfg(test)]
mod supervised;
pub mod translate;
pub mod unix;
