//! The program outside of its checkout: in an empty directory, and in another checkout.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A copy of the program, in a directory without other files.
struct Away {
    directory: TempDir,
}

impl Away {
    fn new() -> Self {
        let away = Away { directory: tempfile::tempdir().expect("a temporary directory") };
        // `cp` writes the copy, not this process: a child of another test could inherit a descriptor for
        // writing, and then the copy could not be executed (ETXTBSY).
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_conformance")).arg(away.path("program"));
        assert!(copy.status().expect("cp starts").success());
        fs::create_dir(away.path("here")).expect("a new directory");
        away
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, at: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("program"));
        command.args(args).current_dir(self.path(at));
        command
    }

    fn run(&self, at: &str, args: &[&str]) -> Output {
        self.command(at, args).output().expect("the program starts")
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every command works, also with real processes, and leaves no file behind.
#[test]
fn program_works_in_empty_directory() {
    let away = Away::new();
    for args in [
        &["list"][..],
        &["show", "worker_exit"],
        &["show", "worker_exit", "--arm", "unix"],
        &[
            "run",
            "--arm",
            "sim",
            "--arm",
            "unix",
            "--scenario",
            "worker_exit",
            "--runs",
            "1",
            "--samples",
            "5",
        ],
        &["explore", "worker_exit", "--seeds", "5"],
        &["fuzz", "--runs", "1", "--arm", "unix", "--worlds", "1000"],
    ] {
        let output = away.run("here", args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        assert!(!text(&output).contains(env!("CARGO_MANIFEST_DIR")), "{args:?}: {}", text(&output));
    }
    assert_eq!(fs::read_dir(away.path("here")).expect("an existing path").count(), 0, "nothing is left");
}

/// An empty file system hides the checkout, where the machine permits a mount.
#[test]
fn program_works_without_its_checkout() {
    let away = Away::new();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let hide = "mount -t tmpfs none \"$0\" && exec \"$@\"";
    let hidden = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", hide]).arg(checkout);
        command.args(args).current_dir(away.path("here")).output()
    };
    if !hidden(&["true"]).is_ok_and(|output| output.status.success()) {
        // The test harness captures the output of the print macros.
        writeln!(
            io::stderr(),
            "NOT RUN: the program without its checkout, because nothing can be mounted here"
        )
        .expect("standard error is open");
        return;
    }
    let program = away.path("program");
    let program = program.to_str().expect("UTF-8");
    for args in
        [&["list"][..], &["show", "worker_exit", "--arm", "unix"], &["show", "worker_exit", "--arm", "sim"]]
    {
        let output = hidden(&[&[program], args].concat()).expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    }
}

/// The embedded recordings are compared, but only with the embedded scenarios, and none can be changed.
#[test]
fn recordings_are_embedded() {
    let away = Away::new();
    let few = ["run", "--arm", "sim", "--scenario", "worker_exit", "--samples", "1", "--json"];
    let output = away.run("here", &few);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("\"node v20.20.2\""), "{}", text(&output));
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = away.run("here", &[&few[..], &["--scenarios", &scenarios.to_string_lossy()]].concat());
    assert!(text(&output).contains("`--recordings DIR` names"), "{}", text(&output));
    let output = away.run("here", &["record", "worker_exit"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("`--recordings DIR` names"), "{}", text(&output));
}

/// Within another checkout, the scenarios of that checkout are used, from any directory.
#[test]
fn other_checkout_has_its_own_scenarios() {
    let away = Away::new();
    let (scenarios, deep) = (away.path("other/conformance/scenarios"), away.path("other/a/b"));
    fs::create_dir_all(&scenarios).expect("a new directory");
    fs::create_dir_all(&deep).expect("a new directory");
    let worker_exit = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/worker_exit.json");
    let story = fs::read_to_string(worker_exit).expect("a scenario of ours");
    fs::write(scenarios.join("mine.json"), story.replace("\"worker_exit\"", "\"mine\"")).expect("a file");
    fs::write(away.path("other/conformance/exceptions.json"), "[]").expect("a file");
    for at in ["other", "other/conformance/scenarios", "other/a/b"] {
        let output = away.run(at, &["list"]);
        let printed = text(&output);
        assert!(printed.starts_with("mine\n") && !printed.contains("worker_exit"), "{at}: {printed}");
    }
    let output = away.run("other/a/b", &["run", "--arm", "unix", "--scenario", "mine", "--runs", "1"]);
    assert!(text(&output).contains("other/conformance/../fixtures: No such file"), "{}", text(&output));
}
