//! Sessions in Redis: every worker can serve every session. An answer has the number of requests of the
//! session. The number survives reloads and crashes of workers.
//!
//! `cargo run -p cluster-services --bin sessions -- 127.0.0.1:8000 redis://127.0.0.1/`, and then twice:
//! `curl --cookie jar --cookie-jar jar http://127.0.0.1:8000/`

use std::env;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Router, routing::get};
use axum_extra::extract::cookie::{Cookie, CookieJar};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use uuid::Uuid;

/// Redis deletes a session after this number of seconds without a request.
const SECONDS: i64 = 3600;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => Ok(Supervisor::new(SupervisorSettings::new(cluster::cores()))?.run().await?),
        Role::Worker => worker().await,
    }
}

async fn worker() -> anyhow::Result<()> {
    let [address, redis] = [1, 2].map(|index| env::args().nth(index));
    let redis = redis::Client::open(redis.context("the second argument is the address of Redis")?)?;
    let worker = Worker::join()?;
    let sessions = redis.get_connection_manager().await.context("Redis cannot be reached")?;
    let listener = worker.listen(address.context("the first argument is an address")?).await?;
    println!("worker {} serves http://{}/", worker.id(), listener.local_addr());
    let app = Router::new().route("/", get(count)).with_state(sessions);
    cluster::serve(&worker, listener, app).await?;
    Ok(())
}

/// Counts a request for the session in the cookie; without a cookie, for a new session.
async fn count(
    State(mut sessions): State<ConnectionManager>,
    cookies: CookieJar,
) -> Result<(CookieJar, String), StatusCode> {
    let known = cookies.get("session").and_then(|cookie| cookie.value().parse().ok());
    let session = known.unwrap_or_else(Uuid::new_v4);
    let key = format!("session:{session}");
    let count: u64 = sessions.incr(&key, 1).await.map_err(|error| unavailable(&error))?;
    let () = sessions.expire(&key, SECONDS).await.map_err(|error| unavailable(&error))?;
    let cookie = Cookie::build(("session", session.to_string())).http_only(true);
    Ok((cookies.add(cookie), format!("request {count}\n")))
}

fn unavailable(error: &redis::RedisError) -> StatusCode {
    eprintln!("Redis: {error}");
    StatusCode::SERVICE_UNAVAILABLE
}
