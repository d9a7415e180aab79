//! The command `cluster`: runs any program as a cluster of workers, and reloads the program without losing a
//! request.
//!
//! `run` is the service, in the foreground. Every other command talks to a running service through a Unix
//! socket.

use std::process::ExitCode;

use cluster::Predecessor;

use crate::args::{Arguments, Command};

mod accept;
mod adapter;
mod args;
mod check;
mod client;
mod concern;
mod control;
mod feed;
mod first_start;
mod health;
mod hint;
mod init;
mod interpreter;
mod listen;
mod log;
mod metrics;
mod mistakes;
mod options;
mod output;
mod plan;
mod preload;
mod processes;
mod program;
mod protocol;
mod reloads;
mod replacing;
mod report;
mod resources;
mod resume;
mod run;
mod service;
mod settings;
mod socket_path;
mod statistics;
mod status;
mod strays;
mod subject;
mod systemd;
mod top;
mod units;
mod upgrade;
mod usage;
mod watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    args::complete();
    let predecessor = Predecessor::find();
    let Arguments { command } = match (args::parse(), predecessor) {
        (Ok(Arguments { command: Command::Run(run) }), Some(predecessor)) => {
            let is_json = run.json;
            return report::code(Box::pin(resume::resume(&run, predecessor)).await, is_json);
        }
        (Ok(_), Some(predecessor)) => predecessor.give_up("the command is not `run`"),
        (Err(error), Some(predecessor)) => predecessor.give_up(error),
        (Ok(arguments), None) => arguments,
        (Err(error), None) => args::exit(&error),
    };
    let is_json = command.is_json();
    let result = match command {
        Command::Run(run) => run::run(*run).await,
        Command::Check(run) => check::check(*run).await,
        Command::Status(target) => client::status(target).await,
        Command::Reload(reload) => client::reload(reload).await,
        Command::Scale(scale) => client::scale(scale).await,
        Command::Restart(restart) => client::restart(restart).await,
        Command::Stop(target) => client::stop(target).await,
        Command::Upgrade(upgrade) => client::upgrade(upgrade).await,
        Command::Top(target) => top::top(target).await,
        Command::Logs(logs) => client::logs(logs).await,
        Command::Events(events) => client::events(events).await,
        Command::Completions { shell } => args::print_completions(shell),
        Command::Init(arguments) => init::init(&arguments),
        Command::Adapter(arguments) => adapter::run(arguments).await,
        Command::Exec(arguments) => adapter::exec(&arguments),
    };
    report::code(result, is_json)
}
