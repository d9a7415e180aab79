//! The supervisor as a table `input -> outputs`, with simulated time. Messages of workers are lines, as on the channel.

mod restart;
mod shutdown;
mod start;
mod story;
