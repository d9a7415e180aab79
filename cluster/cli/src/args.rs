//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::adapter::{AdapterArguments, ExecArguments};
use crate::init::InitArguments;
use crate::options::Options;
use crate::units::Scale;

/// Runs any program as a cluster of workers, and reloads without losing a request.
#[derive(Debug, Parser)]
#[command(name = "cluster", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program as a cluster, in the foreground.
    Run(Box<RunArguments>),
    /// Start one worker of a program, print where the worker listens, and stop.
    Check(Box<RunArguments>),
    /// Show the workers of a running service.
    Status(StatusArguments),
    /// Replace every worker, one after the other, without losing a request.
    Reload(Target),
    /// Change the number of workers.
    Scale(ScaleArguments),
    /// Replace the worker of a slot, without losing a request.
    Restart(RestartArguments),
    /// Shut the service down: workers finish their requests first.
    Stop(Target),
    /// Show the workers on the whole terminal, every second. Keys reload and scale.
    Top(Target),
    /// Print the recent output of the workers.
    Logs(LogsArguments),
    /// Print the recent events of the service.
    Events(EventsArguments),
    /// Print or write the files for a service manager, a container or a proxy.
    Init(Box<InitArguments>),
    /// Print the completions of a shell.
    Completions { shell: Shell },
    /// The worker process of a foreign program.
    #[command(name = "__adapter", hide = true)]
    Adapter(AdapterArguments),
    /// Become the foreign program, below its adapter.
    #[command(name = "__exec", hide = true)]
    Exec(ExecArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The file of settings [default without a program: `cluster.toml`].
    #[arg(long, value_name = "FILE", env = "CLUSTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Print the settings with the values of `[env]`, and run nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// The program and its arguments: a Node.js script, `npm start`, or any executable.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// The addressed service.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The control socket of the service.
    #[arg(long, value_name = "PATH", env = "CLUSTER_CONTROL")]
    pub(crate) control: Option<PathBuf>,

    /// The name of the service. Needed where several services run.
    #[arg(long, env = "CLUSTER_NAME")]
    pub(crate) name: Option<String>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Print the status again every second.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Print later output, too, until ctrl-c.
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// The number of the slot [default: all].
    pub(crate) slot: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Print later events, too, until ctrl-c.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The number of workers, or a change: `+1`, `-2`.
    #[arg(value_name = "N|+N|-N", allow_hyphen_values = true)]
    pub(crate) workers: Scale,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The number of the slot, from 0.
    pub(crate) slot: u32,
}

/// Prints the completions of a shell to standard output.
pub(crate) fn print_completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    // The generator panics when the reader closes the pipe; a vector cannot fail.
    clap_complete::generate(shell, &mut Arguments::command(), "cluster", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn program_keeps_its_options() {
        let line = ["cluster", "run", "-n", "2", "server.js", "--workers", "9"];
        let Command::Run(run) = Arguments::try_parse_from(line).expect("valid").command else {
            unreachable!("the command is `run`")
        };
        assert_eq!(run.program, ["server.js", "--workers", "9"]);
    }

    #[test]
    fn no_preload_leaves_the_program() {
        let line = ["cluster", "run", "--no-preload", "server.js"];
        let Command::Run(run) = Arguments::try_parse_from(line).expect("valid").command else {
            unreachable!("the command is `run`")
        };
        assert_eq!(run.options.no_preload, Some(true));
        assert_eq!(run.program, ["server.js"]);
    }
}
