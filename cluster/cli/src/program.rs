//! The program of a service, started for each worker.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

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
}

/// Extensions of Node.js scripts.
const NODE_EXTENSIONS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

/// The package managers: each runs the scripts of `package.json`.
const MANAGERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

impl Program {
    /// The program of a command line, in the directory of the workers.
    ///
    /// # Errors
    /// The line is empty, the script does not exist, or `package.json` has no such script.
    pub(crate) fn of(line: &[OsString], node: &Path, directory: &Path) -> anyhow::Result<Program> {
        let Some((first, rest)) = line.split_first() else {
            bail!("there is no program; write `cluster run server.js`, or set `program` in cluster.toml")
        };
        let path = Path::new(first);
        if path.extension().and_then(OsStr::to_str).is_some_and(|found| NODE_EXTENSIONS.contains(&found)) {
            let script = directory.join(path);
            fs::metadata(&script).with_context(|| format!("there is no script {}", script.display()))?;
            return Ok(Program {
                exec: node.into(),
                args: line.to_vec(),
                is_node: true,
                name: stem(path),
                path: Vec::new(),
            });
        }
        if let (Some(manager), Some((script, rest))) = (manager(first), script_of(rest)) {
            return Program::of_package(manager, script, rest, directory);
        }
        let is_node = path.file_name() == node.file_name();
        let script = rest.iter().map(Path::new).find(|argument| !argument.to_string_lossy().starts_with('-'));
        let name = if is_node { script.map_or_else(|| stem(path), stem) } else { stem(path) };
        Ok(Program { exec: first.clone(), args: rest.to_vec(), is_node, name, path: Vec::new() })
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
        let name = package["name"].as_str().unwrap_or(script).replace('/', "-");
        let further = rest.iter().filter(|argument| *argument != "--").cloned();
        let line = format!("{command} \"$@\"");
        let args = ["-c".into(), line.into(), "sh".into()].into_iter().chain(further).collect();
        let bin = directory.join("node_modules/.bin");
        Ok(Program { exec: "sh".into(), args, is_node: true, name, path: vec![bin] })
    }
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
