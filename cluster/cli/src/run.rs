//! `cluster run`: the service in the foreground.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cluster::Supervisor;
use tracing_subscriber::EnvFilter;

use crate::args::RunArguments;
use crate::control::Control;
use crate::feed::Feed;
use crate::options::{LogFormat, Options};
use crate::output::Output;
use crate::program::Program;
use crate::service::Service;
use crate::{preload, settings, socket_path};

/// The file of settings where none is named.
const FILE: &str = "cluster.toml";

/// Runs until the service has ended.
pub(crate) async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let (options, line) = read_options(&arguments)?;
    let directory = options.cwd.clone().map_or_else(env::current_dir, Ok)?;
    let node = options.node.clone().unwrap_or_else(|| "node".into());
    let program = Program::of(&line, &node, &directory)?;
    let name = options.name.clone().unwrap_or_else(|| program.name.clone());
    let (path, preload) =
        if arguments.dry_run { (PathBuf::new(), None) } else { prepare(&options, &program, &name)? };
    let settings = settings::settings(&options, &program, preload.as_deref())?;
    if arguments.dry_run {
        println!("{}", toml::to_string(&options)?);
        return Ok(());
    }
    start_log(options.log_format.unwrap_or_default());
    let control = Control::bind(&path).await?;
    let mut supervisor = Supervisor::new(settings)?;
    let feed = Feed::new();
    let line: Vec<_> = line.iter().map(|part| part.to_string_lossy()).collect();
    let service = Arc::new(Service::new(name, line.join(" "), supervisor.handle(), feed.clone()));
    let commands = tokio::spawn(control.serve(service.clone()));
    let output = Output::new(options.log_format.unwrap_or_default(), feed);
    let result = supervisor.run_with(|supervisor, event| service.observe(supervisor, event, &output)).await;
    commands.abort();
    let _ = commands.await;
    Ok(result?)
}

/// The options of the command line, the environment and the file, and the command of a worker.
fn read_options(arguments: &RunArguments) -> anyhow::Result<(Options, Vec<std::ffi::OsString>)> {
    let is_named = arguments.config.is_some();
    let path = arguments.config.clone().unwrap_or_else(|| FILE.into());
    let file = if is_named || (arguments.program.is_empty() && path.exists()) {
        Options::read(&path)?
    } else {
        Options::default()
    };
    let options = arguments.options.or(&file)?;
    let line = if arguments.program.is_empty() {
        let own = options.program.iter().chain(options.args.iter().flatten());
        own.map(Into::into).collect()
    } else {
        arguments.program.clone()
    };
    Ok((options, line))
}

/// Makes the directory of the control socket, and writes the preload of a Node.js program. Returns both paths.
fn prepare(options: &Options, program: &Program, name: &str) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let directory = socket_path::directory();
    socket_path::make(&directory)?;
    let path = options.control.clone().unwrap_or_else(|| socket_path::of_service(name));
    let wants_preload = program.is_node && !options.no_preload.unwrap_or(false);
    let preload = wants_preload.then(|| write_preload(&directory)).transpose()?;
    Ok((path, preload))
}

fn write_preload(directory: &Path) -> anyhow::Result<PathBuf> {
    preload::write(directory).with_context(|| {
        format!("cannot write the preload to {}; `--no-preload` runs without", directory.display())
    })
}

/// The log of the service, on standard error.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("CLUSTER_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
