//! All processes of a run, also workers without a primary and daemons in a group of their own. The variable
//! `PLACE` marks the processes of a run. This process is a subreaper, so orphans become its children.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::unistd::Pid;
use rustix::process::{self, RawPid, Signal, WaitOptions};

/// The poll interval for killed processes.
const KILL_POLL: Duration = Duration::from_millis(1);

/// The poll interval for the processor time of a run.
const SAMPLE: Duration = Duration::from_millis(250);

/// Makes this process the parent of all orphans.
///
/// # Errors
///
/// The kernel has no subreapers.
pub(super) fn adopt() -> io::Result<()> {
    Ok(process::set_child_subreaper(Some(process::getpid()))?)
}

/// Kills and reaps every process of a run, after the primary was reaped: the members of the primary's group,
/// and the processes with the directory of the run in their environment.
pub(super) fn end(group: Pid, place: &Path) {
    let mut killed = BTreeSet::new();
    loop {
        let living = marked(place);
        if living.is_empty() {
            break;
        }
        for pid in &living {
            // Fails if the process has exited.
            let _ = process::kill_process(*pid, Signal::KILL);
        }
        killed.extend(living.into_iter().map(process::Pid::as_raw_nonzero));
        thread::sleep(KILL_POLL);
    }
    // ECHILD: another process is the parent, or has reaped the process.
    for pid in killed.into_iter().filter_map(|pid| process::Pid::from_raw(pid.get())) {
        let _ = process::waitpid(Some(pid), WaitOptions::empty());
    }
    if let Some(group) = process::Pid::from_raw(group.as_raw()) {
        while process::waitpgid(group, WaitOptions::empty()).is_ok() {}
    }
}

/// Waits until the processes of a run have slept for this time without using any processor time.
pub(super) async fn idle(place: &Path, patience: Duration) {
    let (mut before, mut asleep) = (None, Duration::ZERO);
    while asleep < patience {
        tokio::time::sleep(SAMPLE).await;
        let used = sleeping(place);
        let same = used.is_some() && used == before;
        asleep = if same { asleep + SAMPLE } else { Duration::ZERO };
        before = used;
    }
}

/// The processor time of each process of a run. `None`: a process is running, or waits for a processor.
fn sleeping(place: &Path) -> Option<Vec<(RawPid, String)>> {
    let times = |pid: process::Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name, in parentheses, may have spaces. The state is the next word.
        let words: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (words[0] == "S").then(|| (pid.as_raw_nonzero().get(), words[11..13].join(" ")))
    };
    marked(place).into_iter().map(times).collect()
}

/// The living processes with this directory in their environment.
fn marked(place: &Path) -> Vec<process::Pid> {
    let mark = [b"PLACE=", place.as_os_str().as_encoded_bytes()].concat();
    let is_marked = |path: &Path| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |name: &str| name.parse().ok().and_then(process::Pid::from_raw);
    let marked = processes.filter_map(|entry| Some((pid(entry.file_name().to_str()?)?, entry.path())));
    marked.filter(|(_, path)| is_marked(path)).map(|(pid, _)| pid).collect()
}
