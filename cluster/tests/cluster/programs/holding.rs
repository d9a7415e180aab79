//! Workers with clones that still exist when the runtime ends, each in another way. Each worker sends more
//! than the kernel takes, and finally reports the number of accepted messages over a separate connection.

use std::error::Error;
use std::io::Write;
use std::mem::forget;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::{env, future};

use ::cluster::{Listener, SendError, Worker};
use serde_json::json;

use super::Ended;

/// More than a channel holds.
const MESSAGES: u64 = 2001;

/// The number of messages sent after the end of the runtime.
const LATE: u64 = 501;

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static HOLDER: OnceLock<Holder> = OnceLock::new();

/// Holds a worker until the process exits.
#[expect(dead_code, reason = "the values are only kept")]
enum Holder {
    Worker(Worker),
    Listener(Listener),
    Cycle(Arc<Cycle>),
    Thread(Mutex<Option<Late>>),
}

/// A node that refers to itself.
struct Cycle {
    _worker: Worker,
    own: OnceLock<Arc<Cycle>>,
}

/// A thread that sends after the runtime has ended.
struct Late {
    ended: std::sync::mpsc::Sender<()>,
    thread: JoinHandle<Result<(), SendError>>,
}

/// Sends when dropped.
struct LastSender(Worker);

impl Drop for LastSender {
    fn drop(&mut self) {
        send(&self.0, LATE).expect("the channel is open");
    }
}

pub(super) async fn run(worker: Worker, way: &str) -> Ended {
    if way == "static_listener" {
        keep(Holder::Listener(worker.listen("127.0.0.1:0").await?));
        // The primary sends a message as soon as the worker listens.
        worker.next().await;
    }
    send(&worker, MESSAGES)?;
    match way {
        "return" | "background" | "static_listener" => {}
        "static" => keep(Holder::Worker(worker.clone())),
        "forget" => forget(worker.clone()),
        "cycle" => {
            let cycle = Arc::new(Cycle { _worker: worker.clone(), own: OnceLock::new() });
            cycle.own.get_or_init(|| cycle.clone());
            keep(Holder::Cycle(cycle));
        }
        "task" => {
            let sender = LastSender(worker.clone());
            tokio::spawn(async move {
                let _sender = sender;
                future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
        }
        "thread" => keep(Holder::Thread(Mutex::new(Some(late_sender(worker.clone()))))),
        "disconnect" => {
            keep(Holder::Worker(worker.clone()));
            worker.disconnect();
        }
        other => return Err(format!("nothing holds a worker by {other:?}").into()),
    }
    // Returns only when the primary has accepted the connection. Until then the primary reads nothing.
    TcpStream::connect(env::var("ADDRESS")?)?;
    Ok(())
}

fn send(worker: &Worker, count: u64) -> Result<(), SendError> {
    for number in 0..count {
        worker.send(json!({ "number": number, "filling": "x".repeat(90) }))?;
        ACCEPTED.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn keep(holder: Holder) {
    assert!(HOLDER.set(holder).is_ok(), "a process has one holder");
}

fn late_sender(worker: Worker) -> Late {
    let (ended, end) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        end.recv().expect("the runtime ends");
        send(&worker, LATE)
    });
    Late { ended, thread }
}

/// Ends `main`, after the end of the runtime.
pub(super) fn report() -> Result<(), Box<dyn Error>> {
    if let Some(Holder::Thread(late)) = HOLDER.get()
        && let Some(late) = late.lock().map_err(|error| error.to_string())?.take()
    {
        late.ended.send(())?;
        late.thread.join().map_err(|_| "the thread panicked")??;
    }
    let accepted = ACCEPTED.load(Ordering::Relaxed).to_string();
    Ok(TcpStream::connect(env::var("ADDRESS")?)?.write_all(accepted.as_bytes())?)
}
