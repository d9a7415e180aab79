//! The primary's part of a scenario on the real face: events in, commands out.

use std::process;

use cluster::{Command, Primary, Settings, WorkerId};
use serde_json::Value;

use super::super::translate;
use super::PlayError;
use crate::observation::{Observation, Observer};
use crate::program::{self, PrimaryCommand};
use crate::scenario::Scenario;
use crate::words;

/// Plays until no worker is left. `workers` is what they execute, if they are not this program.
pub(super) async fn play(scenario: &Scenario, workers: &[String]) -> Result<(), PlayError> {
    let settings = Settings { command: command(workers).into(), ..translate::settings(scenario) };
    let primary = Primary::new(settings).expect("it is called inside a runtime");
    let mut part = PrimaryPart { primary, script: program::Primary::new(scenario) };
    part.see(&words::start());
    while let Some(event) = part.primary.next().await {
        if let Some(seen) = translate::event(&event, |worker| part.primary.worker(worker)) {
            part.see(&seen);
        }
    }
    Ok(())
}

fn command(workers: &[String]) -> Command {
    let Some((exec, args)) = workers.split_first() else { return Command::default() };
    Command { exec: Some(exec.clone()), args: args.to_vec(), ..Command::default() }
}

struct PrimaryPart {
    primary: Primary,
    script: program::Primary,
}

impl PrimaryPart {
    fn see(&mut self, seen: &Observation) {
        super::write(Observer::Primary, seen);
        for command in self.script.react(seen) {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: PrimaryCommand) {
        match command {
            PrimaryCommand::Fork { env } => {
                self.primary.fork_with_env(env).expect("a scenario has one channel a worker");
            }
            PrimaryCommand::Send { worker, text } => {
                // To a worker that is not connected nothing is sent, as the scenario says.
                let _ = self.primary.send(WorkerId(worker), &Value::String(text));
            }
            PrimaryCommand::Disconnect { worker } => self.primary.disconnect_worker(WorkerId(worker)),
            PrimaryCommand::DisconnectAll => self.primary.disconnect(),
            PrimaryCommand::Kill { worker, signal } => {
                self.primary.kill(WorkerId(worker), translate::signal(signal));
            }
            PrimaryCommand::Look { worker } => {
                if let Some(seen) = translate::look(worker, self.primary.worker(WorkerId(worker))) {
                    super::write(Observer::Primary, &seen);
                }
            }
            PrimaryCommand::Exit { code } => process::exit(code),
            PrimaryCommand::Die { signal } => super::die(signal),
        }
    }
}
