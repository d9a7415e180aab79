use cluster_sim::simulation::{Net, Simulation}; // cluster-sim = { path = "../cluster/sim", features = ["simulation"] }
use cluster_sim::{Actor, ClientId, Fault, Faults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn client(net: Net) -> anyhow::Result<()> {
    let mut stream = net.connect_when_listening("127.0.0.1:8000".parse()?).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    if stream.read_to_string(&mut answer).await.is_ok() && answer.ends_with("hello") {
        stream.observe("answered");
    }
    net.kill(Actor::Primary, cluster::Signal::SIGTERM); // the service shuts down
    Ok(())
}

#[test]
fn request_has_an_answer() {
    let server = || server("127.0.0.1:8000".into());
    let kill = Faults::only(&[Fault::Kill]).limit(1); // any process, at any of its calls
    Simulation::new(server, server).client(client).faults(kill).assert(|world| {
        let is_answered = world.observations().any(|seen| seen.text == "answered");
        let holder = world.holder(ClientId(1)); // the process that has the connection
        if is_answered || world.is_killed(holder) { Ok(()) } else { Err(format!("{holder} lost the request")) }
    });
}
