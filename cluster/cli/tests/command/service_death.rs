//! SIGKILL of the service: which programs end at once, and which complete their work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::parent_id;
use std::time::Duration;

use cluster::Worker;
use nix::sys::signal::Signal;

use super::foreign::{has_ended, number};
use super::support::{Service, until};

/// A program that never reads the channel, and has no adapter to end the program.
#[test]
#[cfg(target_os = "linux")]
fn silent_program_ends_with_the_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("run");
    fs::write(&script, "#!/bin/sh\necho pid $$\nexec sleep 1000\n").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our file");
    let service = Service::start(directory, &["-n", "1", "./run"]);
    let pid = number(service.line("| pid ").rsplit("pid").next().expect("a number"));
    service.signal(Signal::SIGKILL);
    has_ended(pid);
}

/// The program of [`joined_worker_outlives_the_service`], a worker in Rust. The worker observes the death of
/// the service, and then completes the work.
#[test]
#[ignore = "no test, but a program that a service starts"]
fn joined_worker() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let worker = Worker::join().expect("a worker");
        let service = parent_id();
        worker.send("here").expect("a primary");
        worker.disconnected().await;
        // The kernel closes the channel first, and sends the signal with the change of the parent.
        while parent_id() == service {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        fs::write("complete", "").expect("a file");
    });
}

#[test]
fn joined_worker_outlives_the_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let program = program.to_str().expect("a path in UTF-8");
    let options = ["-n", "1", "--name", "app", "--ready", "message:here"];
    let name = "command::service_death::joined_worker";
    let arguments = [&options[..], &[program, "--exact", name, "--ignored", "--nocapture"]].concat();
    let service = Service::start(directory, &arguments);
    service.line("slot 0: worker 1 is ready");
    service.signal(Signal::SIGKILL);
    let complete = service.directory.path().join("complete");
    until("the worker completes", || complete.exists());
}
