//! The work on other simulators: two hosts, and one packet for each message. The latency is the smallest
//! latency that each simulator allows.

use std::net::SocketAddr;
use std::time::Duration;

use madsim::net::Endpoint;
use madsim::runtime::{Handle, Runtime};
use turmoil::net::UdpSocket;

const MESSAGE: [u8; 8] = *b"12345678";
const PORT: u16 = 8000;

/// Each side sends half of the messages, one window at a time, and waits for a window of the other side after
/// each.
pub fn madsim_messages(messages: u64, window: u64) {
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::ZERO..Duration::from_nanos(1);
    let runtime = Runtime::with_seed_and_config(messages, config);
    runtime.block_on(async move {
        let addresses: [SocketAddr; 2] = [1, 2].map(|host| SocketAddr::from(([10, 0, 0, host], PORT)));
        let node = |at: usize| Handle::current().create_node().ip(addresses[at].ip()).build();
        let (first, second) = (node(0), node(1));
        second.spawn(async move {
            let endpoint = Endpoint::bind(addresses[1]).await.expect("the port is free");
            loop {
                madsim_receive(&endpoint, window).await;
                madsim_send(&endpoint, addresses[0], window).await;
            }
        });
        let first = first.spawn(async move {
            let endpoint = Endpoint::bind(addresses[0]).await.expect("the port is free");
            // The other host may not be bound yet.
            madsim::time::sleep(Duration::from_millis(1)).await;
            for _ in 0..rounds(messages, window) {
                madsim_send(&endpoint, addresses[1], window).await;
                madsim_receive(&endpoint, window).await;
            }
        });
        first.await.expect("the run ends");
    });
}

fn rounds(messages: u64, window: u64) -> u64 {
    messages / window / 2
}

async fn madsim_send(endpoint: &Endpoint, to: SocketAddr, window: u64) {
    for _ in 0..window {
        endpoint.send_to(to, 1, &MESSAGE).await.expect("the other host is bound");
    }
}

async fn madsim_receive(endpoint: &Endpoint, window: u64) {
    let mut bytes = MESSAGE;
    for _ in 0..window {
        endpoint.recv_from(1, &mut bytes).await.expect("the endpoint is open");
    }
}

/// See [`madsim_messages`].
pub fn turmoil_messages(messages: u64, window: u64) {
    let mut simulation = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(1 << 30))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .udp_capacity(1024)
        .rng_seed(messages)
        .build();
    simulation.host("second", move || async move {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
        loop {
            let from = turmoil_receive(&socket, window).await?;
            turmoil_send(&socket, from, window).await?;
        }
    });
    simulation.client("first", async move {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
        let to = SocketAddr::from((turmoil::lookup("second"), PORT));
        for _ in 0..rounds(messages, window) {
            turmoil_send(&socket, to, window).await?;
            turmoil_receive(&socket, window).await?;
        }
        Ok(())
    });
    simulation.run().expect("the run ends");
}

async fn turmoil_send(socket: &UdpSocket, to: SocketAddr, window: u64) -> std::io::Result<()> {
    for _ in 0..window {
        socket.send_to(&MESSAGE, to).await?;
    }
    Ok(())
}

async fn turmoil_receive(socket: &UdpSocket, window: u64) -> std::io::Result<SocketAddr> {
    let mut bytes = MESSAGE;
    let mut from = SocketAddr::from(([0, 0, 0, 0], 0));
    for _ in 0..window {
        from = socket.recv_from(&mut bytes).await?.1;
    }
    Ok(from)
}
