//! A worker of a task pool. A task is a pair: the name of a function, and the argument.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process;

use ::cluster::{Worker, WorkerEvent};
use serde_json::{Value, json};

use super::Ended;

/// Runs each task on a thread.
pub(super) async fn serve_blocking(worker: &Worker) -> Ended {
    Ok(worker.serve_blocking_tasks(|(name, argument): (String, u64)| call(&name, argument)).await?)
}

/// Runs each task in the runtime.
pub(super) async fn serve(worker: &Worker) -> Ended {
    let hold = async |(_, port): (String, u16)| {
        let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::io::AsyncWriteExt::write_all(&mut connection, &process::id().to_be_bytes()).await?;
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut connection, &mut text).await?;
        io::Result::Ok(text)
    };
    Ok(worker.serve_tasks(hold).await?)
}

/// Sends every message together with a socket. Ends when the primary has closed the socket of the
/// announcement.
pub(super) async fn serve_with_sockets(worker: &Worker) -> Ended {
    let (mut kept, sent) = UnixStream::pair()?;
    worker.send_with("CLUSTER_TASKS_READY", sent)?;
    tokio::task::spawn_blocking(move || kept.read(&mut [0])).await??;
    while let Some(event) = worker.next().await {
        let WorkerEvent::Message { message, .. } = event else { continue };
        let (_kept, sent) = UnixStream::pair()?;
        let id = message.to::<Value>()?["id"].clone();
        let reply = json!({ "cmd": "CLUSTER_TASK_DONE", "id": id, "result": "with a socket" });
        worker.send_with(reply, sent)?;
    }
    Ok(())
}

fn call(name: &str, argument: u64) -> Result<Value, String> {
    match name {
        "double" => Ok(json!(2 * argument)),
        "fail" => Err(format!("{argument} is wrong")),
        // Prints nothing on standard error, unlike `panic!`.
        "panic" => std::panic::resume_unwind(Box::new("a planted panic")),
        "exit" => process::exit(i32::try_from(argument).unwrap_or(1)),
        "fill" => Ok(json!("x".repeat(usize::try_from(argument).map_err(|error| error.to_string())?))),
        "hold" => hold(argument).map(Value::from).map_err(|error| error.to_string()),
        other => Err(format!("there is no function {other:?}")),
    }
}

/// Writes the process id to a connection, and returns the answer.
fn hold(port: u64) -> io::Result<String> {
    let port = u16::try_from(port).map_err(io::Error::other)?;
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.write_all(&process::id().to_be_bytes())?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    Ok(text)
}
