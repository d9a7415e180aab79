//! The questions to the program about connections, and the answers, under the policy of the program.

use super::handles::Handles;
use super::peers::Peers;
use crate::handle::Handle;
use crate::handle::policy::Question;
use crate::os::{Call, HandleId, SocketId, WorkerId};

/// Asks the program about the first queued connection, if the program chooses.
pub(super) fn ask(handles: &mut Handles, id: HandleId, peers: &mut Peers) {
    let Some(policy) = handles.get_mut(id).and_then(Handle::policy_mut) else { return };
    let question = policy.question(&|worker: WorkerId| peers.get(worker)?.load());
    if let Some(Question { connection, client, candidates }) = question {
        peers.steps.call(Call::Choose { handle: id, connection, client, candidates });
    }
}

/// Records the choice of the program. False: the handle is closed by now.
pub(super) fn chosen(handles: &mut Handles, id: HandleId, connection: SocketId, worker: WorkerId) -> bool {
    let policy = handles.get_mut(id).and_then(Handle::policy_mut);
    policy.map(|policy| policy.chosen(connection, worker)).is_some()
}
