//! `conformance fetch`: installs the pinned runtimes through npm.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use serde::Deserialize;

use super::progress::Progress;
use super::{CliError, Outcome, Paths, file, print};
use crate::runtimes::PinnedRuntime;

/// The runtimes to fetch.
#[derive(Debug, Args)]
pub(super) struct Fetch {
    /// The names of runtimes: `node-18`, `node-20`, `node-22`, `node-24`, `node-26`, `bun`, `deno`. Default:
    /// all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Fetch {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let pinned = chosen(&self.names)?;
        let directory = paths.runtimes();
        let progress = Progress::new(pinned.len());
        for runtime in &pinned {
            fetch(runtime, directory)?;
            progress.step(&format!("{}: {}", runtime.name, runtime.package().unwrap_or("no package")));
        }
        drop(progress);
        print(format_args!("{} runtimes are in {}\n", pinned.len(), directory.display()))?;
        Ok(Outcome::Holds)
    }
}

/// The pinned runtimes with these names; without names, all of them.
fn chosen(names: &[String]) -> Result<Vec<PinnedRuntime>, CliError> {
    let mut all = PinnedRuntime::all();
    let known: Vec<_> = all.iter().map(|runtime| runtime.name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(CliError(format!("no runtime is named `{name}`; the names are {}", known.join(", "))));
    }
    all.retain(|runtime| names.is_empty() || names.contains(&runtime.name));
    Ok(all)
}

/// Installs a runtime, unless this version is installed.
fn fetch(runtime: &PinnedRuntime, directory: &Path) -> Result<(), CliError> {
    let Some(package) = runtime.package() else {
        return Err(CliError(format!("no package of `{}` is known for this machine", runtime.name)));
    };
    let home = runtime.home(directory);
    if is_installed(package, &home) {
        return Ok(());
    }
    fs::create_dir_all(&home).map_err(|error| file::cli_error(&home, &error))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix"])
        .arg(&home)
        .arg(package);
    let output = npm.stdin(Stdio::null()).output().map_err(|error| {
        CliError(format!(
            "`npm` cannot be started: {error}; install npm, or name an installed runtime by its path"
        ))
    })?;
    if output.status.success() && is_installed(package, &home) {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(CliError(format!("`npm install {package}` fails ({}): {}", output.status, stderr.trim())))
}

/// Whether exactly this version of the package is installed.
fn is_installed(package: &str, home: &Path) -> bool {
    #[derive(Deserialize)]
    struct Manifest {
        version: String,
    }
    let Some((name, version)) = package.rsplit_once('@') else { return false };
    let manifest = fs::read_to_string(home.join("node_modules").join(name).join("package.json"));
    let manifest = manifest.ok().and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
    // Some packages of Node.js write `v18.20.8`.
    manifest.is_some_and(|manifest| manifest.version.trim_start_matches('v') == version)
}
