//! `--watch`: a change of a file reloads the service. For development.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cluster::SupervisorHandle;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher, recommended_watcher};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

/// How long the files must be unchanged before the reload: editors and compilers write in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// Watches until dropped.
#[derive(Debug)]
pub(crate) struct Watch(#[expect(dead_code, reason = "dropped at the end")] RecommendedWatcher);

/// Reloads after each change of the paths. A directory includes everything below.
///
/// # Errors
/// A path cannot be watched.
pub(crate) fn watch(paths: &[PathBuf], supervisor: SupervisorHandle) -> anyhow::Result<Watch> {
    let (sender, changes) = channel(1);
    let watcher = watcher(paths, move |_| {
        // Fails if the queue is full: then a reload is already due.
        let _ = sender.try_send(());
    })?;
    tokio::spawn(reload(changes, supervisor));
    Ok(Watch(watcher))
}

/// Calls `changed` at each change. Reading a file is no change: each new worker reads the program.
fn watcher(
    paths: &[PathBuf],
    mut changed: impl FnMut(Event) + Send + 'static,
) -> anyhow::Result<RecommendedWatcher> {
    let found = paths.iter().map(|path| {
        path.canonicalize().with_context(|| format!("cannot watch {}; correct `--watch`", path.display()))
    });
    let mut roots: Vec<PathBuf> = found.collect::<anyhow::Result<_>>()?;
    // Directories are last: a directory may contain a watched file, and the last mode set for a directory
    // applies.
    roots.sort_by_key(|root| root.is_dir());
    let wanted = roots.clone();
    let mut watcher = recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if event.kind.is_access() || !concerns(&event, &wanted) => {}
        Ok(event) => changed(event),
        Err(error) => tracing::warn!(%error, "a change of the watched files may be lost"),
    })
    .context("cannot watch files")?;
    for root in &roots {
        // Watches the directory of a file instead of the file: editors replace files, and a watch of the old
        // file would observe nothing further.
        let (directory, mode) = match root.parent() {
            Some(parent) if !root.is_dir() => (parent, RecursiveMode::NonRecursive),
            _ => (root.as_path(), RecursiveMode::Recursive),
        };
        let result = watcher.watch(directory, mode);
        result.with_context(|| format!("cannot watch {}", directory.display()))?;
    }
    Ok(watcher)
}

/// Whether an event is about the watched paths. An event without a path reports lost events, and counts.
fn concerns(event: &Event, roots: &[PathBuf]) -> bool {
    event.paths.is_empty() || event.paths.iter().any(|path| roots.iter().any(|root| path.starts_with(root)))
}

async fn reload(mut changes: Receiver<()>, supervisor: SupervisorHandle) {
    while changes.recv().await.is_some() {
        while let Ok(Some(())) = timeout(QUIET, changes.recv()).await {}
        // Fails if the reload is abandoned; the log has the reason. The next change starts another reload.
        let _ = supervisor.reload().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;

    use notify::EventKind;
    use notify::event::ModifyKind;

    use super::*;

    #[test]
    fn reading_is_no_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("app.js");
        fs::write(&file, "old").expect("a file");
        let (sender, changes) = mpsc::channel();
        let send = move |event| drop(sender.send(event));
        let _watcher = watcher(&[directory.path().to_owned()], send).expect("a watcher");
        assert_eq!(fs::read(&file).expect("a file"), b"old");
        fs::write(&file, "new").expect("a file");
        let first = changes.recv_timeout(Duration::from_mins(1)).expect("a change");
        assert!(first.kind.is_modify(), "{first:?}");
    }

    #[test]
    fn replaced_file_stays_watched() {
        let directory = tempfile::tempdir().expect("a directory");
        let [file, other] = ["app.js", "other.js"].map(|name| directory.path().join(name));
        fs::write(&file, "old").expect("a file");
        fs::write(&other, "new").expect("a file");
        let (sender, changes) = mpsc::channel();
        let send = move |event| drop(sender.send(event));
        let _watcher = watcher(std::slice::from_ref(&file), send).expect("a watcher");
        fs::rename(&other, &file).expect("a file");
        fs::write(&file, "newer").expect("a file");
        let next = || changes.recv_timeout(Duration::from_mins(1)).expect("a change").kind;
        while !matches!(next(), EventKind::Modify(ModifyKind::Data(_))) {}
    }
}
