//! Snappy: raw blocks, and blocks in the stream format of xerial's library for Java.
//!
//! Invariants: memory is taken only for what the packed bytes can unpack to, not for what they claim.

use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\x00";
/// Magic, version 1, readable since version 1.
const HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
const VERSION: u32 = 1;
const BLOCK_BYTES: usize = 32 * 1024;
/// Three packed bytes become 64 at most, so a block cannot grow by more than this.
const GROWTH_MAX: usize = 22;

/// Unpacks block by block.
pub(super) struct Reader<'a> {
    /// Packed blocks that are not read yet, each with its length before it if they are framed.
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    /// Bytes of the block that were handed out.
    read: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> io::Result<Reader<'a>> {
        let framed = bytes.starts_with(MAGIC);
        let rest = if framed { after_header(bytes)? } else { bytes };
        Ok(Reader { rest, framed, block: Vec::new(), read: 0 })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let packed = match self.framed {
            true => {
                let (len, tail) = self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
                let len = u32::from_be_bytes(*len) as usize;
                let (packed, tail) = tail.split_at_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
                self.rest = tail;
                packed
            }
            false => std::mem::take(&mut self.rest),
        };
        let len = snap::raw::decompress_len(packed).map_err(io::Error::other)?;
        if len > packed.len().saturating_mul(GROWTH_MAX) {
            return Err(io::Error::other("block claims more bytes than it can hold"));
        }
        self.block.resize(len, 0);
        self.read = 0;
        snap::raw::Decoder::new().decompress(packed, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }
}

fn after_header(bytes: &[u8]) -> io::Result<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<16>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let readable_since = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    match readable_since <= VERSION {
        true => Ok(rest),
        false => Err(io::Error::other(format!("stream format {readable_since} is not known"))),
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let mut unread = &self.block[self.read..];
        let taken = unread.read(into)?;
        self.read += taken;
        Ok(taken)
    }
}

/// Packs into the framed form, which is what Java writes and everybody reads.
pub(super) struct Writer {
    out: Vec<u8>,
    block: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl Writer {
    pub(super) fn new() -> Writer {
        let block = Vec::with_capacity(BLOCK_BYTES);
        Writer { out: HEADER.to_vec(), block, encoder: snap::raw::Encoder::new() }
    }

    /// Bytes that are ready.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.write_block()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = self.encoder.compress_vec(&self.block).map_err(io::Error::other)?;
        self.out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        self.out.extend_from_slice(&packed);
        self.block.clear();
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
