//! One way into a broker that can be cut while all others stay open.
//!
//! Picture: a listener of the broker advertises the address of its relay, so whoever came in by it goes through here, and
//! nobody else does. The line is open; or it is *silent*, as when a cable is pulled: what is said waits, connections stay
//! open, and new ones are taken but not answered; or it is *down*: connections are reset, and so is every new one.
//!
//! Invariants: bytes of a connection stay in order and whole, however often the line was silent; of each direction at most
//! one chunk waits here, the rest with whoever sends. What a client had sent into a silent line arrives when the line opens,
//! even if the client is dead by then, as packets do.
//!
//! Not here: requests and answers ([`super::Proxy`]), packets ([`super::Network`], which needs root).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ports::free_port;

const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Open,
    Silent,
    Down,
}

/// A running relay; it ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    line: watch::Sender<Line>,
    _accepting: JoinSet<()>,
}

impl Relay {
    /// Listens on a port of its own before the broker at this address, which need not be there yet.
    pub async fn before(broker: &str) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|error| panic!("listen on {port}: {error}"));
        let (line, state) = watch::channel(Line::Open);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, broker.to_owned(), state));
        Self { port, line, _accepting: accepting }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn silence(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// Connections are reset, those to come as well.
    pub fn take_down(&self) {
        self.line.send_replace(Line::Down);
    }

    /// All comes through again, first what waited.
    pub fn mend(&self) {
        self.line.send_replace(Line::Open);
    }
}

async fn accept(listener: TcpListener, broker: String, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(client, broker.clone(), line.clone()));
    }
}

async fn connection(mut client: TcpStream, broker: String, line: watch::Receiver<Line>) {
    let mut state = line.clone();
    if state.wait_for(|line| *line != Line::Silent).await.is_ok_and(|line| *line == Line::Down) {
        return reset(&client);
    }
    // A broker that is down refuses; so does its relay, by closing.
    let Ok(mut broker) = TcpStream::connect(&broker).await else { return };
    if client.set_nodelay(true).and_then(|()| broker.set_nodelay(true)).is_err() {
        return;
    }
    let (from_client, to_client) = client.split();
    let (from_broker, to_broker) = broker.split();
    let is_down = tokio::select! {
        _ = async { tokio::join!(carry(from_client, to_broker, line.clone()), carry(from_broker, to_client, line)) } => false,
        down = state.wait_for(|line| *line == Line::Down) => down.is_ok(),
    };
    if is_down {
        reset(&client);
    }
}

/// Carries one direction until its sender has no more to say.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut line: watch::Receiver<Line>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        if line.wait_for(|line| *line == Line::Open).await.is_err() {
            return;
        }
        if read == 0 {
            to.shutdown().await.ok(); // who is gone needs no goodbye
            return;
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Without lingering the kernel tells the other side that the connection is gone.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).ok();
}

#[cfg(test)]
mod tests;
