//! `--watch`: a change of a file reloads the service. For development.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cluster::SupervisorHandle;
use notify_debouncer_mini::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{Debouncer, new_debouncer};
use tokio::sync::mpsc::{Receiver, channel};

/// The time without a further change before the reload: editors and compilers write in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// Reports changes until dropped.
#[derive(Debug)]
pub(crate) struct Watch(#[expect(dead_code, reason = "dropped at the end")] Debouncer<RecommendedWatcher>);

/// Reloads after each change of the paths; a directory includes its content.
///
/// # Errors
/// A path cannot be watched.
pub(crate) fn watch(paths: &[PathBuf], supervisor: SupervisorHandle) -> anyhow::Result<Watch> {
    let (sender, changes) = channel(1);
    let mut debouncer = new_debouncer(QUIET, move |result| match result {
        // A full queue: a reload is already due.
        Ok(_) => drop(sender.try_send(())),
        Err(error) => tracing::warn!(%error, "a change of the watched files may be lost"),
    })
    .context("cannot watch files")?;
    for path in paths {
        let watched = debouncer.watcher().watch(path, RecursiveMode::Recursive);
        watched.with_context(|| format!("cannot watch {}", path.display()))?;
    }
    tokio::spawn(reload(changes, supervisor));
    Ok(Watch(debouncer))
}

async fn reload(mut changes: Receiver<()>, supervisor: SupervisorHandle) {
    while changes.recv().await.is_some() {
        // The log has the reason of an abandoned reload. The next change starts another.
        let _ = supervisor.reload().await;
    }
}
