//! A primary and workers in two executables: the settings of the primary name the executable of the workers,
//! `two_programs_worker.rs`.
//!
//! `cargo build -p cluster --examples && cargo run -p cluster --example two_programs`
//!
//! The primary asks each worker a question, prints the answers and ends.

use std::env;

use cluster::{Event, Primary, Role, Settings, SpawnOptions};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    if cluster::role()? == Role::Worker {
        anyhow::bail!("the workers run another program");
    }
    let program = env::current_exe()?.with_file_name("two_programs_worker");
    let spawn = SpawnOptions::new().exec(program).args(["hello"]);
    let mut primary = Primary::new(Settings { spawn, ..Settings::default() })?;
    for number in 0..2 {
        primary.fork_with_env([("NUMBER", number.to_string())])?;
    }
    while let Some(event) = primary.next().await {
        match event {
            Event::Online { worker } => drop(primary.send(worker, json!("what is your number?"))?),
            Event::Message { worker, message, .. } => {
                println!("worker {worker} answers {}", message.json_text()?);
                primary.disconnect_worker(worker);
            }
            // Most likely the second executable has not been built.
            Event::Error { error, .. } => return Err(error.into()),
            Event::Exit { worker, status, .. } => println!("worker {worker} exited: {status:?}"),
            _ => {}
        }
    }
    Ok(())
}
