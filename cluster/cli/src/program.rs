//! The program of a service: the command that starts each worker. `package` finds the programs that
//! `package.json` names.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, bail, ensure};

mod package;

/// The command that starts each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) exec: OsString,
    pub(crate) args: Vec<OsString>,
    /// Whether Node.js runs in the worker, as far as the command line shows.
    pub(crate) is_node: bool,
    /// The name of the service, unless a name is set.
    pub(crate) name: String,
    /// Directories that precede those of `PATH`, as under `npm start`.
    pub(crate) path: Vec<PathBuf>,
    /// Variables of the workers, as under `npm start`.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// A line of the shell that runs once, before the first worker: the script `prestart` before the script
    /// `start`.
    pub(crate) before: Option<String>,
}

/// The extensions of Node.js scripts.
const NODE_EXTENSIONS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

/// Options of Node.js with a value in the next argument.
const OPTIONS_WITH_VALUE: [&str; 14] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--input-type",
    "--title",
    "--stack-trace-limit",
    "--inspect-port",
    "--disable-warning",
];

/// Options of Node.js with a program in the next argument, and the program on standard input.
const INLINE: [&str; 6] = ["-e", "--eval", "-p", "--print", "-pe", "-"];

/// The directories of the system's search without the variable `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Shells, in which Node.js may run.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "env"];

impl Program {
    /// The program of a command line, relative to the working directory of the workers. The command line does
    /// not begin with an option.
    ///
    /// # Errors
    /// The command line is empty, or its script does not exist, or `package.json` has no such script.
    pub(crate) fn of(line: &[OsString], node: &Path, directory: &Path) -> anyhow::Result<Program> {
        let Some((first, rest)) = line.split_first().filter(|(first, _)| !first.is_empty()) else {
            bail!("there is no program; write `cluster run server.js`, or set `program` in cluster.toml")
        };
        let path = Path::new(first);
        refuse_line(first, directory)?;
        if directory.join(path).is_dir() {
            return package::of_directory(path, rest, node, directory);
        }
        if path.extension().and_then(OsStr::to_str).is_some_and(|found| NODE_EXTENSIONS.contains(&found)) {
            let script = directory.join(path);
            fs::metadata(&script).with_context(|| format!("there is no script {}", script.display()))?;
            return Ok(Program::new(node, line.to_vec(), stem(path)).with_node(true));
        }
        refuse_watcher(path, rest)?;
        if let Some(program) = package::program(first, rest, node, directory)? {
            return Ok(program);
        }
        let runs_node = path.file_name() == node.file_name();
        let script = if runs_node { node_script(rest).1 } else { None };
        let name = stem(script.unwrap_or(path));
        let is_known = first.to_str().is_some_and(|name| SHELLS.contains(&name) || package::is_manager(name));
        let is_node = runs_node || is_known || names_node(&file_of(path, directory));
        Ok(Program::new(first, rest.to_vec(), name).with_node(is_node))
    }

    fn new(exec: impl Into<OsString>, args: Vec<OsString>, name: String) -> Program {
        let (path, variables) = (Vec::new(), Vec::new());
        Program { exec: exec.into(), args, is_node: false, name, path, variables, before: None }
    }

    fn with_node(self, is_node: bool) -> Program {
        Program { is_node, ..self }
    }

    /// Checks the existence of the executable: a path, or a name in the program's directories or in `path`,
    /// by default the variable `PATH`.
    ///
    /// # Errors
    /// The executable does not exist. Without the check, the failed start would look like a crash of the
    /// program.
    pub(crate) fn check(&self, directory: &Path, path: Option<&OsStr>) -> anyhow::Result<()> {
        let exec = Path::new(&self.exec);
        if exec.components().count() > 1 {
            let file = directory.join(exec);
            return file
                .metadata()
                .map(drop)
                .with_context(|| format!("there is no program {}", file.display()));
        }
        let search = path.map(OsStr::to_owned).or_else(|| env::var_os("PATH"));
        let search = search.unwrap_or_else(|| DEFAULT_PATH.into());
        let mut directories = self.path.iter().cloned().chain(env::split_paths(&search));
        ensure!(
            directories.any(|folder| directory.join(folder).join(exec).is_file()),
            "there is no program `{}` in PATH",
            exec.display()
        );
        Ok(())
    }

    /// Runs the line `before`, and waits until the line has ended.
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

    /// The program's directories, followed by the directories of `PATH`.
    pub(crate) fn path_before(&self, rest: &OsStr) -> anyhow::Result<OsString> {
        let own = self.path.iter().cloned();
        env::join_paths(own.chain(env::split_paths(rest)))
            .context("cannot set PATH: a directory has a colon in its name; rename the directory")
    }
}

/// Refuses a program with arguments in the same text, for example `program = "npm start"`.
fn refuse_line(program: &OsStr, directory: &Path) -> anyhow::Result<()> {
    let text = program.to_string_lossy();
    let mut words = text.split_whitespace();
    if let (Some(first), Some(second)) = (words.next(), words.next())
        && !directory.join(program).exists()
    {
        let args: Vec<_> = [second].into_iter().chain(words).collect();
        bail!(
            "there is no program `{text}`: write each argument apart, as `cluster run {first} {}`; in cluster.toml: \
             program = {first:?}, args = {args:?}",
            args.join(" ")
        );
    }
    Ok(())
}

/// The file of an executable: a path, or a name in `PATH`.
fn file_of(program: &Path, directory: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return directory.join(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file()).unwrap_or_else(|| directory.join(program))
}

/// Refuses a program that restarts Node.js, for example `nodemon`: the restarted process would be no worker
/// of the service.
fn refuse_watcher(program: &Path, args: &[OsString]) -> anyhow::Result<()> {
    let words = std::iter::once(program.as_os_str()).chain(args.iter().map(OsString::as_os_str));
    let mut words = words.map(|word| stem(Path::new(word))).skip_while(|word| word == "npx");
    let (name, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_watcher = ["nodemon", "node-dev", "ts-node-dev", "tsnd"].contains(&name.as_str())
        || (name == "node" && (first.starts_with("--watch") || watches(args)))
        || (name == "tsx" && first == "watch");
    ensure!(
        !is_watcher,
        "`{name}` restarts the program itself; write `cluster run --watch DIR` before the program alone"
    );
    Ok(())
}

/// Whether an option of Node.js before the script restarts the script after a change of a file.
fn watches(args: &[OsString]) -> bool {
    node_script(args).0.iter().any(|option| option.as_encoded_bytes().starts_with(b"--watch"))
}

/// Splits the arguments of Node.js: the options, and the script. A program in an argument (`--eval`) or on
/// standard input has no script.
fn node_script(args: &[OsString]) -> (&[OsString], Option<&Path>) {
    let mut at = 0;
    while let Some(text) = args.get(at).map(|argument| argument.to_string_lossy()) {
        if INLINE.contains(&&*text) {
            return (&args[..at], None);
        }
        if !text.starts_with('-') {
            return (&args[..at], Some(Path::new(&args[at])));
        }
        at += if OPTIONS_WITH_VALUE.contains(&&*text) { 2 } else { 1 };
    }
    (args, None)
}

/// Whether the first line of a script begins with `#!` and names Node.js.
fn names_node(file: &Path) -> bool {
    let mut line = Vec::new();
    let read =
        fs::File::open(file).and_then(|file| BufReader::new(file.take(256)).read_until(b'\n', &mut line));
    let line = String::from_utf8_lossy(&line);
    read.is_ok() && line.starts_with("#!") && line.contains("node")
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
    fn executable_is_started_itself() {
        let found = program(&["./server", "--flag"], Path::new("/")).expect("any executable");
        assert_eq!((found.exec, found.name.as_str(), found.is_node), ("./server".into(), "server", false));
        let found = program(&["node", "--inspect", "web/app.js"], Path::new("/")).expect("any executable");
        assert_eq!((found.name.as_str(), found.is_node), ("app", true));
    }

    #[test]
    fn name_is_of_the_script() {
        for (line, name) in [
            (&["node", "-r", "./pre.js", "--import", "tsx", "web/app.ts", "-e", "x"][..], "app"),
            (&["node", "--require=./pre.js", "--", "app.js", "--watch"], "app"),
            (&["node", "--no-warnings", "-e", "listen('/')\nwait()"], "node"),
            (&["node", "-p", "1", "app.js"], "node"),
            (&["node", "-", "app.js"], "node"),
            (&["node", "--env-file"], "node"),
        ] {
            let found = program(line, Path::new("/")).expect("no file is read");
            assert_eq!((found.name.as_str(), found.is_node), (name, true), "{line:?}");
        }
    }

    #[test]
    fn missing_program_is_an_error() {
        let check = |exec: &str, path: Option<&str>| {
            let program = Program::new(exec, Vec::new(), String::new());
            program.check(Path::new("/"), path.map(OsStr::new)).map_err(|error| error.to_string())
        };
        assert_eq!(check("no-such", None), Err("there is no program `no-such` in PATH".into()));
        assert_eq!(check("./no-such", None), Err("there is no program /./no-such".into()));
        assert_eq!(check("sh", Some("/none")), Err("there is no program `sh` in PATH".into()));
        assert_eq!(check("sh", None), Ok(()));
    }

    #[test]
    fn watcher_is_refused() {
        for line in [
            &["nodemon", "app.js"][..],
            &["node", "--watch", "app.js"],
            &["node", "-r", "./pre.js", "--watch-path=src", "app.js"],
            &["npx", "tsx", "watch", "a.ts"],
            &["npx", "nodemon", "a.js"],
        ] {
            let error = program(line, Path::new("/")).expect_err("restarts itself").to_string();
            assert!(error.contains("cluster run --watch"), "{error}");
        }
    }
}
