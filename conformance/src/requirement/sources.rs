//! Every requirement: the name in files, the level, the area, the behaviour of Node, and the source.

use super::{Area, Level, Requirement};

macro_rules! requirements {
    ($($id:ident $name:literal $level:ident $area:ident $behaviour:literal $source:literal;)*) => {
        $(pub(crate) static $id: Requirement = Requirement {
            name: $name, level: Level::$level, area: Area::$area, behaviour: $behaviour, source: $source,
        };)*

        /// Every requirement, by area.
        pub static ALL: &[&Requirement] = &[$(&$id,)*];
    };
}

requirements! {
    FORK_EVENT "fork-event" Documented Fork
        "`fork` is emitted once for each worker." "cluster.html#event-fork";
    FORK_FIRST "fork-first" Code Fork
        "`fork` is the first event of a worker, one tick after the call." "lib/internal/cluster/primary.js: emitForkNT";
    WORKER_IDS "worker-ids" Code Fork
        "Workers have ids from 1, in the order of the forks." "lib/internal/cluster/primary.js: cluster.fork";
    ONLINE_EVENT "online-event" Documented Fork
        "`online` is emitted once when the worker runs, before every other event of its channel." "cluster.html#event-online_1";
    WORKERS_LIST "workers-list" Documented Fork
        "`cluster.workers` has a worker until the worker has disconnected and exited." "cluster.html#clusterworkers";
    WORKER_STATE "worker-state" Code Fork
        "`worker.state` follows the events: none, online, listening, disconnected, dead." "lib/internal/cluster/primary.js: worker.state";
    FORK_ENV "fork-env" Documented Fork
        "A worker has the variables given to `fork`." "cluster.html#clusterforkenv";
    WORKER_ENVIRONMENT "worker-environment" Code Fork
        "The variables of a worker's role are removed before its program starts." "lib/internal/process/pre_execution.js: initializeClusterIPC";
    WORKER_ARGUMENTS "worker-arguments" Documented Fork
        "A worker has the arguments in the settings, or those of the primary." "cluster.html#clustersettings";
    WORKER_DIRECTORY "worker-directory" Documented Fork
        "A worker starts in the directory of the settings, or in that of the primary." "cluster.html#clustersettings";
    WORKER_STDIO "worker-stdio" Documented Fork
        "`silent` and `stdio` in the settings give the primary pipes to its workers." "cluster.html#clustersettings";
    INSPECT_PORT "inspect-port" Documented Fork
        "Each worker has its own inspector port, counted from the primary's, unless one is set." "cluster.html#clustersettings";
    SETTINGS "settings" Documented Fork
        "`cluster.settings` has the settings after `setupPrimary` or `fork`, and keeps omitted ones." "cluster.html#clustersettings";
    SETUP_EVENT "setup-event" Documented Fork
        "`setup` is emitted for every call of `setupPrimary`, with the settings at the call." "cluster.html#event-setup";
    SETUP_LATER "setup-later" Code Fork
        "`setup` is emitted after the call, in the order of the calls." "lib/internal/cluster/primary.js: setupSettingsNT";
    SPAWN_ERROR "spawn-error" Documented Fork
        "A process that cannot be started is reported by `error`, and has no other life." "child_process.html#event-error";
    SPAWN_ERROR_END "spawn-error-end" Tolerated Fork
        "A worker that was never started ends with `disconnect` and leaves the list." "lib/internal/cluster/primary.js: cluster.fork";

    LISTENING_EVENT "listening-event" Documented Listen
        "`listening` is emitted in the primary for each server of a worker." "cluster.html#event-listening_1";
    LISTENING_ADDRESS "listening-address" Documented Listen
        "`listening` has the address, the port and the type of the address." "cluster.html#event-listening_1";
    SAME_RANDOM_PORT "same-random-port" Documented Listen
        "All workers have the same port for their `listen(0)`." "cluster.html#how-it-works";
    SHARED_PORT "shared-port" Documented Listen
        "Workers that listen at the same address share it." "net.html#serverlistenoptions-callback";
    EXCLUSIVE "exclusive" Documented Listen
        "An exclusive server belongs to its worker alone; sharing the port is an error." "net.html#serverlistenoptions-callback";
    REUSE_PORT "reuse-port" Documented Listen
        "A server with `reusePort` has a socket of its own." "net.html#serverlistenoptions-callback";
    OUTSIDE_CLUSTER "outside-cluster" Code Listen
        "The primary emits no `listening` for an exclusive server, and a disconnect does not close it." "lib/net.js: listenInCluster";
    LISTEN_FD "listen-fd" Documented Listen
        "A descriptor given to `listen` is one of the primary." "cluster.html#how-it-works";
    LISTEN_ERROR "listen-error" Documented Listen
        "A server that cannot listen emits `error` in its worker, with the code and the address; the worker lives on." "net.html#event-error";
    LISTEN_AGAIN "listen-again" Documented Listen
        "A server that was closed can listen again." "net.html#serverlisten";
    LISTENING_WITHHELD "listening-withheld" Code Listen
        "A server that is closed in its own callback emits no `listening` in the primary." "lib/internal/cluster/child.js: cluster._getServer";
    LISTEN_PATH "listen-path" Documented Listen
        "Workers share a path; the path is removed with the last server." "net.html#identifying-paths-for-ipc-connections";
    LISTEN_OPTIONS "listen-options" Documented Listen
        "`backlog`, `ipv6Only`, `readableAll` and `writableAll` take effect in the primary." "net.html#serverlistenoptions-callback";
    UDP_SHARED "udp-shared" Documented Listen
        "Workers that bind a UDP socket at the same address share it." "dgram.html#socketbindoptions-callback";
    UDP_EXCLUSIVE "udp-exclusive" Documented Listen
        "A UDP socket that is exclusive, or that was not bound explicitly, belongs to its worker alone." "dgram.html#socketbindoptions-callback";
    UDP_OPTIONS "udp-options" Documented Listen
        "`ipv6Only`, `reuseAddr` and `reusePort` take effect." "dgram.html#dgramcreatesocketoptions-callback";
    KNOWN_PORT "known-port" Tolerated Listen
        "The port of another worker's port 0, given by number, is in use." "test/known_issues/test-dgram-bind-shared-ports-after-port-0.js";
    FAILED_PORT "failed-port" Tolerated Listen
        "After a second `listen` has failed, another worker can take the port." "test/sequential/test-cluster-port-reuse-between-workers.js, and the key of a server, which differs by version";

    CONNECTION_SERVED "connection-served" Documented Distribution
        "Each connection reaches exactly one listening worker, which answers it." "cluster.html#how-it-works";
    ROUND_ROBIN "round-robin" Documented Distribution
        "Connections are handed to the workers in turn." "cluster.html#how-it-works";
    FREE_WORKER "free-worker" Code Distribution
        "A busy worker gets no connection while another is free." "lib/internal/cluster/round_robin_handle.js: distribute";
    SHARED_POLICY "shared-policy" Documented Distribution
        "Under `SCHED_NONE` the workers accept connections themselves." "cluster.html#clusterschedulingpolicy";
    POLICY_SETTING "policy-setting" Documented Distribution
        "The policy is taken from the program or the environment, and frozen at the first fork." "cluster.html#clusterschedulingpolicy";
    SURVIVORS_SERVE "survivors-serve" Documented Distribution
        "As long as a worker lives, the server accepts connections." "cluster.html#how-it-works";
    CLOSED_REFUSES "closed-refuses" Documented Distribution
        "A server that no worker has refuses connections." "cluster.html#how-it-works";
    MAX_CONNECTIONS "max-connections" Documented Distribution
        "A worker at `maxConnections` gets no connection; another worker serves it." "net.html#servermaxconnections";
    CONNECTION_EVENTS "connection-events" Documented Distribution
        "A connection reports its bytes in order, then one `end`, or an error." "net.html#class-netsocket";
    CONNECTION_OF_THE_DEAD "connection-of-the-dead" Tolerated Distribution
        "A connection that a dying worker has not acknowledged is served by another, or waits." "lib/internal/cluster/round_robin_handle.js: handoff";
    ACCEPT_ERROR "accept-error" Tolerated Distribution
        "Without a free descriptor, the primary closes the connection or leaves it in the backlog, and continues." "lib/internal/cluster/round_robin_handle.js: distribute";
    KERNEL_CONNECTION "kernel-connection" Unspecified Distribution
        "A client is connected or refused once, and its connection ends once." "the operating system";

    MESSAGE_EVENT "message-event" Documented Messages
        "A sent message is emitted once as `message` on the other side." "cluster.html#event-message_1";
    MESSAGE_ORDER "message-order" Code Messages
        "Messages arrive in the order in which they were sent." "lib/internal/child_process.js: setupChannel";
    LAST_WORDS "last-words" Code Messages
        "Messages sent before the end of a worker arrive before its `disconnect`." "lib/internal/child_process.js: setupChannel";
    HANDLE_PASSING "handle-passing" Documented Messages
        "A socket, a server or a UDP socket beside a message works on the other side." "child_process.html#subprocesssendmessage-sendhandle-options-callback";
    RESERVED_MESSAGES "reserved-messages" Documented Messages
        "Messages with a `cmd` of Node's own prefix are not emitted." "child_process.html#subprocesssendmessage-sendhandle-options-callback";
    SEND_RESULT "send-result" Documented Messages
        "`send` returns false after the channel is closed." "child_process.html#subprocesssendmessage-sendhandle-options-callback";
    ADVANCED_SERIALIZATION "advanced-serialization" Documented Messages
        "Messages in `advanced` serialization arrive unchanged." "child_process.html#advanced-serialization";
    SEND_ERROR "send-error" Unspecified Messages
        "A failed write to a dying worker may be reported as `error`." "a race with the kernel";
    PROTOCOL_VIOLATION "protocol-violation" Tolerated Messages
        "A malformed message of a worker does not harm the primary or other workers." "lib/internal/cluster/primary.js: onmessage";

    DISCONNECT_EVENT "disconnect-event" Documented Disconnect
        "`disconnect` is emitted once when the channel of a worker has closed." "cluster.html#event-disconnect_1";
    IS_CONNECTED "is-connected" Documented Disconnect
        "`isConnected()` is true from the fork until `disconnect`." "cluster.html#workerisconnected";
    EXITED_AFTER_DISCONNECT "exited-after-disconnect" Documented Disconnect
        "`exitedAfterDisconnect` is true after a `disconnect()`, false after any other end, and undefined before." "cluster.html#workerexitedafterdisconnect";
    DISCONNECT_CLOSES_SERVERS "disconnect-closes-servers" Documented Disconnect
        "A disconnected worker closes its servers before its channel." "cluster.html#workerdisconnect";
    DISCONNECT_WAITS "disconnect-waits" Documented Disconnect
        "A disconnected worker accepts no new connection, and waits for its open ones." "cluster.html#workerdisconnect";
    DISCONNECT_IN_WORKER "disconnect-in-worker" Documented Disconnect
        "A worker emits `disconnect` as the last event of its channel." "process.html#event-disconnect";
    DISCONNECT_UNLISTS "disconnect-unlists" Code Disconnect
        "A disconnect by the primary takes effect at once: the worker leaves the list." "lib/internal/cluster/primary.js: Worker.prototype.disconnect";
    DISCONNECT_ACK "disconnect-ack" Code Disconnect
        "A worker that disconnects itself waits for the primary's answer." "lib/internal/cluster/child.js: _disconnect";
    DISCONNECT_ALL "disconnect-all" Documented Disconnect
        "`cluster.disconnect` calls back once." "cluster.html#clusterdisconnectcallback";
    DISCONNECT_ALL_LAST "disconnect-all-last" Tolerated Disconnect
        "`cluster.disconnect` calls back after the last worker has disconnected." "lib/internal/cluster/primary.js: cluster.disconnect, which calls back after the first exit";

    EXIT_EVENT "exit-event" Documented Exit
        "`exit` is emitted once for each worker, and nothing after both `exit` and `disconnect`." "cluster.html#event-exit_1";
    CONNECTED_AT_EXIT "connected-at-exit" Documented Exit
        "At `exit` the worker still counts as connected until `disconnect` is emitted." "cluster.html#workerisconnected";
    IS_DEAD "is-dead" Documented Exit
        "`isDead()` is false until the process has ended, and then true." "cluster.html#workerisdead";
    EXIT_CODE "exit-code" Documented Exit
        "`exit` has the code of the worker." "cluster.html#event-exit_1";
    EXIT_SIGNAL "exit-signal" Documented Exit
        "`exit` has the name of the signal that has ended the worker." "cluster.html#event-exit_1";
    EXIT_UNCAUGHT "exit-uncaught" Documented Exit
        "An uncaught exception ends a worker with code 1." "process.html#exit-codes";
    EXIT_AS_ASKED "exit-as-asked" Documented Exit
        "A disconnected worker exits with 0, and `exitedAfterDisconnect` is true." "cluster.html#workerexitedafterdisconnect";
    FORK_IN_EXIT "fork-in-exit" Documented Exit
        "A handler of `exit` can fork a new worker." "cluster.html#event-exit_1";
    KILL_IN_WORKER "kill-in-worker" Tolerated Exit
        "`kill()` in a worker disconnects it and exits with 0, without a signal." "lib/internal/cluster/child.js: Worker.prototype.destroy; the documentation states that the signal ends the process";
    ENDS_IN_ANY_ORDER "ends-in-any-order" Documented Exit
        "`disconnect` and `exit` are emitted in either order; the list has no such worker at the last of them." "cluster.html#clusterworkers";
    KILLED_IS_SILENT "killed-is-silent" Code Exit
        "A worker that exits or is killed emits nothing of its own after." "lib/internal/child_process.js: ChildProcess";
    ORPHANS_EXIT "orphans-exit" Documented Exit
        "After an unrequested end of its channel, a worker emits `disconnect` and exits with 0." "cluster.html#workerprocess";
    CONNECTION_OF_AN_EXITED_WORKER "connection-of-an-exited-worker" Documented Exit
        "The connections of a worker end with it." "cluster.html#how-it-works";
    RUN_ENDS "run-ends" Code Exit
        "Every worker of the scenario ends, and then the primary." "lib/internal/cluster/primary.js: removeWorker";
    SIMULATED "simulated" Code Exit
        "The order of events is one that Node's code can produce." "lib/internal/cluster, as the simulator models it";
}
