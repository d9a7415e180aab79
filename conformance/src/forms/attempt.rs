//! One attempt to try a list of forms: a primary, and a Node worker that tries the forms. If a form ends the
//! worker, another worker continues with the next form.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use cluster::{Event, ExitStatus, SchedulingPolicy, Serialization, Settings, SpawnOptions, Stdio};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Form, Policy, Setting};
use crate::arm::node::Runtime;

const SCRIPT: &str = include_str!("../../forms/forms.cjs");

/// The primary of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Primary {
    Ours,
    Node,
}

/// Why forms could not be tried.
#[derive(Debug)]
pub enum FormsError {
    /// An operation on a file or on a process of Node failed.
    Io(io::Error),
    /// The Rust primary did not start.
    Primary(String),
    /// The script failed, or printed a malformed line.
    Script(String),
}

impl std::fmt::Display for FormsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FormsError::Io(error) => write!(f, "the forms cannot be tried: {error}"),
            FormsError::Primary(error) => write!(f, "the primary for the forms did not start: {error}"),
            FormsError::Script(line) => write!(f, "the script of the forms failed: {line}"),
        }
    }
}

impl std::error::Error for FormsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FormsError::Io(error) => Some(error),
            FormsError::Primary(_) | FormsError::Script(_) => None,
        }
    }
}

impl From<io::Error> for FormsError {
    fn from(error: io::Error) -> Self {
        FormsError::Io(error)
    }
}

/// A line of the script, before and after a form.
#[derive(Debug, Deserialize)]
struct ScriptLine {
    form: usize,
    outcome: Option<Value>,
}

pub(super) struct Attempt<'a> {
    pub(super) setting: &'a Setting,
    pub(super) node: &'a Runtime,
    pub(super) directory: &'a Path,
    pub(super) primary: Primary,
    /// Whether `forms.cjs` reports the requests of the worker, for [`Families`](crate::families::Families),
    /// instead of the clients that were served.
    pub(super) ends: bool,
}

impl Attempt<'_> {
    /// The result of each form. `None`: the form has ended the primary.
    pub(super) fn run(&self, forms: &[Form]) -> Result<Vec<Option<Value>>, FormsError> {
        fs::write(self.script(), SCRIPT)?;
        fs::write(self.file("forms.json"), json!(forms).to_string())?;
        let mut outcomes: Vec<Option<Value>> = Vec::new();
        while outcomes.len() < forms.len() {
            let _ = fs::remove_file(self.file("outcomes"));
            let end = self.worker(outcomes.len())?;
            let said = fs::read_to_string(self.file("outcomes")).unwrap_or_default();
            let before = outcomes.len();
            let begun = add(&mut outcomes, &said)?;
            if outcomes.len() < forms.len() {
                if !begun {
                    let (ended, last) = (outcomes.len() - before, said.lines().last().unwrap_or_default());
                    return Err(FormsError::Script(format!(
                        "the worker ended after {ended} forms ({end:?}): {last}"
                    )));
                }
                outcomes.push(match end {
                    End::Worker(how) => Some(json!({ "worker": how })),
                    End::Primary => None,
                });
            }
        }
        Ok(outcomes)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn script(&self) -> PathBuf {
        self.file("forms.cjs")
    }

    fn env(&self, from: usize) -> Vec<(String, String)> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let pairs = [
            ("FORMS_FILE", path(&self.file("forms.json"))),
            ("FORMS_FROM", from.to_string()),
            ("FORMS_OUT", path(&self.file("outcomes"))),
            ("FORMS_ENDS", String::from(if self.ends { "1" } else { "0" })),
            ("FORMS_SETTINGS", self.setting.for_node().to_string()),
            ("TMPDIR", path(self.directory)),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Runs one worker, which tries the forms from number `from` on, until the worker exits.
    fn worker(&self, from: usize) -> Result<End, FormsError> {
        match self.primary {
            Primary::Ours => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.under_ours(from))
            }
            Primary::Node => self.under_node(from),
        }
    }

    fn under_node(&self, from: usize) -> Result<End, FormsError> {
        let mut command = process::Command::new(self.node.program());
        command.arg(self.script()).envs(self.env(from));
        command.stdin(process::Stdio::null()).stdout(process::Stdio::null()).stderr(process::Stdio::null());
        let status = command.status()?;
        // The exit codes with which the script reports about its worker.
        Ok(match status.code() {
            Some(0 | 10) => End::Worker(String::from("has died")),
            Some(_) | None => End::Primary,
        })
    }

    async fn under_ours(&self, from: usize) -> Result<End, FormsError> {
        let trouble = |error: &dyn std::fmt::Display| FormsError::Primary(error.to_string());
        let settings = self.setting.for_ours(self.node.program(), &self.script());
        let mut primary = cluster::Primary::new(settings).map_err(|error| trouble(&error))?;
        primary.fork_with_env(self.env(from)).map_err(|error| trouble(&error))?;
        let mut how = String::from("has died");
        while let Some(event) = primary.next().await {
            match event {
                Event::Message { worker, message, .. } => {
                    // Fails if the worker is dead, which its exit event reports.
                    let _ = primary.send(worker, message);
                }
                Event::Error { error, .. } => how = format!("has died: {error}"),
                Event::Exit { status, .. } if status != ExitStatus::Code(0) => {
                    how = format!("{how} ({status:?})");
                }
                Event::Setup { .. }
                | Event::Fork { .. }
                | Event::Online { .. }
                | Event::Listening { .. }
                | Event::Disconnect { .. }
                | Event::Exit { .. }
                | Event::AcceptFailed { .. }
                | Event::AllDisconnected => {}
            }
        }
        Ok(End::Worker(how))
    }
}

/// Which process has ended before all forms were tried.
#[derive(Debug)]
enum End {
    Worker(String),
    Primary,
}

/// Adds the printed results. Returns whether a further form has begun and has no result.
fn add(outcomes: &mut Vec<Option<Value>>, said: &str) -> Result<bool, FormsError> {
    let mut begun = false;
    for line in said.lines() {
        let Ok(ScriptLine { form, outcome }) = serde_json::from_str(line) else {
            return Err(FormsError::Script(line.to_owned()));
        };
        if form != outcomes.len() {
            return Err(FormsError::Script(format!(
                "the script reports form {form} in place of {}",
                outcomes.len()
            )));
        }
        begun = outcome.is_none();
        outcomes.extend(outcome.map(Some));
    }
    Ok(begun)
}

impl Setting {
    /// The argument of Node's `setupPrimary`, and the policy.
    fn for_node(&self) -> Value {
        let mut settings = json!({
            "policy": if self.policy == Policy::Shared { "shared" } else { "round_robin" },
            "silent": self.silent,
            "execArgv": self.exec_argv,
        });
        if let Some(serialization) = &self.serialization {
            settings["serialization"] = json!(serialization);
        }
        if !self.stdio.is_empty() {
            settings["stdio"] = json!(self.stdio);
        }
        settings
    }

    fn for_ours(&self, node: &Path, script: &Path) -> Settings {
        let command = SpawnOptions::new()
            .exec(node)
            .exec_argv(self.exec_argv.clone())
            .args([script])
            .silent(self.silent)
            .stdio(self.stdio.iter().map(|stdio| stdio_of(stdio)))
            .serialization(match self.serialization.as_deref() {
                Some("advanced") => Serialization::Advanced,
                Some(_) | None => Serialization::Json,
            });
        let policy = match self.policy {
            Policy::RoundRobin => SchedulingPolicy::RoundRobin,
            Policy::Shared => SchedulingPolicy::Shared,
        };
        Settings { spawn: command, policy, ..Settings::default() }
    }
}

fn stdio_of(name: &str) -> Stdio {
    match name {
        "ignore" => Stdio::Ignore,
        "pipe" => Stdio::Pipe,
        "ipc" => Stdio::Channel,
        _ => Stdio::Inherit,
    }
}
