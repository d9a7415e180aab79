//! The integration tests: the claims, the recordings, the interpreters, the arms, and the command.

mod cli;
mod coverage;
mod drive;
mod executable;
mod interpreters;
mod matrix;
mod mixed;
/// Needs Chromium and its driver.
#[cfg(feature = "browser")]
mod page;
mod recordings;
mod replay;
mod suite;
