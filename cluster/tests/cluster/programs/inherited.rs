//! Workers that report what they have from their primary.

use std::process::{self, Stdio};
use std::{fs, io};

use ::cluster::{Worker, WorkerEvent};
use serde_json::json;

use super::Ended;

/// Sends what each of its descriptors is.
pub(super) async fn descriptors(worker: &Worker) -> Ended {
    let entries = fs::read_dir("/proc/self/fd")?.collect::<io::Result<Vec<_>>>()?;
    let links: Vec<_> = entries.iter().filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    worker.send(&json!(links))?;
    std::future::pending().await
}

/// Answers each message with the signals that a program of its own ignores.
pub(super) async fn echo_ignoring(worker: Worker) -> Ended {
    worker.ignore_terminal_signals();
    worker.send(&json!("ready"))?;
    while let Some(event) = worker.next().await {
        if matches!(event, WorkerEvent::Message { .. }) {
            worker.send(&json!(ignored_by_children()?))?;
        }
    }
    Ok(())
}

/// As the kernel prints it: a mask.
pub(super) fn ignored_by_children() -> io::Result<String> {
    let mut command = process::Command::new("grep");
    let output = command.args(["SigIgn", "/proc/self/status"]).stderr(Stdio::inherit()).output()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
