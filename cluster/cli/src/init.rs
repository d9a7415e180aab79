//! `cluster init`: the files for a program under a service manager, in a container or behind a proxy. The
//! settings are in `cluster.toml`, and each file starts `cluster run` in the same directory.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use cluster::SupervisorSettings;

use crate::options::{FILE, Options};
use crate::report;
use crate::units::Time;

/// The port of the program if none is named.
const PORT: u16 = 8000;

/// The port of metrics and health checks in a container.
const METRICS_PORT: u16 = 9090;

/// The seconds until Kubernetes sends no further connections to an ending pod.
const ENDPOINT_DELAY: u64 = 5;

/// The file with the exclusions of an image.
const DOCKER_IGNORE: &str = ".dockerignore";

/// The time between the deadline of the last worker and the service manager's SIGKILL to the service.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The system for the files.
    #[arg(value_enum)]
    pub(crate) system: System,

    /// Write the files into a directory, and overwrite none [default: print the files].
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,

    /// The port of the program [default: the port of the first `--listen`, otherwise 8000].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// Print JSON: the files as objects with name and text, and errors.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// The program and its arguments, as for `cluster run`. Settings of `cluster run`, for example
    /// `--workers 4`, may precede the program and are written to `cluster.toml`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// A unit: notifications, watchdog, reload.
    Systemd,
    /// A Dockerfile.
    Docker,
    /// A deployment and a service of Kubernetes.
    K8s,
    /// A server of nginx with keep-alive connections to the service.
    Nginx,
}

/// A file to write or to print.
struct File {
    name: String,
    text: String,
}

/// The facts in the files.
struct Facts {
    name: String,
    port: u16,
    is_node: bool,
    packages: Packages,
    directory: PathBuf,
    /// The limit of a start in seconds; `stop` is the limit of a stop.
    start: u64,
    stop: u64,
}

/// The packages of a Node.js program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packages {
    /// There is no `package.json`, or the program is for another interpreter.
    None,
    /// Without a file of npm that names the versions: `npm ci` would fail.
    Unlocked,
    Locked,
}

impl Packages {
    /// The packages of a program of Node.js in a directory.
    fn of(directory: &Path) -> Packages {
        let exists = |name: &str| directory.join(name).exists();
        match (exists("package.json"), exists("package-lock.json") || exists("npm-shrinkwrap.json")) {
            (false, _) => Packages::None,
            (true, false) => Packages::Unlocked,
            (true, true) => Packages::Locked,
        }
    }
}

/// Prints or writes the files.
pub(crate) fn init(arguments: &InitArguments) -> anyhow::Result<()> {
    let (options, is_new) = options(arguments)?;
    let facts = Facts::of(&options, arguments.port)?;
    if arguments.system == System::Docker {
        check_inside(&options)?;
    }
    let mut files = match arguments.system {
        System::Systemd => vec![systemd(&facts)],
        System::Docker => vec![docker(&facts), docker_ignore()],
        System::K8s => vec![kubernetes(&facts)],
        System::Nginx => vec![nginx(&facts)],
    };
    if is_new && arguments.system != System::Nginx {
        files.push(File { name: FILE.to_owned(), text: toml::to_string(&options)? });
    }
    if arguments.json && arguments.write.is_none() {
        let files = files.iter().map(|file| serde_json::json!({ "name": file.name, "text": file.text }));
        return Ok(report::line(files.collect::<serde_json::Value>())?);
    }
    for file in &files {
        if let Some(directory) = &arguments.write
            && file.name == DOCKER_IGNORE
            && directory.join(DOCKER_IGNORE).exists()
        {
            eprintln!("cluster: {DOCKER_IGNORE} exists, and is kept; it has to exclude node_modules");
        } else if let Some(directory) = &arguments.write {
            write(directory, file)?;
        } else {
            report::line(format_args!("# {}\n{}", file.name, file.text))?;
        }
    }
    if arguments.port.is_none() && !options.has_sockets() && arguments.system != System::Systemd {
        // Standard output has the files, or the paths of the files.
        eprintln!("cluster: the files expect the program on port {PORT}; `--port N` names another port");
    }
    Ok(())
}

/// The settings, and whether `cluster.toml` must be written.
fn options(arguments: &InitArguments) -> anyhow::Result<(Options, bool)> {
    if arguments.program.is_empty() {
        let file = Options::read(Path::new(FILE))
            .context("`cluster init` needs a program, or `program` in cluster.toml")?;
        let options = arguments.options.or(&file)?;
        return Ok((options, false));
    }
    let text = |part: &OsString| part.clone().into_string().ok().context("the program is not UTF-8");
    let mut line = arguments.program.iter().map(text);
    let program = line.next().transpose()?;
    let args: Vec<String> = line.collect::<anyhow::Result<_>>()?;
    let args = (!args.is_empty()).then_some(args);
    Ok((Options { program, args, ..arguments.options.clone() }, true))
}

/// The image contains only the files of this directory, at another path.
fn check_inside(options: &Options) -> anyhow::Result<()> {
    let own = env::current_dir()?;
    for word in options.line() {
        let path = Path::new(&word);
        let is_elsewhere = path.starts_with("..") || path.starts_with(&own);
        ensure!(
            !is_elsewhere,
            "the image has no {}: it has the files of {}, in another place; run the command in a directory with all files, and \
             write paths from there",
            path.display(),
            own.display()
        );
    }
    Ok(())
}

impl Facts {
    fn of(options: &Options, port: Option<u16>) -> anyhow::Result<Facts> {
        let program = options.program_of(&options.line())?;
        let directory = env::current_dir()?;
        let defaults = SupervisorSettings::new(1);
        let or = |time: Option<Time>, default| time.map_or(default, |Time(time)| time);
        let stop = or(options.shutdown, defaults.shutdown) + or(options.term, defaults.term) + MARGIN;
        let listen = options.listen.iter().flatten().next();
        let port = listen.map_or(port.unwrap_or(PORT), |listen| listen.address.port());
        ensure!(port != 0, "`listen` has port 0, a port of the kernel; the files need a fixed port");
        Ok(Facts {
            name: options.name.clone().unwrap_or(program.name),
            port,
            is_node: program.is_node,
            packages: if program.is_node { Packages::of(&directory) } else { Packages::None },
            directory,
            start: (or(options.ready_timeout, defaults.ready_timeout) + MARGIN).as_secs(),
            stop: stop.as_secs(),
        })
    }
}

fn write(directory: &Path, file: &File) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(&file.name);
    if path.exists() {
        bail!("{} exists; remove the file, or choose another directory", path.display());
    }
    let mut new = fs::File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
    new.write_all(file.text.as_bytes())?;
    Ok(report::line(path.display())?)
}

fn systemd(facts: &Facts) -> File {
    let Facts { name, directory, start, stop, .. } = facts;
    let command = env::current_exe().unwrap_or_else(|_| "/usr/local/bin/cluster".into());
    let (command, directory) = (command.display(), directory.display());
    let text = format!(
        "# systemd 253 or later; before, write Type=notify and add ExecReload=/bin/kill -HUP $MAINPID
# systemctl reload {name}; cluster status --control /run/{name}/control.sock
[Unit]
Description={name}, a cluster of workers
Wants=network-online.target
After=network-online.target

[Service]
Type=notify-reload
NotifyAccess=main
ExecStart=\"{command}\" run
WorkingDirectory={directory}
Environment=CLUSTER_CONTROL=/run/{name}/control.sock
RuntimeDirectory={name}
RuntimeDirectoryMode=0700
# User={name}
PrivateTmp=true
NoNewPrivileges=true
# The command ends its workers in order.
KillMode=mixed
Restart=on-failure
WatchdogSec=30
TimeoutStartSec={start}
TimeoutStopSec={stop}

[Install]
WantedBy=multi-user.target
"
    );
    File { name: format!("{name}.service"), text }
}

fn docker(facts: &Facts) -> File {
    let Facts { port, stop, is_node, .. } = facts;
    let base = if *is_node { "FROM node:22-bookworm-slim" } else { "FROM debian:bookworm-slim" };
    let install = match facts.packages {
        Packages::None => "",
        Packages::Unlocked => "COPY package*.json ./\nRUN npm install --omit=dev\n",
        Packages::Locked => "COPY package*.json ./\nRUN npm ci --omit=dev\n",
    };
    let environment = if *is_node { "ENV NODE_ENV=production\n" } else { "" };
    let text = format!(
        "{base}
WORKDIR /app
{install}COPY . .
{environment}# bin/cluster is the command, built with the libraries of this image. Once, in the
# directory of this file, with CLONE for the path of a clone of the command's repository:
#   mkdir -p bin
#   docker run --rm -v CLONE:/clone:ro -v ./bin:/out/bin rust:1-bookworm \\
#     cargo install --locked --path /clone/cluster/cli --target-dir /tmp/target --root /out
COPY bin/cluster /usr/local/bin/cluster
ENV CLUSTER_METRICS=0.0.0.0:{METRICS_PORT}
USER 1000:1000
EXPOSE {port} {METRICS_PORT}
# As process 1 the command reaps orphans. SIGTERM lets the workers complete their
# requests: docker stop -t {stop}
STOPSIGNAL SIGTERM
ENTRYPOINT [\"cluster\", \"run\"]
"
    );
    File { name: "Dockerfile".to_owned(), text }
}

/// The file that excludes packages of the host: binaries there may be of another system. Every builder reads
/// the file, whereas only `BuildKit` reads `Dockerfile.dockerignore`.
fn docker_ignore() -> File {
    File { name: DOCKER_IGNORE.to_owned(), text: "node_modules\n.git\n".to_owned() }
}

fn kubernetes(facts: &Facts) -> File {
    let Facts { name, port, stop, .. } = facts;
    let grace = stop + ENDPOINT_DELAY;
    let text = format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      # The hook, the deadlines of the workers ({stop} s), and a margin.
      terminationGracePeriodSeconds: {grace}
      securityContext: {{runAsNonRoot: true}}
      containers:
        - name: {name}
          image: {name}:latest
          env:
            - {{name: CLUSTER_METRICS, value: '0.0.0.0:{METRICS_PORT}'}}
          ports:
            - {{name: http, containerPort: {port}}}
            - {{name: metrics, containerPort: {METRICS_PORT}}}
          readinessProbe:
            httpGet: {{path: /readyz, port: metrics}}
            periodSeconds: 2
          livenessProbe:
            httpGet: {{path: /healthz, port: metrics}}
          lifecycle:
            # SIGTERM ends the accepting. Until the endpoint has been removed
            # on all nodes, clients still connect to this pod.
            preStop:
              exec: {{command: [sleep, '{ENDPOINT_DELAY}']}}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities: {{drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
"
    );
    File { name: format!("{name}.yaml"), text }
}

fn nginx(facts: &Facts) -> File {
    let Facts { name, port, .. } = facts;
    let text = format!(
        "# Included in the `http` block, for instance in /etc/nginx/conf.d.
upstream {name} {{
    server 127.0.0.1:{port};
    # A worker closes its idle connections during a reload. Into such a close, nginx repeats a GET, but no POST:
    # a worker closes no connection within 500 ms of a request.
    keepalive 64;
}}

server {{
    listen 8080;

    location / {{
        proxy_pass http://{name};
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
"
    );
    File { name: format!("{name}.conf"), text }
}
