//! The supervisor as a table `input -> outputs`, with simulated time. Messages of workers are lines, as on
//! the channel.

mod recycle;
mod reload;
mod restart;
mod restored;
mod scale;
mod shutdown;
mod start;
mod status;
pub(crate) mod story;
mod table;
mod texts;
mod watchdog;
