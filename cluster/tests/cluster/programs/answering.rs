//! Workers that answer requests of the primary, and a worker that asks the primary.

use std::process;
use std::time::Duration;

use ::cluster::{IncomingRequest, Socket, Worker, WorkerEvent};
use serde_json::json;

use super::Ended;

pub(super) async fn run(worker: &Worker, program: &str) -> Ended {
    if program == "ask the primary" { ask(worker).await } else { answer(worker).await }
}

/// Answers each request, and returns other messages. Answers the second of two requests that begin with
/// "pair" before the first.
pub(super) async fn answer(worker: &Worker) -> Ended {
    let mut postponed: Option<IncomingRequest> = None;
    while let Some(event) = worker.next().await {
        let WorkerEvent::Message { message, socket } = event else { continue };
        if let Some(socket) = socket {
            write(socket.into())?;
            continue;
        }
        let Some(request) = IncomingRequest::of(&message) else {
            worker.send(&message)?;
            continue;
        };
        match request.body::<String>()?.as_str() {
            question if question.starts_with("pair") && postponed.is_none() => postponed = Some(request),
            "never" => {}
            "exit" => process::exit(3),
            "with a socket" => {
                let (socket, _) = std::os::unix::net::UnixStream::pair()?;
                worker.send_with(request.reply("text")?, socket)?;
            }
            "refuse" => drop(worker.send(request.refuse("no"))?),
            other => {
                worker.send(request.reply(&format!("re: {other}"))?)?;
                if let Some(first) = postponed.take() {
                    let question: String = first.body()?;
                    worker.send(first.reply(&format!("re: {question}"))?)?;
                }
            }
        }
    }
    Ok(())
}

fn write(socket: Socket) -> std::io::Result<()> {
    if let Socket::UnixStream(mut stream) = socket {
        stream.set_nonblocking(false)?;
        std::io::Write::write_all(&mut stream, b"through a socket")?;
    }
    Ok(())
}

/// Asks for the successor of a number, and reports the answer.
async fn ask(worker: &Worker) -> Ended {
    let answer: u64 = worker.request(&20, Duration::from_secs(20)).await?;
    worker.send(json!(answer))?;
    while worker.next().await.is_some() {}
    Ok(())
}
