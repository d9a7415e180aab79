//! The files of `cluster init`, checked by the tools of their systems.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{SERVER, command, error, exists, text};

/// A directory with a program and the files for a system.
fn files_of(system: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let arguments = [system, "--write", ".", "-n", "2", "--shutdown", "20s", "app.js", "--flag"];
    text(&command(directory.path(), "init").args(arguments).output().expect("the command starts"));
    directory
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).expect("a file")
}

#[test]
fn unit_is_valid() {
    let directory = files_of("systemd");
    let unit = read(directory.path(), "app.service");
    assert!(unit.contains("TimeoutStopSec=30\n") && unit.contains("Type=notify-reload\n"), "{unit}");
    let settings = read(directory.path(), "cluster.toml");
    assert!(settings.contains("program = \"app.js\"\nargs = [\"--flag\"]\n"), "{settings}");
    let run = ["--dry-run"];
    text(&command(directory.path(), "run").args(run).output().expect("the command starts"));
    if !exists("systemd-analyze") {
        return;
    }
    // The tool of systemd 252 does not know the type of 253.
    let version = text(&Command::new("systemd-analyze").arg("--version").output().expect("the tool starts"));
    let is_old = version.split_whitespace().nth(1).and_then(|version| version.parse().ok()) < Some(253);
    if is_old {
        let unit = unit.replace("Type=notify-reload", "Type=notify");
        fs::write(directory.path().join("app.service"), unit).expect("a file");
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "./app.service"])
        .current_dir(directory.path())
        .output()
        .expect("the tool starts");
    let found = String::from_utf8_lossy(&verify.stderr).into_owned();
    let own: Vec<&str> = found.lines().filter(|line| line.contains("app.service")).collect();
    assert!(own.is_empty(), "{found}");
}

#[test]
fn nginx_configuration_is_valid() {
    let directory = files_of("nginx");
    if !exists("nginx") {
        return;
    }
    let main = "pid nginx.pid; events {} http { access_log off; include app.conf; }";
    fs::write(directory.path().join("nginx.conf"), main).expect("a file");
    let test =
        Command::new("nginx").arg("-p").arg(directory.path()).args(["-t", "-c", "nginx.conf"]).output();
    text(&test.expect("nginx starts"));
}

#[test]
fn container_files_have_the_deadlines() {
    let directory = files_of("docker");
    let docker = read(directory.path(), "Dockerfile");
    assert!(docker.contains("docker stop --time 30\n") && docker.contains("FROM node:"), "{docker}");
    let directory = files_of("k8s");
    let manifests = read(directory.path(), "app.yaml");
    assert!(manifests.contains("terminationGracePeriodSeconds: 30\n"), "{manifests}");
    assert!(manifests.contains("{path: /readyz, port: metrics}"), "{manifests}");
    let again = ["k8s", "--write", ".", "app.js"];
    let again = command(directory.path(), "init").args(again).output().expect("the command starts");
    assert!(error(&again).contains("app.yaml exists"));
}
