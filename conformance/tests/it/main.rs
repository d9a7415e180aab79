//! The integration tests: the claims, the recordings, the interpreters, the arms, and the command.

mod cli;
mod coverage;
mod drive;
mod executable;
mod interpreters;
mod mixed;
mod recordings;
mod replay;
mod suite;
