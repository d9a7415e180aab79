//! Ctrl-C and SIGTERM: no new run starts, and the processes of current runs are killed. A second signal ends
//! this process at once.
//!
//! The processes of each run are a group of their own, so a terminal does not send its signals to them.
//! Temporary files are in one directory, which is removed in each case. Only files beside their destination
//! are not in this directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;

/// Set when the user has asked for an end.
pub(super) static STOPPED: AtomicBool = AtomicBool::new(false);

/// Directories that are removed when this process ends at once.
static HOMES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes a directory even when this process ends at once.
pub(super) fn remove_at_the_end(directory: &Path) {
    HOMES.lock().unwrap_or_else(PoisonError::into_inner).push(directory.to_owned());
}

/// Handles the signals until this process exits. Temporary files are created in the returned directory.
/// Dropping the value removes the directory.
pub(super) fn listen() -> io::Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let home = directory.path().to_owned();
    remove_at_the_end(&home);
    // Processes of other users need access.
    fs::set_permissions(&home, Permissions::from_mode(0o755))?;
    // Fails if a directory is already set, which is then kept.
    let _ = tempfile::env::override_temp_dir(&home);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                let again = STOPPED.swap(true, Ordering::Relaxed);
                end_runs();
                if again {
                    for home in HOMES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        // Fails if the directory cannot be removed, and remains then.
                        let _ = fs::remove_dir_all(home);
                    }
                    process::exit(Outcome::INTERRUPTED.into());
                }
                eprintln!("ending: current work is finished first; a second signal ends at once");
            }
        });
    });
    Ok(directory)
}

pub(super) fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Kills the process groups of the children of this process. Where children cannot be listed, the runs end by
/// themselves.
fn end_runs() {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // Fails if the child has exited, or leads no group.
            let _ = killpg(Pid::from_raw(child), Signal::SIGKILL);
        }
    }
}
