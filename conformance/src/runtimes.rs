//! The runtimes with a name, each with a pinned version, in the file `runtimes.json`. They are packages of
//! npm.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The pinned runtimes, as text.
const PINNED: &str = include_str!("../runtimes.json");

/// The recorded Node.js to which a runtime is compared, unless the runtime is Node.js or this project.
const NEWEST: &str = "node v26.10.0";

/// A runtime with a pinned version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRuntime {
    /// The name on the command line: `bun`.
    pub name: String,
    /// The path of the executable in its package.
    program: PathBuf,
    /// The arguments before the script.
    #[serde(default)]
    pub args: Vec<String>,
    /// The package of npm with its version, by architecture of Linux.
    packages: BTreeMap<String, String>,
}

impl PinnedRuntime {
    /// All pinned runtimes.
    pub fn all() -> Vec<PinnedRuntime> {
        serde_json::from_str(PINNED).expect("`runtimes.json` is valid")
    }

    /// The package for this machine: `@oven/bun-linux-x64@1.4.4`. `None`: no package runs here.
    pub fn package(&self) -> Option<&str> {
        let package = self.packages.get(env::consts::ARCH);
        package.filter(|_| cfg!(target_os = "linux")).map(String::as_str)
    }

    /// The directory of the runtime within the directory of all runtimes.
    pub fn home(&self, runtimes: &Path) -> PathBuf {
        runtimes.join(&self.name)
    }

    /// The executable within the directory of all runtimes, after `npm install`.
    pub fn executable(&self, runtimes: &Path) -> Option<PathBuf> {
        let (name, _version) = self.package()?.rsplit_once('@')?;
        Some(self.home(runtimes).join("node_modules").join(name).join(&self.program))
    }
}

/// The runtime with the behaviour and the exceptions for traces of `runtime`: itself for Node.js and for this
/// project, otherwise the newest recorded Node.js.
pub fn compared_as(runtime: &str) -> &str {
    let first = runtime.split(' ').next().unwrap_or_default();
    if ["node", "unix", "sim"].contains(&first) { runtime } else { NEWEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_versions_are_exact() {
        let all = PinnedRuntime::all();
        for package in all.iter().flat_map(|pinned| pinned.packages.values()) {
            let version = package.rsplit_once('@').map(|(_, version)| version).expect(package);
            assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{package}");
        }
        let newest = all.iter().find(|pinned| pinned.name == "node-26").expect("Node.js 26 is pinned");
        let version = NEWEST.strip_prefix("node v").expect("a version of Node.js");
        assert!(newest.packages.values().all(|package| package.ends_with(version)), "{NEWEST}");
    }

    #[test]
    fn foreign_runtimes_compare_as_node() {
        for runtime in ["node v18.20.8", "unix", "sim", "unix with workers on node v20.20.2"] {
            assert_eq!(compared_as(runtime), runtime);
        }
        for runtime in ["bun 1.4.4", "deno 2.9.6", "nodeish v1.0"] {
            assert_eq!(compared_as(runtime), NEWEST);
        }
    }
}
