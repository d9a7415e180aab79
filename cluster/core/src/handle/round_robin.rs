//! The round-robin policy: the worker that has waited longest receives the next connection. A worker receives
//! a second connection without an answer only if every ready worker has such a connection.

use super::places::Places;
use crate::os::WorkerId;

pub(super) fn choose(places: &Places) -> Option<WorkerId> {
    // An idle worker has the least possible number of unanswered connections, so the search can end there.
    let idle = places.ready().find(|worker| places.outstanding(*worker) == 0);
    idle.or_else(|| places.ready().min_by_key(|worker| places.outstanding(*worker)))
}
