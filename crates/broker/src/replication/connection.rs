//! A follower's connection to a leader: one request out, one answer back.
//!
//! Picture: a socket to the leader's inter-broker listener with one request in flight. Every node of a cluster runs
//! this program, so there is one version of each request and no negotiation; a node that does not serve it closes the
//! connection.
//!
//! The records of an answer stay where they were received until they are in the log. The memory for that is used
//! again: megabytes that are fresh from the system for every answer would cost more than what is done with them.
//!
//! Invariants: a read that hears nothing for the silence limit ends the connection, however much is outstanding; an
//! answer is never larger than the bound, and decoding it allocates within its bytes (`protocol::shape`); a connection that failed, or whose answer was not waited for, is not used
//! again; memory that large answers took goes when only small ones come.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{HeaderVersion, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twinstream_protocol::frame::{self, RequestHeader};
use twinstream_protocol::shape::{self, Shaped};

/// Short, so that a leader that comes back from a cut-off network is found by a fresh attempt and not by the last
/// repeat of an old one.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Correlation id and an empty list of tagged fields.
const HEADER_BYTES: usize = 5;
/// What an answer without records needs, about; memory up to this is always kept.
const BUFFER_MIN: usize = 4 * 1024;
/// The memory for an answer grows by what came so far, within these: a length alone takes nothing.
const GROWTH_MIN: usize = 64 * 1024;
const GROWTH_MAX: usize = 4 * 1024 * 1024;
/// After so many answers that would do with a quarter of the memory it is given back.
const SMALL_ANSWERS_MAX: u32 = 32;

/// Why a leader could not be fetched from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the metadata has no address of it on the inter-broker listener")]
    NoAddress,
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
    #[error("{address} sent nothing for {}ms", limit.as_millis())]
    Silent { address: String, limit: Duration },
    #[error("{address} answered with {reason}; is it a broker of this cluster?")]
    Nonsense { address: String, reason: String },
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long nothing may be heard.
    pub(crate) silence_max: Duration,
    /// Largest answer.
    pub(crate) answer_bytes_max: usize,
}

pub(crate) struct Connection {
    address: String,
    client_id: String,
    stream: TcpStream,
    correlation_id: i32,
    limits: Limits,
    memory: Memory,
}

impl Connection {
    pub(crate) async fn open(address: &str, client_id: String, limits: Limits) -> Result<Self, FetchError> {
        let failed = |source| FetchError::Connect { address: address.to_owned(), source };
        let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let memory = Memory::default();
        Ok(Self { address: address.to_owned(), client_id, stream, correlation_id: 0, limits, memory })
    }

    /// Sends a request and waits for its answer. Whoever drops the future must drop the connection, too; whoever drops
    /// the answer before the next request lets its memory be used again.
    pub(crate) async fn ask<R>(&mut self, request: &R, version: i16) -> Result<R::Response, FetchError>
    where
        R: Request<Response: Shaped>,
    {
        debug_assert!(R::Response::header_version(version) == 1, "answers have flexible headers");
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let bytes = self.encode(request, version)?;
        let written = tokio::time::timeout(self.limits.silence_max, self.stream.write_all(&bytes)).await;
        written.map_err(|_| self.silent())?.map_err(|source| self.broken(source))?;
        let mut answer = self.read_frame().await?;
        let has_id = answer[..4] == self.correlation_id.to_be_bytes();
        if !has_id || answer[4] != 0 {
            return Err(self.nonsense("an answer to another request".to_owned()));
        }
        answer.advance(HEADER_BYTES);
        shape::decode(answer, version).map_err(|error| self.nonsense(format!("bytes that cannot be decoded: {error}")))
    }

    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<Vec<u8>, FetchError> {
        let header = RequestHeader {
            api_key: R::KEY,
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(self.client_id.clone()),
        };
        let mut out = vec![0; frame::LENGTH_PREFIX_BYTES];
        frame::encode_request_header(&mut out, &header).map_err(|error| self.nonsense(error.to_string()))?;
        let mut body = BytesMut::new();
        request.encode(&mut body, version).map_err(|error| self.nonsense(error.to_string()))?;
        out.extend_from_slice(&body);
        let length = out.len() - frame::LENGTH_PREFIX_BYTES;
        let prefix = i32::try_from(length).map_err(|_| self.nonsense(format!("room for {length} bytes")))?;
        out[..frame::LENGTH_PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
        Ok(out)
    }

    /// Reads one frame.
    async fn read_frame(&mut self) -> Result<Bytes, FetchError> {
        let mut frame = self.memory.take();
        while frame.len() < frame::LENGTH_PREFIX_BYTES {
            self.read_some(&mut frame).await?;
        }
        let length = frame.get_u32() as usize;
        if !(HEADER_BYTES..=self.limits.answer_bytes_max).contains(&length) {
            return Err(self.nonsense(format!("a frame of {length} bytes")));
        }
        while frame.len() < length {
            let growth = frame.len().clamp(GROWTH_MIN, GROWTH_MAX);
            frame.reserve(growth.min(length - frame.len()));
            self.read_some(&mut frame).await?;
        }
        match frame.len() == length {
            true => Ok(self.memory.lend(frame)),
            false => Err(self.nonsense("more than one answer".to_owned())),
        }
    }

    async fn read_some(&mut self, into: &mut BytesMut) -> Result<(), FetchError> {
        let read = tokio::time::timeout(self.limits.silence_max, self.stream.read_buf(into)).await;
        match read {
            Err(_) => Err(self.silent()),
            Ok(Ok(0)) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: io::Error) -> FetchError {
        FetchError::Broken { address: self.address.clone(), source }
    }

    fn silent(&self) -> FetchError {
        FetchError::Silent { address: self.address.clone(), limit: self.limits.silence_max }
    }

    fn nonsense(&self, reason: String) -> FetchError {
        FetchError::Nonsense { address: self.address.clone(), reason }
    }
}

/// The memory of the answers of one connection.
#[derive(Default)]
struct Memory {
    /// The last answer; its memory is free when nobody else holds a part of it.
    last: Bytes,
    /// Answers in a row that needed little of it.
    small: u32,
}

impl Memory {
    /// An empty buffer for the next answer, large if the answers before were.
    fn take(&mut self) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        buffer.clear();
        if self.small > SMALL_ANSWERS_MAX {
            buffer = BytesMut::new();
        }
        buffer.reserve(BUFFER_MIN);
        buffer
    }

    /// Hands out an answer and keeps its memory in mind.
    fn lend(&mut self, answer: BytesMut) -> Bytes {
        let is_small = answer.capacity() > BUFFER_MIN && answer.len() < answer.capacity() / 4;
        self.small = if is_small { self.small.saturating_add(1) } else { 0 };
        self.last = answer.freeze();
        self.last.clone()
    }
}

#[cfg(test)]
mod tests;
