//! Two processes and the channel between them, without machines, programs and checks. Measures the cost of
//! the simulator alone.
//!
//! A bench compares the result with simulators that know nothing of clusters. No run of a cluster looks like
//! this.

use cluster_core::{Call, ChannelId, OsEvent, WorkerId};

use crate::kernel::Kernel;
use crate::kernel::process_table::Phase;
use crate::kernel::ready::{IndexSet, StepStatus};
use crate::schedule::Schedule;
use crate::step::Pid;
use crate::step::Step;

const WORKER: Pid = Pid(1);

/// The length of a message, in bytes.
const MESSAGE: usize = 8;

/// Runs two processes that take turns: each writes `window` messages to the other, until `messages` messages
/// have been read. The schedule decides how many messages one read returns. Returns the number of steps.
///
/// # Panics
///
/// If a message is lost.
pub fn messages(messages: u64, window: u64, schedule: &mut Schedule) -> u64 {
    let mut kernel = Kernel::new(1 << 20);
    let spawn =
        Call::Spawn { worker: WorkerId(1), options: cluster_core::SpawnOptions::new(), env: Vec::new() };
    kernel.perform(Pid::PRIMARY, spawn, schedule);
    kernel.processes.enter(Pid::PRIMARY, Phase::Running);
    kernel.processes.enter(WORKER, Phase::Running);
    write(&mut kernel, Pid::PRIMARY, window, schedule);
    let (mut enabled, mut unread, mut left, mut steps) = (IndexSet::default(), window, messages, 0);
    while left > 0 {
        let step = next(&mut kernel, &mut enabled, schedule);
        steps += 1;
        let read = if let Step::Read(pid, channel) = step { Ok((pid, channel)) } else { Err(step) };
        let (pid, channel) = read.expect("only reads are enabled");
        let Some(OsEvent::Read { bytes, .. }) = kernel.read(pid, channel, schedule) else { continue };
        let read = (bytes.len() / MESSAGE) as u64;
        (unread, left) = (unread - read, left.saturating_sub(read));
        if unread == 0 {
            unread = window;
            write(&mut kernel, pid, window, schedule);
        }
    }
    steps
}

fn write(kernel: &mut Kernel, pid: Pid, window: u64, schedule: &mut Schedule) {
    let channel = if pid == Pid::PRIMARY { ChannelId(1) } else { ChannelId::PRIMARY };
    for _ in 0..window {
        let call = Call::Write { channel, bytes: vec![b'm'; MESSAGE], socket: None };
        kernel.perform(pid, call, schedule);
    }
}

/// The next step, as in a world without busy processes.
fn next(kernel: &mut Kernel, enabled: &mut IndexSet, schedule: &mut Schedule) -> Step {
    let (touched, mut ready) = (kernel.take_touched(), std::mem::take(&mut kernel.ready));
    let look = |step| StepStatus {
        depends: kernel.dependencies(step),
        readiness: kernel.readiness(step),
        by_primary: false,
    };
    ready.refresh(touched, true, look, enabled);
    let step_at = |at: usize| ready.get(enabled.nth(at)).expect("an enabled step");
    let chosen = schedule.choose_step(enabled.len(), step_at, |_| 0);
    let step = step_at(chosen);
    ready.take(enabled.nth(chosen));
    kernel.ready = ready;
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_decides_the_size_of_reads() {
        assert_eq!(messages(1000, 1, &mut Schedule::seed(1)), 1000);
        assert_eq!(
            messages(1024, 64, &mut Schedule::quiet()),
            1024 / 64,
            "a quiet machine reads all at once"
        );
        let steps = [1, 2].map(|seed| messages(1024, 64, &mut Schedule::seed(seed)));
        assert!(steps[0] != steps[1] && steps.iter().all(|&steps| steps > 1024 / 64), "{steps:?}");
    }
}
