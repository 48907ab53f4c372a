//! Connections to other nodes: one frame out, one frame back.
//!
//! Picture: a [`PeerConnection`] is a socket with one request in flight. A [`PeerPool`] keeps a few idle ones to one address, so that
//! a slow request (a topic with thousands of partitions) does not hold up a heartbeat.
//!
//! Invariants: every wait has a limit; an answer with the wrong correlation id ends the connection; an idle connection is dropped well
//! before the other side would close it, so that a fresh request never meets a closing socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use twinstream_protocol::frame::{self, RequestHeader};

use super::messages::InternalApi;

/// Requests to one node at the same time.
const CONNECTIONS_MAX: usize = 16;
/// `connections.max.idle.ms` is minutes by default; whoever sets it lower than this pays with a new connection per request.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The largest answer is that to a forwarded request about every partition of a cluster.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Nodes are a few milliseconds apart. Behind a cut a connect request is lost without a word, and only a new one finds out that the
/// cut has healed.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("connection to {address} broke")]
    Broken {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} did not answer within {}ms", limit.as_millis())]
    Timeout { address: String, limit: Duration },
    #[error("{address} answered with {reason}; is it a node of this cluster?")]
    Nonsense { address: String, reason: String },
}

impl PeerError {
    /// Whether the request cannot have been processed.
    pub(crate) fn was_never_sent(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Whether nobody listens there: the process is gone. A process that dies while the connection is made resets it.
    pub(crate) fn is_refused(&self) -> bool {
        let gone = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];
        matches!(self, Self::Connect { source, .. } if gone.contains(&source.kind()))
    }
}

/// A socket to a node.
pub(crate) struct PeerConnection {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
    idle_since: Instant,
}

impl AsFd for PeerConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl PeerConnection {
    pub(crate) async fn open(address: &str) -> Result<Self, PeerError> {
        let failed = |source| PeerError::Connect { address: address.to_owned(), source };
        let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { address: address.to_owned(), stream, correlation_id: 0, idle_since: Instant::now() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, api: InternalApi, body: &[u8], limit: Duration) -> Result<Bytes, PeerError> {
        let asked = tokio::time::timeout(limit, self.exchange(api, body)).await;
        asked.unwrap_or_else(|_| Err(PeerError::Timeout { address: self.address.clone(), limit }))
    }

    async fn exchange(&mut self, api: InternalApi, body: &[u8]) -> Result<Bytes, PeerError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let request = encode_frame(api, self.correlation_id, body)?;
        let address = self.address.clone();
        let broken = |source| PeerError::Broken { address: address.clone(), source };
        self.stream.write_all(&request).await.map_err(broken)?;
        let length = self.stream.read_u32().await.map_err(broken)? as usize;
        // Correlation id and an empty list of tagged fields come before the body.
        if !(5..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(PeerError::Nonsense { address, reason: format!("a frame of {length} bytes") });
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.map_err(broken)?;
        let answer = Bytes::from(answer);
        if answer[..4] != self.correlation_id.to_be_bytes() || answer[4] != 0 {
            return Err(PeerError::Nonsense { address, reason: "an answer to another request".to_owned() });
        }
        self.idle_since = Instant::now();
        Ok(answer.slice(5..))
    }

    /// Whether an idle connection was closed by the other side, as when its process ended. A request over it would count as lost
    /// although nobody has seen it.
    fn is_stale(&self) -> bool {
        let mut unasked = [0; 1];
        !matches!(self.stream.try_read(&mut unasked), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends when the other side closes the connection, and never otherwise: nodes do not talk unasked.
    pub(crate) async fn closed(&mut self) {
        let mut unasked = [0; 1];
        match self.stream.read(&mut unasked).await {
            Ok(0) => tracing::debug!(address = self.address, "node closed the connection"),
            Ok(_) => tracing::warn!(address = self.address, "node talked without being asked"),
            Err(error) => tracing::debug!(address = self.address, %error, "connection to a node broke"),
        }
    }
}

fn encode_frame(api: InternalApi, correlation_id: i32, body: &[u8]) -> Result<Vec<u8>, PeerError> {
    let header = RequestHeader { api_key: api as i16, api_version: api.version(), correlation_id, client_id: None };
    let mut out = vec![0; frame::LENGTH_PREFIX_BYTES];
    let nonsense = |reason: String| PeerError::Nonsense { address: "this node".to_owned(), reason };
    frame::encode_request_header(&mut out, &header).map_err(|error| nonsense(error.to_string()))?;
    out.extend_from_slice(body);
    let length = out.len() - frame::LENGTH_PREFIX_BYTES;
    let length = i32::try_from(length).map_err(|_| nonsense(format!("a request of {length} bytes")))?;
    out[..frame::LENGTH_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

/// Idle connections to one node.
pub(crate) struct PeerPool {
    address: String,
    idle: Mutex<Vec<PeerConnection>>,
    permits: Semaphore,
}

impl PeerPool {
    pub(crate) fn new(address: String) -> Self {
        Self { address, idle: Mutex::new(Vec::new()), permits: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// Asks over an idle connection or a new one. A connection that failed is not used again.
    pub(crate) async fn ask(&self, api: InternalApi, body: &[u8], limit: Duration) -> Result<Bytes, PeerError> {
        let waiting = tokio::time::timeout(limit, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = waiting else {
            return Err(PeerError::Timeout { address: self.address.clone(), limit });
        };
        let mut connection = match self.take_idle() {
            Some(connection) => connection,
            None => PeerConnection::open(&self.address).await?,
        };
        let answer = connection.ask(api, body, limit).await?;
        self.idle.lock().push(connection);
        Ok(answer)
    }

    fn take_idle(&self) -> Option<PeerConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|connection| connection.idle_since.elapsed() < IDLE_MAX && !connection.is_stale());
        idle.pop()
    }
}
