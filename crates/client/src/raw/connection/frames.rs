//! The socket of a connection: whole frames out, whole frames in, no byte copied that need not be.
//!
//! Picture: a frame to send is a list of parts, which one vectored write takes together, so record bytes go to the socket
//! from wherever they are. A frame that comes in is read into one buffer of its own length: what is decoded from it are
//! slices of that buffer. Small answers cost one system call, because they are read through a small buffer; large reads
//! pass it by.
//! Invariants: no frame is larger than [`FRAME_MAX`]; answers are given to whoever waits for their correlation id; when
//! either direction ends, everybody who waits is told.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

/// Largest frame, in and out; above Kafka's default `fetch.max.bytes` plus one batch of the largest legal size.
pub(in crate::raw) const FRAME_MAX: usize = 128 * 1024 * 1024;
/// What is allocated at once for an answer, before its bytes have come: more than the fetches of a link ask for, so that
/// theirs are never moved. Pages that no byte is written to cost nothing.
const READ_AT_ONCE: usize = 16 * 1024 * 1024;
/// Through this go lengths and small answers.
const READ_BUFFER: usize = 8 * 1024;

/// The callers by correlation id; `None` once the connection is dead.
pub(super) type Pending = Arc<Mutex<Option<HashMap<i32, oneshot::Sender<Bytes>>>>>;

/// A frame to send, its length in front: parts one behind the other.
#[derive(Debug)]
pub(super) struct Frame {
    parts: VecDeque<Bytes>,
    left: usize,
}

impl Frame {
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts: VecDeque<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let left = parts.iter().map(Bytes::len).sum();
        Self { parts, left }
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.len().min(self.parts.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "a frame is not longer than its parts");
        self.left -= count;
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}

/// Writes frames until the channel or the socket ends.
pub(super) async fn write(mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<Frame>, pending: Pending) {
    while let Some(mut frame) = frames.recv().await {
        if let Err(error) = socket.write_all_buf(&mut frame).await {
            debug!(%error, "write to broker failed");
            pending.lock().take();
            return;
        }
    }
}

/// Reads answers until the socket ends; `heard` counts their bytes.
pub(super) async fn read(socket: OwnedReadHalf, address: String, pending: Pending, heard: Arc<AtomicU64>) {
    let mut socket = BufReader::with_capacity(READ_BUFFER, socket);
    loop {
        match read_frame(&mut socket, &heard).await {
            Ok(frame) => {
                let Some(correlation) = frame.get(..4).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes) else {
                    debug!(address, "answer without a correlation id");
                    break;
                };
                let caller = pending.lock().as_mut().and_then(|pending| pending.remove(&correlation));
                let Some(caller) = caller else {
                    debug!(address, correlation, "answer to a question nobody asked");
                    break;
                };
                if caller.send(frame).is_err() {
                    debug!(address, correlation, "answer came after its caller had left");
                }
            }
            Err(error) => {
                debug!(address, %error, "connection ended");
                break;
            }
        }
    }
    pending.lock().take(); // wakes all callers with an error
}

async fn read_frame(socket: &mut (impl AsyncRead + Unpin), heard: &AtomicU64) -> std::io::Result<Bytes> {
    let length = socket.read_i32().await?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= FRAME_MAX)
        .ok_or_else(|| std::io::Error::other(format!("answer of {length} bytes, the bound is {FRAME_MAX}")))?;
    let mut frame = BytesMut::with_capacity(length.min(READ_AT_ONCE));
    while frame.len() < length {
        let mut rest = (&mut *socket).take((length - frame.len()) as u64);
        let read = rest.read_buf(&mut frame).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        heard.fetch_add(read as u64, Ordering::Relaxed);
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(parts: &[&'static str]) -> Frame {
        Frame::new(parts.iter().map(|part| Bytes::from_static(part.as_bytes())))
    }

    #[test]
    fn a_frame_is_its_parts_one_behind_the_other_however_it_is_taken() {
        for step in 1..=11 {
            let mut frame = frame(&["ab", "", "cde", "f", "ghijk"]);
            let mut taken = Vec::new();
            while frame.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = frame.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let count = step.min(seen.len());
                taken.extend_from_slice(&seen[..count]);
                frame.advance(count);
            }
            assert_eq!(taken, b"abcdefghijk");
            assert_eq!((frame.remaining(), frame.chunk().len()), (0, 0));
        }
    }

    #[tokio::test]
    async fn answers_of_any_size_are_read_whole_and_those_behind_them_stay_whole() {
        let sizes = [0, 1, READ_BUFFER - 4, READ_BUFFER, 3 * READ_BUFFER + 7, READ_AT_ONCE + 1, 5];
        let mut bytes = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            bytes.extend_from_slice(&(*size as u32).to_be_bytes());
            bytes.extend(std::iter::repeat_n(index as u8, *size));
        }
        let heard = AtomicU64::new(0);
        let mut socket = BufReader::with_capacity(READ_BUFFER, &bytes[..]);
        for (index, size) in sizes.iter().enumerate() {
            let frame = read_frame(&mut socket, &heard).await.unwrap();
            assert_eq!(frame.len(), *size);
            assert!(frame.iter().all(|byte| *byte == index as u8));
        }
        assert_eq!(heard.into_inner(), sizes.iter().sum::<usize>() as u64);
        assert!(read_frame(&mut socket, &AtomicU64::new(0)).await.is_err());
    }
}
