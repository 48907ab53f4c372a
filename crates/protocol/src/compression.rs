//! The codecs of record batches, with a bound on what a batch may unpack to.
//!
//! Java frames snappy in Xerial's stream format, franz-go and librdkafka may send it raw: both are read,
//! the framed one is written. LZ4 is the frame format with independent blocks (Java reads no others).

use std::io::{self, Read, Write};

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
        match self {
            Compression::None => Bounded::new(self, limit).read(bytes),
            Compression::Gzip => Bounded::new(self, limit).read(flate2::read::MultiGzDecoder::new(bytes)),
            Compression::Snappy => snappy_decompress(bytes, limit),
            Compression::Lz4 => Bounded::new(self, limit).read(lz4_flex::frame::FrameDecoder::new(bytes)),
            Compression::Zstd => {
                let reader = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|e| self.damaged(e))?;
                Bounded::new(self, limit).read(reader)
            }
        }
    }

    fn damaged(self, source: io::Error) -> CompressionError {
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

impl CompressionSpec {
    /// Packs `bytes`. Snappy and LZ4 have no levels here; theirs is ignored.
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let packed = match self.codec {
            Compression::None => Ok(bytes.to_vec()),
            Compression::Gzip => self.gzip(bytes),
            Compression::Snappy => snappy_compress(bytes),
            Compression::Lz4 => lz4(bytes),
            Compression::Zstd => zstd::stream::encode_all(bytes, self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)),
        };
        packed.map_err(|source| CompressionError::Compress { codec: self.codec, source })
    }

    fn gzip(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let level = match self.level {
            Some(level @ 0..=9) => flate2::Compression::new(level.unsigned_abs()),
            _ => flate2::Compression::default(),
        };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes)?;
        encoder.finish()
    }
}

fn lz4(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes)?;
    encoder.finish().map_err(io::Error::other)
}

/// Reads a decoder to its end, but not beyond the limit.
struct Bounded {
    codec: Compression,
    limit: usize,
}

impl Bounded {
    fn new(codec: Compression, limit: usize) -> Bounded {
        Bounded { codec, limit }
    }

    fn read(self, reader: impl Read) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        let one_more = (self.limit as u64).saturating_add(1);
        reader.take(one_more).read_to_end(&mut out).map_err(|e| self.codec.damaged(e))?;
        if out.len() > self.limit {
            return Err(CompressionError::TooLarge { codec: self.codec, limit: self.limit });
        }
        Ok(out)
    }
}

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\x00";
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"; // magic, version 1, compatible 1
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

fn snappy_compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).map_err(io::Error::other)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

fn snappy_decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        snappy_block(bytes, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = bytes.get(XERIAL_HEADER.len()..).ok_or_else(cut_short)?;
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let (block, tail) = tail.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(cut_short)?;
        snappy_block(block, &mut out, limit)?;
        rest = tail;
    }
    Ok(out)
}

fn cut_short() -> CompressionError {
    Compression::Snappy.damaged(io::ErrorKind::UnexpectedEof.into())
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CompressionError> {
    let damaged = |e: snap::Error| Compression::Snappy.damaged(io::Error::other(e));
    let len = snap::raw::decompress_len(block).map_err(damaged)?;
    let start = out.len();
    if start.saturating_add(len) > limit {
        return Err(CompressionError::TooLarge { codec: Compression::Snappy, limit });
    }
    out.resize(start + len, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(damaged)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..200_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect()
    }

    #[test]
    fn every_codec_reads_what_it_wrote() {
        for codec in Compression::ALL {
            for bytes in [Vec::new(), b"a".to_vec(), text()] {
                let packed = CompressionSpec::from(codec).compress(&bytes).unwrap();
                assert_eq!(codec.decompress(&packed, bytes.len()).unwrap(), bytes, "{codec}");
            }
        }
    }

    #[test]
    fn growing_beyond_the_limit_is_refused_by_every_codec() {
        let bytes = text();
        for codec in Compression::ALL {
            let packed = CompressionSpec::from(codec).compress(&bytes).unwrap();
            let error = codec.decompress(&packed, bytes.len() - 1).unwrap_err();
            assert!(matches!(error, CompressionError::TooLarge { .. }), "{codec}: {error}");
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_of_every_codec() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let error = codec.decompress(b"\xffthis is no compressed data", 1 << 20).unwrap_err();
            assert!(matches!(error, CompressionError::Damaged { .. } | CompressionError::TooLarge { .. }), "{codec}");
            let packed = CompressionSpec::from(codec).compress(&text()).unwrap();
            codec.decompress(&packed[..packed.len() / 2], 1 << 30).unwrap_err();
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let packed = snap::raw::Encoder::new().compress_vec(&text()).unwrap();
        assert_eq!(Compression::Snappy.decompress(&packed, 1 << 20).unwrap(), text());
    }

    #[test]
    fn names_of_codecs_are_those_of_the_configuration() {
        for codec in Compression::ALL {
            assert_eq!(Compression::from_name(codec.name()), Some(codec));
            assert_eq!(Compression::from_id(codec as u8), Some(codec));
        }
        assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
        assert_eq!(Compression::from_name("brotli"), None);
        assert_eq!(Compression::from_id(5), None);
    }
}
