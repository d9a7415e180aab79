//! The primary's part of a scenario in the simulator: events in, commands to the machine out.

use cluster_core::{Event, Primary, WorkerId};
use cluster_sim::Process;
use serde_json::Value;

use super::super::translate;
use super::pen::{Pen, Play};
use crate::observation::Observation;
use crate::program::{self, PrimaryCommand};
use crate::words;

/// A primary and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PrimaryPart {
    script: program::Primary,
    pen: Pen,
}

impl PrimaryPart {
    pub(super) fn new(play: Play) -> Self {
        PrimaryPart { script: program::Primary::new(&play.scenario), pen: Pen::new(play) }
    }

    pub(super) fn start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        self.see(primary, process, &words::start());
    }

    pub(super) fn hear(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: &Event) {
        if let Some(seen) = translate::event(event, |worker| primary.worker(worker)) {
            self.see(primary, process, &seen);
        }
    }

    fn see(&mut self, primary: &mut Primary, process: &mut Process<'_>, seen: &Observation) {
        self.pen.write(process, seen);
        for command in self.script.react(seen) {
            self.obey(primary, process, command);
        }
    }

    fn obey(&mut self, primary: &mut Primary, process: &mut Process<'_>, command: PrimaryCommand) {
        match command {
            PrimaryCommand::Fork { env } => {
                primary.fork(env).expect("nothing impossible was set up");
            }
            PrimaryCommand::Send { worker, text } => {
                // To a worker that is not connected nothing is sent, as the scenario says.
                let _ = primary.send(WorkerId(worker), &Value::String(text));
            }
            PrimaryCommand::Disconnect { worker } => primary.disconnect(WorkerId(worker)),
            PrimaryCommand::DisconnectAll => primary.disconnect_all(),
            PrimaryCommand::Kill { worker, signal } => {
                primary.kill(WorkerId(worker), translate::signal(signal));
            }
            PrimaryCommand::Look { worker } => {
                if let Some(seen) = translate::look(worker, primary.worker(WorkerId(worker))) {
                    self.pen.write(process, &seen);
                }
            }
            PrimaryCommand::Exit { code } => process.exit(code),
            PrimaryCommand::Die { signal } => process.die(translate::signal(signal)),
        }
    }
}
