//! The processor time and the memory of processes.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use procfs::process::Process;

/// The memory of one process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All resident pages (RSS).
    pub resident: u64,
    /// All resident pages, where a page in several processes counts only in part (PSS).
    pub proportional: u64,
}

/// The memory of a process.
///
/// # Errors
/// The process has ended.
pub fn memory(pid: i32) -> anyhow::Result<Memory> {
    let rollup = Process::new(pid)?.smaps_rollup()?.memory_map_rollup;
    let of = |name: &str| rollup.iter().filter_map(|map| map.extension.map.get(name)).sum();
    Ok(Memory { resident: of("Rss"), proportional: of("Pss") })
}

/// The children of a process.
///
/// # Errors
/// The process has ended.
pub fn children(pid: i32) -> anyhow::Result<Vec<i32>> {
    let mut children = Vec::new();
    for task in Process::new(pid)?.tasks()? {
        children.extend(task?.children()?.into_iter().map(u32::cast_signed));
    }
    Ok(children)
}

/// A process with all its descendants.
///
/// # Errors
/// The process has ended.
pub fn tree(pid: i32) -> anyhow::Result<Vec<i32>> {
    let mut tree = vec![pid];
    for child in children(pid)? {
        // A child that has ended meanwhile is left out.
        tree.extend(self::tree(child).unwrap_or_default());
    }
    Ok(tree)
}

/// The processor time of all threads of the processes, in seconds.
///
/// # Errors
/// A process has ended.
pub fn processor_time(pids: &[i32]) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for &pid in pids {
        let stat = Process::new(pid)?.stat()?;
        ticks += stat.utime + stat.stime;
    }
    #[allow(clippy::cast_precision_loss, reason = "the ticks of some seconds are far below 2^52")]
    Ok(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// The processor time of this process, in seconds.
///
/// # Panics
/// If the system has no such clock.
pub fn own_processor_time() -> f64 {
    let clock = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock");
    Duration::from(clock).as_secs_f64()
}

/// The median: the middle value in ascending order.
///
/// # Panics
/// If there is no value.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
