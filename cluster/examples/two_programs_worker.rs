//! The second executable of `two_programs.rs`: a worker that answers messages. Started without a primary, the
//! program fails.

use std::env;

use cluster::{Worker, WorkerEvent};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let greeting = env::args().nth(1).unwrap_or_default();
    let number = env::var("NUMBER")?;
    while let Some(event) = worker.next().await {
        if let WorkerEvent::Message { message: question, .. } = event {
            worker.send(json!({ "question": question, "answer": format!("{greeting} {number}") }))?;
        }
    }
    Ok(())
}
