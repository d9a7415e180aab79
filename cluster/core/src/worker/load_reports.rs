//! The reports of a worker on its open connections, for a policy that compares workers. The primary asks for
//! reports in its answer to a query; Node never asks. A report is part of each acknowledgement. A change
//! without an acknowledgement is reported by a message of its own, after a delay.

/// The reports to the primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct LoadReports {
    /// The time from a change to the message, in milliseconds. `None`: the primary has not asked for reports.
    after_ms: Option<u32>,
    /// The number of connections in the last report.
    reported: u64,
    /// Whether a timer runs.
    is_delayed: bool,
}

impl LoadReports {
    /// Called when the primary asks for reports.
    pub(super) fn ask(&mut self, after_ms: u32) {
        self.after_ms = Some(after_ms);
    }

    /// The report in an acknowledgement.
    pub(super) fn report(&mut self, open: u64) -> Option<u64> {
        self.after_ms?;
        self.reported = open;
        Some(open)
    }

    /// The time after which a timer must fire, if the number has changed and no timer runs.
    pub(super) fn delay(&mut self, open: u64) -> Option<u64> {
        let after_ms = self.after_ms.filter(|_| !self.is_delayed && self.reported != open)?;
        self.is_delayed = true;
        Some(after_ms.into())
    }

    /// Called when the timer fires. The report to send, if the number still differs and the channel has room.
    pub(super) fn fired(&mut self, open: u64, has_room: bool) -> Option<u64> {
        self.is_delayed = false;
        if self.reported == open || !has_room { None } else { self.report(open) }
    }
}
