use axum::{Router, routing::get};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};

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
