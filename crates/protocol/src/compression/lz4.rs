//! LZ4 in the frame format, with independent blocks of 64 KiB: Java reads no others.
//!
//! Picture: the default level is the fast compressor of `lz4_flex`. Every other level looks for the longest match
//! among `2^(level - 1)` earlier places with the same four bytes, which is what lz4-java's "high" compressor does
//! (Kafka takes the fast one for its default, level 9, and the high one for all others; KIP-390).
//!
//! Invariants: what is written here can be read by any LZ4; a block that would grow is stored as it is. Work per byte
//! is bounded by [`ATTEMPTS_MAX`].

use std::io::{self, Write};

/// Kafka's default: the fast compressor.
pub(super) const DEFAULT_LEVEL: i32 = 9;

const BLOCK_BYTES: usize = 64 * 1024;
/// Magic number; version 1 and independent blocks without checksums; blocks of 64 KiB; checksum of the last two bytes.
const FRAME_START: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const FRAME_END: [u8; 4] = [0; 4];
/// Set in the size of a block that is stored as it is.
const STORED: u32 = 1 << 31;

const MATCH_MIN: usize = 4;
/// The format wants the last bytes of a block as literals, ..
const TAIL_LITERALS: usize = 5;
/// .. and the last match to begin this far from the end.
const MATCH_FROM_END: usize = 12;
const HASH_BITS: u32 = 15;
/// More places to look at cost more than any record batch can win back.
const ATTEMPTS_MAX: u32 = 1 << 12;

/// Packs into a frame, block by block.
pub(super) struct HighWriter {
    out: Vec<u8>,
    block: Vec<u8>,
    finder: Finder,
}

impl HighWriter {
    pub(super) fn new(level: i32) -> HighWriter {
        let exponent = u32::try_from(level - 1).unwrap_or(0).min(ATTEMPTS_MAX.ilog2());
        HighWriter {
            out: FRAME_START.to_vec(),
            block: Vec::with_capacity(BLOCK_BYTES),
            finder: Finder::new(1 << exponent),
        }
    }

    /// Bytes that are ready.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.write_block();
        self.out.extend_from_slice(&FRAME_END);
        self.out
    }

    fn write_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let size_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.finder.compress(&self.block, &mut self.out);
        let packed = self.out.len() - size_at - 4;
        let size = match packed < self.block.len() {
            true => packed as u32,
            false => {
                self.out.truncate(size_at + 4);
                self.out.extend_from_slice(&self.block);
                self.block.len() as u32 | STORED
            }
        };
        self.out[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
        self.block.clear();
    }
}

impl Write for HighWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.write_block();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Remembers where each four bytes of a block stood before. Places are counted from 1; 0 is none.
struct Finder {
    newest: Vec<u32>,
    /// For each place the one before with the same hash.
    older: Vec<u32>,
    attempts: u32,
    /// Places that are known, from the start of the block on.
    known: usize,
}

#[derive(Clone, Copy)]
struct Match {
    offset: usize,
    len: usize,
}

impl Finder {
    fn new(attempts: u32) -> Finder {
        Finder { newest: vec![0; 1 << HASH_BITS], older: vec![0; BLOCK_BYTES], attempts, known: 0 }
    }

    /// Appends the block to `out` in LZ4's block format.
    fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) {
        self.newest.fill(0);
        self.known = 0;
        let mut literals = 0; // where those begin that are not written yet
        let mut at = 0;
        let last_start = block.len().checked_sub(MATCH_FROM_END + 1);
        while last_start.is_some_and(|last| at <= last) {
            let Some(mut found) = self.longest(block, at) else {
                at += 1;
                continue;
            };
            // A longer match may begin one byte later.
            while last_start.is_some_and(|last| at < last)
                && let Some(next) = self.longest(block, at + 1)
                && next.len > found.len + 1
            {
                found = next;
                at += 1;
            }
            sequence(out, &block[literals..at], Some(found));
            at += found.len;
            literals = at;
        }
        sequence(out, &block[literals..], None);
    }

    fn longest(&mut self, block: &[u8], at: usize) -> Option<Match> {
        while self.known < at {
            let hash = hash(block, self.known);
            self.older[self.known] = self.newest[hash];
            self.known += 1;
            self.newest[hash] = self.known as u32;
        }
        let longest_possible = block.len() - TAIL_LITERALS - at;
        let mut best: Option<Match> = None;
        let mut candidate = self.newest[hash(block, at)];
        for _ in 0..self.attempts {
            let Some(place) = (candidate as usize).checked_sub(1) else { break };
            let len = common(&block[place..], &block[at..at + longest_possible]);
            if len >= MATCH_MIN && best.is_none_or(|best| len > best.len) {
                best = Some(Match { offset: at - place, len });
                if len == longest_possible {
                    break;
                }
            }
            candidate = self.older[place];
        }
        best
    }
}

fn hash(block: &[u8], at: usize) -> usize {
    let word = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    (word.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

/// How many bytes are the same.
fn common(earlier: &[u8], later: &[u8]) -> usize {
    let words = earlier.chunks_exact(8).zip(later.chunks_exact(8));
    let same = words.take_while(|(a, b)| a == b).count() * 8;
    let rest = earlier[same..].iter().zip(&later[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Literals and the match behind them; the last sequence of a block has none.
fn sequence(out: &mut Vec<u8>, literals: &[u8], found: Option<Match>) {
    let beyond_min = found.map(|found| found.len - MATCH_MIN);
    let nibble = |len: usize| len.min(15) as u8;
    out.push(nibble(literals.len()) << 4 | nibble(beyond_min.unwrap_or(0)));
    long_length(out, literals.len());
    out.extend_from_slice(literals);
    if let (Some(found), Some(beyond_min)) = (found, beyond_min) {
        out.extend_from_slice(&(found.offset as u16).to_le_bytes());
        long_length(out, beyond_min);
    }
}

/// The part of a length that its four bits cannot hold.
fn long_length(out: &mut Vec<u8>, len: usize) {
    let Some(mut rest) = len.checked_sub(15) else { return };
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(rest as u8);
}
