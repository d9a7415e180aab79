//! The command `inject`: runs a real cluster once per position, and makes a system call of a process fail
//! there.
//!
//! ```text
//! main --> sweep --> run --> tracer     a primary, two workers and clients; a call fails
//!            |        +----> clients
//!            |        +----> verdict    the claims about the run
//!            +-----> table              counts of outcomes
//! ```
//!
//! The cluster under test is the same program in the role of [`server`]. Only Linux on x86-64: [`tracer`]
//! changes registers.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod clients;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod command;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod counterpart;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod errnos;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod injection;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod known;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod members;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod record;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod server;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod simulated;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sweep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod table;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod verdict;

use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> ExitCode {
    command::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> ExitCode {
    eprintln!("error: `inject` needs Linux on x86-64");
    ExitCode::from(2)
}
