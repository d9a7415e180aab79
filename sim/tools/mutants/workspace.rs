//! A copy of the core and the simulator under `target`. Each mutant is built and run there.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, io};

use serde_json::Value;

use super::known::{Fate, Found, Kill, Known};
use super::suite::{Mutant, Suite};

/// The copied paths; the tests of the simulator are not needed.
const COPIED: [&str; 11] = [
    "cluster/Cargo.toml",
    "cluster/examples",
    "cluster/src",
    "cluster/tests",
    "cluster/core/Cargo.toml",
    "cluster/core/src",
    "cluster/core/tests",
    "sim/Cargo.toml",
    "sim/src",
    "sim/tools",
    "Cargo.lock",
];

/// The profile for mutants: a mutant rebuilds little, and the dependencies are built once, so a fast build
/// matters more than fast code. The profile `mutants` of the workspace has another purpose.
const PROFILE: &str = "
[profile.mutant]
inherits = \"dev\"
debug = false
incremental = true

[profile.mutant.package.\"*\"]
opt-level = 2
";

pub(crate) struct Workspace<'a> {
    suite: &'a Suite,
    directory: PathBuf,
    known: Known,
}

impl<'a> Workspace<'a> {
    /// Makes the copy.
    pub(crate) fn open(suite: &'a Suite) -> Result<Self, Box<dyn Error>> {
        let home =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the simulator must be in a workspace")?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| home.join("target"), PathBuf::from);
        let directory = target.join("mutants");
        for room in ["cluster", "sim"] {
            if directory.join(room).exists() {
                fs::remove_dir_all(directory.join(room))?;
            }
        }
        for path in COPIED {
            copy(&home.join(path), &directory.join(path))?;
        }
        let manifest = fs::read_to_string(home.join("Cargo.toml"))?;
        let lines = manifest.lines().map(|line| match line.split_once(" = ") {
            Some(("members", _)) => "members = [\"cluster\", \"cluster/core\", \"sim\"]",
            Some(("default-members", _)) => "",
            Some(_) | None => line,
        });
        let manifest = lines.collect::<Vec<_>>().join("\n") + "\n" + PROFILE;
        fs::write(directory.join("Cargo.toml"), manifest)?;
        let known = Known::load(&directory, COPIED.map(|path| home.join(path)).as_slice(), suite)?;
        Ok(Workspace { suite, directory, known })
    }

    /// Returns the known result of a mutant. Otherwise runs the mutant.
    pub(crate) fn judge(&mut self, mutant: &Mutant) -> Result<Fate, Box<dyn Error>> {
        if let Some(fate) = self.known.of(mutant) {
            return Ok(fate.clone());
        }
        let fate = self.try_out(mutant)?;
        self.known.add(mutant, fate.clone())?;
        Ok(fate)
    }

    /// Makes the change, searches for a failing run or test, and reverts the change.
    fn try_out(&self, mutant: &Mutant) -> Result<Fate, Box<dyn Error>> {
        let path = self.directory.join("cluster/core/src").join(&mutant.file);
        let original = fs::read_to_string(&path)?;
        let places = original.matches(&mutant.find).count();
        if places != 1 {
            return Err(
                format!("expected `{}` once in {}, found {places} times", mutant.find, mutant.file).into()
            );
        }
        fs::write(&path, original.replace(&mutant.find, &mutant.replace))?;
        let kill = self.random_search().and_then(|kill| match (kill, mutant.killer.split_once("::")) {
            (None, Some((target, test))) => self.test(target, test),
            (kill, _) => Ok(kill),
        });
        fs::write(&path, original)?;
        kill
    }

    /// Searches for a run in which a check fails.
    pub(crate) fn random_search(&self) -> Result<Fate, Box<dyn Error>> {
        let built = self.cargo(&["build", "--quiet", "--example", "random_search"], &[])?;
        if !built.status.success() {
            return Err(
                format!("the mutant does not build:\n{}", String::from_utf8_lossy(&built.stderr)).into()
            );
        }
        let mut random_search = Command::new(self.directory.join("target/mutant/examples/random_search"));
        let out = random_search.arg(self.suite.runs.to_string()).args(&self.suite.scenarios).output()?;
        if !out.status.success() {
            return Err(format!("`random_search` failed: {}", out.status).into());
        }
        let found: Value = serde_json::from_slice(&out.stdout)?;
        let text = |name: &str| found[name].as_str().map(str::to_owned);
        let number = |name: &str| found[name].as_u64().unwrap_or_default();
        Ok(text("check").map(|killer| {
            let [runs, steps, faults, switches] = ["runs", "steps", "faults", "switches"].map(number);
            let found = Some(Found { runs, steps, faults, switches });
            Kill { killer, what: text("what").unwrap_or_default(), found }
        }))
    }

    /// Runs a test of the core. The target `lib` stands for the unit tests.
    fn test(&self, target: &str, test: &str) -> Result<Fate, Box<dyn Error>> {
        let selected = if target == "lib" { vec!["--lib"] } else { vec!["--test", target] };
        let of_core = [&["test", "-p", "cluster-core"], &selected[..]].concat();
        let out = self.cargo(&of_core, &["--", "--exact", test])?;
        let output = String::from_utf8_lossy(&out.stdout);
        let (passes, fails) = (output.contains("1 passed"), output.contains("1 failed"));
        if passes == fails {
            return Err(format!(
                "the target {target} of the core has no test {test}:\n{}",
                String::from_utf8_lossy(&out.stderr)
            )
            .into());
        }
        let what = "a test of the core".to_owned();
        Ok(fails.then(|| Kill { killer: format!("{target}::{test}"), what, found: None }))
    }

    /// Warnings are allowed, since a mutant may leave code unused.
    fn cargo(&self, arguments: &[&str], last: &[&str]) -> io::Result<Output> {
        Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .args(["--profile", "mutant"])
            .args(last)
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", self.directory.join("target"))
            .env("RUSTFLAGS", "--cap-lints allow")
            .env("INSTA_UPDATE", "no")
            .stdin(Stdio::null())
            .output()
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        return fs::copy(from, to).map(drop);
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
