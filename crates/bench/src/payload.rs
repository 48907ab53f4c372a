//! What records are made of: bytes that no codec shrinks, or lines of text that shrink to about a quarter.
//!
//! A pool is filled once and lives for ever, since librdkafka sends out of it without a copy. Records start at different
//! places in it, so that neighbours in a batch do not repeat each other.

use std::fmt::Write as _;

/// Large against what a codec looks back over (64 KiB for lz4), small against a cache of a few megabytes.
const POOL_BYTES: usize = 1 << 20;
/// Distance between the starts of two records; odd, so that all starts are visited.
const STRIDE: usize = 4_099;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Noise.
    Random,
    /// Lines of JSON with changing numbers.
    Text,
}

/// Records of one size.
#[derive(Clone, Copy, Debug)]
pub struct Payloads {
    pool: &'static [u8],
    size: usize,
}

impl Payloads {
    pub fn new(content: Content, size: usize) -> Self {
        let bytes = POOL_BYTES + size;
        let pool = match content {
            Content::Random => random(bytes),
            Content::Text => text(bytes),
        };
        Self { pool: Vec::leak(pool), size }
    }

    /// The bytes of the record with this number.
    pub fn record(&self, number: u64) -> &'static [u8] {
        let start = (number as usize).wrapping_mul(STRIDE) % POOL_BYTES;
        &self.pool[start..start + self.size]
    }
}

fn random(bytes: usize) -> Vec<u8> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    (0..bytes.div_ceil(8)).flat_map(|_| noise.next().to_le_bytes()).take(bytes).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut text = String::with_capacity(bytes + 256);
    while text.len() < bytes {
        let (order, customer, cents) = (noise.next(), noise.next() % 1_000_000, noise.next() % 100_000);
        let _never_fails = writeln!(
            text,
            r#"{{"order":"{order:016x}","customer":{customer},"currency":"EUR","amount":{cents},"status":"SHIPPED"}}"#
        );
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// xorshift64*: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
