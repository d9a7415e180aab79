//! Node.js programs behind a wrapper: scripts of `package.json`, shells, scripts with `#!`, installed binaries.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::support::{SERVER, Service, get, text};

/// A server that answers with the variables of `npm start`.
const REPORTER: &str = "
const names = ['npm_lifecycle_event', 'npm_package_name', 'npm_package_version', 'INIT_CWD', 'PORT'];
const values = names.map((name) => process.env[name] ?? '-');
const answer = [...values, ...process.argv.slice(2)].join(' ');
const server = require('http').createServer((_, res) => res.end(answer));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        if content.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }
    directory
}

/// Starts and reloads a program: the preload must be in the process of the server. Returns an answer.
fn answer(directory: TempDir, arguments: &[&str]) -> String {
    let own = ["-n", "1", "--drain", "1h", "--lame-duck", "1ms"];
    let service = Service::start(directory, &[&own, arguments].concat());
    let port = service.ready_port();
    let mut unused = super::node_clients::Client::connect(port);
    text(&service.command("reload", &[]));
    assert_eq!(unused.rest(), "");
    get(port)
}

#[test]
fn package_scripts_run_as_npm() {
    let package = r#"{"name": "shop", "version": "1.2.3", "scripts": {
        "prestart": "echo built >> built; test $npm_lifecycle_event = start", "start": "PORT=1 report", "serve": "node app.js"
    }}"#;
    let binary = format!("#!/usr/bin/env node\n{REPORTER}");
    let files = [("package.json", package), ("node_modules/.bin/report", &binary), ("app.js", REPORTER)];
    let root = directory(&files);
    let path = root.path().canonicalize().expect("a path").display().to_string();
    assert_eq!(answer(root, &["npm", "start", "--", "-v"]), format!("start shop 1.2.3 {path} 1 -v"));
    let root = directory(&files);
    let path = root.path().canonicalize().expect("a path").display().to_string();
    assert_eq!(answer(root, &["yarn", "serve", "a b"]), format!("serve shop 1.2.3 {path} - a b"));
}

/// The script before the program runs once, not once per worker; a failure starts nothing.
#[test]
fn script_before_runs_once() {
    let package =
        |before: &str| format!(r#"{{"scripts": {{"prestart": "{before}", "start": "node app.js"}}}}"#);
    let root = directory(&[("package.json", &package("echo once >> log")), ("app.js", SERVER)]);
    let service = Service::start(root, &["-n", "2", "npm", "start"]);
    service.line("slot 1: worker 2 is ready");
    assert_eq!(fs::read_to_string(service.directory.path().join("log")).expect("a file"), "once\n");
    let root = directory(&[("package.json", &package("exit 7")), ("app.js", SERVER)]);
    let mut service = Service::start(root, &["-n", "2", "npm", "start"]);
    service.line("the script before the program has failed: `exit 7`");
    assert_eq!(service.code(), Some(1));
}

#[test]
fn shell_and_shebang_are_served() {
    let script = format!("#!/usr/bin/env node\n{REPORTER}");
    let files = [("app.js", REPORTER), ("serve", &script)];
    assert!(answer(directory(&files), &["sh", "-c", "exec node app.js shell"]).ends_with(" shell"));
    assert!(answer(directory(&files), &["./serve", "shebang"]).ends_with(" shebang"));
}

/// `npx` runs an installed binary, and Node.js loads `tsx`.
#[test]
fn installed_binaries_are_served() {
    let script = format!("#!/usr/bin/env node\n{REPORTER}");
    let tsx = r#"{"name": "tsx", "version": "4.0.0", "exports": "./index.mjs"}"#;
    let files = [
        ("node_modules/.bin/serve", script.as_str()),
        ("node_modules/tsx/package.json", tsx),
        ("node_modules/tsx/index.mjs", "process.env.PORT = 'tsx';"),
        ("app.js", REPORTER),
    ];
    assert!(answer(directory(&files), &["npx", "serve", "binary"]).ends_with(" binary"));
    assert!(answer(directory(&files), &["npx", "tsx", "app.js"]).ends_with(" tsx"));
}

/// `--import` and its module, and a script below the working directory of the workers.
#[test]
fn options_and_directory_are_kept() {
    let module = "process.env.PORT = 'imported';";
    let files = [("web/app.mjs", "import './app.cjs';"), ("web/app.cjs", REPORTER), ("web/x.mjs", module)];
    let arguments = ["--cwd", "web", "node", "--import", "./x.mjs", "app.mjs", "-v"];
    assert!(answer(directory(&files), &arguments).ends_with(" imported -v"));
    assert!(answer(directory(&files), &["--cwd", "web", "app.cjs", "-v"]).ends_with(" - -v"));
}
