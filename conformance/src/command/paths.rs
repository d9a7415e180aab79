//! The paths of scenarios, recordings and exceptions. They are set on the command line, or are in the
//! checkout around the working directory, or in a temporary directory with the embedded files. No path
//! depends on where the program was compiled.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;

use super::{CliError, file, interrupt, unknown};
use crate::exceptions::{self, Exceptions};
use crate::fuzz::Defect;
use crate::scenario::Scenario;

/// The embedded scenarios, by file name.
const SCENARIOS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));
/// The embedded recordings, by directory and file name.
const RECORDINGS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recordings.rs"));
const EXCEPTIONS: &str = include_str!("../../exceptions.json");
const DEFECTS: &str = include_str!("../../defects.json");

/// Paths on the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Paths")]
pub(super) struct Named {
    /// The directory of scenarios. Default: that of the checkout around the working directory, or the
    /// embedded scenarios
    #[arg(long, global = true, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// The directory of recordings, with one directory per runtime. Default: as for `--scenarios`
    #[arg(long, global = true, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// The file of exceptions: deliberate differences from a runtime, each with its reason. Default: as for
    /// `--scenarios`
    #[arg(long, global = true, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// The directory of runtimes that `conformance fetch` has fetched. Default: `target/runtimes` in the
    /// checkout around the working directory, or `conformance/runtimes` in the user's cache
    #[arg(long, global = true, value_name = "DIR")]
    runtimes: Option<PathBuf>,
}

/// The paths of the scenarios, the recordings and the exceptions.
#[derive(Debug)]
pub(super) struct Paths {
    scenarios: PathBuf,
    recordings: Option<PathBuf>,
    /// The place of the embedded recordings, which are written when a command needs them.
    embedded: Option<PathBuf>,
    exceptions: PathBuf,
    runtimes: PathBuf,
    /// The crate `conformance` of the checkout.
    checkout: Option<PathBuf>,
    /// Whether exceptions, scenarios and recordings belong together. Only then an unneeded exception is an
    /// error.
    are_one: bool,
    /// The temporary directory; dropping the value removes the directory.
    _carried: Option<TempDir>,
}

impl Named {
    /// Completes the paths of the command line.
    pub(super) fn find(self) -> Result<Paths, CliError> {
        let found = checkout(&env::current_dir()?);
        let Named { scenarios, recordings, exceptions, runtimes } = self;
        let has_own_data = scenarios.is_some() || recordings.is_some();
        let are_ours =
            |path: &PathBuf| checkout(path).is_some_and(|checkout| checkout.join("exceptions.json") == *path);
        let are_one = !has_own_data || exceptions.as_ref().is_some_and(|path| !are_ours(path));
        let is_away = found.is_none() && (scenarios.is_none() || exceptions.is_none());
        let carried = is_away.then(carry).transpose()?;
        // The embedded recordings are of the embedded scenarios.
        let embedded = carried.as_ref().filter(|_| scenarios.is_none());
        let embedded = embedded.map(|carried| carried.path().join("recordings"));
        let home = found.as_deref().or(carried.as_ref().map(TempDir::path)).unwrap_or(Path::new("."));
        let in_checkout = found.as_ref().map(|checkout| checkout.join("../fixtures"));
        Ok(Paths {
            scenarios: scenarios.unwrap_or_else(|| home.join("scenarios")),
            recordings: recordings.or(in_checkout).or_else(|| embedded.clone()),
            embedded,
            exceptions: exceptions.unwrap_or_else(|| home.join("exceptions.json")),
            runtimes: runtimes.unwrap_or_else(|| fetched(found.as_deref())),
            are_one,
            checkout: found,
            _carried: carried,
        })
    }
}

/// The crate `conformance` of the checkout around a directory.
fn checkout(directory: &Path) -> Option<PathBuf> {
    let crates = directory.ancestors().map(|above| above.join("conformance"));
    crates.into_iter().find(|it| it.join("scenarios").is_dir() && it.join("exceptions.json").is_file())
}

/// The default directory of fetched runtimes.
fn fetched(checkout: Option<&Path>) -> PathBuf {
    let cache = || {
        let home = || env::home_dir().unwrap_or_default().join(".cache");
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        cache.unwrap_or_else(home).join("conformance/runtimes")
    };
    // Without `..`, because messages print the path.
    let workspace = checkout.and_then(Path::parent);
    workspace.map_or_else(cache, |workspace| workspace.join("target/runtimes"))
}

/// A temporary directory with the embedded files. Other users can read the files, because a scenario may run
/// as another user.
fn carry() -> io::Result<TempDir> {
    let home = tempfile::tempdir()?;
    interrupt::remove_at_the_end(home.path());
    let scenarios = home.path().join("scenarios");
    fs::create_dir(&scenarios)?;
    for directory in [home.path(), &scenarios] {
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    let beside = [("exceptions.json", EXCEPTIONS)].map(|(name, text)| (home.path().join(name), text));
    let files = SCENARIOS.iter().map(|&(name, text)| (scenarios.join(name), text)).chain(beside);
    for (path, text) in files {
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(home)
}

/// Writes the embedded recordings, unless they are written.
fn write_recordings(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    for (name, text) in RECORDINGS {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        fs::write(path, text)?;
    }
    Ok(())
}

impl Paths {
    /// The scenarios that match at least one of these patterns. Without patterns: all scenarios.
    pub(super) fn scenarios(&self, patterns: &[String]) -> Result<Vec<Scenario>, CliError> {
        let mut scenarios = self.all_scenarios()?;
        for pattern in patterns {
            if !scenarios.iter().any(|scenario| exceptions::glob(pattern, &scenario.name)) {
                return Err(unknown(pattern, &scenarios));
            }
        }
        let is_meant = |name: &str| patterns.iter().any(|pattern| exceptions::glob(pattern, name));
        scenarios.retain(|scenario| patterns.is_empty() || is_meant(&scenario.name));
        Ok(scenarios)
    }

    /// The scenario with this name.
    pub(super) fn scenario(&self, name: &str) -> Result<Scenario, CliError> {
        let scenarios = self.all_scenarios()?;
        let found = scenarios.iter().find(|scenario| scenario.name == name).cloned();
        found.ok_or_else(|| unknown(name, &scenarios))
    }

    /// All scenarios. Fails if there are none, because then every claim would hold.
    fn all_scenarios(&self) -> Result<Vec<Scenario>, CliError> {
        let scenarios = Scenario::all(&self.scenarios)?;
        if scenarios.is_empty() {
            let directory = self.scenarios.display();
            return Err(CliError(format!(
                "no scenarios in {directory}; choose another directory with `--scenarios`"
            )));
        }
        Ok(scenarios)
    }

    pub(super) fn exceptions(&self) -> Result<Exceptions, CliError> {
        Ok(Exceptions::load(&self.exceptions)?)
    }

    /// The known defects of runtimes.
    pub(super) fn defects(&self) -> Result<Vec<Defect>, CliError> {
        match &self.checkout {
            Some(checkout) => Ok(Defect::load(&checkout.join("defects.json"))?),
            None => Ok(Defect::parse(DEFECTS)?),
        }
    }

    /// The directory of recordings, if any.
    pub(super) fn recordings(&self) -> Result<Option<&Path>, CliError> {
        if let Some(embedded) = self.embedded.as_ref().filter(|it| self.recordings.as_ref() == Some(it)) {
            write_recordings(embedded).map_err(|error| file::cli_error(embedded, &error))?;
        }
        Ok(self.recordings.as_deref())
    }

    /// The directory of recordings, or an error for a command that needs the directory.
    pub(super) fn need_recordings(&self) -> Result<&Path, CliError> {
        self.recordings()?.ok_or_else(|| CliError(NO_RECORDINGS.to_owned()))
    }

    /// The directory for new recordings: the embedded recordings cannot be changed.
    pub(super) fn need_own_recordings(&self) -> Result<&Path, CliError> {
        let own = self.recordings.as_deref().filter(|path| self.embedded.as_deref() != Some(path));
        own.ok_or_else(|| CliError(NO_DESTINATION.to_owned()))
    }

    /// The directory of fetched runtimes.
    pub(super) fn runtimes(&self) -> &Path {
        &self.runtimes
    }

    /// A file beside the scenarios in the checkout.
    pub(super) fn in_checkout(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        self.checkout.as_ref().map(|checkout| checkout.join(Path::new(name.as_ref())))
    }

    /// Whether every exception must be needed. If the user has named scenarios or recordings, only exceptions
    /// that the user has named must be needed.
    pub(super) fn need_all_exceptions(&self) -> bool {
        self.are_one
    }
}

/// The remedy for missing recordings.
pub(super) const NO_RECORDINGS: &str = "the scenarios of `--scenarios` have no recordings; `--recordings DIR` names their directory, and \
    `conformance record` writes them";

/// The remedy for a missing destination.
const NO_DESTINATION: &str =
    "the embedded recordings cannot be changed; `--recordings DIR` names a directory for the new recordings";
