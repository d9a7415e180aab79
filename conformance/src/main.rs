//! The command `conformance`. What it can do is in the library; here it only begins.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_conformance::command::main()
}
