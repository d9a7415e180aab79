use axum::{Router, routing::get};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};

async fn main() -> anyhow::Result<()> {
    if cluster::role()? == Role::Primary {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
        // Starts this program again, with Role::Worker.
        return Ok(Supervisor::new(SupervisorSettings::new(cluster::cores()))?.run().await?);
    }
    let worker = Worker::join()?;
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let listener = worker.listen(address).await?;
    println!("worker {} serves http://{}/", worker.id(), listener.local_addr());
    let app = Router::new().route("/", get(|| async { "hello" }));
    Ok(cluster::serve(&worker, listener, app).await?)
}
