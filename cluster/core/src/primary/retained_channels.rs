//! Channels that another process holds open after the exit of a worker.

use core::time::Duration;

use super::WorkerInfo;
use super::peers::Peers;
use crate::channel::Channel;
use crate::event::WorkerError;
use crate::os::{WorkerId, timer_ms};

/// Whether the worker has exited, and the channel is open.
fn is_retained(worker: WorkerId, peers: &Peers) -> bool {
    peers.get(worker).is_some_and(WorkerInfo::is_dead)
        && peers.channel(worker).is_some_and(|channel| !channel.is_over())
}

/// How long to wait for the channel of an exited worker, in milliseconds. `None`: the channel is closed, or
/// there is no limit.
pub(super) fn wait_ms(worker: WorkerId, timeout: Option<Duration>, peers: &Peers) -> Option<u64> {
    let timeout = timeout.filter(|_| is_retained(worker, peers))?;
    Some(timer_ms(timeout))
}

/// Closes the channel of an exited worker. False: the channel is closed, or the worker has not exited.
pub(super) fn close(worker: WorkerId, peers: &mut Peers) -> bool {
    let is_retained = is_retained(worker, peers);
    if is_retained {
        peers.error(worker, WorkerError::RetainedChannel);
        peers.with_channel(worker.into(), Channel::abort);
    }
    is_retained
}
