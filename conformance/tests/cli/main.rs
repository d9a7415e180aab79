//! The command as its users meet it: what it prints, where, and with which code it ends.

mod away;
mod bad_input;
mod claims;
#[path = "../executable/mod.rs"]
mod executable;
mod explore;
mod fixture;
mod forms;
mod fuzz;
mod help;
mod interrupt;
