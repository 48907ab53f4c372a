//! Notices that a client closes its connection while the answer to its request is awaited.
//!
//! Picture: nobody reads the socket then, because the next request has to wait; so the end of the stream is peeked at.
//! Requests that the client sent ahead stay in the socket, and a close that stands behind them is told by the system
//! (EPOLLRDHUP), which is looked at now and then.
//!
//! Invariants: no byte is consumed; bytes that wait to be read do not make a task spin. A client that closes only its
//! half of the connection counts as gone, which ends its wait early and costs it no answer.

use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// How often a connection with unread requests is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Resolves when the client has closed the connection, or it broke.
pub(super) async fn departed(stream: &TcpStream) {
    let mut byte = [0];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match stream.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK_INTERVAL).await,
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
