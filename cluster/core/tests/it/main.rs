//! The machines from outside: what a test gives them and what they give out. One binary, so that it is linked once.

mod closing;
mod counters;
mod house;
mod listening;
mod memory;
mod passing;
mod serving;
mod setup;
mod starving;
mod structured;
mod table;
mod together;
mod wire;
mod words;
mod writing;
