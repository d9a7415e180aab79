//! The command as users see it: output, streams and exit codes.

mod away;
mod bad_input;
mod claims;
mod explore;
mod fixture;
mod foreign;
mod forms;
mod fuzz;
mod help;
mod interrupt;
mod terminate;
