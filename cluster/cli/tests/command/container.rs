//! The command as process 1 of a container: a PID namespace.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::{Service, get, is_present, text};
use super::upgrade::upgrade;

/// Makes an orphan, waits until process 1 has reaped the orphan, and then prints a line.
const SCRIPT: &str = "
const { spawn } = require('child_process');
const fs = require('fs');
const shell = spawn('sh', ['-c', 'sleep 0.1 & echo $!']);
let orphan = '';
shell.stdout.on('data', (data) => orphan += data);
shell.on('exit', () => {
  const look = setInterval(() => {
    if (orphan && !fs.existsSync('/proc/' + orphan.trim())) { console.log('reaped by', process.ppid); clearInterval(look); }
  }, 20);
});
require('http').createServer((_, res) => { console.log('requested'); setTimeout(() => res.end('slow'), 300); })
  .listen(0, '127.0.0.1', function () { console.log('port', this.address().port); });
";

/// The options of `unshare` for a namespace as in a container. `None`: the system permits none.
fn namespace() -> Option<Vec<&'static str>> {
    let own = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let candidates = [own.to_vec(), [&["--map-root-user"][..], &own].concat()];
    let found = candidates.into_iter().find(|options| {
        Command::new("unshare").args(options).arg("true").output().is_ok_and(|output| output.status.success())
    });
    is_present("PID namespace", found.is_some()).then_some(found)?
}

/// A service as process 1, and the process id outside of the namespace. `None` where the system does not
/// permit a namespace.
fn first_process() -> Option<(Service, Pid)> {
    let options = namespace()?;
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SCRIPT).expect("a file");
    let mut unshare = Command::new("unshare");
    unshare
        .args(options)
        .args([env!("CARGO_BIN_EXE_cluster"), "run", "-n", "1", "app.js"])
        .current_dir(directory.path())
        .env("XDG_RUNTIME_DIR", directory.path())
        .env_remove("NODE_OPTIONS");
    let service = Service::of_command(directory, unshare);
    service.line("slot 0: worker 1 is ready");
    let unshare = service.id();
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).expect("a process");
    Some((service, Pid::from_raw(children.trim().parse().expect("one child"))))
}

/// SIGTERM drains an open request, and ends with code 0.
#[track_caller]
fn drain(service: &mut Service, first: Pid, port: u16) {
    let request = std::thread::spawn(move || get(port));
    service.line("requested");
    kill(first, Signal::SIGTERM).expect("process 1 runs");
    assert_eq!(request.join().expect("no panic"), "slow");
    assert_eq!(service.code(), Some(0));
}

/// As process 1, the command reaps orphans. SIGTERM drains an open request, and the exit code is 0.
#[test]
fn first_process_reaps_and_drains() {
    let Some((mut service, first)) = first_process() else { return };
    service.line("reaped by 1");
    let port = service.port();
    drain(&mut service, first, port);
}

/// Process 1 survives two upgrades. An exit of process 1 would end every process of the namespace.
#[test]
fn upgraded_first_process_reaps() {
    let Some((mut service, first)) = first_process() else { return };
    service.line("reaped by 1");
    let port = service.port();
    for number in 2..4 {
        upgrade(&service);
        assert_eq!(get(port), "slow");
        service.line("requested");
        text(&service.command("restart", &["0"]));
        service.line(&format!("slot 0: worker {number} is ready"));
        service.line("reaped by 1");
    }
    let port = service.port();
    drain(&mut service, first, port);
}
