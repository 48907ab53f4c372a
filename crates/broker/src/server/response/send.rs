//! Parts on their way to a socket.
//!
//! Picture: small parts gather in one buffer, which leaves in one call; a large range of a file goes from the page cache
//! to the socket with `sendfile(2)` and never enters user space. A fetch at the end of a log, a hundred bytes between two
//! pieces of header, is one packet and wakes its client once; one that catches up is sent without a copy.
//!
//! Invariants: the frame length is the sum of the parts, computed before the first byte is sent; a part that turns
//! out shorter ends the connection, because the peer could not find the next frame. A client that takes its time holds
//! [`GATHERED_MAX`] bytes, what the handler encoded, and the open files of its ranges: no records in memory, no thread.
//! Ranges are in memory when an answer sets out. When a slow client comes to the rest of them they may be gone, and are
//! brought back where waiting for a disk is allowed.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use twinstream_log::{bring_into_memory, is_in_memory};

use super::{FileRange, ResponsePart};

/// Up to this size a copy into the buffer is cheaper than system calls of its own.
const GATHER_MAX: usize = 16 * 1024;

/// What is gathered before it is sent.
const GATHERED_MAX: usize = 32 * 1024;

/// After so much, in one call or several, other tasks have their turn: a client that takes bytes as fast as they come would
/// otherwise hold a runtime thread for milliseconds. While it does, nobody may be looking at the sockets of the others.
const TURN_BYTES: usize = 256 * 1024;

/// What was in memory that long ago may be gone.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Steps of slow clients that are brought back from the disk at the same time, over all connections.
static BRINGING_BACK: Semaphore = Semaphore::const_new(4);

/// Length of the frame, correlation id, an empty list of tagged fields.
const HEAD_BYTES: usize = 9;

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

    let mut out = Outbox::new(stream, stall_limit, HEAD_BYTES + gathered(&parts));
    out.buffer.put_i32(announced);
    out.buffer.put_i32(correlation_id);
    if header_version >= 1 {
        out.buffer.put_u8(0); // no tagged fields
    }
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.into_iter().enumerate() {
        out.put(&part, at < last).await?;
    }
    out.flush(false).await?;
    Ok(4 + frame_length)
}

/// How much of the parts the first buffer takes.
fn gathered(parts: &[ResponsePart]) -> usize {
    let small = parts.iter().map(ResponsePart::len).take_while(|len| *len <= GATHER_MAX);
    small.sum::<usize>().min(GATHERED_MAX - HEAD_BYTES)
}

struct Outbox<'a> {
    stream: &'a TcpStream,
    stall_limit: Duration,
    buffer: BytesMut,
    /// When the answer set out: everything it takes from files was in memory then.
    begun: Instant,
    /// Sent since others had their turn.
    sent: usize,
}

impl<'a> Outbox<'a> {
    fn new(stream: &'a TcpStream, stall_limit: Duration, capacity: usize) -> Outbox<'a> {
        Outbox { stream, stall_limit, buffer: BytesMut::with_capacity(capacity), begun: Instant::now(), sent: 0 }
    }

    /// Takes a part; `more` says that others follow.
    async fn put(&mut self, part: &ResponsePart, more: bool) -> Result<(), SendError> {
        let len = part.len();
        if len > GATHER_MAX {
            self.flush(true).await?;
            return match part {
                ResponsePart::Bytes(bytes) => self.send_bytes(bytes, more).await,
                ResponsePart::File(range) => self.send_file(range).await,
            };
        }
        if self.buffer.len() + len > GATHERED_MAX {
            self.flush(true).await?;
        }
        match part {
            ResponsePart::Bytes(bytes) => self.buffer.put_slice(bytes),
            ResponsePart::File(range) => self.gather(range).await?,
        }
        Ok(())
    }

    /// Copies a small range; what is in the page cache does not make the caller wait.
    async fn gather(&mut self, range: &FileRange) -> Result<(), SendError> {
        self.look_again(range, range.position..range.position + range.length as u64).await?;
        let start = self.buffer.len();
        self.buffer.resize(start + range.length, 0);
        let mut filled = 0;
        while filled < range.length {
            let into = &mut self.buffer[start + filled..];
            match range.file.read_at(into, range.position + filled as u64) {
                Ok(0) => return Err(SendError::ShortFile { missing: range.length - filled }),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, more: bool) -> Result<(), SendError> {
        // The buffer goes with its bytes: nothing is kept while a large part is on its way.
        let buffer = std::mem::take(&mut self.buffer);
        self.send_bytes(&buffer, more).await
    }

    async fn send_bytes(&mut self, mut bytes: &[u8], more: bool) -> Result<(), SendError> {
        while !bytes.is_empty() {
            self.let_others().await;
            let piece = &bytes[..bytes.len().min(TURN_BYTES - self.sent)];
            let flags = match more || piece.len() < bytes.len() {
                true => SendFlags::MORE | SendFlags::NOSIGNAL,
                false => SendFlags::NOSIGNAL,
            };
            let sent = self
                .when_writable(|| rustix::net::send(self.stream.as_fd(), piece, flags).map_err(io::Error::from))
                .await?;
            bytes = &bytes[sent..];
            self.sent += sent;
        }
        Ok(())
    }

    async fn let_others(&mut self) {
        if self.sent >= TURN_BYTES {
            self.sent = 0;
            tokio::task::yield_now().await;
        }
    }

    async fn send_file(&mut self, range: &FileRange) -> Result<(), SendError> {
        let (socket, file) = (self.stream.as_fd(), range.file.as_fd());
        let mut position = range.position;
        let mut left = range.length;
        while left > 0 {
            self.let_others().await;
            let step = left.min(TURN_BYTES - self.sent);
            self.look_again(range, position..position + step as u64).await?;
            let sent = self
                .when_writable(|| {
                    rustix::fs::sendfile(socket, file, Some(&mut position), step).map_err(io::Error::from)
                })
                .await?;
            if sent == 0 {
                return Err(SendError::ShortFile { missing: left });
            }
            left -= sent;
            self.sent += sent;
        }
        Ok(())
    }

    /// Brings back what may have left memory since the answer set out.
    async fn look_again(&self, range: &FileRange, bytes: Range<u64>) -> Result<(), SendError> {
        if self.begun.elapsed() > FRESH_FOR {
            bring_back(range, bytes).await?;
        }
        Ok(())
    }

    /// Tries `operation` at once and then each time the socket takes bytes again.
    async fn when_writable(&self, mut operation: impl FnMut() -> io::Result<usize>) -> Result<usize, SendError> {
        loop {
            match self.stream.try_io(Interest::WRITABLE, &mut operation) {
                Ok(sent) => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::timeout(self.stall_limit, self.stream.writable())
                        .await
                        .map_err(|_| SendError::Stalled(self.stall_limit))??;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Brings bytes that are not in memory any more back there, without holding a thread of the runtime.
async fn bring_back(range: &FileRange, bytes: Range<u64>) -> io::Result<()> {
    if is_in_memory(&range.file, &bytes) {
        return Ok(());
    }
    let _turn = BRINGING_BACK.acquire().await.expect("the semaphore is never closed");
    let file = Arc::clone(&range.file);
    tokio::task::spawn_blocking(move || bring_into_memory(&file, &bytes)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
