//! The first program of README.md: a worker for each core.
//!
//! `cargo run -p cluster --example hello`, and then: `curl http://127.0.0.1:8000/`

use axum::{Router, routing::get};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};

#[tokio::main(flavor = "current_thread")] // one thread per process; the workers use the other cores
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    server(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into())).await
}

async fn server(address: String) -> anyhow::Result<()> {
    if cluster::role()? == Role::Primary {
        // Starts this program again, with Role::Worker.
        return Ok(Supervisor::new(SupervisorSettings::new(cluster::cores()))?.run().await?);
    }
    let worker = Worker::join()?;
    let listener = worker.listen(address).await?;
    println!("worker {} serves http://{}/", worker.id(), listener.local_addr());
    let app = Router::new().route("/", get(|| async { "hello" }));
    Ok(cluster::serve(&worker, listener, app).await?)
}
