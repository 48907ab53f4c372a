//! Frames in: a length, then a request header, then a body.
//!
//! Invariants: nothing is allocated for a frame before its length passed the bound and its bytes were reserved from
//! the broker's request memory; the buffer of an idle connection is released; a frame is one allocation that the
//! decoded request borrows from.
//!
//! Not here: the request header beyond its first eight bytes (`twinstream_protocol::frame`), what a request means.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One read asks for at least this much, so that small requests arrive whole in one system call.
const READ_STEP: usize = 16 * 1024;

/// The bytes of requests that may be in memory at once, over all connections.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    permits: Arc<Semaphore>,
    total: u32,
}

impl RequestMemory {
    pub(crate) fn new(total_bytes: u64) -> Self {
        let total = u32::try_from(total_bytes).unwrap_or(u32::MAX);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until a frame of this size may be held. A frame larger than the whole bound takes all of it.
    async fn reserve(&self, frame_length: usize) -> OwnedSemaphorePermit {
        let wanted = u32::try_from(frame_length).unwrap_or(u32::MAX).min(self.total);
        let permits = Arc::clone(&self.permits);
        permits.acquire_many_owned(wanted).await.expect("the semaphore of request memory is never closed")
    }
}

/// One request frame, with its share of request memory.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Given back when the request is served.
    pub(crate) memory: OwnedSemaphorePermit,
}

/// Why no further frame comes from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("client closed the connection in the middle of a request ({got} of {wanted} bytes)")]
    Truncated { got: usize, wanted: usize },
    #[error("no request for {}s", .0.as_secs())]
    Idle(Duration),
    #[error("{0}")]
    NotKafka(&'static str),
    #[error("request of {length} bytes is over socket.request.max.bytes={limit}")]
    TooLarge { length: i64, limit: usize },
    #[error("request of {0} bytes is too short for a header")]
    TooShort(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a connection's byte stream into frames.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    limit: usize,
    memory: RequestMemory,
    idle_limit: Duration,
}

impl FrameReader {
    pub(crate) fn new(limit: usize, memory: RequestMemory, idle_limit: Duration) -> Self {
        Self { buffer: BytesMut::new(), limit, memory, idle_limit }
    }

    /// The next frame, or `None` when the client closed between two requests. Safe to cancel between frames.
    pub(crate) async fn next(&mut self, stream: &TcpStream) -> Result<Option<Frame>, FrameError> {
        if !self.fill(stream, 4, READ_STEP).await? {
            return Ok(None);
        }
        let length = self.checked_length()?;
        let memory = self.memory.reserve(length).await;
        if !self.fill(stream, 4 + length, 4 + length).await? {
            return Ok(None);
        }
        self.buffer.advance(4);
        let bytes = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { bytes, memory }))
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
    async fn fill(&mut self, stream: &TcpStream, wanted: usize, capacity: usize) -> Result<bool, FrameError> {
        while self.buffer.len() < wanted {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new(); // an idle connection keeps no buffer
            }
            let readable = tokio::time::timeout(self.idle_limit, stream.readable()).await;
            readable.map_err(|_| FrameError::Idle(self.idle_limit))??;
            self.buffer.reserve(capacity.saturating_sub(self.buffer.len()).max(1));
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) if self.buffer.is_empty() => return Ok(false),
                Ok(0) => return Err(FrameError::Truncated { got: self.buffer.len(), wanted }),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
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
