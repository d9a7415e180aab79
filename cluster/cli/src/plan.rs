//! What a command line runs: the options, the program, and the settings of the supervisor.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use cluster::SupervisorSettings;

use crate::args::RunArguments;
use crate::options::Options;
use crate::program::Program;
use crate::{preload, settings, socket_path};

/// The file of settings where none is named.
const FILE: &str = "cluster.toml";

/// A program, with options.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) program: Program,
    /// The name of the service.
    pub(crate) name: String,
    /// The command of a worker, as written.
    pub(crate) line: String,
}

impl Plan {
    /// Reads the options and finds the program.
    ///
    /// # Errors
    /// The file of settings is invalid, or there is no such program.
    pub(crate) fn of(arguments: &RunArguments) -> anyhow::Result<Plan> {
        let options = read_options(arguments)?;
        let line: Vec<OsString> = if arguments.program.is_empty() {
            options.program.iter().chain(options.args.iter().flatten()).map(Into::into).collect()
        } else {
            arguments.program.clone()
        };
        let directory = options.cwd.clone().map_or_else(env::current_dir, Ok)?;
        let node = options.node.clone().unwrap_or_else(|| "node".into());
        let program = Program::of(&line, &node, &directory)?;
        let name = options.name.clone().unwrap_or_else(|| program.name.clone());
        let line: Vec<_> = line.iter().map(|part| part.to_string_lossy()).collect();
        Ok(Plan { options, program, name, line: line.join(" ") })
    }

    /// The settings of the supervisor. Writes the preload of a Node.js program.
    ///
    /// # Errors
    /// An option is invalid, or the preload cannot be written.
    pub(crate) fn settings(&self) -> anyhow::Result<SupervisorSettings> {
        let wants_preload = self.program.is_node && !self.options.no_preload.unwrap_or(false);
        let preload = wants_preload.then(write_preload).transpose()?;
        settings::settings(&self.options, &self.program, preload.as_deref())
    }

    /// The set options, and the command of a worker as a comment: a file of settings.
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        let Program { exec, args, .. } = &self.program;
        let command: Vec<_> = [exec].into_iter().chain(args).map(|part| part.to_string_lossy()).collect();
        Ok(format!("# {}: {}\n{}", self.name, command.join(" "), toml::to_string(&self.options)?))
    }
}

/// The options of the command line and the environment, completed by the file.
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
