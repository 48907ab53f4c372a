//! Walks over the batches of a file, by header or with every byte checked.
//!
//! Reads go in chunks, so that small batches cost no system call each. A batch that is cut or makes no
//! sense ends the walk and is reported with its position, because that is where a torn file is cut.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use twinstream_protocol::batch::{BatchHeader, HEADER_BYTES};

use crate::page_cache::Patience;

const HEADER_CHUNK: usize = 8 * 1024; // two index intervals
/// What a read grows to where batches lie so close together that all bytes are read anyway.
const DENSE_CHUNK: usize = 64 * 1024;
const CHECK_CHUNK: usize = 256 * 1024;
/// Bytes of the header that the checksum does not cover.
const BEFORE_CRC_BYTES: usize = 21;

/// How the walk ended.
#[derive(Debug)]
pub(crate) enum Tail {
    /// At the end, or where the caller stopped.
    Whole,
    /// At a batch that is not whole.
    Damaged { position: u64, why: String },
}

/// Visits the headers of the batches from `position` to `end`.
pub(super) fn headers(
    file: &File,
    position: u64,
    end: u64,
    visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<()>,
) -> io::Result<Tail> {
    headers_with(Patience::Waits, file, position, end, visit)
}

/// Like [`headers`], perhaps without waiting for the disk.
pub(super) fn headers_with(
    patience: Patience,
    file: &File,
    mut position: u64,
    end: u64,
    mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<()>,
) -> io::Result<Tail> {
    let mut window = Window::new(HEADER_CHUNK, patience);
    while position < end {
        let header = match whole_header(&mut window, file, position, end)? {
            Ok(header) => header,
            Err(why) => return Ok(Tail::Damaged { position, why }),
        };
        if visit(position, &header).is_break() {
            return Ok(Tail::Whole);
        }
        position += header.len as u64;
    }
    Ok(Tail::Whole)
}

/// Visits the batches from `position` to `end` whose checksum is right; `visit` may find a batch unfit, too, or have seen
/// enough.
pub(super) fn checked(
    file: &File,
    mut position: u64,
    end: u64,
    mut visit: impl FnMut(u64, &BatchHeader) -> Result<ControlFlow<()>, String>,
) -> io::Result<Tail> {
    let mut window = Window::new(
        usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX).min(CHECK_CHUNK),
        Patience::Waits,
    );
    while position < end {
        let header = match whole_header(&mut window, file, position, end)? {
            Ok(header) => header,
            Err(why) => return Ok(Tail::Damaged { position, why }),
        };
        let crc = crc_of(&mut window, file, position, end, &header)?;
        if crc != header.crc {
            return Ok(Tail::Damaged { position, why: "checksum is wrong".to_owned() });
        }
        match visit(position, &header) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(Tail::Whole),
            Err(why) => return Ok(Tail::Damaged { position, why }),
        }
        position += header.len as u64;
    }
    Ok(Tail::Whole)
}

fn whole_header(window: &mut Window, file: &File, position: u64, end: u64) -> io::Result<Result<BatchHeader, String>> {
    let bytes = window.bytes(file, position, HEADER_BYTES, end)?;
    let header = match BatchHeader::parse(bytes) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if position + header.len as u64 > end {
        return Ok(Err(format!("batch of {} bytes is cut after {}", header.len, end - position)));
    }
    Ok(Ok(header))
}

fn crc_of(window: &mut Window, file: &File, position: u64, end: u64, header: &BatchHeader) -> io::Result<u32> {
    let batch_end = position + header.len as u64;
    let mut at = position + BEFORE_CRC_BYTES as u64;
    let mut crc = 0;
    while at < batch_end {
        let wanted = usize::try_from(batch_end - at).unwrap_or(usize::MAX).min(CHECK_CHUNK);
        let bytes = window.bytes(file, at, wanted, end)?;
        if bytes.len() < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into()); // the file shrank while we read it
        }
        crc = crc32c::crc32c_append(crc, bytes);
        at += wanted as u64;
    }
    Ok(crc)
}

/// The stretch of the file that is in memory.
struct Window {
    buffer: Vec<u8>,
    start: u64,
    len: usize,
    patience: Patience,
}

impl Window {
    fn new(size: usize, patience: Patience) -> Window {
        Window { buffer: vec![0; size], start: 0, len: 0, patience }
    }

    /// Up to `wanted` bytes at `position`, fewer at the end; `wanted` is at most the window's size.
    fn bytes(&mut self, file: &File, position: u64, wanted: usize, end: u64) -> io::Result<&[u8]> {
        let wanted = wanted.min(usize::try_from(end - position).unwrap_or(usize::MAX));
        let have = self.start..self.start + self.len as u64;
        if !(have.contains(&position) && position + wanted as u64 <= have.end) {
            let is_next = self.len > 0 && position < have.end + HEADER_CHUNK as u64;
            if is_next && self.buffer.len() < DENSE_CHUNK {
                self.buffer.resize(DENSE_CHUNK, 0);
            }
            let room = self.buffer.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
            self.len = self.patience.read_at(file, &mut self.buffer[..room], position, wanted)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(&self.buffer[from..self.len.min(from + wanted)])
    }
}
