//! The events that concern the client of a command, while the service carries out the command.

use std::ops::Range;

use crate::feed::EventRecord;

/// The events that concern a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Scaling: the events of the added or removed slots, and the end of the scaling.
    Slots(Range<u32>),
    /// A shutdown: all events from the start of the shutdown.
    Shutdown {
        /// Whether the shutdown has started.
        has_started: bool,
    },
    /// An upgrade: its own events.
    Upgrade,
}

impl Concern {
    /// Whether an event concerns the client.
    pub(crate) fn includes(&mut self, event: &EventRecord) -> bool {
        match self {
            Concern::Slots(slots) => {
                event.event == "scaled" || event.slot.is_some_and(|slot| slots.contains(&slot))
            }
            Concern::Shutdown { has_started } => {
                *has_started |= event.event == "shutdown-started";
                *has_started
            }
            Concern::Upgrade => event.event.starts_with("upgrade-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::now;

    fn event(name: &str, slot: Option<u32>) -> EventRecord {
        let (event, text) = (name.to_owned(), String::new());
        EventRecord { time: now(), event, slot, worker: None, reload: None, text }
    }

    /// Meanwhile another slot restarts, and a reload ends.
    #[test]
    fn other_events_are_left_out() {
        let all = [
            event("restarting", Some(0)),
            event("slot-ready", Some(2)),
            event("reload-finished", None),
            event("scaled", None),
            event("upgrade-tried", None),
            event("shutdown-started", None),
            event("drained", Some(0)),
        ];
        let included = |mut concern: Concern| -> Vec<_> {
            let included = all.iter().filter(|event| concern.includes(event));
            included.map(|event| event.event.as_str()).collect()
        };
        assert_eq!(included(Concern::Slots(2..4)), ["slot-ready", "scaled"]);
        assert_eq!(included(Concern::Shutdown { has_started: false }), ["shutdown-started", "drained"]);
        assert_eq!(included(Concern::Upgrade), ["upgrade-tried"]);
    }
}
