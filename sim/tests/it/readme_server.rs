//! The server of README.md as the program under test.

use std::time::Duration;

use cluster::Signal;
use cluster_sim::prop::Counterexample;
use cluster_sim::simulation::{ClientStream, Futures, Net, Safeguard, Simulation};
use cluster_sim::{Actor, Crossing, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

mod program {
    /// The output of the program is part of the log.
    macro_rules! println {
        ($($what:tt)*) => {
            tracing::info!($($what)*)
        };
    }

    include!("readme_server/program.rs");

    /// The test of the server in README.md.
    mod test {
        use super::server;

        include!("readme_server/test.rs");
    }

    pub(super) fn simulation_of_server() -> cluster_sim::simulation::Simulation {
        let server = || server("127.0.0.1:8000".into());
        cluster_sim::simulation::Simulation::new(server, server)
    }
}

use program::simulation_of_server;

/// README.md has the server under test, and its test.
#[test]
fn readme_has_simulated_server() {
    let readme = include_str!("../../../README.md");
    let (imports, server) =
        include_str!("readme_server/program.rs").split_once("\n\n").expect("a server after the imports");
    for part in [imports, server, include_str!("readme_server/test.rs")] {
        assert!(
            readme.contains(part),
            "copy this part of sim/tests/it/readme_server into README.md:\n{part}"
        );
    }
}

/// The requests of each client.
const REQUESTS: usize = 6;

/// The time between the first request of a client and the others.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends requests on one connection, until the server asks for another connection.
async fn client(net: Net) {
    let mut kept: Option<ClientStream> = None;
    for request in 0..REQUESTS {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => net.connect_when_listening(([127, 0, 0, 1], 8000).into()).await,
        };
        let Some(connection) = answer(&mut stream).await else {
            stream.observe("lost");
            return;
        };
        stream.observe("answered");
        kept = Some(stream).filter(|_| connection == Connection::Keep);
        if request == 0 {
            sleep(PAUSE).await;
        }
    }
}

/// What the server does with a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Keep,
    Close,
}

/// Sends a request, and reads the answer. `None`: the request has no answer.
async fn answer(stream: &mut ClientStream) -> Option<Connection> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        answer.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(answer).ok()?.to_lowercase();
    let is_last = head.contains("connection: close");
    head.starts_with("http/1.1 200").then_some(if is_last { Connection::Close } else { Connection::Keep })
}

/// Two clients send requests, and an operator asks for a reload at the same time. The server shuts down after
/// the answers.
async fn clients(net: Net) {
    let first = tokio::spawn(client(net.clone()));
    sleep(PAUSE).await;
    net.kill(Actor::Primary, Signal::SIGHUP);
    client(net.clone()).await;
    first.await.expect("no panic");
    net.kill(Actor::Primary, Signal::SIGTERM);
}

/// No request is answered twice. A request is lost only if its worker was killed while the worker had the
/// request.
fn no_request_is_lost(world: &World<Futures>) -> Result<(), String> {
    for lost in world.observations().filter(|seen| seen.text == "lost") {
        let Actor::Client(client) = lost.observer else { continue };
        let holder = world.holder(client);
        if !world.is_killed(holder) {
            return Err(format!("client {} has no answer, and {holder} was not killed", client.0));
        }
    }
    let answered = world.observations().filter(|seen| seen.text == "answered").count();
    if answered > 2 * REQUESTS {
        return Err(format!("{answered} answers to {} requests", 2 * REQUESTS));
    }
    match world.running().next() {
        Some(process) if !world.is_killed(Actor::Primary) => Err(format!("{process} does not end")),
        _ => Ok(()),
    }
}

/// The test of the server: a kill at any call of any process.
fn check(simulation: Simulation) -> Result<(), Box<Counterexample<Futures>>> {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    simulation.client(clients).faults(kill).check(no_request_is_lost)
}

/// A reload and a shutdown of the server of README.md lose no request, also when a process is killed.
#[test]
fn readme_server_loses_no_request() {
    check(simulation_of_server()).expect("each request is answered");
}

/// The failure of the test without a safeguard, readable without knowledge of the protocol: the violation,
/// and the rows of the table without calls and messages of the machines.
fn failure(safeguard: Safeguard) -> String {
    let found = check(simulation_of_server().without(safeguard)).expect_err("the test fails");
    let run = found.run.as_ref().expect("a run");
    let rows = run.trace();
    let is_shown = |what: &Crossing| {
        matches!(
            what,
            Crossing::Observation(_)
                | Crossing::Fault(_)
                | Crossing::Ended(_)
                | Crossing::ClientAction(_)
                | Crossing::ClientEvent(_)
        )
    };
    let rows = rows.rows().iter().filter(|row| is_shown(&row.what));
    let rows: Vec<String> = rows.map(|row| format!("{}: {}", row.actor, row.what)).collect();
    format!("{}\n\n{}", found.what, rows.join("\n").replace('\r', ""))
}

/// Without the lame duck, an old worker closes an idle connection on which a request is on the way.
#[test]
fn lame_duck_is_necessary() {
    insta::assert_snapshot!(failure(Safeguard::LameDuck));
}

/// Without the requeue, a connection is lost that was handed to a worker and not acknowledged.
#[test]
fn requeue_is_necessary() {
    insta::assert_snapshot!(failure(Safeguard::Requeue));
}

/// Without the readiness gate, an old worker ends before its successor listens.
#[test]
fn readiness_gate_is_necessary() {
    insta::assert_snapshot!(failure(Safeguard::ReadinessGate));
}
