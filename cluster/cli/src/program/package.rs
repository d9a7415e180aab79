//! The programs of a `package.json`: scripts, and binaries of installed packages. A script runs as under the
//! package manager, but without a process of the manager: each worker has one process of Node.js less.
//! Commands for the manager alone, for example with workspaces, run through the manager.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Program, stem};

/// The package managers: each runs scripts of `package.json`.
const MANAGERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];

pub(super) fn is_manager(name: &str) -> bool {
    MANAGERS.contains(&name) || name == "npx"
}

/// The program of the command line of a package manager, of `npx`, or of `node --run`. `None`: another
/// program, or a command for the manager alone.
///
/// # Errors
/// The script or the binary does not exist.
pub(super) fn program(
    first: &OsStr,
    rest: &[OsString],
    node: &Path,
    directory: &Path,
) -> anyhow::Result<Option<Program>> {
    let Some(name) = first.to_str() else { return Ok(None) };
    Ok(match (name, rest) {
        ("npx", [binary, rest @ ..]) if !is_option(binary) => Some(of_binary(binary, rest, node, directory)?),
        ("tsx", _) => Some(of_binary(first, rest, node, directory)?),
        (_, [option, script, rest @ ..])
            if option == "--run" && Path::new(first).file_name() == node.file_name() =>
        {
            let program = of_script("node --run", &script.to_string_lossy(), rest, directory)?;
            Some(Program { before: None, ..program })
        }
        _ if MANAGERS.contains(&name) => match script_of(name, rest) {
            Some((script, rest)) => Some(of_script(name, script, rest, directory)?),
            None => None,
        },
        _ => None,
    })
}

/// The name of the script in the arguments of a manager (`start`, `run serve`), and the arguments of the
/// script. `None`: the arguments have options for the manager.
fn script_of<'a>(manager: &str, args: &'a [OsString]) -> Option<(&'a str, &'a [OsString])> {
    let (first, rest) = args.split_first()?;
    let (script, rest) = match first.to_str()? {
        "run" | "run-script" => rest.split_first()?,
        "exec" | "dlx" | "x" | "workspace" | "workspaces" => return None,
        _ => (first, rest),
    };
    // `npm` takes every option before `--`.
    let mut own = rest.iter().take_while(|argument| *argument != "--");
    let has_options = is_option(script) || (manager == "npm" && own.any(|argument| is_option(argument)));
    (!has_options).then_some((script.to_str()?, rest))
}

fn is_option(argument: &OsStr) -> bool {
    argument.to_string_lossy().starts_with('-')
}

/// The program of a directory: the main program, as with `node DIR`. In the working directory, the script
/// `start` if there is no main program.
///
/// # Errors
/// The directory has neither a main program nor a script `start`.
pub(super) fn of_directory(
    path: &Path,
    rest: &[OsString],
    node: &Path,
    directory: &Path,
) -> anyhow::Result<Program> {
    let found = directory.join(path).canonicalize()?;
    let text = fs::read(found.join("package.json")).unwrap_or_default();
    let package: Value = serde_json::from_slice(&text).unwrap_or_default();
    let main = package["main"].as_str().unwrap_or("index");
    let files = [main.to_owned(), format!("{main}.js"), format!("{main}/index.js"), "index.js".to_owned()];
    if files.iter().any(|file| found.join(file).is_file()) {
        let name = name_of(&package).unwrap_or_else(|| stem(&found));
        let args = [path.into()].into_iter().chain(rest.iter().cloned()).collect();
        return Ok(Program::new(node, args, name).with_node(true));
    }
    let has_start = package["scripts"]["start"].is_string();
    if has_start && found == directory.canonicalize()? {
        return of_script("npm", "start", rest, directory);
    }
    let path = path.display();
    if has_start {
        bail!(
            "{path} is a directory without a main program; `cluster run --cwd {path} npm start` runs its script `start`"
        );
    }
    bail!("{path} is a directory without a main program: write the script, such as `cluster run server.js`")
}

/// The name of a package as the name of a file: `@shop/web` becomes `@shop-web`.
fn name_of(package: &Value) -> Option<String> {
    package["name"].as_str().filter(|name| !name.is_empty()).map(|name| name.replace('/', "-"))
}

/// A script of `package.json`, run by the shell.
fn of_script(manager: &str, script: &str, rest: &[OsString], directory: &Path) -> anyhow::Result<Program> {
    let file = directory.join("package.json");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("`{manager} {script}` needs {}", file.display()))?;
    let package: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let default = (script == "start" && directory.join("server.js").exists()).then_some("node server.js");
    let command = package["scripts"][script].as_str().or(default);
    let command = command.with_context(|| format!("{} has no script `{script}`", file.display()))?;
    let name = name_of(&package).unwrap_or_else(|| script.replace('/', "-"));
    let line = format!("{command} \"$@\"");
    // The first `--` ends the options of the manager, and is no argument of the script.
    let end = rest.iter().position(|argument| argument == "--");
    let further = rest.iter().enumerate().filter(|(index, _)| Some(*index) != end);
    let further = further.map(|(_, argument)| argument.clone());
    let args = ["-c".into(), line.into(), "sh".into()].into_iter().chain(further).collect();
    let before = package["scripts"][format!("pre{script}")].as_str().map(str::to_owned);
    let variables = variables(&package, script, command, &file)?;
    let program = Program::new("sh", args, name).with_node(true);
    Ok(Program { path: bin_directories(directory)?, variables, before, ..program })
}

/// The variables of a script under `npm`.
fn variables(
    package: &Value,
    script: &str,
    command: &str,
    file: &Path,
) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let text_of = |field: &str| package[field].as_str().unwrap_or_default().into();
    let file = file.canonicalize()?;
    let directory = file.parent().unwrap_or(&file).to_owned();
    let own: [(&str, OsString); 6] = [
        ("npm_lifecycle_event", script.into()),
        ("npm_lifecycle_script", command.into()),
        ("npm_package_name", text_of("name")),
        ("npm_package_version", text_of("version")),
        ("npm_package_json", file.into()),
        ("INIT_CWD", directory.into()),
    ];
    let config = package["config"].as_object().into_iter().flatten().map(|(key, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (format!("npm_package_config_{key}").into(), text.into())
    });
    Ok(own.map(|(name, value)| (name.into(), value)).into_iter().chain(config).collect())
}

/// A binary of an installed package. `tsx` is loaded into the Node.js of the worker instead, because the
/// binary starts another process.
fn of_binary(binary: &OsStr, rest: &[OsString], node: &Path, directory: &Path) -> anyhow::Result<Program> {
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

/// The directories with the binaries of installed packages, from the nearest directory up to the root.
fn bin_directories(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = directory.canonicalize()?;
    Ok(directory.ancestors().map(|directory| directory.join("node_modules/.bin")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(line: &[&str], directory: &Path) -> anyhow::Result<Option<Program>> {
        let line: Vec<OsString> = line.iter().map(Into::into).collect();
        program(&line[0], &line[1..], Path::new("node"), directory)
    }

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let package =
            r#"{"name": "@shop/web", "config": {"port": 1}, "scripts": {"serve": "PORT=1 node app.js"}}"#;
        fs::write(directory.path().join("package.json"), package).expect("a file");
        directory
    }

    #[test]
    fn shell_runs_package_script() {
        let directory = directory();
        for line in [
            &["npm", "run", "serve", "--", "-v", "--"][..],
            &["pnpm", "serve", "-v", "--", "--"],
            &["node", "--run", "serve", "--", "-v", "--"],
        ] {
            let found = package(line, directory.path()).expect("the script exists").expect("a script");
            assert_eq!((found.exec, found.name.as_str()), ("sh".into(), "@shop-web"));
            assert_eq!(found.args, ["-c", "PORT=1 node app.js \"$@\"", "sh", "-v", "--"]);
            assert!(found.variables.contains(&("npm_package_config_port".into(), "1".into())));
        }
        let error = package(&["npm", "run", "start"], directory.path()).expect_err("no script").to_string();
        assert!(error.contains("no script `start`"), "{error}");
        fs::write(directory.path().join("server.js"), "").expect("a file");
        let found = package(&["npm", "start"], directory.path()).expect("a default").expect("a script");
        assert_eq!(found.args[1], "node server.js \"$@\"");
    }

    #[test]
    fn manager_reads_its_options() {
        let directory = directory();
        for line in [
            &["npm", "run", "serve", "-w", "web"][..],
            &["npm", "-w", "web", "run", "serve"],
            &["pnpm", "--filter", "web", "serve"],
            &["yarn", "workspace", "web", "serve"],
            &["npx", "--yes", "serve"],
        ] {
            assert_eq!(package(line, directory.path()).expect("a form for the manager"), None);
        }
    }
}
