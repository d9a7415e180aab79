//! The servers to compare: how to start each, and its version.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use cluster_benches::policies;
use tokio::process::Command;

use super::{HOST, PORT};

const OWN: &str = env!("CARGO_MANIFEST_DIR");

/// A server to compare.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    /// The program and its arguments. `{port}`, `{workers}` and `{directory}` are replaced at the start.
    pub(crate) command: Vec<OsString>,
    /// The command that prints the version. Empty: this program.
    version: Vec<OsString>,
    /// Whether the command ends after the start, and a daemon with this file for its process id remains.
    pub(crate) daemon: Option<&'static str>,
}

impl Subject {
    /// The version, for the table.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let [program, arguments @ ..] = &*self.version else {
            return Ok(env!("CARGO_PKG_VERSION").to_owned());
        };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
        let output = output.with_context(|| format!("cannot start {}", program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let word = text.split(|c: char| c.is_whitespace() || c == '/').find(|word| {
            word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
        });
        Ok(word.context("no version was printed")?.trim_start_matches('v').to_owned())
    }

    /// The command as a line, with paths from the root of the repository.
    pub(crate) fn line(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        let root = Path::new(OWN).parent().unwrap_or(Path::new("/"));
        words.join(" ").replace(&format!("{}/", root.display()), "")
    }
}

/// Every subject. `packages`: the folder with the packages of npm.
pub(crate) fn all(packages: &Path) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = here()?;
    let modules = packages.join("node_modules");
    for version in ["20", "26"] {
        let node = modules.join(format!("node-{version}/bin/node"));
        for policy in ["round-robin", "shared", "single"] {
            let script: [OsString; 3] = [script("server.cjs"), policy.into(), "{workers}".into()];
            subjects.push(other(&format!("Node {version}, {policy}"), &node, script, "--version"));
        }
    }
    let options = ["--instances", "{workers}", "--name", "measured"].map(OsString::from);
    let pm2 = ["start".into(), script("server.cjs")].into_iter().chain(options);
    let node = modules.join("node-20/bin/node");
    let mut subject = other("PM2, Node 20", &node, pm2, "--version");
    let binary = modules.join("pm2/bin/pm2").into_os_string();
    subject.command.insert(1, binary);
    subject.version = vec![node.into_os_string(), "-p".into(), version_of_pm2(&modules)];
    subject.daemon = Some("pm2.pid");
    subjects.push(subject);
    let bun = modules.join("@oven/bun-linux-x64/bin/bun");
    for policy in ["round-robin", "shared"] {
        let script: [OsString; 3] = [script("server.cjs"), policy.into(), "{workers}".into()];
        subjects.push(other(&format!("Bun, {policy}"), &bun, script, "--version"));
    }
    let deno = modules.join("@deno/linux-x64-glibc/deno");
    let serve = ["serve", "--parallel", "--host", "127.0.0.1", "--port"].map(OsString::from);
    let serve = serve.into_iter().chain(["{port}".into(), script("serve.js")]);
    subjects.push(other("Deno, serve --parallel", &deno, serve, "--version"));
    let nginx: [OsString; 6] = ["-p", "{directory}", "-c", "nginx.conf", "-e", "stderr"].map(Into::into);
    subjects.push(other("nginx", Path::new("nginx"), nginx, "-v"));
    Ok(subjects)
}

/// The servers of this program.
fn here() -> anyhow::Result<Vec<Subject>> {
    let own = env::current_exe()?.into_os_string();
    let others = [
        ("one process", "single"),
        ("threads of tokio", "threads"),
        ("processes, one listener by hand", "by-hand"),
        ("processes, SO_REUSEPORT", "reuseport"),
        ("axum, one process", "axum"),
        ("axum, here, round-robin", "axum-round-robin"),
    ];
    let policies = policies::all().map(|policy| (format!("here, {}", policy.name), policy.name));
    let names = policies.chain(others.map(|(name, server)| (name.to_owned(), server)));
    let subject = |(name, server): (String, &str)| Subject {
        name,
        command: [own.clone()]
            .into_iter()
            .chain(["peers", "--serve", server, "--workers", "{workers}"].map(Into::into))
            .collect(),
        version: Vec::new(),
        daemon: None,
    };
    Ok(names.map(subject).collect())
}

fn other(
    name: &str,
    program: &Path,
    arguments: impl IntoIterator<Item = OsString>,
    version: &str,
) -> Subject {
    let program = program.as_os_str().to_owned();
    Subject {
        name: name.to_owned(),
        command: [program.clone()].into_iter().chain(arguments).collect(),
        version: vec![program, version.into()],
        daemon: None,
    }
}

fn version_of_pm2(modules: &Path) -> OsString {
    format!("require('{}').version", modules.join("pm2/package.json").display()).into()
}

fn script(name: &str) -> OsString {
    Path::new(OWN).join("node").join(name).into_os_string()
}

/// Installs the runtimes in `target/peers`, unless installed before.
pub(crate) async fn install() -> anyhow::Result<PathBuf> {
    let own = Path::new(OWN).join("node");
    let folder = Path::new(OWN).join("../target/peers");
    let lock = fs::read(own.join("package-lock.json"))?;
    if !fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock) {
        eprintln!("`npm ci` installs Node.js, Bun, Deno and PM2 in target/peers");
        fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(own.join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let status = npm.stdout(Stdio::null()).status().await.context("cannot start `npm`")?;
        ensure!(status.success(), "`npm ci` has failed: {status}");
        fs::write(folder.join("installed"), lock)?;
    }
    Ok(folder.canonicalize()?)
}

/// The configuration of nginx.
pub(crate) fn nginx(workers: u32, port: u16) -> String {
    format!(
        "daemon off; worker_processes {workers}; pid nginx.pid; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; server {{ listen {HOST}:{port}; location / {{ return 200 hello; }} }} }}\n"
    )
}

/// The variables of a subject.
pub(crate) fn variables(workers: u32, port: u16, directory: &Path) -> [(&'static str, OsString); 4] {
    [
        (PORT, port.to_string().into()),
        ("PM2_HOME", directory.as_os_str().to_owned()),
        ("PM2_DISABLE_VERSION_CHECK", "true".into()),
        ("DENO_JOBS", workers.to_string().into()),
    ]
}
