//! Node.js programs behind a wrapper: scripts of `package.json`, shells, scripts with `#!`, and installed
//! binaries.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::node_clients::{Client, nodes, with_node};
use super::support::{SERVER, Service, exists, get, text};

/// A server: answers with the variables of `npm start`.
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

/// Starts and reloads a program, and returns an answer. The reload completes only if the preload is in the
/// process of the server.
fn answer(node: &str, directory: TempDir, arguments: &[&str]) -> String {
    let own = ["-n", "1", "--drain", "1h", "--lame-duck", "1ms"];
    let run = with_node(node, directory.path(), &[&own, arguments].concat());
    let service = Service::of_command(directory, run);
    let port = service.ready_port();
    let mut unused = Client::connect(port);
    text(&service.command("reload", &[]));
    assert_eq!(unused.rest(), "", "{node}");
    get(port)
}

#[test]
fn package_scripts_run_as_npm() {
    let package = r#"{"name": "shop", "version": "1.2.3", "scripts": {
        "prestart": "echo built >> built; test $npm_lifecycle_event = start", "start": "PORT=1 report", "serve": "node app.js"
    }}"#;
    let binary = format!("#!/usr/bin/env node\n{REPORTER}");
    let files = [("package.json", package), ("node_modules/.bin/report", &binary), ("app.js", REPORTER)];
    for node in nodes() {
        let root = directory(&files);
        let path = root.path().canonicalize().expect("a path").display().to_string();
        let expected = format!("start shop 1.2.3 {path} 1 -v");
        assert_eq!(answer(&node, root, &["npm", "start", "--", "-v"]), expected, "{node}");
        let root = directory(&files);
        let path = root.path().canonicalize().expect("a path").display().to_string();
        let expected = format!("serve shop 1.2.3 {path} - a b");
        assert_eq!(answer(&node, root, &["yarn", "serve", "a b"]), expected, "{node}");
    }
}

/// The script before the program runs once, not once per worker. If the script fails, nothing starts.
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

/// Runs programs with arguments, each with the expected end of the answer.
fn answers_end(files: &[(&str, &str)], cases: &[(&[&str], &str)]) {
    for node in nodes() {
        for (arguments, end) in cases {
            let found = answer(&node, directory(files), arguments);
            assert!(found.ends_with(end), "{node}: {arguments:?}: {found}");
        }
    }
}

/// A step before the program may also be a process of Node.js: the step has the channel until the step exits.
#[test]
fn shell_and_shebang_are_served() {
    let script = format!("#!/usr/bin/env node\n{REPORTER}");
    let files = [("app.js", REPORTER), ("serve", &script)];
    answers_end(
        &files,
        &[
            (&["sh", "-c", "exec node app.js shell"], " shell"),
            (&["sh", "-c", "node -e 1 && node app.js second"], " second"),
            (&["./serve", "shebang"], " shebang"),
        ],
    );
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
    let cases: [(&[&str], _); 2] =
        [(&["npx", "serve", "binary"], " binary"), (&["npx", "tsx", "app.js"], " tsx")];
    answers_end(&files, &cases);
}

/// A wrapper starts the program as a child by any of Node's functions, and may have a server, or a channel to
/// the child.
#[test]
fn wrappers_pass_the_channel_on() {
    let wrapper = "
        const { fork, spawn, spawnSync } = require('child_process');
        const [, , way, ...rest] = process.argv;
        const end = (code) => process.exit(code);
        const inherit = { stdio: 'inherit' };
        const ways = {
          spawn: () => spawn(process.execPath, rest, inherit).on('exit', end),
          channel: () => spawn(process.execPath, rest, { stdio: [0, 1, 2, 'ipc'] }).on('exit', end),
          fork: () => fork(rest[0], rest.slice(1)).on('exit', end),
          sync: () => end(spawnSync(process.execPath, rest, inherit).status),
          server: () => require('net').createServer().listen(`${process.pid}.sock`, ways.spawn),
          nested: () => spawn(process.execPath, [__filename, 'channel', ...rest], inherit).on('exit', end),
        };
        ways[way]();
    ";
    let file = "node_modules/cross-env/bin.js";
    let files = [(file, wrapper), ("app.js", REPORTER)];
    for way in ["spawn", "channel", "fork", "sync", "server", "nested"] {
        answers_end(&files, &[(&["node", file, way, "app.js", "wrapped"], " wrapped")]);
    }
    let others = [
        ".yarn/releases/yarn-4.17.0.cjs",
        "node_modules/@babel/node/bin/babel-node.js",
        "node_modules/@nestjs/cli/bin/nest.js",
        "node_modules/c8/bin/c8.js",
        "node_modules/run-script-os/index.js",
        "node_modules/ts-node/dist/bin-esm.js",
    ];
    for file in others {
        let files = [(file, wrapper), ("app.js", REPORTER)];
        answers_end(&files, &[(&["node", file, "spawn", "app.js", "wrapped"], " wrapped")]);
    }
}

/// A command for the package manager alone runs through the manager.
#[test]
fn workspace_is_served_by_npm() {
    if !exists("npm") {
        return;
    }
    let root = r#"{"name": "root", "version": "1.0.0", "workspaces": ["web"]}"#;
    let web = r#"{"name": "web", "version": "1.0.0", "scripts": {"start": "node app.js"}}"#;
    let files = [("package.json", root), ("web/package.json", web), ("web/app.js", REPORTER)];
    let found = answer("node", directory(&files), &["npm", "run", "start", "-w", "web"]);
    assert!(found.starts_with("start web 1.0.0 "), "{found}");
}

/// The option `--import` with a module, and a script below the working directory of the workers.
#[test]
fn options_and_directory_are_kept() {
    let module = "process.env.PORT = 'imported';";
    let files = [("web/app.mjs", "import './app.cjs';"), ("web/app.cjs", REPORTER), ("web/x.mjs", module)];
    let cases: [(&[&str], _); 3] = [
        (&["--cwd", "web", "node", "--import", "./x.mjs", "app.mjs", "-v"], " imported -v"),
        (&["--cwd", "web", "node", "-r", "./app.cjs", "x.mjs"], " -"),
        (&["--cwd", "web", "app.cjs", "-v"], " - -v"),
    ];
    answers_end(&files, &cases);
}
