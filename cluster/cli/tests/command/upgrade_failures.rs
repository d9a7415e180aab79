//! `cluster upgrade` to a failing program: the old program continues to serve, and the command reports the
//! reason.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::support::{SERVER, Service, error, get, text};
use super::upgrade::{link, ready, workers};

/// A service with a link as the command. A test replaces the link.
struct Replaceable {
    service: Service,
    path: PathBuf,
}

impl Replaceable {
    fn start(script: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in [("app.js", script), ("cluster.toml", "")] {
            fs::write(directory.path().join(name), text).expect("a file");
        }
        let path = link(directory.path());
        let mut run = Command::new(&path);
        run.arg("run").args(options).arg("app.js").current_dir(directory.path());
        run.env("XDG_RUNTIME_DIR", directory.path()).env_remove("NODE_OPTIONS");
        Replaceable { service: Service::of_command(directory, run), path }
    }

    fn directory(&self) -> &Path {
        self.service.directory.path()
    }

    /// Replaces the command by a script. The script runs `trial` in a trial and `new` after the hand-over,
    /// and then becomes the command.
    fn replace(&self, trial: &str, new: &str) {
        let real = env!("CARGO_BIN_EXE_cluster");
        self.write(&format!(
            "#!/bin/sh\ncase \"$CLUSTER_HANDED_OVER\" in\ntrial:*) {trial} ;;\nnew:*) {new} ;;\nesac\nexec {real} \"$@\"\n"
        ));
    }

    fn write(&self, text: &str) {
        self.remove();
        let draft = self.path.with_extension("draft");
        let mut file = fs::File::create(&draft).expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
        drop(file);
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("our file");
        fs::rename(draft, &self.path).expect("a file");
    }

    fn remove(&self) {
        // Fails if the path is free already.
        let _ = fs::remove_file(&self.path);
    }

    /// Upgrades. Fails unless the upgrade fails and the same workers serve. Returns the error.
    #[track_caller]
    fn fail(&self, port: u16, arguments: &[&str]) -> String {
        let before = workers(&self.service);
        let output = self.service.command("upgrade", arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = error(&output);
        assert_eq!(workers(&self.service), before, "{error}");
        get(port);
        error
    }

    /// Upgrades. Fails if the upgrade fails.
    fn succeed(&self) {
        self.remove();
        link(self.directory());
        text(&self.service.command("upgrade", &[]));
    }
}

/// A step of a script that does nothing.
const NOTHING: &str = ":";

/// Each failure in the trial is rejected.
#[test]
fn failing_program_is_rejected() {
    let replaceable = Replaceable::start(SERVER, &["-n", "1"]);
    let port = replaceable.service.ready_port();
    replaceable.remove();
    let error = replaceable.fail(port, &[]);
    assert!(error.contains("command cannot be started: No such file"), "{error}");
    replaceable.write("no program");
    fs::set_permissions(&replaceable.path, fs::Permissions::from_mode(0o644)).expect("our file");
    let error = replaceable.fail(port, &[]);
    assert!(error.contains("cannot be started: Permission denied"), "{error}");
    for (trial, expected) in [
        ("echo no library >&2; exit 7", "has ended before it could resume: exit status: 7: no library"),
        ("exit 0", "has ended before it could resume: exit status: 0"),
        ("kill -SEGV $$", "has ended before it could resume: signal: 11"),
    ] {
        replaceable.replace(trial, NOTHING);
        let error = replaceable.fail(port, &[]);
        assert!(error.contains(expected), "{error}");
    }
    replaceable.replace("sleep 60", NOTHING);
    let error = replaceable.fail(port, &["--timeout", "300ms"]);
    assert!(error.contains("has not answered within 300ms"), "{error}");
    replaceable.succeed();
}

/// The new program has another format of the state, or the file of settings has an error by now.
#[test]
fn unreadable_state_is_rejected() {
    let replaceable = Replaceable::start(SERVER, &["-n", "1", "--config", "cluster.toml"]);
    let port = replaceable.service.ready_port();
    for (format, expected) in [
        ("\"format\":1", "this program reads format 1"),
        ("\"machine\":{\"format\":2", "reads format 2"),
        ("\"subject\"", "the state of the program is not readable: missing field `subject`"),
    ] {
        let other = format.replace(['1', '2'], "99").replace("subject", "other");
        let state = "file=/proc/self/fd/$(echo $CLUSTER_HANDED_OVER | cut -d: -f2)";
        let edit = format!("{state}; sed 's/{format}/{other}/' $file > state; cat state > $file");
        replaceable.replace(&edit, NOTHING);
        let error = replaceable.fail(port, &[]);
        assert!(error.contains(expected), "{error}");
    }
    replaceable.replace(NOTHING, NOTHING);
    fs::write(replaceable.directory().join("cluster.toml"), "worker = 2\n").expect("a file");
    let error = replaceable.fail(port, &[]);
    assert!(error.contains("`workers`"), "{error}");
}

/// The new program fails after the trial and `execve`: the old program is executed again.
#[test]
fn old_program_returns() {
    let replaceable = Replaceable::start(SERVER, &["-n", "2"]);
    let port = ready(&replaceable.service, 2);
    let real = env!("CARGO_BIN_EXE_cluster");
    for (new, expected) in [
        (format!("exec {real} run --workers"), "a value is required for '--workers"),
        (format!("exec {real} completions bash"), "the command is not `run`"),
        // An error text, too long for a variable.
        (format!("exec {real} run --workers $(head -c 131000 /dev/zero | tr '\\0' x)"), "invalid value 'xxx"),
    ] {
        replaceable.replace(NOTHING, &new);
        let error = replaceable.fail(port, &[]);
        assert!(error.contains("the new program has failed") && error.contains(expected), "{error}");
    }
    replaceable.succeed();
    replaceable.succeed();
    text(&replaceable.service.command("reload", &[]));
}

/// A SIGTERM between the two programs is not lost, and does not kill the process.
#[test]
fn signal_during_upgrade_shuts_down() {
    let mut replaceable = Replaceable::start(SERVER, &["-n", "1"]);
    replaceable.service.ready_port();
    replaceable.replace(NOTHING, "kill -TERM $$");
    // The result is not checked: the shutdown may precede the answer.
    replaceable.service.command("upgrade", &[]);
    replaceable.service.line("SIGTERM: shut down");
    replaceable.service.line("worker 1 has drained");
    assert_eq!(replaceable.service.code(), Some(0));
}

/// An upgrade during a shutdown fails. The error does not claim that a program continues.
#[test]
fn ending_service_is_not_upgraded() {
    let script = "
        require('net').createServer((socket) => socket.write('.')).listen(0, '127.0.0.1', function () {
            console.log('port', this.address().port);
        });
    ";
    let mut replaceable = Replaceable::start(script, &["-n", "1"]);
    let port = replaceable.service.ready_port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    client.read_exact(&mut [0]).expect("a worker");
    replaceable.service.signal(Signal::SIGTERM);
    replaceable.service.line("the shutdown started");
    let error = error(&replaceable.service.command("upgrade", &[]));
    assert!(error.contains("the supervisor shuts down") && !error.contains("continues"), "{error}");
    drop(client);
    assert_eq!(replaceable.service.code(), Some(0));
}

/// The death of a worker between the two programs is found, and the worker is replaced.
#[test]
fn death_during_upgrade_is_found() {
    let replaceable = Replaceable::start(SERVER, &["-n", "2"]);
    ready(&replaceable.service, 2);
    let worker = workers(&replaceable.service)[0];
    // The process id is not free until the service has reaped the worker.
    replaceable.replace(NOTHING, &format!("kill -KILL {worker}"));
    text(&replaceable.service.command("upgrade", &[]));
    replaceable.service.line("slot 0: worker 3 is ready");
}

/// A second upgrade is refused while the first runs.
#[test]
fn second_upgrade_is_refused() {
    let replaceable = Replaceable::start(SERVER, &["-n", "1"]);
    let port = replaceable.service.ready_port();
    replaceable.replace("echo > trial; until test -e proceed; do sleep 0.05; done", NOTHING);
    let mut first = replaceable.service.begin("upgrade", &[]);
    super::support::until("a trial", || replaceable.directory().join("trial").exists());
    let error = replaceable.fail(port, &[]);
    assert!(error.contains("an upgrade already runs"), "{error}");
    fs::write(replaceable.directory().join("proceed"), "").expect("a file");
    assert!(first.wait().expect("a child").success());
}

/// An upgrade waits for the reload of another command. A reload by a signal continues after the upgrade.
#[test]
fn upgrade_and_reload_are_compatible() {
    let slow = format!("const fs = require('fs');\nwhile (fs.existsSync('slow')) {{}}\n{SERVER}");
    let replaceable = Replaceable::start(&slow, &["-n", "1"]);
    let slow = replaceable.directory().join("slow");
    replaceable.service.ready_port();
    fs::write(&slow, "").expect("a file");
    let mut reload = replaceable.service.begin("reload", &[]);
    replaceable.service.line("reload 1 started");
    let busy = error(&replaceable.service.command("upgrade", &["--timeout", "200ms"]));
    assert!(busy.contains("another command has not ended within 200ms"), "{busy}");
    let mut upgrade = replaceable.service.begin("upgrade", &[]);
    fs::remove_file(&slow).expect("the file");
    assert!(reload.wait().expect("a child").success());
    assert!(upgrade.wait().expect("a child").success());
    // The end of the time exceeds the range of the clock.
    text(&replaceable.service.command("upgrade", &["--timeout", "18446744073709551615s"]));
    fs::write(&slow, "").expect("a file");
    replaceable.service.signal(Signal::SIGHUP);
    replaceable.service.line("reload 2 started");
    text(&replaceable.service.command("upgrade", &[]));
    fs::remove_file(&slow).expect("the file");
    replaceable.service.line("reload 2 finished");
}

/// A file is not executed without a trial. Here the file changes while the hand-over waits for a reload.
#[test]
fn changed_file_is_not_executed() {
    let slow = format!("const fs = require('fs');\nwhile (fs.existsSync('slow')) {{}}\n{SERVER}");
    let replaceable = Replaceable::start(&slow, &["-n", "1"]);
    let slow = replaceable.directory().join("slow");
    let port = replaceable.service.ready_port();
    let events = replaceable.service.follow("events");
    fs::write(&slow, "").expect("a file");
    let mut reload = replaceable.service.begin("reload", &[]);
    replaceable.service.line("reload 1 started");
    let mut upgrade = replaceable.service.begin("upgrade", &[]);
    events.line("has passed the trial");
    replaceable.write("#!/bin/sh\nexit 0\n");
    fs::remove_file(&slow).expect("the file");
    assert!(reload.wait().expect("a child").success());
    assert_eq!(upgrade.wait().expect("a child").code(), Some(1));
    events.line("command has changed since the trial");
    get(port);
    replaceable.succeed();
}

/// The new program has no descriptors free for copies, and fails. The old program needs no copies.
#[test]
fn full_table_returns_to_old_program() {
    let replaceable = Replaceable::start(SERVER, &["-n", "4"]);
    let port = ready(&replaceable.service, 4);
    let descriptors =
        fs::read_dir(format!("/proc/{}/fd", replaceable.service.id())).expect("a service").count();
    replaceable.replace(NOTHING, &format!("ulimit -n {}", descriptors + 2));
    let error = replaceable.fail(port, &[]);
    assert!(error.contains("cannot copy the descriptors of the state: Too many open files"), "{error}");
}
