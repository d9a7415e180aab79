//! The stream of a TCP connection: tokio's, or with the feature `simulated` a stream of either system.

use std::io;

use crate::system::Descriptor;

#[cfg(feature = "simulated")]
pub use crate::simulated::TcpStream;
#[cfg(not(feature = "simulated"))]
pub use tokio::net::TcpStream;

/// Makes a stream of a non-blocking connection.
#[cfg_attr(not(feature = "simulated"), expect(clippy::useless_conversion, reason = "the type is tokio's"))]
pub(crate) fn adopt(connection: Descriptor) -> io::Result<TcpStream> {
    match connection {
        Descriptor::Unix(descriptor) => tokio::net::TcpStream::from_std(descriptor.into()).map(Into::into),
        #[cfg(feature = "simulated")]
        Descriptor::Simulated(socket) => Ok(socket.into()),
    }
}
