//! The options of a worker's start: program, arguments, descriptors, rights. Values only: nothing is read
//! from the environment here.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::errno::Signal;
use crate::os_bytes::OsBytes;
use crate::serialization::Serialization;

/// The variable that limits [`SpawnOptions::parent_death_signal`] to programs without this library: a program
/// with the library revokes the signal before `main`. Any value has this effect.
pub const SIGNAL_UNTIL_MAIN_VARIABLE: &str = "CLUSTER_SIGNAL_UNTIL_MAIN";

/// The options of a worker's start. Node: `cluster.settings`, and the argument of `cluster.setupPrimary()`.
///
/// An option not set has the documented default. [`Primary::setup`](crate::Primary::setup) changes only the
/// options set in the argument. A method sets an option; the [field](SpawnFields) of the same name has the
/// value. Clones share memory.
///
/// ```
/// use cluster_core::{SpawnOptions, Stdio};
///
/// let options = SpawnOptions::new().exec("node").args(["server.js", "--verbose"]).silent(true);
/// assert_eq!(options.args.as_deref().unwrap_or_default(), ["server.js", "--verbose"]);
/// assert_eq!((options.silent, options.cwd.as_ref()), (Some(true), None));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "SpawnFields", into = "SpawnFields")]
pub struct SpawnOptions(Arc<SpawnFields>);

/// The values of [`SpawnOptions`]. `None`: not set.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpawnFields {
    /// See [`exec`](SpawnOptions::exec).
    pub exec: Option<OsBytes>,
    /// See [`exec_argv`](SpawnOptions::exec_argv).
    pub exec_argv: Option<Vec<OsBytes>>,
    /// See [`args`](SpawnOptions::args).
    pub args: Option<Vec<OsBytes>>,
    /// See [`cwd`](SpawnOptions::cwd).
    pub cwd: Option<OsBytes>,
    /// See [`env`](SpawnOptions::env).
    pub env: Option<Vec<(OsBytes, OsBytes)>>,
    /// See [`silent`](SpawnOptions::silent).
    pub silent: Option<bool>,
    /// See [`stdio`](SpawnOptions::stdio).
    pub stdio: Option<Vec<Stdio>>,
    /// See [`uid`](SpawnOptions::uid).
    pub uid: Option<u32>,
    /// See [`gid`](SpawnOptions::gid).
    pub gid: Option<u32>,
    /// See [`groups`](SpawnOptions::groups).
    pub groups: Option<Vec<u32>>,
    /// See [`ignore_terminal_signals`](SpawnOptions::ignore_terminal_signals).
    pub ignore_terminal_signals: Option<bool>,
    /// See [`process_group`](SpawnOptions::process_group).
    pub process_group: Option<ProcessGroup>,
    /// See [`parent_death_signal`](SpawnOptions::parent_death_signal).
    pub parent_death_signal: Option<Signal>,
    /// See [`serialization`](SpawnOptions::serialization).
    pub serialization: Option<Serialization>,
    /// See [`inspect_port`](SpawnOptions::inspect_port).
    pub inspect_port: Option<u16>,
}

impl From<SpawnFields> for SpawnOptions {
    fn from(fields: SpawnFields) -> Self {
        SpawnOptions(Arc::new(fields))
    }
}

impl From<SpawnOptions> for SpawnFields {
    fn from(options: SpawnOptions) -> Self {
        Arc::unwrap_or_clone(options.0)
    }
}

impl Deref for SpawnOptions {
    type Target = SpawnFields;

    fn deref(&self) -> &SpawnFields {
        &self.0
    }
}

impl fmt::Debug for SpawnOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows the options that are set. Values of variables are not shown, because they may be secrets.
impl fmt::Debug for SpawnFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<T: fmt::Debug>(option: Option<&T>) -> Option<&dyn fmt::Debug> {
            option.map(|value| value as &dyn fmt::Debug)
        }
        let SpawnFields { exec, exec_argv, args, cwd, silent, stdio, uid, gid, groups, .. } = self;
        let SpawnFields { ignore_terminal_signals, process_group, parent_death_signal, .. } = self;
        let SpawnFields { env, serialization, inspect_port, .. } = self;
        let names: Option<Vec<_>> = env.as_ref().map(|env| env.iter().map(|(name, _)| name).collect());
        let mut fields = f.debug_struct("SpawnOptions");
        for (name, option) in [
            ("exec", shown(exec.as_ref())),
            ("exec_argv", shown(exec_argv.as_ref())),
            ("args", shown(args.as_ref())),
            ("cwd", shown(cwd.as_ref())),
            ("env", shown(names.as_ref())),
            ("silent", shown(silent.as_ref())),
            ("stdio", shown(stdio.as_ref())),
            ("uid", shown(uid.as_ref())),
            ("gid", shown(gid.as_ref())),
            ("groups", shown(groups.as_ref())),
            ("ignore_terminal_signals", shown(ignore_terminal_signals.as_ref())),
            ("process_group", shown(process_group.as_ref())),
            ("parent_death_signal", shown(parent_death_signal.as_ref())),
            ("serialization", shown(serialization.as_ref())),
            ("inspect_port", shown(inspect_port.as_ref())),
        ] {
            if let Some(value) = option {
                fields.field(name, value);
            }
        }
        fields.finish()
    }
}

impl SpawnOptions {
    /// Options with nothing set: a worker runs the program of the primary, with the primary's arguments.
    pub fn new() -> Self {
        SpawnOptions::default()
    }

    /// Sets the executable. A name without a slash is searched in `PATH`. Default: the program of the
    /// primary, with the primary's arguments. For Node workers, set `node` here and the script in
    /// [`args`](SpawnOptions::args).
    #[must_use]
    pub fn exec(self, program: impl Into<OsBytes>) -> Self {
        self.set(|options| options.exec = Some(program.into()))
    }

    /// Sets the arguments before all others, in place of earlier values. Default: none. Node: `execArgv`.
    #[must_use]
    pub fn exec_argv(self, args: impl IntoIterator<Item = impl Into<OsBytes>>) -> Self {
        self.set(|options| options.exec_argv = Some(args.into_iter().map(Into::into).collect()))
    }

    /// Sets the arguments, without the name of the program, in place of earlier values. Default: none.
    /// Without [`exec`](SpawnOptions::exec), they follow the primary's own arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl Into<OsBytes>>) -> Self {
        self.set(|options| options.args = Some(args.into_iter().map(Into::into).collect()))
    }

    /// Sets the working directory. Default: the primary's.
    #[must_use]
    pub fn cwd(self, directory: impl Into<OsBytes>) -> Self {
        self.set(|options| options.cwd = Some(directory.into()))
    }

    /// Sets variables that override the environment of the primary, in place of the variables set before. A
    /// variable of [`fork_with_env`](crate::Primary::fork_with_env) overrides a variable of the same name
    /// here. Default: none. Node has no such setting.
    #[must_use]
    pub fn env(self, env: impl IntoIterator<Item = (impl Into<OsBytes>, impl Into<OsBytes>)>) -> Self {
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.set(|options| options.env = Some(env))
    }

    /// Sets whether standard input, output and error are pipes to the primary. [`stdio`](SpawnOptions::stdio)
    /// overrides this option, unless it is empty. Default: false.
    #[must_use]
    pub fn silent(self, silent: bool) -> Self {
        self.set(|options| options.silent = Some(silent))
    }

    /// Sets the first descriptors, exactly one of them [`Stdio::Channel`]. Default, also for an empty list:
    /// the three standard descriptors, then the channel as number 3.
    #[must_use]
    pub fn stdio(self, stdio: impl IntoIterator<Item = Stdio>) -> Self {
        self.set(|options| options.stdio = Some(stdio.into_iter().collect()))
    }

    /// Sets the user. Default: the primary's.
    #[must_use]
    pub fn uid(self, uid: u32) -> Self {
        self.set(|options| options.uid = Some(uid))
    }

    /// Sets the group. Default: the primary's.
    #[must_use]
    pub fn gid(self, gid: u32) -> Self {
        self.set(|options| options.gid = Some(gid))
    }

    /// Sets the supplementary groups. Default: the primary's. With [`uid`](SpawnOptions::uid) or
    /// [`gid`](SpawnOptions::gid) the default is none, as in Node; a primary that is not root may not drop
    /// its groups, and then the worker keeps them. Node has no such setting.
    #[must_use]
    pub fn groups(self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.set(|options| options.groups = Some(groups.into_iter().collect()))
    }

    /// Sets whether the worker leaves SIGHUP, SIGINT, SIGTERM, SIGTTIN and SIGTTOU to the primary, and
    /// ignores the signals unless its program handles them. A terminal (ctrl-c) and a service manager
    /// (systemd's default `KillMode`) send them to every process of a service at once. Without this option,
    /// workers exit in the middle of their requests, as in Node, before the primary can disconnect them, and
    /// the two signals by which a supervisor scales would stop the workers. Default: false, as in Node; under
    /// a supervisor, true.
    ///
    /// A worker with this option exits when it is disconnected, when the primary exits, and by SIGKILL;
    /// `kill` with one of the five signals has no effect. The option holds for every program from the start.
    /// Node.js restores the default actions at its own start, so a Node worker gets an option in
    /// `NODE_OPTIONS`: `--import` with a listener for each of the signals. The worker's own environment does
    /// not contain this option. `node` can read the option from version 18.18 on; it then refuses a main file
    /// that is no ES module and has an unknown extension.
    #[must_use]
    pub fn ignore_terminal_signals(self, ignore: bool) -> Self {
        self.set(|options| options.ignore_terminal_signals = Some(ignore))
    }

    /// Sets the process group of the worker and of every process that the worker starts. Default:
    /// [`ProcessGroup::Inherited`], as in Node. With its own group, a wrapper (`sh -c`, `npm start`) does not
    /// leave the real server behind: `kill` and the signals of a supervisor reach the whole group, and when
    /// the worker has exited and the channel is closed, the remaining processes of the group get SIGKILL. A
    /// process that leaves the group (`setsid`, as a daemon) is out of reach.
    ///
    /// A terminal sends signals (ctrl-c) only to the group of the primary. A worker in another group that
    /// reads from the terminal is stopped by SIGTTIN: give it another standard input.
    #[must_use]
    pub fn process_group(self, group: ProcessGroup) -> Self {
        self.set(|options| options.process_group = Some(group))
    }

    /// Sets the signal that the kernel sends to the worker when the primary dies in any way (Linux,
    /// `PR_SET_PDEATHSIG`). Default: none. On other systems the start fails with `ENOSYS`.
    ///
    /// Rust and Node workers exit by themselves when their channel closes. This signal is for workers that
    /// hang, and for other programs. Processes that the worker starts do not receive the signal. A worker
    /// that ignores the signal continues to run: together with
    /// [`ignore_terminal_signals`](SpawnOptions::ignore_terminal_signals), use SIGKILL. The kernel drops the
    /// request for the signal if the worker executes a set-user-ID program.
    ///
    /// With the variable [`SIGNAL_UNTIL_MAIN_VARIABLE`] in the environment of the worker, only programs
    /// without this library receive the signal.
    #[must_use]
    pub fn parent_death_signal(self, signal: Signal) -> Self {
        self.set(|options| options.parent_death_signal = Some(signal))
    }

    /// Sets the serialization of messages on the worker's channel. Default: [`Serialization::Json`].
    #[must_use]
    pub fn serialization(self, serialization: Serialization) -> Self {
        self.set(|options| options.serialization = Some(serialization))
    }

    /// Sets the inspector port of Node workers, one port for all. It has an effect if
    /// [`exec_argv`](SpawnOptions::exec_argv) or `NODE_OPTIONS` starts an inspector (any form of
    /// `--inspect`). Default: each worker gets the next port, counted from the port in
    /// [`Settings::node_options`](crate::Settings::node_options), or from 9229.
    #[must_use]
    pub fn inspect_port(self, port: u16) -> Self {
        self.set(|options| options.inspect_port = Some(port))
    }

    fn set(mut self, change: impl FnOnce(&mut SpawnFields)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Adds one argument before all others.
    pub(crate) fn push_exec_arg(&mut self, arg: impl Into<OsBytes>) {
        Arc::make_mut(&mut self.0).exec_argv.get_or_insert_default().push(arg.into());
    }

    /// Changes every option set in `changes`.
    pub(crate) fn update(&mut self, changes: SpawnOptions) {
        fn change<T>(option: &mut Option<T>, to: Option<T>) {
            if to.is_some() {
                *option = to;
            }
        }
        let own = Arc::make_mut(&mut self.0);
        let changes = Arc::unwrap_or_clone(changes.0);
        let SpawnFields { exec, exec_argv, args, cwd, silent, stdio, uid, gid, groups, .. } = changes;
        let SpawnFields { ignore_terminal_signals, process_group, parent_death_signal, .. } = changes;
        let SpawnFields { env, serialization, inspect_port, .. } = changes;
        change(&mut own.env, env);
        change(&mut own.exec, exec);
        change(&mut own.exec_argv, exec_argv);
        change(&mut own.args, args);
        change(&mut own.cwd, cwd);
        change(&mut own.silent, silent);
        change(&mut own.stdio, stdio);
        change(&mut own.uid, uid);
        change(&mut own.gid, gid);
        change(&mut own.groups, groups);
        change(&mut own.ignore_terminal_signals, ignore_terminal_signals);
        change(&mut own.process_group, process_group);
        change(&mut own.parent_death_signal, parent_death_signal);
        change(&mut own.serialization, serialization);
        change(&mut own.inspect_port, inspect_port);
    }
}

/// The process group of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ProcessGroup {
    /// The group of the primary.
    #[default]
    Inherited,
    /// A new group, in the session of the primary.
    Own,
    /// A new session without a terminal, and a new group. Node: `detached` of `child_process`.
    Session,
}

/// The meaning of one of a worker's first descriptors. Node: an element of `stdio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stdio {
    /// The primary's descriptor of the same number. Node: `'inherit'`.
    Inherit,
    /// `/dev/null`. Node: `'ignore'`.
    Ignore,
    /// A pipe to the primary. Node: `'pipe'`.
    Pipe,
    /// The channel. Node: `'ipc'`.
    Channel,
    /// The primary's descriptor of this number. Node: the number.
    Descriptor(u32),
}
