//! The codecs of record batches, with a bound on what a batch may unpack to.
//!
//! Picture: [`Compression::reader`] unpacks piece by piece, [`CompressionSpec::writer`] packs piece by piece; the
//! functions for whole buffers stand on them. Java frames snappy in Xerial's stream format, franz-go and librdkafka may
//! send it raw: both are read, the framed one is written. LZ4 is the frame format with independent blocks.
//!
//! Invariants: readers hold at most a block of their codec (snappy's raw form is one block), so that a batch that
//! unpacks to gigabytes costs time up to the caller's limit, but not memory.

mod lz4; // frames of the higher levels
mod snappy; // raw and framed

use std::io::{self, BufRead, BufReader, Read, Write};

use thiserror::Error;

/// Codec of a batch: the lowest three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// Codec and level to compress with; `level: None` is the codec's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionSpec {
    pub codec: Compression,
    pub level: Option<i32>,
}

#[derive(Debug, Error)]
pub enum CompressionError {
    #[error("compressed records are damaged ({codec})")]
    Damaged {
        codec: Compression,
        #[source]
        source: io::Error,
    },
    #[error("records unpack to more than {limit} bytes ({codec}), send smaller batches")]
    TooLarge { codec: Compression, limit: usize },
    #[error("records could not be compressed ({codec})")]
    Compress {
        codec: Compression,
        #[source]
        source: io::Error,
    },
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec of a batch's attribute bits, `None` for a number that no codec has.
    pub fn from_id(id: u8) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| *codec as u8 == id)
    }

    /// The codec of a configuration value such as `zstd`; `uncompressed` and `none` mean no codec.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name {
            "uncompressed" => Some(Compression::None),
            _ => Compression::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Unpacks `bytes`, which may not grow beyond `limit` bytes.
    pub fn decompress(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        let one_more = (limit as u64).saturating_add(1);
        self.reader(bytes)?.take(one_more).read_to_end(&mut out).map_err(|e| self.damaged(e))?;
        match out.len() > limit {
            true => Err(CompressionError::TooLarge { codec: self, limit }),
            false => Ok(out),
        }
    }

    /// Unpacks `bytes` as they are asked for. How much that may be is the caller's to watch.
    pub fn reader(self, bytes: &[u8]) -> Result<Unpacked<'_>, CompressionError> {
        let inner = match self {
            Compression::None => Reader::None(bytes),
            Compression::Gzip => Reader::Gzip(Box::new(flate2::read::MultiGzDecoder::new(bytes))),
            Compression::Snappy => Reader::Snappy(snappy::Reader::new(bytes).map_err(|e| self.damaged(e))?),
            Compression::Lz4 => Reader::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(bytes))),
            Compression::Zstd => {
                let reader = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|e| self.damaged(e))?;
                Reader::Zstd(Box::new(reader))
            }
        };
        Ok(Unpacked { inner })
    }

    /// As [`Compression::reader`], for whoever looks at small pieces: `ahead` bytes are unpacked at once, or a block of LZ4,
    /// whose own buffer is lent. A batch of a few records then costs no cleared buffer and no copy.
    pub fn window(self, bytes: &[u8], ahead: usize) -> Result<Window<'_>, CompressionError> {
        let inner = match self.reader(bytes)?.inner {
            Reader::Lz4(reader) => Ahead::Lz4(reader),
            inner => Ahead::Any(BufReader::with_capacity(ahead, Unpacked { inner })),
        };
        Ok(Window { inner })
    }

    /// An error for what a reader of this codec could not read.
    pub fn damaged(self, source: io::Error) -> CompressionError {
        CompressionError::Damaged { codec: self, source }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Compression> for CompressionSpec {
    fn from(codec: Compression) -> CompressionSpec {
        CompressionSpec { codec, level: None }
    }
}

/// What [`Compression::reader`] reads.
pub struct Unpacked<'a> {
    inner: Reader<'a>,
}

enum Reader<'a> {
    None(&'a [u8]),
    Gzip(Box<flate2::read::MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Reader<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl Read for Unpacked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Reader::None(bytes) => bytes.read(into),
            Reader::Gzip(reader) => reader.read(into),
            Reader::Snappy(reader) => reader.read(into),
            Reader::Lz4(reader) => reader.read(into),
            Reader::Zstd(reader) => reader.read(into),
        }
    }
}

/// What [`Compression::window`] shows.
pub struct Window<'a> {
    inner: Ahead<'a>,
}

enum Ahead<'a> {
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Any(BufReader<Unpacked<'a>>),
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Ahead::Lz4(reader) => reader.read(into),
            Ahead::Any(reader) => reader.read(into),
        }
    }
}

impl BufRead for Window<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.inner {
            Ahead::Lz4(reader) => reader.fill_buf(),
            Ahead::Any(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match &mut self.inner {
            Ahead::Lz4(reader) => reader.consume(bytes),
            Ahead::Any(reader) => reader.consume(bytes),
        }
    }
}

impl CompressionSpec {
    /// Packs `bytes`. Snappy has no levels; one that is given is ignored.
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let pack = || {
            let mut writer = self.writer()?;
            writer.write_all(bytes)?;
            writer.finish()
        };
        pack().map_err(|source| self.failed(source))
    }

    /// Packs what is written to it.
    pub fn writer(self) -> io::Result<Packer> {
        let inner = match self.codec {
            Compression::None => Writer::None(Vec::new()),
            Compression::Gzip => Writer::Gzip(flate2::write::GzEncoder::new(Vec::new(), self.gzip_level())),
            Compression::Snappy => Writer::Snappy(Box::new(snappy::Writer::new())),
            Compression::Lz4 => match self.level {
                None | Some(lz4::DEFAULT_LEVEL) => Writer::Lz4(Box::new(fast_lz4())),
                Some(level) => Writer::HighLz4(lz4::HighWriter::new(level)),
            },
            Compression::Zstd => {
                let level = self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                Writer::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?)
            }
        };
        Ok(Packer { inner })
    }

    /// An error for what a writer of this codec could not write.
    pub fn failed(self, source: io::Error) -> CompressionError {
        CompressionError::Compress { codec: self.codec, source }
    }

    fn gzip_level(self) -> flate2::Compression {
        match self.level {
            Some(level @ 0..=9) => flate2::Compression::new(level.unsigned_abs()),
            _ => flate2::Compression::default(),
        }
    }
}

fn fast_lz4() -> lz4_flex::frame::FrameEncoder<Vec<u8>> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new())
}

/// What [`CompressionSpec::writer`] writes to.
pub struct Packer {
    inner: Writer,
}

enum Writer {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy(Box<snappy::Writer>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    HighLz4(lz4::HighWriter),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// Packed bytes that are ready; some of what was written may wait for more.
    pub fn ready(&self) -> usize {
        match &self.inner {
            Writer::None(out) => out.len(),
            Writer::Gzip(encoder) => encoder.get_ref().len(),
            Writer::Snappy(writer) => writer.len(),
            Writer::Lz4(encoder) => encoder.get_ref().len(),
            Writer::HighLz4(writer) => writer.len(),
            Writer::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// Packs what waits and returns everything.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.inner {
            Writer::None(out) => Ok(out),
            Writer::Gzip(encoder) => encoder.finish(),
            Writer::Snappy(writer) => writer.finish(),
            Writer::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Writer::HighLz4(writer) => Ok(writer.finish()),
            Writer::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Writer::None(out) => out.write(bytes),
            Writer::Gzip(encoder) => encoder.write(bytes),
            Writer::Snappy(writer) => writer.write(bytes),
            Writer::Lz4(encoder) => encoder.write(bytes),
            Writer::HighLz4(writer) => writer.write(bytes),
            Writer::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
