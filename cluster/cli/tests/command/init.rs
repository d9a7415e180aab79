//! The files of `cluster init`. The tools of each system check the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::support::{SERVER, command, error, exists, is_present, text};

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
    // systemd 252 does not know the type `notify-reload` of version 253.
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

/// A linter in Python, installed once by `pip`. `None`: the registry cannot be reached.
fn linter(name: &str) -> Option<Command> {
    static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linters");
        let packages = ["yamllint==1.38.0", "kubernetes-validate==1.37.0", "gixy-ng==0.2.59"];
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&folder);
        let is_installed = folder.join("bin/yamllint").exists() || succeeds(pip.args(packages));
        is_installed.then_some(folder)
    });
    let folder = FOLDER.as_ref();
    is_present("linters of PyPI", folder.is_some()).then_some(())?;
    let mut command = Command::new("python3");
    command.arg(folder?.join("bin").join(name)).env("PYTHONPATH", folder?);
    Some(command)
}

/// `dockerfilelint`, installed once by npm. `None`: the registry cannot be reached.
fn dockerfilelint() -> Option<Command> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dockerfilelint");
    let binary = folder.join("node_modules/.bin/dockerfilelint");
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix"]);
    let is_installed = binary.exists() || succeeds(npm.arg(&folder).arg("dockerfilelint@1.8.0"));
    is_present("dockerfilelint of npm", is_installed).then(|| Command::new(binary))
}

fn succeeds(command: &mut Command) -> bool {
    let output = command.output();
    output.is_ok_and(|output| {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    })
}

/// Runs a linter. Fails if the linter finds an error. Returns the output.
#[track_caller]
fn passes(command: &mut Command, directory: &Path, arguments: &[&str]) -> String {
    let output = command.args(arguments).current_dir(directory).output().expect("the linter starts");
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(output.status.success(), "{all}");
    all
}

#[test]
fn container_files_have_the_deadlines() {
    let directory = files_of("docker");
    let docker = read(directory.path(), "Dockerfile");
    assert!(docker.contains("docker stop -t 30\n") && docker.contains("FROM node:"), "{docker}");
    assert!(docker.contains("ENTRYPOINT [\"cluster\", \"run\"]\n"), "signals reach the command: {docker}");
    assert!(docker.contains("cargo install --locked --path /clone/cluster/cli"), "{docker}");
    assert!(read(directory.path(), ".dockerignore").contains("node_modules"));
    let directory = files_of("k8s");
    let manifests = read(directory.path(), "app.yaml");
    // 30 s for the shutdown, and 5 s for the hook.
    assert!(manifests.contains("terminationGracePeriodSeconds: 35\n"), "{manifests}");
    assert!(manifests.contains("{path: /readyz, port: metrics}"), "{manifests}");
    let again = ["k8s", "--write", ".", "app.js"];
    let again = command(directory.path(), "init").args(again).output().expect("the command starts");
    assert!(error(&again).contains("app.yaml exists"));
}

/// The image installs packages as the files of npm permit, and keeps a list of exclusions.
#[test]
fn image_installs_the_packages() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("app.js"), SERVER).expect("a file");
    let print = || text(&command(path, "init").args(["docker", "app.js"]).output().expect("a command"));
    let printed = print();
    assert!(!printed.contains("npm") && !printed.contains("package"), "{printed}");
    for (file, expected) in [("package.json", "RUN npm install"), ("package-lock.json", "RUN npm ci")] {
        fs::write(path.join(file), "{}").expect("a file");
        assert!(print().contains(&format!("COPY package*.json ./\n{expected} --omit=dev\n")), "{file}");
    }
    fs::write(path.join(".dockerignore"), "kept").expect("a file");
    let write = command(path, "init").args(["docker", "--write", ".", "app.js"]).output();
    text(&write.expect("a command"));
    assert_eq!(read(path, ".dockerignore"), "kept");
}

#[test]
fn linters_find_nothing() {
    if let Some(mut lint) = dockerfilelint() {
        let directory = files_of("docker");
        assert!(passes(&mut lint, directory.path(), &["Dockerfile"]).contains("None found"));
    }
    let (manifests, server) = (files_of("k8s"), files_of("nginx"));
    for (name, arguments) in
        [("yamllint", &["--strict", "."][..]), ("kubernetes-validate", &["--strict", "app.yaml"])]
    {
        let Some(mut lint) = linter(name) else { return };
        passes(&mut lint, manifests.path(), arguments);
    }
    let Some(mut lint) = linter("gixy") else { return };
    passes(&mut lint, server.path(), &["app.conf"]);
}

/// The image contains only the files of the directory.
#[test]
fn program_outside_the_image_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).expect("a directory");
    for path in [directory.path().join("app.js"), inner.join("app.js")] {
        fs::write(path, SERVER).expect("a file");
    }
    let absolute = inner.join("app.js");
    for program in ["../app.js", absolute.to_str().expect("a path in UTF-8")] {
        let refused = command(&inner, "init").args(["docker", program]).output().expect("the command starts");
        assert!(error(&refused).contains(&format!("the image has no {program}")), "{}", error(&refused));
    }
    text(&command(&inner, "init").args(["docker", "./app.js"]).output().expect("the command starts"));
    text(&command(&inner, "init").args(["systemd", "../app.js"]).output().expect("the command starts"));
}

/// Without a port, the command names the assumed port, and writes only files to standard output.
#[test]
fn assumed_port_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let init = |arguments: &[&str]| {
        let output = command(directory.path(), "init").args(arguments).arg("app.js").output();
        let output = output.expect("the command starts");
        assert!(!text(&output).contains("--port"));
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(init(&["docker"]).contains("the program on port 8000; `--port N` names another port"));
    for named in [&["docker", "--port", "80"][..], &["docker", "--listen", ":80"], &["systemd"]] {
        assert_eq!(init(named), "");
    }
}

/// The files need a fixed port, so port 0 is refused.
#[test]
fn port_of_the_kernel_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    for (option, text) in
        [(["--port", "0"], "0 is not in 1..=65535"), (["--listen", "127.0.0.1:0"], "need a fixed port")]
    {
        let arguments = [&["nginx"][..], &option, &["app.js"]].concat();
        let refused = command(directory.path(), "init").args(arguments).output().expect("the command starts");
        assert!(error(&refused).contains(text), "{}", error(&refused));
    }
}
