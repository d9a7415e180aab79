//! Counts of passed connections. The server of a Node.js process counts a connection as open until the Rust
//! process has closed the socket. Tested with Node workers under a Rust primary, and with a Rust worker under
//! a Node primary. Ignored without `node`.

use std::io::{self, Write};

use ::cluster::{
    CountGuard, Event, Primary, Received, SchedulingPolicy, Serialization, Signal, Socket, SpawnOptions,
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::node::{is_absent, leading, lines, script};
use super::support::{TestResult, asynchronous, connect, message, port, rest, trial, until};

/// Passes each connection of the server to the primary, and reports the count of the server. When the report
/// after `close` arrives, the primary has also read Node's question about the close. Until the server has
/// closed, Node counts one connection too many.
const WORKER: &str = "
    const server = require('net').createServer((connection) => process.send('passed', connection));
    const count = (of) => server.getConnections((error, count) => process.send({ of, count }));
    process.on('message', (command) => {
        if (command === 'close') server.close(() => process.send('closed'));
        count(command);
    });
    server.listen(0, '127.0.0.1');
";

/// Passes three connections to the worker. The worker releases the connections one after the other, and the
/// server counts after each release. The server closes while two connections are open; from then on Node
/// counts one connection too many.
const PRIMARY: &str = "
    setTimeout(() => { console.log('no end in time'); process.exit(9); }, 20000).unref();
    const [cluster, net] = [require('cluster'), require('net')];
    const [, , ours, serialization, theirs] = process.argv;
    if (!theirs) process.execPath = ours;
    cluster.setupPrimary({ exec: theirs || 'none', args: [], serialization });
    const worker = cluster.fork({ PROGRAM: 'hold sockets' });
    worker.on('exit', (code, signal) => console.log('exit', code, signal));
    const server = net.createServer((connection) => worker.send('hold', connection));
    const print = (of) => server.getConnections((error, count) => {
        console.log(of, count);
        worker.send(of);
    });
    const connect = () => net.connect(server.address().port).resume();
    let [held, left] = [0, 2];
    worker.on('message', (what) => {
        if (what === 'held' && ++held < 3) connect();
        else if (what === 'held') print('keep the guard');
        else if (what === 'kept the guard') print('drop the guard');
        else if (what === 'dropped the guard') {
            server.close(() => { console.log('closed'); worker.disconnect(); });
            print('drop one');
        } else if (--left > 0) print('drop one');
    });
    worker.on('online', () => server.listen(0, '127.0.0.1', connect));
";

/// A Node worker that behaves like the program `hold sockets`. With either worker, the primary must print the
/// same.
const HOLDING: &str = "
    const held = [];
    process.on('message', (message, socket) => {
        if (socket) { held.push(socket); return process.send('held'); }
        if (message === 'keep the guard') return process.send('kept the guard');
        const done = message === 'drop the guard' ? 'dropped the guard' : 'dropped one';
        held.pop().destroy().once('close', () => process.send(done));
    });
";

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        asynchronous("node_workers_count_passed_connections", || counted(Serialization::Json)),
        asynchronous("node_workers_count_with_v8", || counted(Serialization::Advanced)),
        asynchronous("node_workers_count_until_guard_drops", guarded),
        asynchronous("node_workers_count_nothing_untaken", untaken),
        asynchronous("node_workers_count_nothing_passed_on", passed_on),
        trial("our_worker_is_counted_by_json", || our_worker("json")),
        trial("our_worker_is_counted_by_v8", || our_worker("advanced")),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(is_absent())).collect()
}

/// A primary with a Node worker that passes connections, and the port of the worker.
struct Passing {
    primary: Primary,
    port: u16,
    _script: tempfile::TempPath,
}

impl Passing {
    async fn new(serialization: Serialization) -> Result<Self, Failed> {
        let script = script(WORKER)?;
        let mut primary = leading(&script, &[], SchedulingPolicy::RoundRobin)?;
        primary.setup(SpawnOptions::new().serialization(serialization));
        primary.fork()?;
        let port = port(&mut primary).await?;
        Ok(Passing { primary, port, _script: script })
    }

    /// A client, and the connection that the primary has received.
    async fn connection(&mut self) -> Result<(std::net::TcpStream, Received), Failed> {
        let client = connect(self.port)?;
        let received =
            match until(&mut self.primary, |event| matches!(event, Event::Message { .. })).await?.pop() {
                Some(Event::Message { handle: Some(passed), .. }) => self.primary.take_socket(passed),
                other => return Err(format!("{other:?}").into()),
            };
        Ok((client, received.ok_or("the connection was not taken before")?))
    }

    /// Sends a command to the worker, and compares the count that follows.
    async fn count(&mut self, command: &str, count: u32) -> TestResult {
        let worker = self.primary.workers().next().ok_or("the worker is connected")?;
        self.primary.send(worker, json!(command))?;
        assert_eq!(message(&mut self.primary).await?, json!({ "of": command, "count": count }));
        Ok(())
    }

    /// Waits for the next message: the callback of `server.close` has run.
    async fn closed(mut self) -> TestResult {
        assert_eq!(message(&mut self.primary).await?, json!("closed"));
        for worker in self.primary.workers().collect::<Vec<_>>() {
            self.primary.kill(worker, Signal::SIGTERM);
        }
        rest(&mut self.primary).await.map(drop)
    }
}

async fn counted(serialization: Serialization) -> TestResult {
    let mut passing = Passing::new(serialization).await?;
    passing.count("none", 0).await?;
    let (first, first_received) = passing.connection().await?;
    passing.count("one", 1).await?;
    let (second, second_received) = passing.connection().await?;
    passing.count("two", 2).await?;
    drop(first_received);
    assert_eq!(io::read_to_string(first)?, String::new());
    passing.count("one", 1).await?;
    passing.count("close", 2).await?;
    passing.count("still one", 2).await?;
    // In another task, while the primary waits: the drop must wake the primary.
    tokio::spawn(async move { drop(second_received) });
    passing.closed().await?;
    assert_eq!(io::read_to_string(second)?, String::new());
    Ok(())
}

/// The guard keeps a connection counted, in any thread and after every use of the socket.
async fn guarded() -> TestResult {
    let mut passing = Passing::new(Serialization::Json).await?;
    let (client, received) = passing.connection().await?;
    let (guard, socket): (CountGuard, Socket) = received.into_parts();
    let Socket::TcpStream(stream) = socket else { return Err("it is a TCP connection".into()) };
    let stream = tokio::net::TcpStream::from_std(stream)?;
    passing.count("converted", 1).await?;
    stream.into_std()?.write_all(b"rust")?;
    assert_eq!(io::read_to_string(client)?, "rust");
    passing.count("close", 2).await?;
    std::thread::spawn(move || drop(guard));
    passing.closed().await
}

/// A connection that the program does not take is closed, and no longer counted.
async fn untaken() -> TestResult {
    let mut passing = Passing::new(Serialization::Json).await?;
    let client = connect(passing.port)?;
    assert_eq!(message(&mut passing.primary).await?, json!("passed"));
    passing.count("none", 0).await?;
    assert_eq!(io::read_to_string(client)?, String::new());
    passing.primary.disconnect_all();
    rest(&mut passing.primary).await.map(drop)
}

/// After the program sends a connection on, the first worker no longer counts the connection.
async fn passed_on() -> TestResult {
    let mut passing = Passing::new(Serialization::Json).await?;
    let (_client, received) = passing.connection().await?;
    let copy = Socket::duplicate(&received)?;
    let worker = passing.primary.workers().next().ok_or("the worker is connected")?;
    passing.primary.send_with(worker, json!("copy"), copy)?;
    assert_eq!(message(&mut passing.primary).await?, json!({ "of": "copy", "count": 1 }));
    passing.primary.send_with(worker, json!("original"), received)?;
    assert_eq!(message(&mut passing.primary).await?, json!({ "of": "original", "count": 0 }));
    passing.primary.kill(worker, Signal::SIGTERM);
    rest(&mut passing.primary).await.map(drop)
}

fn our_worker(serialization: &str) -> TestResult {
    let expected =
        ["keep the guard 3", "drop the guard 3", "drop one 3", "drop one 2", "closed", "exit 0 null"];
    let theirs = script(HOLDING)?;
    assert_eq!(
        lines(PRIMARY, &[serialization.as_ref(), theirs.as_os_str()])?,
        expected.map(String::from).to_vec()
    );
    assert_eq!(lines(PRIMARY, &[serialization.as_ref()])?, expected.map(String::from).to_vec());
    Ok(())
}
