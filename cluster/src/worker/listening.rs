//! The listeners and UDP sockets of a worker: the lookup of names, paths, and the forms of an address.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use cluster_core::{ListenAddress, ListenOptions};
use tokio::net::{ToSocketAddrs, UnixStream, lookup_host};

use super::Worker;
use crate::error::ListenError;
use crate::listener::Listener;
use crate::udp::UdpSocket;
use crate::unix::bind::name_zone;

impl Worker {
    /// Listens on a TCP address shared by the workers of the cluster. Node: `server.listen(port, host)`.
    ///
    /// A name is looked up in this process. The addresses are tried in turn until a bind succeeds, as by
    /// tokio's `TcpListener::bind`. Dropping the future closes the listener.
    ///
    /// # Errors
    /// [`Resolve`](ListenError::Resolve): the name has no address. [`Bind`](ListenError::Bind): the primary
    /// could not bind the last address. [`Disconnected`](ListenError::Disconnected): the worker is
    /// disconnecting.
    pub async fn listen(&self, address: impl ToSocketAddrs + Debug) -> Result<Listener, ListenError> {
        first_of(address, |address| self.listen_with(address.into())).await
    }

    /// As [`listen`](Worker::listen), with every option: every form of an address, a descriptor of the
    /// primary, a backlog, an exclusive listener, a limit of connections. Node: `server.listen(options)`.
    ///
    /// An exclusive listener belongs to this worker alone, and is not reported to the primary. No
    /// [`Event::Listening`](crate::Event) is emitted, and [`disconnect`](Worker::disconnect) neither closes
    /// the listener nor waits for connections of the listener.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen). EINVAL: the primary does not have the descriptor, or the descriptor
    /// cannot listen.
    pub async fn listen_with(&self, mut options: ListenOptions) -> Result<Listener, ListenError> {
        name_zone(&mut options.address);
        Listener::open(self.inner.clone(), options).await
    }

    /// Listens on a Unix socket shared by the workers of the cluster. Node: `server.listen(path)`.
    ///
    /// A relative path begins at the working directory of this process. The path may be longer than an
    /// address of the kernel (108 bytes on Linux), but the last component may not. A path that begins with a
    /// NUL byte is an abstract name of Linux, without a file. When the last worker has closed the listener,
    /// the process that has bound the path removes the file.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen). EADDRINUSE: the path exists, perhaps left by a killed process. EACCES:
    /// the directory does not exist or is not writable; Node reports the same error for both.
    /// [`Unsuitable`](ListenError::Unsuitable): the path is not UTF-8, and a message of Node's protocol
    /// cannot carry other bytes.
    pub async fn listen_path(&self, path: impl AsRef<Path>) -> Result<Listener<UnixStream>, ListenError> {
        let path = path
            .as_ref()
            .to_str()
            .ok_or_else(|| unsuitable("the path is not UTF-8, and a message cannot carry it; rename it"))?
            .to_owned();
        let address = ListenAddress::Path { path, readable_all: false, writable_all: false };
        self.listen_path_with(address.into()).await
    }

    /// As [`listen_path`](Worker::listen_path), with the options of [`listen_with`](Worker::listen_with) and
    /// the permissions of the path. Node: `server.listen({ path, readableAll, writableAll })`.
    ///
    /// # Errors
    /// As [`listen_path`](Worker::listen_path).
    pub async fn listen_path_with(
        &self,
        mut options: ListenOptions,
    ) -> Result<Listener<UnixStream>, ListenError> {
        if let ListenAddress::Path { path, .. } = &mut options.address
            && !path.starts_with('\0')
        {
            if path.is_empty() {
                return Err(unsuitable("the path is empty"));
            }
            let absolute = std::path::absolute(&*path).map_err(ListenError::WorkingDirectory)?;
            *path = absolute.into_os_string().into_string().map_err(|_| {
                unsuitable("the working directory is not UTF-8, and a message cannot carry it; rename it")
            })?;
        }
        Listener::open(self.inner.clone(), options).await
    }

    /// Binds a UDP address shared by the workers of the cluster. Node: `socket.bind(port, address)`.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen).
    pub async fn bind_udp(&self, address: impl ToSocketAddrs + Debug) -> Result<UdpSocket, ListenError> {
        first_of(address, |address| {
            let mut options = ListenOptions::from(address);
            if let ListenAddress::Zoned { udp, .. } = &mut options.address {
                *udp = true;
            } else {
                let (v6, host, port) = (address.is_ipv6(), Some(address.ip()), Some(address.port()));
                options.address =
                    ListenAddress::Udp { v6, host, port, ipv6_only: false, reuse_address: false };
            }
            self.bind_udp_with(options)
        })
        .await
    }

    /// As [`bind_udp`](Worker::bind_udp), with every option except a backlog and a limit of connections:
    /// neither has a meaning for datagrams. Node: `dgram.createSocket(options)` and `socket.bind(options)`.
    ///
    /// # Errors
    /// As [`listen_with`](Worker::listen_with).
    pub async fn bind_udp_with(&self, mut options: ListenOptions) -> Result<UdpSocket, ListenError> {
        name_zone(&mut options.address);
        UdpSocket::open(self.inner.clone(), options).await
    }
}

/// Tries the addresses of a name in turn, and returns the first success or the last error.
async fn first_of<T, F: Future<Output = Result<T, ListenError>>>(
    name: impl ToSocketAddrs + Debug,
    open: impl Fn(SocketAddr) -> F,
) -> Result<T, ListenError> {
    let address = format!("{name:?}");
    let addresses = match lookup_host(name).await {
        Ok(addresses) => addresses,
        Err(error) => return Err(ListenError::Resolve { address, error }),
    };
    let mut result = Err(ListenError::Resolve { address, error: io::ErrorKind::NotFound.into() });
    for address in addresses {
        result = open(address).await;
        if !matches!(result, Err(ListenError::Bind { .. })) {
            break;
        }
    }
    result
}

fn unsuitable(reason: &'static str) -> ListenError {
    ListenError::Unsuitable { reason }
}
