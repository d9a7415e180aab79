//! Ids: worker ids ascend, and no id is used twice.

use cluster_core::{Event, WorkerId};

/// The last forked worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ids {
    last: Option<WorkerId>,
}

impl Ids {
    pub(crate) fn primary_event(&mut self, event: &Event) -> Result<(), String> {
        let Event::Fork { worker } = event else { return Ok(()) };
        match self.last.replace(*worker) {
            Some(last) if last >= *worker => Err(format!("worker {worker} is forked after worker {last}")),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_id_fails() {
        let mut ids = Ids::default();
        let mut fork = |n| ids.primary_event(&Event::Fork { worker: WorkerId(n) });
        assert_eq!((fork(1), fork(3)), (Ok(()), Ok(())));
        assert!(fork(2).is_err() && fork(2).is_err() && fork(4).is_ok());
    }
}
