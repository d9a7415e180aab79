//! The policy of least connections: the worker with the fewest open or unanswered connections receives the
//! next one. Among equals, the worker that has waited longest is chosen.

use super::places::Places;
use super::policy::Loads;
use crate::os::WorkerId;

pub(super) fn choose(places: &Places, loads: &dyn Loads) -> Option<WorkerId> {
    places.ready().min_by_key(|worker| places.load(*worker, loads))
}
