//! The settings of a service. A setting has a flag, an environment variable and a key of the file. The flag
//! overrides the variable, and the variable overrides the key.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use clap::{Arg, Args, Command, ValueEnum};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use toml::{Table, Value};

use crate::adapter::StopSignal;
use crate::listen::{self, Listen};
use crate::program::Program;
use crate::report::Coded;
use crate::units::{self, Size, Time, Workers};

/// The file of settings if no other file is named.
pub(crate) const FILE: &str = "cluster.toml";

/// The least likeness for which an error suggests a known flag instead of an unknown flag; `clap` uses the
/// same limit.
const SIMILAR: f64 = 0.7;

/// The settings, each from a flag, a variable or a key. `None`: not set.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// The number of workers, or `auto`: one for each core [default: auto].
    #[arg(short = 'n', long, value_name = "N|auto", env = "CLUSTER_WORKERS")]
    pub(crate) workers: Option<Workers>,

    /// The name of the service [default: the name of the program].
    #[arg(long, env = "CLUSTER_NAME")]
    pub(crate) name: Option<String>,

    /// The working directory of the workers.
    #[arg(long, value_name = "DIR", env = "CLUSTER_CWD")]
    pub(crate) cwd: Option<PathBuf>,

    /// The distribution of connections [default: round-robin].
    #[arg(long, value_enum, env = "CLUSTER_POLICY")]
    pub(crate) policy: Option<Policy>,

    /// How long a new worker receives fewer connections under `weighted` [default: 30s].
    #[arg(long, value_name = "TIME", env = "CLUSTER_SLOW_START")]
    pub(crate) slow_start: Option<Time>,

    /// Listen on an address for a foreign program, without knowledge of clusters: each worker inherits the
    /// socket, as from systemd (`LISTEN_FDS`), and `{fd}` in an argument becomes the number. Repeatable.
    #[arg(long, value_name = "[NAME=]ADDR", env = "CLUSTER_LISTEN", value_delimiter = ',')]
    pub(crate) listen: Option<Vec<Listen>>,

    /// The signal that asks a foreign program to end [default: TERM].
    #[arg(long, value_name = "SIGNAL", env = "CLUSTER_STOP_SIGNAL")]
    pub(crate) stop_signal: Option<StopSignal>,

    /// When a worker is ready: `listening` on a port, `online`, or after the message TEXT [default:
    /// listening]. A foreign program, without knowledge of clusters: `accepting` connections (the default
    /// with `--listen`), `started`, after `READY=1` by `sd_notify`, or after an answer to a request of PATH.
    #[arg(
        long,
        value_name = "listening|online|message:TEXT|accepting|started|notify|http:/PATH",
        env = "CLUSTER_READY"
    )]
    pub(crate) ready: Option<String>,

    /// How long a new worker may take to become ready [default: 1m].
    #[arg(long, value_name = "TIME", env = "CLUSTER_READY_TIMEOUT")]
    pub(crate) ready_timeout: Option<Time>,

    /// The exits after which a slot gets another worker [default: always].
    #[arg(long, value_enum, env = "CLUSTER_RESTART")]
    pub(crate) restart: Option<Restart>,

    /// How long a worker must be ready until the slot counts as stable; the next restart is then immediate
    /// [default: 5s].
    #[arg(long, value_name = "TIME", env = "CLUSTER_MIN_UPTIME")]
    pub(crate) min_uptime: Option<Time>,

    /// The restarts allowed within a minute; one more, and the service gives up [default: 10]. Before the
    /// first worker is ready, the service gives up after 5 failed starts in a row in one slot.
    #[arg(long, value_name = "N", env = "CLUSTER_MAX_RESTARTS")]
    pub(crate) max_restarts: Option<u32>,

    /// After too many restarts or failed starts: keep the ready workers, and exit with code 1 if none is
    /// ready; or always exit with code 1 [default: suspend].
    #[arg(long, value_enum, env = "CLUSTER_GIVE_UP")]
    pub(crate) give_up: Option<GiveUp>,

    /// How many more processes than workers may run during a reload [default: 1].
    #[arg(long, value_name = "N", env = "CLUSTER_SURGE")]
    pub(crate) surge: Option<u32>,

    /// How many workers may be missing during a reload [default: 0].
    #[arg(long, value_name = "N", env = "CLUSTER_MAX_UNAVAILABLE")]
    pub(crate) max_unavailable: Option<u32>,

    /// How long an old worker answers with `Connection: close`, before the request to exit [default: 500ms].
    #[arg(long, value_name = "TIME", env = "CLUSTER_LAME_DUCK")]
    pub(crate) lame_duck: Option<Time>,

    /// How long an old worker may take for open requests [default: 30s].
    #[arg(long, value_name = "TIME", env = "CLUSTER_DRAIN")]
    pub(crate) drain: Option<Time>,

    /// The time between SIGTERM and SIGKILL [default: 5s].
    #[arg(long, value_name = "TIME", env = "CLUSTER_TERM")]
    pub(crate) term: Option<Time>,

    /// How long all workers may take for open requests during a shutdown [default: 30s].
    #[arg(long, value_name = "TIME", env = "CLUSTER_SHUTDOWN")]
    pub(crate) shutdown: Option<Time>,

    /// Replace a worker that has more memory [default: no limit].
    #[arg(long, value_name = "SIZE", env = "CLUSTER_MAX_RSS")]
    pub(crate) max_rss: Option<Size>,

    /// Replace a worker after TIME. The age of each worker is up to 10 percent above TIME, so that workers
    /// are not replaced together [default: no limit].
    #[arg(long, value_name = "TIME", env = "CLUSTER_MAX_AGE")]
    pub(crate) max_age: Option<Time>,

    /// Replace a worker after N connections [default: no limit].
    #[arg(long, value_name = "N", env = "CLUSTER_MAX_CONNECTIONS")]
    pub(crate) max_connections: Option<u64>,

    /// Ping each worker every TIME, and kill a worker that does not answer within TIME [default: no pings].
    #[arg(long, value_name = "TIME", env = "CLUSTER_HEARTBEAT")]
    pub(crate) heartbeat: Option<Time>,

    /// The address of metrics and health checks, over HTTP [default: none].
    #[arg(long, value_name = "ADDR", env = "CLUSTER_METRICS", value_parser = listen::address)]
    #[serde(default, deserialize_with = "listen::address_in_file")]
    pub(crate) metrics: Option<SocketAddr>,

    /// The path of the control socket [default: in the runtime directory, by name].
    #[arg(long, value_name = "PATH", env = "CLUSTER_CONTROL")]
    pub(crate) control: Option<PathBuf>,

    /// The form of the log and of the workers' output [default: text].
    #[arg(long, value_enum, env = "CLUSTER_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Run Node.js programs without the preload: no lame duck, no pings [default: false].
    #[arg(long, env = "CLUSTER_NO_PRELOAD", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) no_preload: Option<bool>,

    /// Reload after a change of a file or directory, for development. Repeatable.
    #[arg(long, value_name = "PATH", env = "CLUSTER_WATCH", value_delimiter = ',')]
    pub(crate) watch: Option<Vec<PathBuf>>,

    /// The executable of Node.js [default: node].
    #[arg(long, value_name = "PATH", env = "CLUSTER_NODE")]
    pub(crate) node: Option<PathBuf>,

    /// The program, in the file only.
    #[arg(skip)]
    pub(crate) program: Option<String>,

    /// The arguments of the program, in the file only.
    #[arg(skip)]
    #[serde(default, deserialize_with = "units::words_in_file")]
    pub(crate) args: Option<Vec<String>>,

    /// Further variables of the workers, in the file only.
    #[arg(skip)]
    #[serde(default, deserialize_with = "units::table_in_file")]
    pub(crate) env: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// The primary accepts, and hands each connection to the longest waiting worker.
    RoundRobin,
    /// The workers share the listening socket.
    Shared,
    /// The primary accepts, and the connections of one client address reach the same slot.
    Sticky,
    /// The primary accepts, and hands each connection to the worker with the fewest open connections.
    LeastConnections,
    /// The primary accepts, and hands each connection to the less loaded of two drawn workers.
    PowerOfTwo,
    /// The primary accepts, and a new worker receives fewer connections during `slow-start`.
    Weighted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    /// Every exit.
    Always,
    /// A code other than 0, a signal, or an exit before the worker was ready.
    OnFailure,
    /// No exit.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GiveUp {
    /// Restart nothing further, and keep the serving workers.
    Suspend,
    /// Shut down, and exit with code 1.
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

impl Options {
    /// Whether the program inherits sockets. Only foreign programs do.
    pub(crate) fn has_sockets(&self) -> bool {
        self.listen.iter().flatten().next().is_some()
    }

    /// Reads a file of settings.
    ///
    /// # Errors
    /// The file is unreadable or is not TOML, or has an unknown key or an invalid value.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Options> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Options::parse(&text).with_context(|| format!("{} is not valid", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Options> {
        for key in DeTable::parse(text)?.get_ref().keys() {
            let line = 1 + text[..key.span().start].matches('\n').count();
            check_key(key.get_ref()).with_context(|| format!("line {line}"))?;
        }
        Ok(toml::from_str(text)?)
    }

    /// The working directory of the workers.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        match &self.cwd {
            Some(directory) => Ok(directory.clone()),
            None => env::current_dir()
                .context("the working directory was removed; start the service in another, or with `--cwd`"),
        }
    }

    /// The program and its arguments, according to the file.
    pub(crate) fn line(&self) -> Vec<OsString> {
        self.program.iter().chain(self.args.iter().flatten()).map(Into::into).collect()
    }

    /// The program of a command line.
    ///
    /// # Errors
    /// The program does not exist.
    pub(crate) fn program_of(&self, line: &[OsString]) -> anyhow::Result<Program> {
        if let Some(option) =
            line.first().map(|first| first.to_string_lossy()).filter(|text| text.starts_with('-'))
        {
            let question =
                similar_flag(&option).map(|flag| format!("did you mean `{flag}`? ")).unwrap_or_default();
            let text = format!("there is no option `{option}`; {question}`cluster run --help` lists all");
            return Err(Coded::wrong_line(text));
        }
        let node = self.node.as_deref().unwrap_or(Path::new("node"));
        Program::of(line, node, &self.directory()?)
    }

    /// These settings, completed by `rest` where a setting has no value.
    pub(crate) fn or(&self, rest: &Options) -> anyhow::Result<Options> {
        let mut merged = Table::try_from(rest)?;
        merged.extend(Table::try_from(self)?);
        Ok(Value::Table(merged).try_into()?)
    }
}

/// The key of each setting that has a default, and the default, as the help texts state it.
pub(crate) fn defaults() -> Vec<(String, String)> {
    let command = Options::augment_args(Command::new("run"));
    let defaults = command.get_arguments().filter_map(|argument| {
        let (_, default) = split_help(argument);
        Some((argument.get_long()?.to_owned(), default?))
    });
    defaults.collect()
}

/// The help text of a setting without the default, and the default.
fn split_help(argument: &Arg) -> (String, Option<String>) {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let Some((before, rest)) = help.split_once(" [default: ") else { return (help, None) };
    let (default, after) = rest.split_once(']').unwrap_or((rest, ""));
    // A long help text has line breaks.
    (format!("{before}{after}"), Some(default.replace('\n', " ")))
}

/// Checks that a setting exists.
fn check_key(key: &str) -> anyhow::Result<()> {
    let command = Options::augment_args(Command::new("run"));
    let flags = command.get_arguments().filter_map(Arg::get_long);
    let known: Vec<&str> = flags.chain(["program", "args", "env"]).collect();
    if known.contains(&key) {
        return Ok(());
    }
    let nearest = nearest(key, known).expect("there are settings");
    bail!("there is no setting `{key}`; did you mean `{nearest}`? `cluster run --help` lists all")
}

/// The flag of `cluster run` that resembles an unknown flag, for example `--drian` or `--drian=5s`.
fn similar_flag(unknown: &str) -> Option<String> {
    let name = unknown.strip_prefix("--")?.split('=').next()?;
    let command = Options::augment_args(Command::new("run"));
    let flags = command.get_arguments().filter_map(Arg::get_long);
    let known = flags.chain(["config", "dry-run", "json"]).collect();
    similar(name, known).map(|similar| format!("--{similar}"))
}

/// The most similar of the known names, if one is similar.
pub(crate) fn similar<'a>(name: &str, known: Vec<&'a str>) -> Option<&'a str> {
    nearest(name, known).filter(|known| strsim::jaro_winkler(name, known) > SIMILAR)
}

fn nearest<'a>(name: &str, known: Vec<&'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    known.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The table of the settings, made of the help texts.
    fn table() -> String {
        let mut rows = vec!["| key | flag | variable | value | default | meaning |".to_owned()];
        rows.push("|---|---|---|---|---|---|".to_owned());
        let command = Options::augment_args(Command::new("run"));
        for argument in command.get_arguments() {
            let key = argument.get_long().expect("a flag");
            let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
            let variable = argument.get_env().expect("a variable").to_string_lossy();
            let mut values = argument.get_possible_values();
            values.retain(|value| !value.is_hide_set());
            let value = if values.is_empty() {
                argument.get_value_names().unwrap_or_default().join(" ").replace('|', " or ")
            } else {
                values.iter().map(clap::builder::PossibleValue::get_name).collect::<Vec<_>>().join(" or ")
            };
            let (meaning, default) = split_help(argument);
            let default = default.unwrap_or_else(|| "none".to_owned());
            let meaning = meaning.replace('|', " or ");
            let meaning = meaning.trim_end_matches('.');
            rows.push(format!(
                "| `{key}` | {short}`--{key}` | `{variable}` | {value} | {default} | {meaning} |"
            ));
        }
        for (key, value, meaning) in [
            ("program", "TEXT", "The program"),
            ("args", "list of TEXT", "The arguments of the program"),
            ("env", "table of TEXT", "Further variables of the workers"),
        ] {
            rows.push(format!("| `{key}` |  |  | {value} | none | {meaning} |"));
        }
        rows.join("\n") + "\n"
    }

    /// The table of the README has each setting. `UPDATE_README=1` writes the table.
    #[test]
    fn readme_has_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = std::fs::read_to_string(&path).expect("a file");
        let start = text.find("| key | flag |").expect("a table");
        let length = text[start..].find("\n\n").expect("the end of the table") + 1;
        if env::var_os("UPDATE_README").is_some() {
            let text = format!("{}{}{}", &text[..start], table(), &text[start + length..]);
            std::fs::write(&path, text).expect("a writable file");
        } else {
            assert_eq!(&text[start..start + length], table(), "`UPDATE_README=1` writes the table");
        }
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let error = Options::parse("\n[env]\n\n[wokers]").expect_err("no such key");
        let error = format!("{error:#}");
        assert!(error.contains("line 4: there is no setting `wokers`; did you mean `workers`?"), "{error}");
        let error = format!("{:#}", Options::parse("max_rss = '1GiB'").expect_err("no such key"));
        assert!(error.contains("did you mean `max-rss`?"), "{error}");
    }

    #[test]
    fn unknown_flag_names_a_similar_one() {
        let flags = [
            ("--polcy", Some("--policy")),
            ("--drian=5s", Some("--drain")),
            ("--dry-rum", Some("--dry-run")),
        ];
        for (unknown, similar) in [&flags[..], &[("--quux", None), ("-x", None), ("-", None)]].concat() {
            assert_eq!(similar_flag(unknown).as_deref(), similar, "{unknown}");
        }
    }

    #[test]
    fn flag_precedes_the_file() {
        let file = Options::parse("workers = 4\ndrain = '10s'\n[env]\nA = '1'").expect("valid");
        let flags = Options { workers: Some(Workers::Auto), ..Options::default() };
        let merged = flags.or(&file).expect("both are valid");
        assert_eq!(merged.workers, Some(Workers::Auto));
        assert_eq!(merged.drain, Some(Time(Duration::from_secs(10))));
        assert_eq!(merged.env, Some(BTreeMap::from([("A".to_owned(), "1".to_owned())])));
    }

    /// A value without quotes has the error of the flag, and the variables of workers take numbers.
    #[test]
    fn words_need_no_quotes() {
        let error = |text: &str| Options::parse(text).expect_err("not valid").to_string();
        for (text, expected) in [
            ("drain = 10", "a time is written as 500ms, 30s or 1h 30m"),
            ("workers = true", "`true`: expected a number, or `auto`"),
            ("metrics = 9000", "`9000` is no address"),
            ("stop-signal = 2", "`2` is no signal"),
            ("listen = [80]", "`80` is no address"),
            ("[env]\nA = 1.10", "true or false; write other values in quotes"),
        ] {
            assert!(error(text).contains(expected), "{text}: {}", error(text));
        }
        let file = Options::parse("args = ['-p', 80]\n[env]\nPORT = 8463\nDEBUG = true\nA = '1.10'");
        let Options { args, env, .. } = file.expect("valid");
        assert_eq!(args, Some(vec!["-p".to_owned(), "80".to_owned()]));
        let env: Vec<_> = env.into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=1.10", "DEBUG=true", "PORT=8463"]);
    }

    #[test]
    fn metrics_need_an_address() {
        let file = |address: &str| Options::parse(&format!("metrics = '{address}'"));
        assert_eq!(file(":9000").expect("valid").metrics, Some("[::]:9000".parse().expect("valid")));
        let error = file("9000").expect_err("no address").to_string();
        assert!(error.contains("`9000` is no address; write 127.0.0.1:8000"), "{error}");
    }

    #[test]
    fn every_setting_survives_the_merge() {
        let text = "workers = 'auto'\npolicy = 'shared'\nmax-rss = '1MiB'\nmetrics = '127.0.0.1:9000'\nno-preload = true";
        let file = Options::parse(text).expect("valid");
        assert_eq!(Options::default().or(&file).expect("valid"), file);
    }
}
