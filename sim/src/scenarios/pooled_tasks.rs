//! A task pool: the workers run tasks while the supervisor reloads, scales or shuts down.

use cluster_core::{
    ClosePolicy, Message, Pool, PoolEvent, PoolSettings, Supervisor, SupervisorEvent, TASKS_READY, TaskId,
    TaskReply, TaskRequest, Worker, WorkerEvent, WorkerId,
};
use serde_json::json;

use crate::{Process, Program, World};

/// The action of the program when every slot is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskMove {
    /// Nothing.
    Run,
    /// Cancels the first and the last task when the first task starts.
    Cancel,
    /// [`Cancel`](TaskMove::Cancel), but without passing the cancellation on to the pool: a mistake of the
    /// program.
    ForgetCancel,
    /// Reloads.
    Reload,
    /// Removes one slot.
    ScaleDown,
    /// The pool runs its queue, and shuts down.
    Drain,
    /// The pool fails its queue, and shuts down.
    Fail,
}

/// A pool with a number of tasks, all submitted at the start. Each worker replies to each task at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PooledTasks {
    pool: Pool,
    workers: u32,
    tasks: u32,
    command: TaskMove,
    ready: u32,
    has_cancelled: bool,
    /// Workers from this id on never announce themselves.
    silent_from: Option<WorkerId>,
    /// No worker replies to this task.
    endless: Option<TaskId>,
}

impl PooledTasks {
    /// The world of a pool with these settings and this number of workers and tasks, on a quiet schedule.
    ///
    /// # Panics
    ///
    /// If the settings contradict each other.
    pub fn world(settings: PoolSettings, workers: u32, tasks: u32, command: TaskMove) -> World<Self> {
        PooledTasks::world_with(settings, workers, tasks, command, None)
    }

    /// [`world`](PooledTasks::world), where workers from this id on never announce themselves.
    ///
    /// # Panics
    ///
    /// If the settings contradict each other.
    pub fn world_with(
        settings: PoolSettings,
        workers: u32,
        tasks: u32,
        command: TaskMove,
        silent_from: Option<WorkerId>,
    ) -> World<Self> {
        let program = PooledTasks { silent_from, ..PooledTasks::new(&settings, workers, tasks, command) };
        World::supervised(program, settings.into_supervisor()).named("pooled")
    }

    /// [`world`](PooledTasks::world), with a task to which no worker replies.
    ///
    /// # Panics
    ///
    /// If the settings contradict each other.
    pub fn world_with_endless(
        settings: PoolSettings,
        workers: u32,
        tasks: u32,
        command: TaskMove,
        endless: TaskId,
    ) -> World<Self> {
        let program =
            PooledTasks { endless: Some(endless), ..PooledTasks::new(&settings, workers, tasks, command) };
        World::supervised(program, settings.into_supervisor()).named("pooled")
    }

    fn new(settings: &PoolSettings, workers: u32, tasks: u32, command: TaskMove) -> Self {
        PooledTasks {
            pool: Pool::new(settings).expect("possible settings"),
            workers,
            tasks,
            command,
            ready: 0,
            has_cancelled: false,
            silent_from: None,
            endless: None,
        }
    }

    fn act(&mut self, supervisor: &mut Supervisor) {
        match self.command {
            TaskMove::Run | TaskMove::Cancel | TaskMove::ForgetCancel => {}
            TaskMove::Reload => {
                supervisor.reload();
            }
            TaskMove::ScaleDown => supervisor.scale(self.workers - 1).expect("a possible number"),
            TaskMove::Drain => self.pool.close(ClosePolicy::Drain),
            TaskMove::Fail => {
                self.pool.close(ClosePolicy::Fail);
                supervisor.shutdown();
            }
        }
    }

    fn started(&mut self, process: &mut Process<'_>, task: TaskId) {
        if self.has_cancelled {
            return;
        }
        let last = TaskId(self.tasks.into());
        match self.command {
            TaskMove::Cancel => {
                process.cancel_task(&mut self.pool, task);
                process.cancel_task(&mut self.pool, last);
            }
            TaskMove::ForgetCancel => process.record_cancelled_task(task),
            TaskMove::Run | TaskMove::Reload | TaskMove::ScaleDown | TaskMove::Drain | TaskMove::Fail => {}
        }
        self.has_cancelled = true;
    }

    fn drive(&mut self, supervisor: &mut Supervisor, process: &mut Process<'_>) {
        while let Some(event) = process.drive_pool(&mut self.pool, supervisor) {
            match event {
                PoolEvent::Started { task, .. } => self.started(process, task),
                PoolEvent::Empty if !supervisor.is_shutting_down() => supervisor.shutdown(),
                PoolEvent::Completed { .. } | PoolEvent::Killed { .. } | PoolEvent::Empty => {}
            }
        }
    }
}

impl Program for PooledTasks {
    fn supervisor_start(&mut self, supervisor: &mut Supervisor, process: &mut Process<'_>) {
        for task in 0..self.tasks {
            process.run_task(&mut self.pool, &Message::from(json!(task))).expect("room");
        }
        self.drive(supervisor, process);
    }

    fn supervisor_event(
        &mut self,
        supervisor: &mut Supervisor,
        process: &mut Process<'_>,
        event: SupervisorEvent,
    ) {
        self.pool.observe(&event);
        if let SupervisorEvent::SlotReady { .. } = event {
            self.ready += 1;
            if self.ready == self.workers {
                self.act(supervisor);
            }
        }
        self.drive(supervisor, process);
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        if self.silent_from.is_none_or(|first| worker.id() < first) {
            // Fails if the channel is closing.
            let _ = worker.send(TASKS_READY);
        }
    }

    fn worker_event(&mut self, worker: &mut Worker, _: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { message, .. } = event
            && let Some(TaskRequest::Run { task, payload }) = TaskRequest::from_message(&message)
            && self.endless != Some(task)
            && let Ok(reply) = (TaskReply::Done { task, result: payload }).to_message()
        {
            let _ = worker.send(reply);
        }
    }
}
