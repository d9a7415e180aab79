//! The messages of a task pool. All are messages of the program in Node's protocol, so a Node worker can
//! serve tasks with `process.on('message')` and `process.send()`. Payloads are JSON values, on a channel of
//! either serialization.
//!
//! | from | message |
//! |---|---|
//! | worker, once | `"CLUSTER_TASKS_READY"` |
//! | primary | `{"cmd":"CLUSTER_TASK","id":7,"task":...}` |
//! | primary | `{"cmd":"CLUSTER_TASK_CANCEL","id":7}`; the reply to the task is still necessary, because the reply frees the worker; the result is ignored |
//! | worker | `{"cmd":"CLUSTER_TASK_DONE","id":7,"result":...}`; without `result`: `null` |
//! | worker | `{"cmd":"CLUSTER_TASK_FAILED","id":7,"error":"..."}` |

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::TaskId;
use crate::message_error::MessageError;
use crate::user_message::Message;

/// The first message of a worker that serves tasks. The message is this text.
pub const TASKS_READY: &str = "CLUSTER_TASKS_READY";

/// A text in every message of a pool. A message without it belongs to the program.
const PREFIX: &str = "CLUSTER_TASK";

const RUN: &str = "CLUSTER_TASK";
const CANCEL: &str = "CLUSTER_TASK_CANCEL";
const DONE: &str = "CLUSTER_TASK_DONE";
const FAILED: &str = "CLUSTER_TASK_FAILED";

/// A message of a pool to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum TaskRequest {
    /// Run a task with this payload.
    Run { task: TaskId, payload: Message },
    /// The task was cancelled.
    Cancel { task: TaskId },
}

/// A message of a worker to its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum TaskReply {
    /// The worker receives tasks from now on.
    Ready,
    /// A task has this result.
    Done { task: TaskId, result: Message },
    /// A task has failed with this error.
    Failed { task: TaskId, error: String },
}

/// The fields of every message except the first.
#[derive(Serialize, Deserialize)]
struct TaskFields<'a> {
    cmd: &'a str,
    id: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    task: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
}

impl<'a> TaskFields<'a> {
    fn new(cmd: &'a str, task: TaskId) -> Self {
        TaskFields { cmd, id: task.0, task: None, result: None, error: None }
    }
}

/// The value of a field as a message. A missing field is `null`, as in JavaScript.
fn value(member: Option<&RawValue>) -> Message {
    let text = member.map_or("null", RawValue::get);
    Message::of_json(text.to_owned().into_bytes().into())
}

fn raw(text: &str) -> Result<&RawValue, MessageError> {
    serde_json::from_str(text).map_err(|error| MessageError::unfit(&error.to_string()))
}

impl TaskRequest {
    /// The message.
    ///
    /// # Errors
    /// The payload has no JSON form.
    pub fn to_message(&self) -> Result<Message, MessageError> {
        match self {
            TaskRequest::Run { task, payload } => {
                let text = payload.json_text()?;
                Message::new(&TaskFields { task: Some(raw(&text)?), ..TaskFields::new(RUN, *task) })
            }
            TaskRequest::Cancel { task } => Message::new(&TaskFields::new(CANCEL, *task)),
        }
    }

    /// Reads a message. `None`: the message belongs to the program.
    pub fn from_message(message: &Message) -> Option<Self> {
        let text = message.object_with(PREFIX)?;
        let fields: TaskFields<'_> = serde_json::from_str(&text).ok()?;
        let task = TaskId(fields.id);
        match fields.cmd {
            RUN => Some(TaskRequest::Run { task, payload: value(fields.task) }),
            CANCEL => Some(TaskRequest::Cancel { task }),
            _ => None,
        }
    }
}

impl TaskReply {
    /// The message.
    ///
    /// # Errors
    /// The result has no JSON form.
    pub fn to_message(&self) -> Result<Message, MessageError> {
        match self {
            TaskReply::Ready => Ok(Message::from(TASKS_READY)),
            TaskReply::Done { task, result } => {
                let text = result.json_text()?;
                Message::new(&TaskFields { result: Some(raw(&text)?), ..TaskFields::new(DONE, *task) })
            }
            TaskReply::Failed { task, error } => {
                let error = Message::from(error.as_str());
                let text = error.json_text()?;
                Message::new(&TaskFields { error: Some(raw(&text)?), ..TaskFields::new(FAILED, *task) })
            }
        }
    }

    /// Reads a message. `None`: the message belongs to the program.
    pub fn from_message(message: &Message) -> Option<Self> {
        if message.contains(PREFIX) && *message == *TASKS_READY {
            return Some(TaskReply::Ready);
        }
        let text = message.object_with(PREFIX)?;
        let fields: TaskFields<'_> = serde_json::from_str(&text).ok()?;
        let task = TaskId(fields.id);
        match fields.cmd {
            DONE => Some(TaskReply::Done { task, result: value(fields.result) }),
            FAILED => {
                let error = value(fields.error);
                let text = || error.json_text().map(String::from).unwrap_or_default();
                Some(TaskReply::Failed { task, error: error.to().unwrap_or_else(|_| text()) })
            }
            _ => None,
        }
    }
}
