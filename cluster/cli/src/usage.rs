//! The memory and the processor time of a process, from `/proc`.

use serde::{Deserialize, Serialize};

/// The usage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// The resident memory in bytes.
    pub(crate) memory_bytes: u64,
    /// The processor time since the start of the process, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// The time since the start of the process, in milliseconds.
    pub(crate) age_ms: u64,
}

/// The memory and the processor time of a process and of all processes below, for example a server below a
/// shell. The age is of the process alone. `None`: the process has exited.
#[cfg(target_os = "linux")]
pub(crate) fn of(pid: u32) -> Option<Usage> {
    let process = procfs::process::Process::new(pid.cast_signed()).ok()?;
    let mut usage = of_one(&process)?;
    let tasks = process.tasks().into_iter().flatten().flatten();
    for child in tasks.filter_map(|task| task.children().ok()).flatten().filter_map(of) {
        usage.memory_bytes += child.memory_bytes;
        usage.cpu_ms += child.cpu_ms;
    }
    Some(usage)
}

#[cfg(target_os = "linux")]
fn of_one(process: &procfs::process::Process) -> Option<Usage> {
    use procfs::{Current, Uptime};
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second();
    let ms = |ticks_of_process: u64| ticks_of_process * 1_000 / ticks;
    let since_boot = Uptime::current().ok()?.uptime_duration().as_millis();
    Some(Usage {
        memory_bytes: stat.rss * procfs::page_size(),
        cpu_ms: ms(stat.utime + stat.stime),
        age_ms: u64::try_from(since_boot).ok()?.saturating_sub(ms(stat.starttime)),
    })
}

/// Always `None`: only Linux has `/proc`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of(_: u32) -> Option<Usage> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn own_process_uses_memory() {
        let usage = of(std::process::id()).expect("this process runs");
        assert!(usage.memory_bytes > 100_000 && usage.age_ms < 600_000, "{usage:?}");
    }

    #[test]
    fn missing_process_has_no_usage() {
        assert_eq!(of(u32::MAX >> 1), None);
    }
}
