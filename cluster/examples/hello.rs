//! The first program of README.md: a worker for each core, none replaced.
//!
//! `cargo run -p cluster --example hello`, and then: `curl http://127.0.0.1:8000/`

use axum::{Router, routing::get};
use cluster::{Event, Primary, Role, Settings, Worker};

#[tokio::main(flavor = "current_thread")] // one thread per process; the workers use the other cores
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => {
            let mut primary = Primary::new(Settings::default())?;
            for _ in 0..std::thread::available_parallelism()?.get() {
                primary.fork()?; // starts this program again, with Role::Worker
            }
            let mut listens = false;
            while let Some(event) = primary.next().await {
                println!("{event:?}");
                listens |= matches!(event, Event::Listening { .. });
            }
            anyhow::ensure!(listens, "no worker could listen");
        }
        Role::Worker => {
            let worker = Worker::join()?;
            let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
            let listener = worker.listen(address).await?;
            let app = Router::new().route("/", get(|| async { "hello" }));
            cluster::serve(&worker, listener, app).await?;
        }
    }
    Ok(())
}
