//! The processes of a worker, read from `/proc`. Only these processes are read: reading all processes of a
//! busy machine would take too long.

use std::net::SocketAddr;
use std::time::Duration;

use cluster::WorkerId;
use nix::sys::signal::Signal;
#[cfg(target_os = "linux")]
use procfs::{
    FromBufReadSI, current_system_info,
    net::{TcpNetEntries, TcpNetEntry},
    process::{FDInfo, FDTarget, Process},
};
#[cfg(target_os = "linux")]
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// The variable that marks all processes of a foreign program.
pub(crate) const MARK: &str = "CLUSTER_WORKER";

/// The value of the variable. The process id of the service is part of the value, because a service may run
/// below another service.
pub(crate) fn mark(service: u32, worker: WorkerId) -> String {
    format!("{service}.{worker}")
}

/// Whether the value of the variable is a [`mark`].
pub(crate) fn is_mark(value: &std::ffi::OsStr) -> bool {
    let parts = value.to_str().and_then(|value| value.split_once('.'));
    parts.is_some_and(|(service, worker)| service.parse::<u32>().is_ok() && worker.parse::<u64>().is_ok())
}

/// A process that has opened a listening socket of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnListener {
    pub(crate) pid: i32,
    /// Whether the process is the worker's own process, and not a process below.
    pub(crate) is_worker: bool,
    /// The command line of the process.
    pub(crate) command: String,
    pub(crate) address: SocketAddr,
}

/// The processes below a process: its children, their children, and so on.
#[cfg(target_os = "linux")]
pub(crate) fn below(process: &Process) -> Vec<Process> {
    let mut found = Vec::new();
    add_children(process, &mut found);
    found
}

#[cfg(target_os = "linux")]
fn add_children(process: &Process, found: &mut Vec<Process>) {
    let tasks = process.tasks().into_iter().flatten().flatten();
    for child in tasks.filter_map(|task| task.children().ok()).flatten() {
        if let Ok(child) = Process::new(child.cast_signed()) {
            add_children(&child, found);
            found.push(child);
        }
    }
}

/// The descriptors of the processes, each with the id of its process.
#[cfg(target_os = "linux")]
pub(crate) fn descriptors(processes: Vec<Process>) -> impl Iterator<Item = (i32, FDInfo)> {
    let listed = processes.into_iter().filter_map(|process| Some((process.pid, process.fd().ok()?)));
    listed.flat_map(|(pid, descriptors)| descriptors.flatten().map(move |descriptor| (pid, descriptor)))
}

/// The processes below a worker, and then the process of the worker itself. Empty after the worker has
/// exited.
#[cfg(target_os = "linux")]
fn of_worker(worker: WorkerId) -> Vec<Process> {
    let Ok(own) = Process::myself() else { return Vec::new() };
    let all = below(&own);
    let id = worker.to_string();
    let is_first =
        |process: &&Process| is_child(process, own.pid) && has_variable(process, "NODE_UNIQUE_ID", &id);
    let Some(first) = all.iter().find(is_first) else {
        return Vec::new();
    };
    let mut found = below(first);
    found.extend(Process::new(first.pid));
    found
}

/// Whether a process was started with a variable of this value.
#[cfg(target_os = "linux")]
fn has_variable(process: &Process, name: &str, value: &str) -> bool {
    let variables = process.environ().unwrap_or_default();
    variables.get(OsStr::new(name)).is_some_and(|found| *found == *value)
}

/// Sends SIGKILL to all processes below this process that have the mark of the worker.
#[cfg(target_os = "linux")]
pub(crate) fn kill_strays(worker: WorkerId) {
    let all = Process::myself().map(|own| below(&own)).unwrap_or_default();
    let mark = mark(std::process::id(), worker);
    for stray in all.iter().filter(|process| has_variable(process, MARK, &mark)) {
        // Fails if the process has exited meanwhile.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(stray.pid), Signal::SIGKILL);
    }
}

/// How much the processes of a worker have worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// The processor time of all processes since their starts.
    pub(crate) time: Duration,
    /// Whether a process runs, waits for a processor, or waits for a disk.
    pub(crate) is_runnable: bool,
}

/// How much a worker has worked, without the adapter of a foreign program. `None`: unknown.
#[cfg(target_os = "linux")]
pub(crate) fn work(worker: WorkerId, is_foreign: bool) -> Option<Work> {
    let mut processes = of_worker(worker);
    if is_foreign {
        let _adapter = processes.pop()?;
    }
    let stats: Vec<_> = processes.iter().filter_map(|process| process.stat().ok()).collect();
    let ticks: u64 = stats.iter().map(|stat| stat.utime + stat.stime).sum();
    let is_runnable = stats.iter().any(|stat| matches!(stat.state, 'R' | 'D'));
    Some(Work { time: Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second()), is_runnable })
}

/// Known on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn work(_: WorkerId, _: bool) -> Option<Work> {
    None
}

#[cfg(target_os = "linux")]
fn is_child(process: &Process, parent: i32) -> bool {
    process.stat().is_ok_and(|stat| stat.ppid == parent)
}

/// A listening TCP socket that a process of the worker has opened itself, rather than inherited from this
/// process.
#[cfg(target_os = "linux")]
pub(crate) fn own_listener(worker: WorkerId) -> Option<OwnListener> {
    let inode = |descriptor: &FDInfo| match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    };
    let own: Vec<u64> = descriptors(Process::myself().into_iter().collect())
        .filter_map(|(_, descriptor)| inode(&descriptor))
        .collect();
    let table: Vec<_> = ["tcp", "tcp6"].into_iter().flat_map(listening).collect();
    let processes = of_worker(worker);
    let own_pid = processes.last().map(|process| process.pid);
    descriptors(processes).find_map(|(pid, descriptor)| {
        let inode = inode(&descriptor).filter(|inode| !own.contains(inode))?;
        let entry = table.iter().find(|entry| entry.inode == inode)?;
        let command = Process::new(pid).and_then(|process| process.cmdline()).unwrap_or_default().join(" ");
        let is_worker = own_pid == Some(pid);
        Some(OwnListener { pid, is_worker, command, address: entry.local_address })
    })
}

/// The listening sockets in a table of the kernel. The table begins with them; a busy machine has thousands
/// of connections after them, which are not parsed.
#[cfg(target_os = "linux")]
fn listening(table: &str) -> Vec<TcpNetEntry> {
    let Ok(file) = File::open(Path::new("/proc/self/net").join(table)) else { return Vec::new() };
    // The column `st`, the state of the socket.
    let is_listening =
        |line: &str| line.split_whitespace().nth(3).is_none_or(|state| state == "st" || state == "0A");
    let lines = BufReader::new(file).lines().map_while(Result::ok).take_while(|line| is_listening(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    TcpNetEntries::from_buf_read(text.as_bytes(), current_system_info())
        .map(|entries| entries.0)
        .unwrap_or_default()
}

/// Whether a process below the worker's process handles the signal. The worker's process itself is the
/// adapter. `None`: unknown.
#[cfg(target_os = "linux")]
pub(crate) fn handles(worker: WorkerId, signal: Signal) -> Option<bool> {
    let mut processes = of_worker(worker);
    let _adapter = processes.pop()?;
    let caught = processes.iter().filter_map(|process| process.status().ok()).map(|status| status.sigcgt);
    Some(caught.fold(0, |all, one| all | one) & (1 << (signal as i32 - 1)) != 0)
}

/// Linux only: other systems have no subreaper.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kill_strays(_: WorkerId) {}

/// Always `None`: only Linux has `/proc/net`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn own_listener(_: WorkerId) -> Option<OwnListener> {
    None
}

/// Always `None`: only Linux has `/proc/PID/status`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn handles(_: WorkerId, _: Signal) -> Option<bool> {
    None
}
