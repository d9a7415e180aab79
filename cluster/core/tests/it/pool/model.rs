//! Random inputs: each task ends once, only a worker that may receive tasks receives them, and at the end no
//! task is left.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{
    ClosePolicy, Delivery, ExitStatus, Message, Pool, PoolOutput, PoolSettings, SendError, TaskId,
    TaskRequest, WorkerId,
};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
enum Input {
    Run,
    Cancel(u64),
    Ready(u64),
    Lame(u64),
    Exit(u64),
    /// A worker replies to its oldest task.
    Reply(u64),
    Room,
    Close(ClosePolicy),
}

fn inputs() -> impl Strategy<Value = Vec<(Input, u8)>> {
    let worker = 1..4u64;
    let input = prop_oneof![
        6 => Just(Input::Run),
        2 => (1..30u64).prop_map(Input::Cancel),
        4 => worker.clone().prop_map(Input::Ready),
        2 => worker.clone().prop_map(Input::Lame),
        1 => worker.clone().prop_map(Input::Exit),
        6 => worker.prop_map(Input::Reply),
        1 => Just(Input::Room),
        1 => prop_oneof![Just(ClosePolicy::Drain), Just(ClosePolicy::Fail)].prop_map(Input::Close),
    ];
    // The random number decides whether the channel has room for messages.
    prop::collection::vec((input, any::<u8>()), 0..80)
}

/// The world around a pool.
struct Model {
    pool: Pool,
    limit: usize,
    ready: BTreeSet<u64>,
    /// The tasks at each worker, in the order of their messages.
    at: BTreeMap<u64, Vec<TaskId>>,
    accepted: u64,
    ended: BTreeSet<TaskId>,
    sent: BTreeMap<TaskId, u32>,
    cancelled: BTreeSet<TaskId>,
}

impl Model {
    fn new(settings: &PoolSettings, limit: usize) -> Self {
        Model {
            pool: Pool::new(settings).expect("possible settings"),
            limit,
            ready: BTreeSet::new(),
            at: BTreeMap::new(),
            accepted: 0,
            ended: BTreeSet::new(),
            sent: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        }
    }

    fn input(&mut self, input: &Input) {
        match *input {
            Input::Run => {
                if let Ok(task) = self.pool.run(&Message::from(json!(0))) {
                    self.accepted += 1;
                    assert_eq!(task, TaskId(self.accepted));
                }
            }
            Input::Cancel(task) => {
                let task = TaskId(task);
                if task.0 <= self.accepted && !self.ended.contains(&task) {
                    self.cancelled.insert(task);
                }
                self.pool.cancel(task);
            }
            Input::Ready(worker) => {
                self.ready.insert(worker);
                self.pool.set_ready(WorkerId(worker), true);
                self.pool.message(WorkerId(worker), &Message::from("CLUSTER_TASKS_READY"));
            }
            Input::Lame(worker) => {
                self.ready.remove(&worker);
                self.pool.set_ready(WorkerId(worker), false);
            }
            Input::Exit(worker) => {
                self.ready.remove(&worker);
                self.at.remove(&worker);
                self.pool.exited(WorkerId(worker), Some(ExitStatus::Code(1)));
            }
            Input::Reply(worker) => self.reply(worker),
            Input::Room => self.pool.has_room(),
            Input::Close(policy) => self.pool.close(policy),
        }
    }

    fn reply(&mut self, worker: u64) {
        let Some(tasks) = self.at.get_mut(&worker).filter(|tasks| !tasks.is_empty()) else { return };
        let task = tasks.remove(0);
        let reply = json!({ "cmd": "CLUSTER_TASK_DONE", "id": task.0 });
        assert!(self.pool.message(WorkerId(worker), &Message::from(reply)));
    }

    fn outputs(&mut self, mut fullness: u8) {
        while let Some(output) = self.pool.poll() {
            match output {
                PoolOutput::Send { worker, task, .. } if fullness.trailing_zeros() > 3 => {
                    fullness = 1;
                    self.pool.not_sent(worker, task, SendError::Full);
                }
                PoolOutput::Send { worker, task, message } => self.sent(worker.0, task, &message),
                PoolOutput::Completed { task, outcome } => {
                    assert!(self.ended.insert(task), "{task:?} ends twice");
                    assert!(!(outcome.is_ok() && self.cancelled.contains(&task)), "{task:?} was cancelled");
                }
                PoolOutput::Empty => assert_eq!(self.ended.len() as u64, self.accepted),
                PoolOutput::Kill { .. } | PoolOutput::SetTimer { .. } => {}
            }
        }
    }

    fn sent(&mut self, worker: u64, task: TaskId, message: &Message) {
        if !matches!(TaskRequest::from_message(message), Some(TaskRequest::Run { .. })) {
            return;
        }
        assert!(self.ready.contains(&worker), "worker {worker} is not ready");
        let tasks = self.at.entry(worker).or_default();
        tasks.push(task);
        assert!(tasks.len() <= self.limit, "worker {worker} has {tasks:?}");
        *self.sent.entry(task).or_default() += 1;
    }

    /// A worker that is no lame duck completes every task.
    fn finish(&mut self) {
        self.input(&Input::Room);
        self.input(&Input::Ready(9));
        self.outputs(1);
        for _ in 0..self.accepted + 9 {
            for worker in [1, 2, 3, 9] {
                self.reply(worker);
                self.outputs(1);
            }
        }
        assert_eq!(self.ended.len() as u64, self.accepted, "a task is lost");
    }
}

proptest! {
    #[test]
    fn tasks_end_once(inputs in inputs(), limit in 1..3usize, attempts in 0..3u32) {
        let settings = PoolSettings::new(3).tasks_per_worker(limit).queue(5);
        let settings = match attempts {
            0 => settings,
            attempts => settings.delivery(Delivery::AtLeastOnce { attempts }),
        };
        let mut model = Model::new(&settings, limit);
        for (input, fullness) in &inputs {
            model.input(input);
            model.outputs(*fullness);
        }
        model.finish();
        prop_assert!(model.sent.values().all(|sent| *sent <= attempts.max(1)));
    }
}
