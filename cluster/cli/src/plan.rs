//! The plan of `run` and `check`: the options, the program, and the resulting settings of the supervisor.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cluster::SupervisorSettings;
use tempfile::TempDir;
use toml::Table;

use crate::adapter::{self, Ready};
use crate::args::RunArguments;
use crate::listen::Sockets;
use crate::options::{self, FILE, Options};
use crate::program::Program;
use crate::resources::Resources;
use crate::subject::Subject;
use crate::systemd::Activated;
use crate::{interpreter, preload, settings, socket_path};

/// A program, with the options of the service.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) program: Program,
    /// The name of the service.
    pub(crate) name: String,
    /// The command of a worker, as written in a shell.
    pub(crate) line: String,
}

/// Everything that a run needs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) settings: SupervisorSettings,
    pub(crate) subject: Subject,
    /// The addresses of the bound sockets.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) resources: Resources,
}

impl Plan {
    /// Reads the options and finds the program.
    ///
    /// # Errors
    /// The file of settings is invalid, or the program does not exist.
    pub(crate) fn of(arguments: &RunArguments) -> anyhow::Result<Plan> {
        let options = read_options(arguments)?;
        let line: Vec<OsString> =
            if arguments.program.is_empty() { options.line() } else { arguments.program.clone() };
        let program = options.program_of(&line)?;
        let directory = options.directory()?;
        program.check(&directory, options.env.as_ref().and_then(|env| env.get("PATH")).map(OsStr::new))?;
        interpreter::check(Path::new(&program.exec), &directory)?;
        let name = options.name.clone().unwrap_or_else(|| program.name.clone());
        let line: Vec<_> = line.iter().map(|part| part.to_string_lossy()).collect();
        Ok(Plan { options, program, name, line: line.join(" ") })
    }

    /// Checks the settings without a run.
    ///
    /// # Errors
    /// An option is invalid, or two options contradict each other.
    pub(crate) fn validate(mut self) -> anyhow::Result<()> {
        for listen in self.options.listen.iter_mut().flatten() {
            // The port may belong to the running service, so the check binds a port of the kernel's choice.
            listen.address.set_port(0);
        }
        settings::supervisor(self.prepare(&[])?.settings)?;
        Ok(())
    }

    /// Prepares a run: writes the preload of a Node.js program, and binds the sockets of a foreign program.
    ///
    /// # Errors
    /// An option is invalid, the preload cannot be written, or an address cannot be bound.
    pub(crate) fn prepare(&self, activated: &[Activated]) -> anyhow::Result<Prepared> {
        let sockets = Sockets::bind(self.options.listen.as_deref().unwrap_or_default(), activated)?;
        let ready = Ready::of(self.options.ready.as_deref(), &sockets)?;
        let notify = (ready == Some(Ready::Notify)).then(socket_path::make_notify_directory).transpose()?;
        let adapted = ready.as_ref().map(|ready| self.adapted(ready, notify.as_ref(), &sockets));
        let program = adapted.as_ref().unwrap_or(&self.program);
        let has_preload = program.is_node && !self.options.no_preload.unwrap_or(false);
        let preload = has_preload.then(write_preload).transpose()?;
        let settings =
            settings::settings(&self.options, program, preload.as_deref(), &sockets, ready.is_some())?;
        Ok(Prepared {
            settings,
            subject: Subject {
                name: self.name.clone(),
                program: self.line.clone(),
                has_preload,
                is_node: self.program.is_node,
                stop_signal: ready.map(|_| self.options.stop_signal.unwrap_or_default()),
                activated: activated.iter().filter_map(|own| own.address).collect(),
            },
            addresses: sockets.addresses.clone(),
            resources: Resources::new(sockets, notify, activated),
        })
    }

    fn adapted(&self, ready: &Ready, notify: Option<&TempDir>, sockets: &Sockets) -> Program {
        let signal = self.options.stop_signal.unwrap_or_default();
        adapter::adapted(&self.program, ready, signal, notify.map(TempDir::path), sockets)
    }

    /// The options that are set, as a file of settings. Comments have the command of a worker, and the
    /// defaults of the other options.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let Program { exec, args, .. } = &self.program;
        let command: Vec<_> = [exec].into_iter().chain(args).map(|part| quoted(part)).collect();
        let mut text =
            format!("# {}: {}\n{}", self.name, command.join(" "), toml::to_string(&self.shown_options())?);
        text.push_str("\n# defaults:\n");
        for (key, default) in self.defaults()? {
            writeln!(text, "# {key}: {default}")?;
        }
        Ok(text)
    }

    /// The options that are not set, each with the default.
    fn defaults(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let set = Table::try_from(&self.options)?;
        Ok(options::defaults().into_iter().filter(|(key, _)| !set.contains_key(key)).collect())
    }

    /// The content of [`Plan::text`] as a JSON object.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        let Program { exec, args, .. } = &self.program;
        let command: Vec<_> = [exec].into_iter().chain(args).map(|part| part.to_string_lossy()).collect();
        Ok(serde_json::json!({
            "name": self.name,
            "command": command,
            "settings": self.shown_options(),
            "defaults": self.defaults()?,
        }))
    }

    /// The options that are set. The values of variables are hidden: a value may be a secret.
    fn shown_options(&self) -> Options {
        let mut options = self.options.clone();
        for value in options.env.iter_mut().flat_map(|env| env.values_mut()) {
            "(hidden)".clone_into(value);
        }
        options
    }
}

/// A word of a command, quoted as for a shell.
fn quoted(part: &OsStr) -> String {
    let text = part.to_string_lossy();
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=@%+,{}".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The options of the command line and the environment, completed by those of the file.
fn read_options(arguments: &RunArguments) -> anyhow::Result<Options> {
    let default = PathBuf::from(FILE);
    let file = match &arguments.config {
        Some(path) => Options::read(path)?,
        None if arguments.program.is_empty() && default.exists() => Options::read(&default)?,
        None => Options::default(),
    };
    arguments.options.or(&file)
}

fn write_preload() -> anyhow::Result<PathBuf> {
    let directory = socket_path::directory();
    socket_path::make(&directory)?;
    preload::write(&directory).with_context(|| {
        format!("cannot write the preload to {}; `--no-preload` runs without", directory.display())
    })
}
