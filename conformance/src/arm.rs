//! The arms: everything that can run a scenario.
//!
//! [`drive`] runs real processes, whatever they are written in; [`node`] is those of a JavaScript runtime.

mod client;
pub mod drive;
mod load;
pub mod node;
pub mod sim;
mod translate;
pub mod unix;
