//! Tests of the machines from outside, by inputs and outputs. A single binary, so the crate is linked once.

mod closing;
mod cluster;
mod commands;
mod counters;
mod ending;
mod exclusive;
mod limits;
mod listening;
mod memory;
mod options;
mod passing;
mod pool;
mod queries;
mod query_order;
mod retained_channels;
mod serving;
mod setup;
mod starving;
mod sticky;
mod structured;
mod supervisor;
mod table;
mod values;
mod wire;
mod words;
mod writing;
