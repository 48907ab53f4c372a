//! Responses: from a handler's answer to bytes and file ranges on a socket.
//!
//! A response body is a list of parts. Most answers are one encoded message; a Fetch answer interleaves encoded
//! pieces with ranges of segment files, which go to the socket with `sendfile(2)` and never enter user space.
//!
//! Invariants: the frame length is the sum of the parts, computed before the first byte is sent; a part that turns
//! out shorter ends the connection, because the peer could not find the next frame.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::context::RequestContext;

/// A range of an open file, sent without a copy through user space.
#[derive(Clone, Debug)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<File>,
    pub(crate) position: u64,
    pub(crate) length: usize,
}

/// One piece of a response body.
#[derive(Clone, Debug)]
pub(crate) enum ResponsePart {
    Bytes(Bytes),
    File(FileRange),
}

impl ResponsePart {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.length,
        }
    }
}

/// What goes back to the client for one request.
#[derive(Debug)]
pub(crate) enum Response {
    /// The body after the response header, whose version the API's rule gives.
    Body { header_version: i16, parts: Vec<ResponsePart> },
    /// Nothing is sent, the connection goes on (Produce with acks=0).
    Silent,
    /// Nothing is sent and the connection is closed (a failed Produce with acks=0 has no other way to say so).
    Close,
}

/// A typed answer that may also be withheld.
#[derive(Debug)]
pub(crate) enum Reply<M> {
    Send(M),
    Silent,
    Close,
}

/// Anything that a handler may answer with. The error is the codec's text.
pub(crate) trait IntoResponse {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String>;
}

impl<M: Encodable + HeaderVersion> IntoResponse for M {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String> {
        let body = encode(&self, ctx.api_version)?;
        let header_version = M::header_version(ctx.api_version);
        Ok(Response::Body { header_version, parts: vec![ResponsePart::Bytes(body)] })
    }
}

impl<M: Encodable + HeaderVersion> IntoResponse for Reply<M> {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String> {
        match self {
            Self::Send(message) => message.into_response(ctx),
            Self::Silent => Ok(Response::Silent),
            Self::Close => Ok(Response::Close),
        }
    }
}

impl IntoResponse for Response {
    fn into_response(self, _ctx: &RequestContext) -> Result<Response, String> {
        Ok(self)
    }
}

/// Encodes one message at one version into a buffer of exactly its size.
pub(crate) fn encode<M: Encodable>(message: &M, version: i16) -> Result<Bytes, String> {
    let size = message.compute_size(version).map_err(|error| error.to_string())?;
    let mut buffer = BytesMut::with_capacity(size);
    message.encode(&mut buffer, version).map_err(|error| error.to_string())?;
    Ok(buffer.freeze())
}

/// Why a response did not reach its client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("response of {0} bytes does not fit a frame")]
    TooLarge(usize),
    #[error("client took no byte for {}s", .0.as_secs())]
    Stalled(Duration),
    #[error("segment file ended {missing} bytes before the end of the announced range")]
    ShortFile { missing: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes one framed response; `stall_limit` bounds the time in which the client takes nothing at all.
/// Returns the number of bytes sent.
pub(crate) async fn send(
    stream: &TcpStream,
    correlation_id: i32,
    header_version: i16,
    parts: Vec<ResponsePart>,
    stall_limit: Duration,
) -> Result<usize, SendError> {
    let body_length: usize = parts.iter().map(ResponsePart::len).sum();
    let header_length = if header_version >= 1 { 5 } else { 4 };
    let frame_length = header_length + body_length;
    let announced = i32::try_from(frame_length).map_err(|_| SendError::TooLarge(frame_length))?;

    // Small answers leave in one write: header and first part share a buffer.
    let first_fits = matches!(parts.first(), Some(ResponsePart::Bytes(bytes)) if bytes.len() <= COALESCE_MAX);
    let mut head = BytesMut::with_capacity(9 + if first_fits { parts[0].len() } else { 0 });
    head.put_i32(announced);
    head.put_i32(correlation_id);
    if header_version >= 1 {
        head.put_u8(0); // no tagged fields
    }
    let mut parts = parts.into_iter().peekable();
    if first_fits && let Some(ResponsePart::Bytes(bytes)) = parts.next() {
        head.put_slice(&bytes);
    }
    send_bytes(stream, &head, parts.peek().is_some(), stall_limit).await?;
    while let Some(part) = parts.next() {
        let more = parts.peek().is_some();
        match part {
            ResponsePart::Bytes(bytes) => send_bytes(stream, &bytes, more, stall_limit).await?,
            ResponsePart::File(range) => send_file(stream, &range, stall_limit).await?,
        }
    }
    Ok(4 + frame_length)
}

/// Up to this size a copy into the header's buffer is cheaper than a second system call.
const COALESCE_MAX: usize = 16 * 1024;

/// One `sendfile` call moves at most this much, then other tasks have their turn: a client that takes bytes as fast as
/// they come would otherwise hold a runtime thread.
const SENDFILE_STEP_MAX: usize = 1024 * 1024;

async fn send_bytes(stream: &TcpStream, mut bytes: &[u8], more: bool, stall_limit: Duration) -> Result<(), SendError> {
    let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
    while !bytes.is_empty() {
        let sent = when_writable(stream, stall_limit, || {
            rustix::net::send(stream.as_fd(), bytes, flags).map_err(io::Error::from)
        })
        .await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn send_file(stream: &TcpStream, range: &FileRange, stall_limit: Duration) -> Result<(), SendError> {
    let mut position = range.position;
    let mut left = range.length;
    while left > 0 {
        let step = left.min(SENDFILE_STEP_MAX);
        let sent = when_writable(stream, stall_limit, || {
            rustix::fs::sendfile(stream.as_fd(), range.file.as_fd(), Some(&mut position), step).map_err(io::Error::from)
        })
        .await?;
        if sent == 0 {
            return Err(SendError::ShortFile { missing: left });
        }
        left -= sent;
        if left > 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Tries `operation` at once and then each time the socket takes bytes again.
async fn when_writable(
    stream: &TcpStream,
    stall_limit: Duration,
    mut operation: impl FnMut() -> io::Result<usize>,
) -> Result<usize, SendError> {
    loop {
        match stream.try_io(Interest::WRITABLE, &mut operation) {
            Ok(sent) => return Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(stall_limit, stream.writable())
                    .await
                    .map_err(|_| SendError::Stalled(stall_limit))??;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
