//! The programs of the workers. The variable PROGRAM selects the program.

use std::error::Error;
use std::process::ExitCode;
use std::{env, process};

use ::cluster::{
    Connection, ListenOptions, Listener, Primary, Settings, Transport, Worker, WorkerEvent, role,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::support::{FdExhaustion, inherited, runtime};

mod answering;
mod holding;
mod inherited;
mod leading;
mod passing;
mod returning;
mod scripted;
pub(crate) mod sending;
pub(crate) mod standalone;
pub(crate) mod supervised;
mod tasks;

type Ended = Result<(), Box<dyn Error>>;

pub(crate) fn run() -> ExitCode {
    exit_code(run_program())
}

fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_program() -> Ended {
    let runtime = runtime()?;
    let ended = runtime.block_on(program());
    if env::var("WAY").is_ok_and(|way| way == "background") {
        runtime.shutdown_background();
    } else {
        drop(runtime);
    }
    if ended.is_ok() && env::var("PROGRAM").is_ok_and(|program| program == "hold") {
        return holding::report();
    }
    ended
}

async fn program() -> Ended {
    if env::var("CLUSTER_SLOT").is_ok() {
        return supervised::run(Worker::join()?).await;
    }
    if env::var("PROGRAM")? == "forget the role" {
        return Ok(Primary::new(Settings::default()).map(drop)?);
    }
    if let Some(program) = env::var("PROGRAM")?.strip_prefix("until main returns: ") {
        return returning::run(Worker::join()?, program).await;
    }
    if env::var("PROGRAM")? == "hold" {
        return holding::run(Worker::join()?, &env::var("WAY")?).await;
    }
    let worker = Worker::join_as_node()?;
    match env::var("PROGRAM")?.as_str() {
        "echo" => echo(worker).await,
        "count to 100 and exit" => count(&worker),
        program @ ("answer requests" | "ask the primary") => answering::run(&worker, program).await,
        "exit" => process::exit(3),
        "kill yourself" => kill_yourself(&worker).await,
        "kill yourself when disconnected" => kill_yourself_disconnected(&worker).await,
        "take one message, then kill yourself" => kill_yourself_full(&worker).await,
        "serve" => serve(worker).await,
        "serve with axum" => serve_with_axum(worker).await,
        "serve an application" => serve_application(&worker).await,
        "listen at the first that can be bound" => listen_at_one_of(&worker).await,
        "report input" => report_input(&worker).await,
        "serve everywhere" => serve_at(&worker, worker.listen_with(ListenOptions::default()).await?).await,
        "use sockets" => passing::use_all(&worker).await,
        "exhaust descriptors, then use sockets" => passing::exhaust_fds(&worker).await,
        "send sockets" => passing::send_all(&worker).await,
        "give connections away" => passing::give_away(&worker).await,
        "hold sockets" => passing::hold(&worker).await,
        "send sockets back" => passing::send_back(&worker).await,
        "serve both" => scripted::both(&worker).await,
        "serve the script" => scripted::run(worker).await,
        "serve, and take events" => tokio::try_join!(serve(worker.clone()), take_events(worker)).map(drop),
        "stop accepting" => stop_accepting(&worker).await,
        "never accept" => never_accept(worker).await,
        "hesitate, then serve" => hesitate(worker).await,
        "answer the disconnect" => answer_disconnect(worker).await,
        "echo all" => tokio::try_join!(echo_connections(&worker), echo(worker.clone())).map(drop),
        "stay" => stay(worker).await,
        "leave" => leave(worker).await,
        "close" => close(&worker).await,
        "leave when listening" => leave_when_listening(&worker).await,
        "exit when listening" => {
            let _listener = worker.listen(("127.0.0.1", 0)).await?;
            worker.exit(3)
        }
        "exhaust descriptors, then serve" => exhaust_fds(worker).await,
        "serve with one descriptor" => serve_with_one_descriptor(worker).await,
        "environment" => environment(&worker).await,
        "lead" => lead(&worker).await,
        name if leading::NAMES.contains(&name) => leading::run(&worker, name).await,
        "start others" => inherited::others(&worker).await,
        "list descriptors" => inherited::descriptors(&worker).await,
        "echo, ignoring signals" => inherited::echo_ignoring(worker).await,
        "send and end" => sending::and_end(worker).await,
        "count all" => sending::counted(worker).await,
        "lead and return" => sending::lead(),
        "flood" => sending::flood(worker).await,
        "listen late" => sending::listen_late(worker).await,
        "report at the end" => sending::report(worker).await,
        "exit in vain" => sending::exit_in_vain(&worker),
        "join again" => join_again(&worker).await,
        other => Err(format!("there is no program {other:?}").into()),
    }
}

async fn echo(worker: Worker) -> Ended {
    while let Some(event) = worker.next().await {
        if let WorkerEvent::Message { message, .. } = event {
            worker.send(&message)?;
        }
    }
    Ok(())
}

/// Sends 100 messages and exits at once. The kernel has room for all messages; messages still in the process
/// would be lost.
fn count(worker: &Worker) -> Ended {
    for number in 0..100 {
        worker.send(json!(number))?;
    }
    process::exit(7)
}

async fn kill_yourself(worker: &Worker) -> Ended {
    worker.kill();
    std::future::pending().await
}

/// Never asks for the event `Disconnect`.
async fn kill_yourself_disconnected(worker: &Worker) -> Ended {
    worker.keep_running();
    worker.send(json!("ready"))?;
    while worker.is_connected() {
        tokio::task::yield_now().await;
    }
    worker.kill();
    process::exit(3)
}

/// Takes only the first message. A signal arrives when the inbox is full.
async fn kill_yourself_full(worker: &Worker) -> Ended {
    let mut enough = signal(SignalKind::user_defined1())?;
    worker.send(json!("ready"))?;
    worker.next().await;
    enough.recv().await;
    // The driver reads until the inbox is full.
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    kill_yourself(worker).await
}

async fn listen(worker: &Worker) -> Result<Listener, Box<dyn Error>> {
    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:0".into());
    match worker.listen(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            worker.send(json!({ "listen": error.to_string() }))?;
            std::future::pending().await
        }
    }
}

/// The next connection of an open listener.
pub(crate) async fn accept<T: Transport>(
    listener: &mut Listener<T>,
) -> Result<Connection<T>, Box<dyn Error>> {
    listener.accept().await?.ok_or_else(|| "the listener is closed".into())
}

/// Writes the id of the worker to each connection, and closes the connection.
async fn serve(worker: Worker) -> Ended {
    let listener = listen(&worker).await?;
    serve_at(&worker, listener).await
}

async fn serve_at(worker: &Worker, mut listener: Listener) -> Ended {
    loop {
        let connection = accept(&mut listener).await?;
        write_id(worker, connection).await?;
    }
}

/// Accepts in the way of `axum::serve`.
async fn serve_with_axum(worker: Worker) -> Ended {
    let mut listener = listen(&worker).await?;
    loop {
        let (connection, _) = axum::serve::Listener::accept(&mut listener).await;
        write_id(&worker, connection).await?;
    }
}

/// Answers with the address of the client.
async fn serve_application(worker: &Worker) -> Ended {
    use axum::extract::ConnectInfo;
    let app = axum::Router::new().route(
        "/",
        axum::routing::get(|ConnectInfo(client): ConnectInfo<std::net::SocketAddr>| async move {
            client.to_string()
        }),
    );
    let serving = ::cluster::serve(worker, listen(worker).await?, app);
    worker.send(format!("{serving:?}"))?;
    Ok(serving.await?)
}

/// The first address fails: it is reserved for documentation.
async fn listen_at_one_of(worker: &Worker) -> Ended {
    let taken: std::net::SocketAddr = env::var("ADDRESS")?.parse()?;
    let nowhere = "192.0.2.1:0".parse()?;
    let addresses = [nowhere, taken, "127.0.0.1:0".parse()?];
    let listener = worker.listen(&addresses[..]).await?;
    worker.send(json!(listener.local_addr().ip().to_string()))?;
    let udp = worker.bind_udp(&addresses[..]).await?;
    worker.send(json!(udp.local_addr()?.ip().to_string()))?;
    let error = worker.listen(&addresses[..2]).await.map(drop).map_err(|error| error.to_string());
    worker.send(json!(error.err()))?;
    std::future::pending().await
}

/// Sends the input of each client to the primary, and finally the error.
async fn report_input(worker: &Worker) -> Ended {
    let mut listener = listen(worker).await?;
    loop {
        let (mut connection, mut bytes) = (accept(&mut listener).await?, Vec::new());
        let end = connection.read_to_end(&mut bytes).await.map_err(|error| format!("{:?}", error.kind()));
        worker.send(json!([String::from_utf8(bytes)?, end.err()]))?;
    }
}

async fn take_events(worker: Worker) -> Ended {
    while worker.next().await.is_some() {}
    Ok(())
}

async fn never_accept(worker: Worker) -> Ended {
    let _listener = listen(&worker).await?;
    std::future::pending().await
}

/// Drops a pending `accept`, and accepts nothing further.
async fn stop_accepting(worker: &Worker) -> Ended {
    let mut listener = listen(worker).await?;
    tokio::select! {
        biased;
        accepted = accept(&mut listener) => write_id(worker, accepted?).await?,
        () = std::future::ready(()) => {}
    }
    std::future::pending().await
}

/// Begins to accept and stops again, many times.
async fn hesitate(worker: Worker) -> Ended {
    let mut listener = listen(&worker).await?;
    for _ in 0..100 {
        tokio::select! {
            biased;
            accepted = accept(&mut listener) => write_id(&worker, accepted?).await?,
            () = tokio::task::yield_now() => {}
        }
    }
    serve_at(&worker, listener).await
}

async fn write_id(worker: &Worker, mut connection: Connection) -> Ended {
    Ok(connection.write_all(worker.id().to_string().as_bytes()).await?)
}

/// Holds a connection, and writes an answer after the event `Disconnect`.
async fn answer_disconnect(worker: Worker) -> Ended {
    let mut listener = listen(&worker).await?;
    let mut connection = accept(&mut listener).await?;
    connection.write_all(b"hello").await?;
    while let Some(event) = worker.next().await {
        if matches!(event, WorkerEvent::Disconnect) {
            // Takes longer than a turn of the runtime: the process must not end meanwhile.
            for part in [", ", "good", "bye"] {
                tokio::task::yield_now().await;
                connection.write_all(part.as_bytes()).await?;
            }
        }
    }
    connection.write_all(b" and never this").await?;
    Ok(())
}

async fn echo_connections(worker: &Worker) -> Ended {
    let mut listener = listen(worker).await?;
    loop {
        let connection = accept(&mut listener).await?;
        let (mut reader, mut writer) = tokio::io::split(connection);
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
    }
}

/// Serves a connection to the end, with or without a primary.
async fn stay(worker: Worker) -> Ended {
    worker.keep_running();
    let mut listener = listen(&worker).await?;
    let mut connection = accept(&mut listener).await?;
    connection.write_all(b"hello").await?;
    worker.disconnected().await;
    let mut rest = String::new();
    connection.read_to_string(&mut rest).await?;
    connection.write_all(format!(", {rest}; connected: {}", worker.is_connected()).as_bytes()).await?;
    let after = worker.next().await;
    let none = worker.next().await;
    connection.write_all(format!("; {after:?}, {none:?}").as_bytes()).await?;
    Ok(())
}

async fn leave(worker: Worker) -> Ended {
    worker.keep_running();
    let mut listener = listen(&worker).await?;
    let mut connection = accept(&mut listener).await?;
    worker.disconnect();
    worker.send(json!({ "leaving": worker.exited_after_disconnect() }))?;
    connection.read_to_string(&mut String::new()).await?;
    drop(connection);
    let end = listener.accept().await?;
    worker.send(json!({ "accept": format!("{end:?}") }))?;
    worker.disconnected().await;
    Ok(())
}

/// Closes the server while a connection is open.
async fn close(worker: &Worker) -> Ended {
    let mut listener = listen(worker).await?;
    let mut connection = accept(&mut listener).await?;
    let sender = worker.clone();
    tokio::spawn(async move {
        let _ = connection.read_to_string(&mut String::new()).await;
        let _ = sender.send(json!("ended"));
        drop(connection);
    });
    worker.send(json!("closing"))?;
    listener.close().await;
    worker.send(json!("closed"))?;
    std::future::pending().await
}

async fn leave_when_listening(worker: &Worker) -> Ended {
    let _listener = listen(worker).await?;
    worker.disconnect();
    std::future::pending().await
}

/// Has no free descriptor, and so cannot accept, until a message arrives.
async fn exhaust_fds(worker: Worker) -> Ended {
    let listener = listen(&worker).await?;
    let exhaustion = FdExhaustion::new()?;
    worker.send(json!("exhausted"))?;
    let give_up = async {
        while let Some(WorkerEvent::Message { message: turn, .. }) = worker.next().await
            && turn.to::<u64>().is_ok()
        {
            worker.send(turn)?;
        }
        drop(exhaustion);
        take_events(worker.clone()).await
    };
    tokio::try_join!(serve_at(&worker, listener), give_up).map(drop)
}

/// Accepts while a connection is open, although only one descriptor is free.
async fn serve_with_one_descriptor(worker: Worker) -> Ended {
    let mut listener = listen(&worker).await?;
    let _exhaustion = FdExhaustion::except(1)?;
    worker.send(json!("serving"))?;
    loop {
        let (worker, connection) = (worker.clone(), accept(&mut listener).await?);
        tokio::spawn(async move {
            // Enough turns of the runtime for a failed `accept`.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            write_id(&worker, connection).await.map_err(|error| eprintln!("{error}"))
        });
    }
}

/// Reports what a started program inherits.
async fn environment(worker: &Worker) -> Ended {
    worker.send(&inherited()?)?;
    std::future::pending().await
}

/// Becomes a primary and reports the policy.
async fn lead(worker: &Worker) -> Ended {
    let primary = Primary::new(Settings::default())?;
    worker.send(json!(format!("{:?}", primary.settings().policy)))?;
    std::future::pending().await
}

async fn join_again(worker: &Worker) -> Ended {
    let again = Worker::join().map(drop).map_err(|error| error.to_string());
    worker.send(json!({ "again": format!("{again:?}"), "role": format!("{:?}", role()) }))?;
    std::future::pending().await
}
