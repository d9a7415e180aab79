//! The same loads on the real system. A worker has the event loop of tokio; a request blocks the loop by
//! `sleep`, one slice after the other, so 4 workers do not compete for the cores of the machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, thread};

use anyhow::Context;
use cluster::{Event, Primary, Role, Settings, Worker};
use cluster_benches::policies::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::load::{Case, Client, WORKERS};
use super::outcome::{Outcome, Sample};

/// The time between two samples of the open connections.
const SAMPLE: Duration = Duration::from_millis(100);

// ---- the server

/// Serves as a cluster. Prints the port when every worker listens.
pub(crate) async fn serve(policy: Policy, case: &Case) -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Worker => work(case).await,
        Role::Primary => lead(policy).await,
    }
}

async fn lead(policy: Policy) -> anyhow::Result<()> {
    let mut primary = Primary::new(Settings { policy: policy.setting, ..Settings::default() })?;
    for _ in 0..WORKERS {
        primary.fork()?;
    }
    let mut listening = 0;
    while let Some(event) = primary.next().await {
        if let Event::Listening { address, .. } = event {
            listening += 1;
            if listening == WORKERS {
                println!("{}", address.port);
            }
        }
    }
    Ok(())
}

async fn work(case: &Case) -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let slot = u32::try_from(worker.id().0 - 1)?;
    let (slowness, longest) = (case.slowness(slot), case.slice);
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move {
            // A failed read or write is the end of the client.
            while let Ok(mut left) = connection.read_u64().await {
                while left > 0 {
                    let slice = longest.min(left);
                    left -= slice;
                    thread::sleep(Duration::from_micros(slice * slowness));
                    yield_now().await;
                }
                if connection.write_u32(slot).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

// ---- the clients

/// The primary. The workers exit when the primary is killed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Default)]
struct State {
    outcome: Outcome,
    open: BTreeMap<u32, u32>,
}

type Shared = Arc<Mutex<State>>;

/// Runs a load of [`super::load::CASES`] under a policy.
pub(crate) async fn run(number: usize, policy: Policy, clients: Vec<Client>) -> anyhow::Result<Outcome> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["balance", "--serve", policy.name, "--case", &number.to_string()]);
    let mut server = Server(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().context("the output is no pipe")?).read_line(&mut line)?;
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), line.trim().parse()?);
    let state = Shared::default();
    lock(&state).open = (0..WORKERS).map(|slot| (slot, 0)).collect();
    let mut tasks = JoinSet::new();
    let samples = tokio::spawn(sample(Arc::clone(&state)));
    let begin = Instant::now();
    for client in clients {
        sleep_until(begin + Duration::from_micros(client.at)).await;
        tasks.spawn(connect(address, client, Arc::clone(&state)));
    }
    while let Some(result) = tasks.join_next().await {
        result?.context("a client has failed")?;
    }
    samples.abort();
    let outcome = lock(&state).outcome.clone();
    Ok(outcome)
}

async fn sample(state: Shared) {
    let (begin, mut times) = (Instant::now(), interval(SAMPLE));
    loop {
        times.tick().await;
        let mut state = lock(&state);
        let sample = Sample { at: begin.elapsed().as_secs_f64(), open: state.open.clone() };
        state.outcome.samples.push(sample);
    }
}

/// A connection. Its worker is known after the first answer.
async fn connect(address: SocketAddr, client: Client, state: Shared) -> std::io::Result<()> {
    let mut asked = Instant::now();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(client.address.into(), 0))?;
    let mut stream = socket.connect(address).await?;
    let mut known = None;
    for request in client.requests {
        if request.pause > 0 {
            sleep(Duration::from_micros(request.pause)).await;
            asked = Instant::now();
        }
        stream.write_u64(request.work).await?;
        let slot = stream.read_u32().await?;
        let time = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = lock(&state);
        state.outcome.answered(slot, time.saturating_sub(request.work));
        if known.is_none() {
            known = Some(slot);
            state.outcome.connected(slot, client.address);
            *state.open.entry(slot).or_default() += 1;
        }
    }
    if let Some(slot) = known {
        *lock(&state).open.entry(slot).or_default() -= 1;
    }
    Ok(())
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
