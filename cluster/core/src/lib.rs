//! The machines of a cluster.
#![no_std]
extern crate alloc;
pub mod errno;
pub mod event;
pub mod os;
pub mod settings;
pub use os::*;
