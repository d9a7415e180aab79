//! A worker that serves the address in the variable LISTEN. The address is written as JSON.

use std::env;
use std::net::IpAddr;
use std::process;

use ::cluster::{Connection, ListenAddress, ListenError, ListenOptions, Listener, Transport, Worker};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Ended, accept};
use crate::cluster::sockets::NOT_CONNECTED;

pub(super) async fn run(worker: Worker) -> Ended {
    let script: Value = serde_json::from_str(&env::var("LISTEN")?)?;
    let (options, yes) = (options(&script)?, |name: &str| script[name] == true);
    let kind = script["as"].as_str().map(ToOwned::to_owned);
    let kind = kind.unwrap_or_else(|| {
        if yes("udp") {
            "udp"
        } else if yes("unix") || script["path"].is_string() {
            "unix"
        } else {
            "tcp"
        }
        .into()
    });
    if yes("stay") {
        worker.keep_running();
    }
    match kind.as_str() {
        "udp" => datagrams(&worker, opened(&worker, worker.bind_udp_with(options).await).await?).await,
        "unix" => {
            let listener = opened(&worker, worker.listen_path_with(options).await).await?;
            worker.send(json!(listener.path()))?;
            serve(&worker, &script, listener).await
        }
        _ => {
            let listener = opened(&worker, worker.listen_with(options).await).await?;
            worker.send(json!(listener.local_addr()))?;
            serve(&worker, &script, listener).await
        }
    }
}

/// Serves the path in LISTEN, and also datagrams.
pub(super) async fn both(worker: &Worker) -> Ended {
    let listener = worker.listen_path(env::var("LISTEN")?).await?;
    let socket = worker.bind_udp("127.0.0.1:0").await?;
    let script = Value::Null;
    tokio::try_join!(serve(worker, &script, listener), datagrams(worker, socket)).map(drop)
}

fn options(script: &Value) -> Result<ListenOptions, Box<dyn std::error::Error>> {
    let number = |name: &str| script[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let yes = |name: &str| script[name] == true;
    let host: Option<IpAddr> = script["host"].as_str().map(str::parse).transpose()?;
    let port = number("port").and_then(|port| u16::try_from(port).ok());
    let ipv6_only = yes("ipv6_only");
    let address = if let Some(fd) = number("fd") {
        ListenAddress::Descriptor { fd, udp: yes("udp") }
    } else if let Some(path) = script["path"].as_str() {
        let (readable_all, writable_all) = (yes("readable_all"), yes("writable_all"));
        ListenAddress::Path { path: path.into(), readable_all, writable_all }
    } else if let (Some(zone), Some(IpAddr::V6(host))) = (script["zone"].as_str(), host) {
        let (zone, port) = (zone.into(), port.unwrap_or(0));
        ListenAddress::Zoned { host, zone, port, udp: yes("udp"), ipv6_only }
    } else if yes("udp") {
        let v6 = host.is_some_and(|host| host.is_ipv6());
        ListenAddress::Udp { v6, host, port, ipv6_only, reuse_address: yes("reuse_address") }
    } else {
        ListenAddress::Tcp { host, port: port.unwrap_or(0), ipv6_only }
    };
    Ok(ListenOptions {
        address,
        backlog: number("backlog"),
        exclusive: yes("exclusive"),
        reuse_port: yes("reuse_port"),
        max_connections: number("max_connections"),
    })
}

/// Returns an open server. After a failed `listen`, reports the error and waits.
async fn opened<T>(worker: &Worker, opened: Result<T, ListenError>) -> Result<T, Box<dyn std::error::Error>> {
    match opened {
        Ok(opened) => Ok(opened),
        Err(error) => {
            worker.send(json!(error.to_string()))?;
            std::future::pending().await
        }
    }
}

async fn serve<T: Transport>(worker: &Worker, script: &Value, mut listener: Listener<T>) -> Ended {
    loop {
        let mut connection = accept(&mut listener).await?;
        connection.write_all(worker.id().to_string().as_bytes()).await?;
        if script["hold"] == true {
            worker.send(json!("held"))?;
            tokio::spawn(hold(connection));
        } else {
            drop(connection);
        }
        if script["one"] == true {
            listener.close().await;
            worker.send(json!("closed"))?;
            return std::future::pending().await;
        }
    }
}

/// Holds a connection until the client closes the connection.
async fn hold<T: Transport>(mut connection: Connection<T>) {
    // The connection may also end with an error.
    let _ = connection.read(&mut [0]).await;
}

async fn datagrams(worker: &Worker, socket: ::cluster::UdpSocket) -> Ended {
    worker.send(json!(socket.local_addr()?))?;
    let mut datagram = [0; 100];
    loop {
        let Some((length, client)) = socket.recv_from(&mut datagram).await? else {
            worker.disconnected().await;
            process::exit(NOT_CONNECTED);
        };
        let answer = format!("{} for {}", String::from_utf8_lossy(&datagram[..length]), worker.id());
        socket.send_to(answer.as_bytes(), client).await?;
    }
}
