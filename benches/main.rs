//! Comparisons with tables and plots: the balance of the policies, and this library beside other servers.

mod balance;
mod peers;

use clap::Parser;

/// Comparisons of policies and servers.
#[derive(Debug, Parser)]
enum Command {
    Balance(balance::Options),
    Peers(peers::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Balance(options) => balance::run(&options),
        Command::Peers(options) => peers::run(&options),
    }
}
