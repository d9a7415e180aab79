//! The reload in progress, as the events of the supervisor show: for `cluster status`, and for a command
//! that waits for another reload.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster::{Event, ReloadId, ReloadScope, SupervisorEvent, WorkerId};
use serde::{Deserialize, Serialize};

use crate::status::{ReloadStatus, recycle_name, time};

/// The reload or the restart of a slot in progress, and the starting workers.
#[derive(Debug, Default)]
pub(crate) struct Reloads(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    current: Option<Current>,
    /// The slot and the start of each worker that is not ready.
    starting: BTreeMap<WorkerId, (u32, Instant)>,
}

#[derive(Debug)]
struct Current {
    id: ReloadId,
    scope: ReloadScope,
    start: Instant,
}

/// What a service remembers of a reload across an upgrade.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReloadMemory {
    current: Option<(ReloadId, ReloadScope, Duration)>,
    starting: Vec<(WorkerId, u32, Duration)>,
}

impl Reloads {
    pub(crate) fn after(memory: ReloadMemory) -> Reloads {
        let before = |age: Duration| Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let current = memory.current.map(|(id, scope, age)| Current { id, scope, start: before(age) });
        let starting = memory.starting.into_iter().map(|(worker, slot, age)| (worker, (slot, before(age))));
        Reloads(Mutex::new(Known { current, starting: starting.collect() }))
    }

    pub(crate) fn memory(&self) -> ReloadMemory {
        let known = self.known();
        let current = known.current.as_ref();
        let starting = known.starting.iter().map(|(worker, (slot, start))| (*worker, *slot, start.elapsed()));
        ReloadMemory {
            current: current.map(|current| (current.id, current.scope, current.start.elapsed())),
            starting: starting.collect(),
        }
    }

    /// Records an event. `slot_of`: the slot of a forked worker.
    pub(crate) fn observe(&self, event: &SupervisorEvent, slot_of: impl FnOnce(WorkerId) -> u32) {
        let mut known = self.known();
        if let SupervisorEvent::ReloadStarted { id, scope } = event {
            known.current = Some(Current { id: *id, scope: *scope, start: Instant::now() });
        } else if let SupervisorEvent::ReloadFinished { .. } | SupervisorEvent::ReloadAbandoned { .. } = event
        {
            known.current = None;
        } else if let SupervisorEvent::Primary(Event::Fork { worker }) = event {
            known.starting.insert(*worker, (slot_of(*worker), Instant::now()));
        } else if let SupervisorEvent::SlotReady { worker, .. }
        | SupervisorEvent::Primary(Event::Exit { worker, .. })
        | SupervisorEvent::StartFailed { worker: Some(worker), .. } = event
        {
            known.starting.remove(worker);
        }
    }

    /// The reload in progress.
    pub(crate) fn status(&self) -> Option<ReloadStatus> {
        let known = self.known();
        let Current { id, scope, start } = known.current.as_ref()?;
        let slot = match scope {
            ReloadScope::All => None,
            ReloadScope::Slot { slot, .. } => Some(slot.0),
        };
        let of_scope = known.starting.iter().filter(|(_, (own, _))| slot.is_none_or(|slot| slot == *own));
        let oldest = of_scope.min_by_key(|(_, (_, start))| *start);
        let waits_for = match oldest {
            Some((worker, (slot, start))) => {
                format!("slot {slot}: worker {worker} is not ready after {}", time(milliseconds(*start)))
            }
            None => "an old worker has not exited".to_owned(),
        };
        Some(ReloadStatus {
            number: id.0,
            slot,
            age_ms: milliseconds(*start),
            name: match scope {
                ReloadScope::All => format!("reload {}", id.0),
                ReloadScope::Slot { slot, reason } => recycle_name(*slot, *reason),
            },
            waits_for,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
