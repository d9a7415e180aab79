//! The task pool: inputs by name, outputs as short lines.

mod machine;
mod model;
mod supervised;
mod wire;

use cluster_core::{
    ExitStatus, Message, Pool, PoolOutput, PoolSettings, Signal, TaskId, TaskRequest, WorkerId,
};
use serde_json::json;

const KILLED: ExitStatus = ExitStatus::Signal(Signal::SIGKILL);

/// A pool under test.
#[derive(Debug, Clone)]
struct Tasks(Pool);

fn text(output: PoolOutput) -> String {
    match output {
        PoolOutput::Send { worker, task, message } => match TaskRequest::from_message(&message) {
            Some(TaskRequest::Run { .. }) => format!("run {task} on {worker}"),
            Some(TaskRequest::Cancel { .. }) => format!("cancel {task} on {worker}"),
            None => format!("foreign message to {worker}"),
        },
        PoolOutput::Kill { worker, .. } => format!("kill {worker}"),
        PoolOutput::SetTimer { after } => format!("tick after {after:?}"),
        PoolOutput::Completed { task, outcome: Ok(result) } => {
            format!("{task} done: {}", result.json_text().expect("JSON"))
        }
        PoolOutput::Completed { task, outcome: Err(error) } => format!("{task}: {error}"),
        PoolOutput::Empty => "empty".to_owned(),
    }
}

impl Tasks {
    /// A pool with workers 1 to `workers`, all ready.
    fn with(settings: &PoolSettings, workers: u64) -> Self {
        let mut tasks = Tasks(Pool::new(settings).expect("possible settings"));
        for worker in 1..=workers {
            tasks.ready(worker);
        }
        tasks
    }

    fn outputs(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.poll()).map(text).collect()
    }

    fn run(&mut self, payload: u64) -> Vec<String> {
        self.0.run(&Message::from(json!(payload))).expect("room");
        self.outputs()
    }

    #[track_caller]
    fn ready(&mut self, worker: u64) -> Vec<String> {
        self.0.set_ready(WorkerId(worker), true);
        assert!(self.0.message(WorkerId(worker), &Message::from("CLUSTER_TASKS_READY")));
        self.outputs()
    }

    fn lame(&mut self, worker: u64) -> Vec<String> {
        self.0.set_ready(WorkerId(worker), false);
        self.outputs()
    }

    #[track_caller]
    fn replies(&mut self, worker: u64, task: u64, result: &str) -> Vec<String> {
        let reply = json!({ "cmd": "CLUSTER_TASK_DONE", "id": task, "result": result });
        assert!(self.0.message(WorkerId(worker), &Message::from(reply)));
        self.outputs()
    }

    fn dies(&mut self, worker: u64) -> Vec<String> {
        self.0.exited(WorkerId(worker), Some(KILLED));
        self.outputs()
    }

    /// Lets the timer of the time limit fire this number of times. Returns the outputs of the last time.
    fn ticks(&mut self, times: u32) -> Vec<String> {
        let tick = |_| {
            self.0.tick();
            self.outputs()
        };
        (0..times).map(tick).last().unwrap_or_default()
    }

    fn cancel(&mut self, task: u64) -> Vec<String> {
        self.0.cancel(TaskId(task));
        self.outputs()
    }
}
