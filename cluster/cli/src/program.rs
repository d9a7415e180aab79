//! The program of a service, started for each worker.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::report::Coded;

/// The command of each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) exec: OsString,
    pub(crate) args: Vec<OsString>,
    /// Whether Node.js runs in the worker, as far as the command shows.
    pub(crate) is_node: bool,
    /// The name of the service by default.
    pub(crate) name: String,
    /// Directories before those of `PATH`, as of `npm start`.
    pub(crate) path: Vec<PathBuf>,
    /// Variables of the workers, as of `npm start`.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// A line of the shell to run once, before the first worker: the script `prestart` of `start`.
    pub(crate) before: Option<String>,
}

/// Extensions of Node.js scripts.
const NODE_EXTENSIONS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

/// The package managers: each runs the scripts of `package.json`.
const MANAGERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

/// Shells: Node.js may run in a worker.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "env"];

impl Program {
    /// The program of a command line, in the directory of the workers.
    ///
    /// # Errors
    /// The line is empty, the script does not exist, or `package.json` has no such script.
    pub(crate) fn of(line: &[OsString], node: &Path, directory: &Path) -> anyhow::Result<Program> {
        let Some((first, rest)) = line.split_first() else {
            bail!("there is no program; write `cluster run server.js`, or set `program` in cluster.toml")
        };
        if first.to_string_lossy().starts_with('-') {
            let text = format!("there is no option `{}`; `cluster run --help` lists all", first.display());
            return Err(Coded::wrong_line(text));
        }
        let path = Path::new(first);
        if path.extension().and_then(OsStr::to_str).is_some_and(|found| NODE_EXTENSIONS.contains(&found)) {
            let script = directory.join(path);
            fs::metadata(&script).with_context(|| format!("there is no script {}", script.display()))?;
            return Ok(Program::new(node, line.to_vec(), stem(path)).with_node(true));
        }
        if let (Some(manager), Some((script, rest))) = (manager(first), script_of(rest)) {
            return Program::of_package(manager, script, rest, directory);
        }
        if let ("npx", [binary, rest @ ..]) = (first.to_str().unwrap_or_default(), rest) {
            return Program::of_binary(binary, rest, node, directory);
        }
        if path == Path::new("tsx") {
            return Program::of_binary(first, rest, node, directory);
        }
        let runs_node = path.file_name() == node.file_name();
        let script = rest.iter().map(Path::new).find(|argument| !argument.to_string_lossy().starts_with('-'));
        let name = if runs_node { script.map_or_else(|| stem(path), stem) } else { stem(path) };
        let is_shell = first.to_str().is_some_and(|name| SHELLS.contains(&name));
        let is_node = runs_node || is_shell || names_node(&directory.join(path));
        Ok(Program::new(first, rest.to_vec(), name).with_node(is_node))
    }

    fn new(exec: impl Into<OsString>, args: Vec<OsString>, name: String) -> Program {
        let (path, variables) = (Vec::new(), Vec::new());
        Program { exec: exec.into(), args, is_node: false, name, path, variables, before: None }
    }

    fn with_node(self, is_node: bool) -> Program {
        Program { is_node, ..self }
    }

    /// A binary of an installed package, without the process of `npx`. Node.js loads `tsx`: the binary of `tsx` starts another
    /// process, without the channel.
    fn of_binary(
        binary: &OsStr,
        rest: &[OsString],
        node: &Path,
        directory: &Path,
    ) -> anyhow::Result<Program> {
        let path = bin_directories(directory)?;
        if let ("tsx", Some(script)) = (binary.to_str().unwrap_or_default(), rest.first()) {
            let import = ["--import", "tsx"].map(OsString::from);
            let args = import.into_iter().chain(rest.iter().cloned()).collect();
            return Ok(Program::new(node, args, stem(Path::new(script))).with_node(true));
        }
        let file = path.iter().map(|bin| bin.join(binary)).find(|file| file.exists());
        let binary = binary.to_string_lossy();
        let file = file.with_context(|| format!("no package has installed `{binary}`; run `npm install`"))?;
        let program = Program::new(file, rest.to_vec(), binary.into_owned()).with_node(true);
        Ok(Program { path, ..program })
    }

    /// A script of `package.json`, run by the shell as the manager runs it, but without the process of the manager: a
    /// manager is a Node.js program, and would take the channel of the worker.
    fn of_package(
        manager: &str,
        script: &str,
        rest: &[OsString],
        directory: &Path,
    ) -> anyhow::Result<Program> {
        let file = directory.join("package.json");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("`{manager} {script}` needs {}", file.display()))?;
        let package: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        let command = package["scripts"][script].as_str();
        let command =
            command.with_context(|| format!("{} has no script `{script}`", file.display()))?.to_owned();
        let name =
            package["name"].as_str().filter(|name| !name.is_empty()).unwrap_or(script).replace('/', "-");
        let further = rest.iter().filter(|argument| *argument != "--").cloned();
        let line = format!("{command} \"$@\"");
        let args = ["-c".into(), line.into(), "sh".into()].into_iter().chain(further).collect();
        let before = package["scripts"][format!("pre{script}")].as_str().map(str::to_owned);
        let text_of = |field: &str| package[field].as_str().unwrap_or_default().into();
        let variables: [(&str, OsString); 6] = [
            ("npm_lifecycle_event", script.into()),
            ("npm_lifecycle_script", command.into()),
            ("npm_package_name", text_of("name")),
            ("npm_package_version", text_of("version")),
            ("npm_package_json", file.canonicalize()?.into()),
            ("INIT_CWD", directory.canonicalize()?.into()),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value)).into();
        let program = Program::new("sh", args, name).with_node(true);
        Ok(Program { path: bin_directories(directory)?, variables, before, ..program })
    }

    /// Runs the line `before` to the end.
    ///
    /// # Errors
    /// The line fails.
    pub(crate) fn prepare(&self, directory: &Path) -> anyhow::Result<()> {
        let Some(line) = &self.before else { return Ok(()) };
        let path = self.path_before(&env::var_os("PATH").unwrap_or_default())?;
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(directory).envs(self.variables.iter().cloned());
        let status = shell.env("PATH", path).status().context("cannot start `sh`")?;
        ensure!(status.success(), "the script before the program has failed: `{line}`: {status}");
        Ok(())
    }

    /// The directories of the program, and those of a `PATH`.
    pub(crate) fn path_before(&self, rest: &OsStr) -> anyhow::Result<OsString> {
        let own = self.path.iter().cloned();
        env::join_paths(own.chain(env::split_paths(rest)))
            .context("cannot set PATH: a directory has a colon in its name; rename the directory")
    }
}

/// The directories with the binaries of installed packages, from the nearest to the root, as of `npm start`.
fn bin_directories(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = directory.canonicalize()?;
    Ok(directory.ancestors().map(|directory| directory.join("node_modules/.bin")).collect())
}

/// Whether the first line of a script names Node.js.
fn names_node(file: &Path) -> bool {
    let mut line = Vec::new();
    let read =
        fs::File::open(file).and_then(|file| BufReader::new(file.take(256)).read_until(b'\n', &mut line));
    let line = String::from_utf8_lossy(&line);
    read.is_ok() && line.starts_with("#!") && line.contains("node")
}

fn manager(program: &OsStr) -> Option<&str> {
    program.to_str().filter(|name| MANAGERS.contains(name))
}

/// The script in the arguments of a manager (`start`, `run serve`), and the arguments of the script.
fn script_of(args: &[OsString]) -> Option<(&str, &[OsString])> {
    let (first, rest) = args.split_first()?;
    let (script, rest) = match first.to_str()? {
        "run" | "run-script" => rest.split_first()?,
        _ => (first, rest),
    };
    Some((script.to_str()?, rest))
}

/// The name of a file without the extension.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(line: &[&str], directory: &Path) -> anyhow::Result<Program> {
        let line: Vec<OsString> = line.iter().map(Into::into).collect();
        Program::of(&line, Path::new("node"), directory)
    }

    #[test]
    fn script_is_run_by_node() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("app.mjs"), "").expect("a file");
        let found = program(&["app.mjs", "--port", "1"], directory.path()).expect("the script exists");
        assert_eq!((found.exec, found.name.as_str(), found.is_node), ("node".into(), "app", true));
        assert_eq!(found.args, ["app.mjs", "--port", "1"]);
        let error = program(&["ap.mjs"], directory.path()).expect_err("no such file").to_string();
        assert!(error.contains("ap.mjs"), "{error}");
    }

    #[test]
    fn shell_runs_package_script() {
        let directory = tempfile::tempdir().expect("a directory");
        let package = r#"{"name": "@shop/web", "scripts": {"start": "PORT=1 node app.js"}}"#;
        fs::write(directory.path().join("package.json"), package).expect("a file");
        for line in [["npm", "start", "--", "-v"].as_slice(), &["npm", "run", "start", "-v"]] {
            let found = program(line, directory.path()).expect("the script exists");
            assert_eq!((found.exec, found.name.as_str()), ("sh".into(), "@shop-web"));
            assert_eq!(found.args, ["-c", "PORT=1 node app.js \"$@\"", "sh", "-v"]);
        }
        let error = program(&["npm", "run", "serve"], directory.path()).expect_err("no script").to_string();
        assert!(error.contains("no script `serve`"), "{error}");
    }

    #[test]
    fn executable_is_started_itself() {
        let found = program(&["./server", "--flag"], Path::new("/")).expect("any executable");
        assert_eq!((found.exec, found.name.as_str(), found.is_node), ("./server".into(), "server", false));
        let found = program(&["node", "--inspect", "web/app.js"], Path::new("/")).expect("any executable");
        assert_eq!((found.name.as_str(), found.is_node), ("app", true));
    }
}
