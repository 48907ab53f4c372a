//! Frames in: a length, then a request header, then a body.
//!
//! Picture: one read asks for [`READ_STEP`] bytes, so that small requests arrive whole, and several at once if the client
//! pipelines them. A longer frame gets a buffer of its size, into which the rest is read; the decoded request and the
//! log's write borrow from there.
//!
//! Invariants: nothing is allocated for a frame before its length passed the bound and its bytes were reserved from
//! the broker's request memory; the buffer of an idle connection is released; a frame is one allocation that the
//! decoded request borrows from. A read that was given up goes on where it was.
//!
//! Not here: the request header beyond its first eight bytes (`twinstream_protocol::frame`), what a request means.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::memory::{Cargo, Incoming, RequestMemory, Reservation};
use crate::controller::messages::InternalApi;

/// One read asks for at least this much, so that small requests arrive whole in one system call.
const READ_STEP: usize = 16 * 1024;

/// Largest frame of an API that carries no records. A Fetch of 100,000 partitions is 5 MB; what a group's members say of
/// themselves must fit into a record of the offsets topic, 1 MB by default.
const WITHOUT_RECORDS_MAX: usize = 16 * 1024 * 1024;

/// What a node adds to a client's request when it forwards it.
const ENVELOPE_MAX: usize = 64 * 1024;

/// How often a frame that does not get on is looked at, whether others wait for its memory.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One request frame, with its share of request memory.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Given back when the request is served.
    pub(crate) memory: Reservation,
}

/// Why no further frame comes from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("client closed the connection in the middle of a request ({got} of {wanted} bytes)")]
    Truncated { got: usize, wanted: usize },
    #[error("no request for {}s", .0.as_secs())]
    Idle(Duration),
    #[error(
        "request came too slowly while others waited for memory ({got} of {wanted} bytes in {}s); \
         raise queued.max.request.bytes if clients are far away",
        .after.as_secs()
    )]
    TooSlow { got: usize, wanted: usize, after: Duration },
    #[error("{0}")]
    NotKafka(&'static str),
    #[error("request of {length} bytes is over socket.request.max.bytes={limit}")]
    TooLarge { length: i64, limit: usize },
    #[error(
        "request of {length} bytes has api key {api_key}, which carries no records and is bounded by {limit} bytes; \
         ask for fewer topics, partitions or groups at a time"
    )]
    TooLargeForApi { length: usize, api_key: i16, limit: usize },
    #[error("request of {0} bytes is too short for a header")]
    TooShort(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a connection's byte stream into frames.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// The frame whose length was read.
    incoming: Option<Incoming>,
    limit: usize,
    memory: RequestMemory,
    idle_limit: Duration,
}

impl FrameReader {
    pub(crate) fn new(limit: usize, memory: RequestMemory, idle_limit: Duration) -> Self {
        Self { buffer: BytesMut::new(), incoming: None, limit, memory, idle_limit }
    }

    /// The next frame, or `None` when the client closed between two requests. May be given up and called again.
    pub(crate) async fn next(&mut self, stream: &mut TcpStream) -> Result<Option<Frame>, FrameError> {
        if self.incoming.is_none() {
            if !self.fill(stream, 4, READ_STEP).await? {
                return Ok(None);
            }
            let length = self.checked_length()?;
            let cargo = match self.memory.is_small(length) {
                true => Cargo::NoRecords,
                false => self.cargo_of_large(stream, length).await?,
            };
            self.incoming = Some(Incoming::new(length, self.memory.reserve(length, cargo).await));
        }
        let whole = 4 + self.incoming.as_ref().map_or(0, |incoming| incoming.length);
        if !self.fill(stream, whole, whole).await? {
            return Ok(None);
        }
        let Some(Incoming { length, memory, .. }) = self.incoming.take() else { return Ok(None) };
        self.buffer.advance(4);
        let bytes = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { bytes, memory }))
    }

    /// What a large frame carries, which its API key tells; without records it may be only so large.
    async fn cargo_of_large(&mut self, stream: &mut TcpStream, length: usize) -> Result<Cargo, FrameError> {
        if !self.fill(stream, 4 + 2, READ_STEP).await? {
            return Err(FrameError::Truncated { got: 0, wanted: 4 + length });
        }
        let api_key = i16::from_be_bytes([self.buffer[4], self.buffer[5]]);
        let limit = match InternalApi::from_key(api_key) {
            _ if api_key == ApiKey::Produce as i16 => return Ok(Cargo::Records),
            Some(InternalApi::Raft) => return Ok(Cargo::Records),
            Some(_) => WITHOUT_RECORDS_MAX + ENVELOPE_MAX,
            None => WITHOUT_RECORDS_MAX,
        };
        match length <= limit {
            true => Ok(Cargo::NoRecords),
            false => Err(FrameError::TooLargeForApi { length, api_key, limit }),
        }
    }

    fn checked_length(&self) -> Result<usize, FrameError> {
        let prefix = [self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]];
        let length = i32::from_be_bytes(prefix);
        let in_bounds = usize::try_from(length).ok().filter(|length| *length <= self.limit);
        match in_bounds {
            Some(length) if length >= HEADER_LENGTH_MIN => Ok(length),
            Some(length) => Err(FrameError::TooShort(length)),
            None => Err(other_protocol(&self.buffer)
                .map(FrameError::NotKafka)
                .unwrap_or(FrameError::TooLarge { length: i64::from(length), limit: self.limit })),
        }
    }

    /// Reads until `wanted` bytes are there. False when the client closed before the first of them.
    async fn fill(&mut self, stream: &mut TcpStream, wanted: usize, capacity: usize) -> Result<bool, FrameError> {
        while self.buffer.len() < wanted {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new(); // an idle connection keeps no buffer
            }
            self.readable(stream, wanted).await?;
            self.buffer.reserve(capacity.saturating_sub(self.buffer.len()).max(1));
            match read_now(stream, &mut self.buffer).await {
                None => {}
                Some(Ok(0)) if self.buffer.is_empty() => return Ok(false),
                Some(Ok(0)) => return Err(FrameError::Truncated { got: self.buffer.len(), wanted }),
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits until the socket has something, within the limits of idle and of slow clients.
    async fn readable(&self, stream: &TcpStream, wanted: usize) -> Result<(), FrameError> {
        let idle_since = Instant::now();
        loop {
            let limit = match &self.incoming {
                Some(_) => self.idle_limit.min(LOOK_INTERVAL),
                None => self.idle_limit,
            };
            let readable = tokio::time::timeout(limit, stream.readable()).await;
            let now = Instant::now();
            let got = self.buffer.len();
            if let Some(incoming) = self.incoming.as_ref().filter(|incoming| incoming.is_in_the_way(got, now)) {
                return Err(FrameError::TooSlow { got, wanted, after: incoming.age() });
            }
            match readable {
                Ok(ready) => return Ok(ready?),
                Err(_) if now.duration_since(idle_since) < self.idle_limit => {}
                Err(_) => return Err(FrameError::Idle(self.idle_limit)),
            }
        }
    }
}

/// Reads what is there, `None` if that is nothing. The runtime takes a read that did not fill the buffer for the last one
/// (epoll tells of new bytes), which saves a call that would only say so.
async fn read_now(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<io::Result<usize>> {
    let mut read = pin!(stream.read_buf(buffer));
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// API key, version and correlation id.
const HEADER_LENGTH_MIN: usize = 8;

/// What a first packet that is no Kafka request looks like, to tell the user which port or scheme is wrong.
fn other_protocol(bytes: &[u8]) -> Option<&'static str> {
    const HTTP_METHODS: [&[u8]; 7] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC"];
    if HTTP_METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Some("the client speaks HTTP, but this port speaks the Kafka protocol");
    }
    if bytes.starts_with(&[0x16, 0x03]) {
        return Some("the client starts a TLS handshake, but this listener is PLAINTEXT");
    }
    None
}

/// The fixed start of every request header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderStart {
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
}

impl HeaderStart {
    /// Reads the first eight bytes; the frame reader made sure that they exist.
    pub(crate) fn peek(mut frame: &[u8]) -> Self {
        Self { api_key: frame.get_i16(), api_version: frame.get_i16(), correlation_id: frame.get_i32() }
    }
}

#[cfg(test)]
mod tests;
