//! The slow start of workers under the weighted policy: a timer for each step of each worker.

use super::handles::Handles;
use super::peers::Peers;
use super::timer_actions::{TimerAction, TimerActions};
use crate::handle::Handle;
use crate::os::{Call, HandleId, WorkerId};

/// The timer of the next step of a worker, in milliseconds. `None`: the worker is warm, or the timer of an
/// earlier server is pending.
fn next_step(
    handles: &Handles,
    timers: &TimerActions,
    id: HandleId,
    worker: WorkerId,
) -> Option<(TimerAction, u64)> {
    let action = TimerAction::Warm(id, worker);
    let after_ms = handles.get(id).and_then(Handle::policy)?.warming_ms(worker)?;
    (!timers.is_pending(action)).then_some((action, after_ms))
}

/// Sets the timer of the next step of a worker, if the worker is warming.
pub(super) fn continue_with(
    handles: &Handles,
    timers: &mut TimerActions,
    id: HandleId,
    worker: WorkerId,
    peers: &mut Peers,
) {
    if let Some((action, after_ms)) = next_step(handles, timers, id, worker) {
        let timer = timers.set(action);
        peers.steps.call(Call::SetTimer { timer, after_ms });
    }
}

/// Called when a step is over.
pub(super) fn warm(handles: &mut Handles, id: HandleId, worker: WorkerId) {
    if let Some(policy) = handles.get_mut(id).and_then(Handle::policy_mut) {
        policy.warm(worker);
    }
}
