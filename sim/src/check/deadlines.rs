//! Deadlines, as four rules. No phase of a requested exit is longer than the setting. Before the end of a
//! phase, no timer sends a signal to a worker that was ready. No start counts as late before the end of the
//! time for starts. In the final state, every process that was asked to exit has exited or got SIGKILL.
//! Commands of the program may send a signal at any time. The messages for lame duck and disconnect may wait
//! in the channel behind a connection, so only the signals are timed.

use std::time::Duration;

use cluster_core::{Signal, SupervisorSettings, WorkerId};

use super::account::{Account, Life};
use crate::kernel::Kernel;
use crate::step::Pid;

/// Checks a signal before the call.
pub(crate) fn signal(
    account: &Account,
    worker: WorkerId,
    signal: Signal,
    settings: &SupervisorSettings,
    kernel: &Kernel,
) -> Result<(), String> {
    let Some(life) = account.lives.get(&worker).filter(|_| kernel.clock.is_even()) else { return Ok(()) };
    if let Some(first) = earliest(account, life, signal, settings)
        && kernel.clock.now_ms() < first
    {
        let now = kernel.clock.now_ms();
        return Err(format!("worker {worker} gets {signal:?} at {now} ms, and its phase ends at {first} ms"));
    }
    let limit = match life.asked {
        [_, _, Some(term), None] => after(term, settings.term),
        [Some(lame), _, None, None] => {
            let drained = after(after(lame, settings.lame_duck), settings.drain);
            let shut_down = account.shut_down.map_or(0, |start| after(start, settings.shutdown));
            drained.max(shut_down)
        }
        [_, _, _, Some(_)] | [None, _, None, None] => return Ok(()),
    };
    let now = kernel.clock.now_ms();
    if now > limit {
        return Err(format!(
            "worker {worker} gets a signal at {now} ms, and its phase has ended at {limit} ms"
        ));
    }
    Ok(())
}

/// The earliest time at which a timer may send the signal to a worker that was ready. `None`: a command of
/// the program may have caused the signal, or the worker hangs.
fn earliest(account: &Account, life: &Life, signal: Signal, settings: &SupervisorSettings) -> Option<u64> {
    if !account.last_input.is_timer || !life.ready {
        return None;
    }
    if signal == Signal::SIGKILL {
        return life.terminated.map(|term| after(term, settings.term));
    }
    let drained = life.retired.map(|start| after(start, settings.drain));
    let shut_down = account.shutdown_cause.map(|start| after(start, settings.shutdown));
    drained.into_iter().chain(shut_down).min()
}

/// Checks that a process counts as late only after the time for its start.
pub(crate) fn late(
    account: &Account,
    worker: WorkerId,
    limit: Duration,
    kernel: &Kernel,
) -> Result<(), String> {
    let Some(life) = account.lives.get(&worker).filter(|_| kernel.clock.is_even()) else { return Ok(()) };
    let (now, first) = (kernel.clock.now_ms(), after(life.spawned, limit));
    if now < first {
        return Err(format!("worker {worker} is late at {now} ms, and its time ends at {first} ms"));
    }
    Ok(())
}

fn after(start: u64, time: Duration) -> u64 {
    start.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn at_the_end(account: &Account, kernel: &Kernel) -> Result<(), String> {
    for (worker, life) in &account.lives {
        let pid = Pid::from(*worker);
        let is_running = pid.index() < kernel.processes.len() && kernel.processes.get(pid).is_alive();
        if is_running && life.is_asked() && life.asked[3].is_none() {
            return Err(format!("worker {worker} was asked to exit, still runs, and no SIGKILL follows"));
        }
    }
    Ok(())
}
