//! Impossible programs, files and sockets, idle clients, stuck readers, and the death of the command. Each
//! has an error text for people, and harms nothing else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::{Running, SERVER, Service, command, error, get, is_present, text, until};

/// Runs `cluster run` with an impossible script, and returns the error.
fn failure(script: &str, options: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), script).expect("a file");
    let run = command(directory.path(), "run").args(options).args(["-n", "1", "app.js"]).output();
    let run = run.expect("a command");
    String::from_utf8_lossy(&run.stdout).into_owned() + &error(&run)
}

#[test]
fn missing_program_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |program: &str| {
        error(&command(directory.path(), "run").args(["-n", "2", program]).output().expect("a command"))
    };
    for (program, expected) in [
        ("./none", "there is no program /"),
        ("none-at-all", "`none-at-all` in PATH"),
        ("none.js", "there is no script /"),
    ] {
        let text = run(program);
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let node = command(directory.path(), "run").args(["--node", "/none/node", "app.js"]).output();
    let text = error(&node.expect("a command"));
    assert!(
        text.starts_with("cluster: there is no program /none/node") && text.lines().count() == 1,
        "{text}"
    );
    let nothing = error(&command(directory.path(), "run").output().expect("a command"));
    assert!(nothing.contains("there is no program"), "{nothing}");
}

/// The kernel reports a missing interpreter as a missing script.
#[test]
fn missing_interpreter_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("run");
    fs::write(&script, "#!/no/interpreter\n").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our file");
    for options in [&[][..], &["--listen", "127.0.0.1:0"]] {
        let run = command(directory.path(), "run").args(options).arg("./run").output().expect("a command");
        let text = error(&run);
        assert!(text.contains("run names the interpreter `/no/interpreter`, which does not exist"), "{text}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn removed_directory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = command(directory.path(), "run").get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", "mkdir it && cd it && rmdir ../it && exec \"$0\" run app.js"]).arg(program);
    let text = error(&shell.current_dir(directory.path()).output().expect("a shell"));
    assert!(text.contains("the working directory was removed; start the service in another"), "{text}");
}

#[test]
fn failing_program_ends_the_service() {
    let text = failure("process.exit(3)", &[]);
    assert!(text.contains("exited before it was ready: exit status: 3"), "{text}");
    let text = failure("setInterval(() => {}, 1000)", &["--ready-timeout", "200ms", "--term", "100ms"]);
    assert!(text.contains("was not ready after 200ms"), "{text}");
}

#[test]
fn taken_port_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let script = format!("require('http').createServer().listen({port}, '127.0.0.1')");
    let text = failure(&script, &[]);
    assert!(text.contains("EADDRINUSE") && text.contains(&port.to_string()), "{text}");
}

#[test]
fn wrong_settings_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cluster.toml");
    let run = |settings: &str| {
        fs::write(&file, settings).expect("a file");
        error(&command(directory.path(), "run").output().expect("a command"))
    };
    assert!(run("wokers = 2").contains("did you mean `workers`?"));
    assert!(run("workers = 'many'").contains("expected a number, or `auto`"));
    assert!(run("workers =").contains("cluster.toml is not valid"));
    assert!(run("program = 'app.js'\ndrain = '10'").contains("a time is written as"));
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    assert!(run("program = 'app.js'\nworkers = 0").contains("`workers` is 0"));
    assert!(run("program = 'app.js'\nmax-rss = '0B'").contains("`max-rss` is 0"));
    assert!(run("program = 'app.js'\nmax-connections = 0").contains("`max-connections` is 0"));
    assert!(run("program = 'app.js'\nready-timeout = '0s'").contains("`ready-timeout` needs a time above 0"));
    assert!(run("program = ''").contains("there is no program"));
    let hint = run("program = 'npm start'");
    assert!(hint.contains("program = \"npm\", args = [\"start\"]"), "{hint}");
    let check = command(directory.path(), "check").args(["-n", "0", "app.js"]).output().expect("a command");
    assert!(error(&check).contains("`workers` is 0"));
    let run_one = |program: &str| {
        let output = command(directory.path(), "run").args(["--dry-run", program]).output();
        output.expect("a command")
    };
    assert!(error(&run_one(".")).contains("is a directory without a main program"));
    fs::write(directory.path().join("package.json"), r#"{"name": "shop", "main": "app"}"#).expect("a file");
    assert!(text(&run_one(".")).contains("# shop: node ."));
    fs::remove_file(directory.path().join("package.json")).expect("a file");
    assert!(run("program = 'app.js'\nsurge = 0").contains("`surge` and `max-unavailable`"));
    let dry_run = |settings: &str| {
        fs::write(&file, settings).expect("a file");
        command(directory.path(), "run").arg("--dry-run").output().expect("a command")
    };
    assert!(error(&dry_run("program = 'app.js'\nworkers = 0")).contains("`workers` is 0"));
    assert!(error(&dry_run("program = 'app.js'\nready = 'soon'")).contains("`ready` is `soon`"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    text(&dry_run(&format!("program = 'app.js'\nlisten = ['{address}']")));
}

/// A service replaces the socket of a killed service of the same name. Other commands ignore the socket.
#[test]
fn stale_control_socket_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("cluster")).expect("a directory");
    for name in ["app", "other"] {
        drop(UnixListener::bind(directory.path().join(format!("cluster/{name}.sock"))).expect("a socket"));
    }
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let service = Service::start(directory, &["-n", "1", "app.js"]);
    service.line("slot 0: worker 1 is ready");
    text(&service.command("stop", &[]));
}

/// The next service removes the `sd_notify` directory of a killed service, and keeps the directory of a
/// running process.
#[test]
fn abandoned_notify_directory_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let sockets = directory.path().join("cluster");
    let living = format!("notify-{}-a", std::process::id());
    // The kernel assigns only smaller process ids, so no process has the id.
    let [old, living] = ["notify-4194305-a", &living].map(|name| sockets.join(name));
    for path in [&old, &living] {
        fs::create_dir_all(path).expect("a directory");
        drop(UnixDatagram::bind(path.join("1")).expect("a socket"));
    }
    let _service = Service::start(directory, &["-n", "1", "--ready", "notify", "sleep", "1000"]);
    until("the end of the directory", || !old.exists());
    assert!(living.exists());
}

#[test]
fn other_file_is_no_control_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("precious");
    fs::write(&file, "data").expect("a file");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let run = command(directory.path(), "run").args(["--control", "precious", "app.js"]).output();
    let text = error(&run.expect("a command"));
    assert!(text.contains("precious is no socket"), "{text}");
    assert_eq!(fs::read_to_string(file).expect("the file is kept"), "data");
}

/// A file in the place of the directory of the sockets is named by every command.
#[test]
fn file_in_the_way_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cluster");
    fs::write(&file, "").expect("a file");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    for line in [&["run", "app.js"][..], &["status"], &["stop", "--name", "app"]] {
        let text = error(&command(directory.path(), line[0]).args(&line[1..]).output().expect("a command"));
        assert!(text.contains(&format!("{} is a file, in the way", file.display())), "{line:?}: {text}");
    }
}

/// An option after the program, and a variable that resembles a setting, have a warning.
#[test]
fn likely_mistakes_have_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let dry_run = |line: &[&str]| {
        let mut run = command(directory.path(), "run");
        let output = run.arg("--dry-run").args(line).env("CLUSTER_DRAINS", "4s").output();
        String::from_utf8(output.expect("a command").stderr).expect("text")
    };
    let warned = dry_run(&["app.js", "-n", "2"]);
    assert!(warned.contains("WARN `-n` after the program is an argument of the program"), "{warned}");
    assert!(warned.contains("CLUSTER_DRAINS (did you mean CLUSTER_DRAIN?)"), "{warned}");
    assert!(!dry_run(&["--", "app.js", "-n", "2"]).contains("after the program"));
}

#[test]
fn nonsense_request_is_refused() {
    let service = Service::of_script(SERVER, &["-n", "1"]);
    service.line("slot 0: worker 1 is ready");
    let socket = service.directory.path().join("cluster/app.sock");
    for request in ["GET / HTTP/1.1\n", "\n", "{\"command\":\"dance\"}\n", &"x".repeat(10_000)] {
        let mut stream = UnixStream::connect(&socket).expect("a service");
        // Fails if the service refuses the request before reading to its end.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = BufReader::new(&stream).read_line(&mut answer);
        assert!(answer.contains("the request is not valid") || request.len() > 4_096, "{answer}");
    }
    text(&service.command("status", &[]));
}

/// A dry run does not print the values of variables.
#[test]
fn dry_run_hides_variables() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("an app.js"), SERVER).expect("a file");
    fs::write(directory.path().join("cluster.toml"), "program = 'an app.js'\n[env]\nTOKEN = 'secret'")
        .expect("a file");
    for json in [&[][..], &["--json"]] {
        let run = command(directory.path(), "run").arg("--dry-run").args(json).output().expect("a command");
        let shown = text(&run);
        assert!(shown.contains("TOKEN") && !shown.contains("secret"), "{shown}");
        assert!(shown.contains("# drain: 30s\n") || shown.contains("\"drain\":\"30s\""), "{shown}");
        assert!(shown.contains("node 'an app.js'") || shown.contains("[\"node\",\"an app.js\"]"), "{shown}");
    }
}

/// The log and the output of the workers have one form: time, slot and worker.
#[test]
fn json_lines_have_one_form() {
    let service = Service::of_script(SERVER, &["-n", "1", "--log-format", "json"]);
    for text in ["worker 1 is ready", "\"line\":\"port "] {
        let line: Value = serde_json::from_str(&service.line(text)).expect("JSON");
        assert!(line["time"].is_string() && line["timestamp"].is_null(), "{line}");
        assert_eq!((&line["slot"], &line["worker"]), (&Value::from(0), &Value::from(1)), "{line}");
    }
}

/// With `--json`, an error is an object.
#[test]
fn errors_have_json() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = "x".repeat(200);
    let lines: [(&[&str], &str, i32); 6] = [
        (&["status", "--json"], "no service runs", 3),
        (&["restart", "--json", "many"], "invalid value 'many'", 2),
        (&["top", "--json"], "draws on a terminal", 2),
        (&["check", "--json", "none.js"], "there is no script", 1),
        (&["init", "--json", "docker", "none.js"], "there is no script", 1),
        (&["stop", "--json", "--name", &long], "the path of the control socket has", 1),
    ];
    for (line, expected, code) in lines {
        let output = command(directory.path(), line[0]).args(&line[1..]).output().expect("a command");
        let found: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert!(found["error"].as_str().is_some_and(|text| text.contains(expected)), "{line:?}: {found}");
        assert_eq!((&found["code"], output.status.code()), (&Value::from(code), Some(code)));
    }
}

#[test]
fn unnamed_services_are_a_choice() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let running = ["app", "shop"].map(|name| {
        let mut line = command(directory.path(), "run");
        Running::start(line.args(["-n", "1", "--name", name, "app.js"]))
    });
    for service in &running {
        service.line("slot 0: worker 1 is ready");
    }
    for name in ["status", "logs", "events", "reload", "stop", "top"] {
        let text = error(&command(directory.path(), name).output().expect("a command"));
        assert!(
            text.contains("2 services run, and none is named: add `--name app` or `--name shop`"),
            "{text}"
        );
    }
    for name in ["app", "shop"] {
        text(&command(directory.path(), "stop").args(["--name", name]).output().expect("a command"));
    }
}

/// A name is a file in the directory of the sockets: a name with a separator of paths is refused.
#[test]
fn name_is_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    for name in ["../evil", "a/b", "..\n", ""] {
        let run = command(directory.path(), "run").args(["--name", name, "app.js"]).output();
        assert!(error(&run.expect("a command")).contains("is not valid"), "{name}");
        let stop = command(directory.path(), "stop").args(["--name", name]).output();
        assert!(error(&stop.expect("a command")).contains("is not valid"), "{name}");
    }
    let service = Service::start(directory, &["-n", "1", "--name", "web.v1", "app.js"]);
    service.line("slot 0: worker 1 is ready");
    assert!(error(&service.command("stop", &["--name", "web.v2"])).contains("no service runs at"));
    text(&service.command("stop", &["--name", "web.v1"]));
}

/// Another user has made the directory of the sockets first, or a link in the same place, and may run a false
/// service there. Needs root.
#[test]
fn directory_of_another_user_is_refused() {
    const OTHER: Option<u32> = Some(65_534);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (owned, linked) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::create_dir(owned.path().join("cluster")).expect("a directory");
    chown(owned.path().join("cluster"), OTHER, OTHER).expect("root");
    symlink(owned.path(), linked.path().join("cluster")).expect("a link");
    lchown(linked.path().join("cluster"), OTHER, OTHER).expect("root");
    for directory in [&owned, &linked] {
        fs::write(directory.path().join("app.js"), SERVER).expect("a file");
        for line in [["run", "app.js"].as_slice(), &["status"], &["stop", "--name", "app"]] {
            let output = command(directory.path(), line[0]).args(&line[1..]).output().expect("a command");
            assert!(error(&output).contains("belongs to another user"), "{line:?}");
        }
    }
}

/// The reader of the output stops reading. The workers continue to serve, and the output reports the number
/// of lost lines.
#[test]
fn stuck_reader_blocks_no_worker() {
    let script = format!(
        "{SERVER} process.on('SIGUSR2', () => {{ for (let n = 0; n < 100000; n++) console.log('line', n); }});"
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), script).expect("a file");
    let mut child = command(directory.path(), "run")
        .args(["-n", "1", "app.js"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a command");
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    let port: u16 = line.trim().rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let worker: i32 = get(port).parse().expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), Signal::SIGUSR2).expect("a worker");
    // The worker has written all lines, although this test reads nothing.
    Running::start(command(directory.path(), "logs").arg("--follow")).line("| line 99999");
    assert_eq!(get(port), worker.to_string());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)
        .expect("a child");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("lines of output were dropped, because the reader is slow"), "{}", rest.len());
    assert!(child.wait().expect("a child").success());
}

#[test]
fn full_disk_stops_no_worker() {
    let full = File::options().write(true).open("/dev/full");
    if !is_present("/dev/full", full.is_ok()) {
        return;
    }
    let full = full.expect("a device");
    let directory = tempfile::tempdir().expect("a directory");
    let script = "console.log('a line');
const server = require('http').createServer((_, res) => res.end('here'));
server.listen(0, '127.0.0.1', () => require('fs').writeFileSync('port', `${server.address().port}`));";
    fs::write(directory.path().join("app.js"), script).expect("a file");
    let child = command(directory.path(), "run")
        .args(["-n", "1", "app.js"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("a command");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut seen = String::new();
    while !(seen.contains("is ready") && seen.contains("the output cannot be written")) {
        assert_ne!(log.read_line(&mut seen).expect("text"), 0, "{seen}");
    }
    let mut port = None;
    until("the port", || {
        port = fs::read_to_string(directory.path().join("port")).ok().and_then(|port| port.parse().ok());
        port.is_some()
    });
    assert_eq!(get(port.expect("a port")), "here");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)
        .expect("a child");
    assert!(child.wait().expect("a child").success());
}

#[test]
fn killed_command_leaves_nothing() {
    let mut service = Service::of_script(SERVER, &["-n", "1"]);
    let port = service.port();
    service.line("slot 0: worker 1 is ready");
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    connection.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("a connection");
    assert!(connection.read(&mut [0; 4_096]).expect("an answer") > 0);
    service.signal(Signal::SIGKILL);
    assert_eq!(service.code(), None);
    // The connection ends when the worker exits.
    let mut rest = Vec::new();
    let _ = connection.read_to_end(&mut rest);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
}
