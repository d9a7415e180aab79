//! The first program of README.md, as the program under test. The attribute of `main` is left out, which
//! makes a runtime of the real system; the arguments and the output of the log are those of a test.

use std::time::Duration;

use cluster::Signal;
use cluster_sim::simulation::{Futures, Net};
use cluster_sim::{Actor, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use program::simulation_of_main;

mod program {
    include!("readme_server/program.rs");

    /// The standard library, without the arguments of the test.
    mod std {
        pub(super) mod env {
            pub(in super::super) fn args() -> impl Iterator<Item = String> {
                ["hello".to_owned()].into_iter()
            }
        }

        pub(super) mod io {
            pub(in super::super) use ::std::io::stderr;
        }
    }

    /// The log is that of the simulation.
    mod tracing_subscriber {
        pub(super) struct Log;

        pub(super) fn fmt() -> Log {
            Log
        }

        impl Log {
            pub(super) fn with_writer<T>(self, _: T) -> Self {
                self
            }

            #[expect(clippy::unused_self, reason = "the program calls a method")]
            pub(super) fn init(self) {}
        }
    }

    pub(super) fn simulation_of_main() -> cluster_sim::simulation::Simulation {
        cluster_sim::simulation::Simulation::new(main, main)
    }
}

const REQUESTS: usize = 2;

/// README.md has the program under test, with one line more.
#[test]
fn readme_has_simulated_server() {
    let readme = include_str!("../../../README.md");
    let attribute = "#[tokio::main(flavor = \"current_thread\")] // one thread per process; the workers use the other cores\n";
    let program = include_str!("readme_server/program.rs");
    assert!(
        readme.replace(attribute, "").contains(program),
        "copy the program of README.md into readme_server/program.rs"
    );
}

/// Sends requests on one connection until the server asks for another connection. A refused connection counts
/// as lost, except before the service has begun.
async fn client(net: Net) {
    let mut left = REQUESTS;
    let mut has_begun = false;
    while left > 0 {
        let Ok(mut stream) = net.connect(([127, 0, 0, 1], 8000).into()).await else {
            if has_begun {
                net.observe("refused");
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        has_begun = true;
        while left > 0 {
            let Some(is_last) = answer(&mut stream).await else {
                net.observe("lost");
                return;
            };
            net.observe("answered");
            left -= 1;
            if is_last {
                break;
            }
        }
    }
}

/// Sends a request, and reads the answer: whether the server closes the connection.
async fn answer(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> Option<bool> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        answer.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(answer).ok()?.to_lowercase();
    head.starts_with("http/1.1 200").then(|| head.contains("connection: close"))
}

/// The clients send their requests during a reload; the server shuts down afterwards.
async fn clients(net: Net) {
    let first = tokio::spawn(client(net.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    net.kill(Actor::Primary, Signal::SIGHUP);
    client(net.clone()).await;
    first.await.expect("no panic");
    net.kill(Actor::Primary, Signal::SIGTERM);
}

fn served(world: &World<Futures>) -> Result<(), String> {
    let count = |text: &str| world.observations().filter(|observation| observation.text == text).count();
    let [answered, lost, refused] = ["answered", "lost", "refused"].map(count);
    let is_ended = world.running().next().is_none();
    match (answered, lost, refused, is_ended) {
        (answered, 0, 0, true) if answered == 2 * REQUESTS => Ok(()),
        _ => Err(format!("{answered} answered, {lost} lost, {refused} refused, ended: {is_ended}")),
    }
}

/// A reload and a shutdown of the server of README.md lose no request, and refuse none.
#[test]
fn readme_server_loses_no_request() {
    simulation_of_main().client(clients).check(served).expect("each request is answered");
}
