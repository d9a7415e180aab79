//! The command line.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use crate::adapter::{AdapterArguments, ExecArguments};
use crate::init::InitArguments;
use crate::options::Options;
use crate::report;
use crate::socket_path;
use crate::units::{Scale, Time};

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
    Reload(ReloadArguments),
    /// Change the number of workers.
    Scale(ScaleArguments),
    /// Replace the worker of a slot, without losing a request.
    Restart(RestartArguments),
    /// Replace the executable of a running service by the installed one, without losing a request or a
    /// worker.
    Upgrade(UpgradeArguments),
    /// Shut the service down: workers finish their requests first.
    Stop(Target),
    /// Show the workers on the whole terminal, every second: `r` reloads, `a` abandons the reload, `+` and
    /// `-` scale, `q` quits.
    Top(Target),
    /// Print the recent output of the workers.
    Logs(LogsArguments),
    /// Print the recent events of the service.
    Events(EventsArguments),
    /// Print or write the files for a service manager, a container or a proxy.
    Init(Box<InitArguments>),
    /// Print the script with the completions of a shell.
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

    /// Print the settings as a file, and run nothing. The values of `[env]` are hidden.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print as JSON: the result of `check`, the settings of `--dry-run`, and errors. `--log-format json` is
    /// for the log of a service.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// The program and its arguments: a Node.js script, `npm start`, or any executable. Every later word is
    /// an argument of the program, also `-n 2`; the log then has a warning, unless `--` is before the
    /// program.
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
    #[arg(long, env = "CLUSTER_NAME", add = ArgValueCandidates::new(running_names))]
    pub(crate) name: Option<String>,

    /// Print JSON: an object a line; an error as `{"error": TEXT, "code": N}` on standard error.
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
    #[arg(value_parser = slot)]
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
pub(crate) struct ReloadArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Reload nothing, and abandon the reload or restart in progress: a new worker that is not ready exits,
    /// and the old worker of its slot continues to serve.
    #[arg(long)]
    pub(crate) abandon: bool,
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
pub(crate) struct UpgradeArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// How long the trial of the new program may take, and how long the upgrade waits for other commands.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: Time,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArguments {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The number of the slot, from 0.
    #[arg(value_parser = slot, allow_hyphen_values = true)]
    pub(crate) slot: u32,
}

/// The names of the running services, for completion.
fn running_names() -> Vec<CompletionCandidate> {
    socket_path::names().into_iter().map(CompletionCandidate::new).collect()
}

fn slot(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        format!("`{text}`: expected the number of a slot, such as 0; `cluster status` lists the slots")
    })
}

/// The headings of the settings in the help of `run` and `check`.
const HEADINGS: [(&str, &[&str]); 6] = [
    (
        "Start",
        &["workers", "name", "cwd", "policy", "slow_start", "node", "no_preload", "ready", "ready_timeout"],
    ),
    ("Programs that know nothing of clusters", &["listen", "stop_signal"]),
    ("Restart after a crash", &["restart", "min_uptime", "max_restarts", "give_up"]),
    ("Reload and shutdown", &["surge", "max_unavailable", "lame_duck", "drain", "term", "shutdown", "watch"]),
    ("Replacement of a worker", &["max_rss", "max_age", "max_connections", "heartbeat"]),
    ("Operation", &["metrics", "control", "log_format"]),
];

/// The settings that `check` ignores: the only worker starts once, without a control socket.
const NOT_FOR_CHECK: [&str; 16] = [
    "workers",
    "name",
    "dry_run",
    "restart",
    "min_uptime",
    "max_restarts",
    "give_up",
    "surge",
    "max_unavailable",
    "watch",
    "max_rss",
    "max_age",
    "max_connections",
    "heartbeat",
    "metrics",
    "control",
];

/// The command line as shown by the help. `check` and `init` also accept the settings that the help leaves
/// out.
fn command() -> clap::Command {
    Arguments::command()
        .mut_subcommand("run", |run| run.mut_args(with_heading))
        .mut_subcommand("check", |check| {
            check.mut_args(|argument| {
                let is_hidden = NOT_FOR_CHECK.contains(&argument.get_id().as_str());
                with_heading(argument).hide(is_hidden)
            })
        })
        .mut_subcommand("init", |init| {
            init.mut_args(|argument| match heading(&argument) {
                Some(_) => argument.hide(true),
                None => argument,
            })
        })
}

fn heading(argument: &Arg) -> Option<&'static str> {
    let id = argument.get_id().as_str();
    HEADINGS.iter().find(|(_, ids)| ids.contains(&id)).map(|(heading, _)| *heading)
}

fn with_heading(argument: Arg) -> Arg {
    let heading = heading(&argument);
    if heading.is_some() { argument.help_heading(heading) } else { argument }
}

/// The command line of this process.
///
/// # Errors
/// The command line is wrong, or asks for the help.
pub(crate) fn parse() -> Result<Arguments, clap::Error> {
    let line: Vec<OsString> = env::args_os().collect();
    let arguments = parse_line(&line)?;
    match &arguments.command {
        Command::Run(run) | Command::Check(run) => {
            separated(&line, &run.program).map_or(Ok(arguments), |line| parse_line(&line))
        }
        _ => Ok(arguments),
    }
}

fn parse_line(line: &[OsString]) -> Result<Arguments, clap::Error> {
    if let Some(run) = parse_run(line.iter().cloned()) {
        return Ok(Arguments { command: Command::Run(Box::new(run)) });
    }
    let mut command = command();
    command
        .try_get_matches_from_mut(line)
        .and_then(|matches| Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command)))
}

/// The line with `-n 4` for `-n4` or `-n=4`, if that word is the first of the program: the parser splits no
/// short option where a program with a hyphen may begin.
fn separated(line: &[OsString], program: &[OsString]) -> Option<Vec<OsString>> {
    let at = line.len().checked_sub(program.len())?;
    let joined = program.first()?.to_str()?.strip_prefix("-n")?;
    let count = joined.strip_prefix('=').unwrap_or(joined);
    let is_count = count.starts_with(|first: char| first.is_ascii_digit()) || count == "auto";
    let is_program = line.get(at.checked_sub(1)?)? == "--";
    (is_count && !is_program).then(|| [&line[..at], &["-n".into(), count.into()], &program[1..]].concat())
}

/// The arguments of a valid line of `run`, without the other commands: to build these takes a third of the
/// time until the first worker starts.
fn parse_run(line: impl IntoIterator<Item = OsString>) -> Option<RunArguments> {
    let mut line = line.into_iter().skip(1).peekable();
    line.next_if(|name| name == "run")?;
    let run = RunArguments::augment_args(clap::Command::new("run").no_binary_name(true));
    RunArguments::from_arg_matches(&run.try_get_matches_from(line).ok()?).ok()
}

/// Ends the process after `--help`, or with the error of the line.
pub(crate) fn exit(error: &clap::Error) -> ! {
    if error.use_stderr() && env::args_os().any(|argument| argument == "--json") {
        report::print_json_failure(error.render().to_string().trim_end(), report::WRONG_LINE);
        std::process::exit(report::WRONG_LINE.into());
    }
    error.exit()
}

impl Command {
    /// Whether results and errors are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Command::Run(run) | Command::Check(run) => run.json,
            Command::Status(StatusArguments { target, .. })
            | Command::Reload(ReloadArguments { target, .. })
            | Command::Scale(ScaleArguments { target, .. })
            | Command::Restart(RestartArguments { target, .. })
            | Command::Upgrade(UpgradeArguments { target, .. })
            | Command::Stop(target)
            | Command::Top(target)
            | Command::Logs(LogsArguments { target, .. })
            | Command::Events(EventsArguments { target, .. }) => target.json,
            Command::Init(init) => init.json,
            Command::Completions { .. } | Command::Adapter(_) | Command::Exec(_) => false,
        }
    }
}

/// The variable with which the script of a shell asks for completions.
const COMPLETIONS: &str = "_CLUSTER_COMPLETIONS";

/// Prints completions and ends the process, if the script of a shell asks for completions.
pub(crate) fn complete() {
    if env::var_os(COMPLETIONS).is_some() {
        CompleteEnv::with_factory(command).var(COMPLETIONS).complete();
    }
}

/// Prints the script with the completions of a shell to standard output. The script asks this command for the
/// completions, so the completions of `--name` are the services that run.
pub(crate) fn print_completions(shell: Shell) -> anyhow::Result<()> {
    let shell = shell.to_string();
    let shells = Shells::builtins();
    let completer =
        shells.completer(&shell).with_context(|| format!("there are no completions of {shell}"))?;
    let mut script = Vec::new();
    completer.write_registration(COMPLETIONS, "cluster", "cluster", "cluster", &mut script)?;
    Ok(io::stdout().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_count_is_separated() {
        let line = |before: &str, program: &str| -> Option<String> {
            let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            let (before, program) = (words(before), words(program));
            let line = separated(&[before, program.clone()].concat(), &program)?;
            Some(line.join(" ".as_ref()).to_string_lossy().into_owned())
        };
        for count in ["-n4", "-n=4"] {
            let separated = line("cluster run --drain 1s", &format!("{count} app.js -n2"));
            assert_eq!(separated.as_deref(), Some("cluster run --drain 1s -n 4 app.js -n2"));
        }
        assert_eq!(line("cluster check", "-nauto app.js").as_deref(), Some("cluster check -n auto app.js"));
        for (before, program) in
            [("cluster run --", "-n4"), ("cluster run", "-name"), ("cluster run", "app.js -n4")]
        {
            assert_eq!(line(before, program), None, "{program}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_heading() {
        let settings = Options::augment_args(clap::Command::new("run"));
        let ids: Vec<_> = settings.get_arguments().collect();
        assert!(ids.iter().all(|argument| heading(argument).is_some()), "{ids:?}");
        let known: Vec<_> = ids.iter().map(|argument| argument.get_id().as_str()).collect();
        let named = HEADINGS.iter().flat_map(|(_, ids)| ids.iter());
        assert!(named.copied().all(|id| known.contains(&id)), "{HEADINGS:?}");
    }

    #[test]
    fn help_shows_what_applies() {
        let mut command = command();
        command.build();
        let mut help = |name| {
            let of = command.find_subcommand_mut(name).expect("a command");
            of.render_help().to_string()
        };
        assert!(help("run").contains("Restart after a crash:"));
        assert!(!help("check").contains("--max-restarts") && help("check").contains("--ready-timeout"));
        assert!(!help("init").contains("--max-restarts") && help("init").contains("--write"));
    }

    #[test]
    fn program_keeps_its_options() {
        let line = ["cluster", "run", "-n", "2", "server.js", "--workers", "9"];
        let Command::Run(run) = Arguments::try_parse_from(line).expect("valid").command else {
            unreachable!("the command is `run`")
        };
        assert_eq!(run.program, ["server.js", "--workers", "9"]);
    }

    /// The short way of `run` has the result of the long way, and leaves errors and help to the long way.
    #[test]
    fn run_is_parsed_alone() {
        let lines: [&[&str]; 7] = [
            &["run", "-n", "2", "--drain", "1s", "server.js", "--workers", "9", "--help"],
            &["run"],
            &["run", "--watch", "a", "--watch", "b", "--", "server.js"],
            &["run", "--no-preload", "-n", "auto", "--listen", "a=127.0.0.1:1,b=127.0.0.1:2"],
            &["run", "--help"],
            &["run", "--workers", "x", "server.js"],
            &["check", "server.js"],
        ];
        for (index, line) in lines.iter().enumerate() {
            let line = ["cluster"].iter().chain(*line);
            let short = parse_run(line.clone().map(OsString::from));
            let long = Arguments::try_parse_from(line).ok().map(|arguments| arguments.command);
            match (short, long) {
                (Some(short), Some(Command::Run(long))) => {
                    assert_eq!(format!("{short:?}"), format!("{long:?}"));
                }
                (short, _) => assert!(short.is_none() && index >= 4, "{index}"),
            }
        }
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
