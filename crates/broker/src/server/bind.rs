//! Opening the listeners' sockets, and what is advertised once their ports are known.
//!
//! An empty host binds every address, IPv6 and IPv4 in one socket where the system has IPv6.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::settings::listeners::{AdvertisedListener, Listener};

/// Why a listener did not open. Each names the listener and the way out.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {listener}: the port is in use; stop the process that has it or change listeners")]
    InUse { listener: String },
    #[error("cannot listen on {listener}: {source}; change listeners")]
    Other { listener: String, source: io::Error },
}

/// A bound listener with the port that it got.
pub(crate) struct Bound {
    pub(crate) listener: Listener,
    pub(crate) socket: TcpListener,
    pub(crate) port: u16,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.listener.name, self.listener.host, self.port)
    }
}

/// Opens every listener, or none.
pub(crate) async fn bind_all(listeners: &[Listener], backlog: u32) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { listener: listener.to_string() },
            _ => BindError::Other { listener: listener.to_string(), source },
        };
        let socket = bind(listener, backlog).await.map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        bound.push(Bound { listener: listener.clone(), socket, port });
    }
    Ok(bound)
}

async fn bind(listener: &Listener, backlog: u32) -> io::Result<TcpListener> {
    if listener.host.is_empty() {
        let everywhere = bind_address((Ipv6Addr::UNSPECIFIED, listener.port).into(), backlog);
        return match everywhere {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                bind_address((Ipv4Addr::UNSPECIFIED, listener.port).into(), backlog)
            }
            bound_or_taken => bound_or_taken,
        };
    }
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in tokio::net::lookup_host((listener.host.as_str(), listener.port)).await? {
        match bind_address(address, backlog) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_address(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted broker takes its port although connections of its predecessor are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Fills in the ports that the system chose.
pub(crate) fn with_bound_ports(mut advertised: Vec<AdvertisedListener>, bound: &[Bound]) -> Vec<AdvertisedListener> {
    for listener in &mut advertised {
        let socket = bound.iter().find(|bound| bound.listener.name == listener.name);
        if let Some(socket) = socket.filter(|_| listener.port == 0) {
            listener.port = socket.port;
        }
    }
    advertised
}

#[cfg(test)]
mod tests;
