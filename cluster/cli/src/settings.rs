//! The settings of the supervisor, made of the options and of the program.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use cluster::{
    ProcessGroup, Readiness, RestartPolicy, SIGNAL_UNTIL_MAIN_VARIABLE, SchedulingPolicy, Settings, Signal,
    SpawnOptions, Stdio, Supervisor, SupervisorError, SupervisorSettings,
};

use crate::adapter;
use crate::listen::Sockets;
use crate::options::{GiveUp, Options, Policy, Restart};
use crate::preload;
use crate::program::Program;
use crate::units::{Size, Time, Workers};

/// `max-restarts` counts the restarts within the last minute.
const RESTARTS_WITHIN: Duration = Duration::from_mins(1);

/// The default of `slow-start`.
const SLOW_START: Duration = Duration::from_secs(30);

/// The settings of the supervisor. Node.js loads the file `preload` before the program; a foreign program
/// inherits `sockets`.
///
/// # Errors
/// The value of `ready` is unknown, or the path of a directory for `PATH` contains a colon.
pub(crate) fn settings(
    options: &Options,
    program: &Program,
    preload: Option<&Path>,
    sockets: &Sockets,
    is_foreign: bool,
) -> anyhow::Result<SupervisorSettings> {
    check_limits(options)?;
    let workers = options.workers.unwrap_or(Workers::Auto).count();
    let mut settings = SupervisorSettings::new(workers).primary(Settings {
        spawn: spawn_options(options, program, preload, sockets, is_foreign)?,
        policy: match options.policy.unwrap_or(Policy::RoundRobin) {
            Policy::RoundRobin => SchedulingPolicy::RoundRobin,
            Policy::Shared => SchedulingPolicy::Shared,
            Policy::Sticky => SchedulingPolicy::Sticky,
            Policy::LeastConnections => SchedulingPolicy::LeastConnections,
            Policy::PowerOfTwo => SchedulingPolicy::PowerOfTwo,
            Policy::Weighted => SchedulingPolicy::Weighted {
                slow_start: options.slow_start.map_or(SLOW_START, |Time(slow_start)| slow_start),
            },
        },
        ..Settings::default()
    });
    settings = settings.readiness(if is_foreign {
        Readiness::Message(adapter::READY.to_owned())
    } else {
        readiness(options.ready.as_deref())?
    });
    settings = settings.restart(match options.restart.unwrap_or(Restart::Always) {
        Restart::Always => RestartPolicy::Always,
        Restart::OnFailure => RestartPolicy::OnFailure,
        Restart::Never => RestartPolicy::Never,
    });
    settings = settings.give_up(match options.give_up.unwrap_or(GiveUp::Suspend) {
        GiveUp::Suspend => cluster::GiveUp::Suspend,
        GiveUp::Exit => cluster::GiveUp::Exit { code: 1 },
    });
    if let Some(restarts) = options.max_restarts {
        settings = settings.intensity(restarts, RESTARTS_WITHIN);
    }
    if let Some(Time(interval)) = options.heartbeat {
        settings = settings.heartbeat(interval, interval);
    }
    Ok(with_limits(with_times(settings, options), options))
}

/// Refuses limits of 0: each worker would be replaced as soon as ready.
fn check_limits(options: &Options) -> anyhow::Result<()> {
    let limits =
        [("max-rss", options.max_rss.map(|Size(bytes)| bytes)), ("max-connections", options.max_connections)];
    for (name, limit) in limits {
        ensure!(limit != Some(0), "`{name}` is 0: write a limit above 0, or leave the setting out");
    }
    Ok(())
}

/// A supervisor with the settings. Errors name each setting as the command line and the file do.
///
/// # Errors
/// Two settings contradict each other, or a value is invalid.
pub(crate) fn supervisor(settings: SupervisorSettings) -> anyhow::Result<Supervisor> {
    Supervisor::new(settings).map_err(|error| match error {
        SupervisorError::Settings(error) => anyhow!(error.to_string().replace('_', "-")),
        error => error.into(),
    })
}

fn with_times(mut settings: SupervisorSettings, options: &Options) -> SupervisorSettings {
    type Setter = fn(SupervisorSettings, Duration) -> SupervisorSettings;
    let times: [(Option<Time>, Setter); 6] = [
        (options.ready_timeout, SupervisorSettings::ready_timeout),
        (options.min_uptime, SupervisorSettings::min_uptime),
        (options.lame_duck, SupervisorSettings::lame_duck),
        (options.drain, SupervisorSettings::drain),
        (options.term, SupervisorSettings::term),
        (options.shutdown, SupervisorSettings::shutdown),
    ];
    for (time, set) in times {
        if let Some(Time(time)) = time {
            settings = set(settings, time);
        }
    }
    settings
}

fn with_limits(mut settings: SupervisorSettings, options: &Options) -> SupervisorSettings {
    /// The largest addition to `max-age`, in percent: workers are then not all replaced at once.
    const SPREAD: u32 = 10;
    if let Some(processes) = options.surge {
        settings = settings.surge(processes);
    }
    if let Some(slots) = options.max_unavailable {
        settings = settings.max_unavailable(slots);
    }
    if let Some(size) = options.max_rss {
        settings = settings.max_memory(size.0);
    }
    if let Some(Time(age)) = options.max_age {
        settings = settings.max_age(age, SPREAD);
    }
    if let Some(connections) = options.max_connections {
        settings = settings.max_connections(connections);
    }
    settings
}

/// The condition for readiness.
fn readiness(text: Option<&str>) -> anyhow::Result<Readiness> {
    Ok(match text.unwrap_or("listening") {
        "listening" => Readiness::Listening,
        "online" => Readiness::Online,
        text => match text.strip_prefix("message:") {
            Some(message) => Readiness::Message(message.to_owned()),
            None => bail!(
                "`ready` is `{text}`: expected `listening`, `online`, `message:TEXT`, `notify` or `started`; `accepting` and `http:/PATH` need `listen`"
            ),
        },
    })
}

/// How a worker is started: in a process group of its own, with pipes for the output. The group keeps the
/// signals of a terminal from the workers. Without the group, the workers would have to ignore the signals,
/// with two bad effects: in Node.js the listeners would be visible to the program, and SIGTERM would end no
/// worker.
fn spawn_options(
    options: &Options,
    program: &Program,
    preload: Option<&Path>,
    sockets: &Sockets,
    is_foreign: bool,
) -> anyhow::Result<SpawnOptions> {
    let standard = [Stdio::Ignore, Stdio::Pipe, Stdio::Pipe];
    // Node.js exits at the end of the channel, and so does the adapter of a foreign program. Any other
    // program may never read the channel, and needs a signal. A worker of the library reads the channel, and
    // completes the open requests of a killed service: the variable exempts such a worker from the signal.
    let ends_by_signal = cfg!(target_os = "linux") && !program.is_node && !is_foreign;
    let mut variables = variables(options, program, preload)?;
    if ends_by_signal {
        variables.push((SIGNAL_UNTIL_MAIN_VARIABLE.into(), "1".into()));
    }
    let inherited = sockets.numbers.iter().copied().map(Stdio::Descriptor);
    let mut spawn = SpawnOptions::new()
        .exec(program.exec.clone())
        .args(program.args.clone())
        .env(variables)
        .stdio(standard.into_iter().chain(inherited).chain([Stdio::Channel]))
        .process_group(ProcessGroup::Own)
        .ignore_terminal_signals(false);
    if let Some(directory) = &options.cwd {
        spawn = spawn.cwd(directory.clone());
    }
    if ends_by_signal {
        spawn = spawn.parent_death_signal(Signal::SIGKILL);
    }
    Ok(spawn)
}

fn variables(
    options: &Options,
    program: &Program,
    preload: Option<&Path>,
) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let own = options.env.iter().flatten().map(|(name, value)| (name.into(), value.into()));
    let mut variables: Vec<(OsString, OsString)> = program.variables.iter().cloned().chain(own).collect();
    let value_of = |variables: &[(OsString, OsString)], name: &str| {
        let own = variables.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.clone());
        own.or_else(|| env::var_os(name)).unwrap_or_default()
    };
    if !program.path.is_empty() {
        let path = program.path_before(&value_of(&variables, "PATH"))?;
        variables.push(("PATH".into(), path));
    }
    if let Some(preload) = preload {
        let mut node_options = value_of(&variables, "NODE_OPTIONS");
        if !node_options.is_empty() {
            node_options.push(" ");
        }
        node_options.push(preload::node_option(preload));
        variables.push(("NODE_OPTIONS".into(), node_options));
    }
    Ok(variables)
}
