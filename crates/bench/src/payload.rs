//! What records are made of: bytes that no codec shrinks, lines of text that shrink to about a quarter, or events.
//!
//! A pool is filled once and lives for ever, since librdkafka sends out of it without a copy. Records of one size start at
//! different places in it, so that neighbours in a batch do not repeat each other; events lie in it one after the other.

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
    /// JSON objects as a feed of earthquakes has them, about 270 bytes each; lz4 leaves two fifths of a batch of them.
    Events,
}

/// Records of one size, or events.
#[derive(Clone, Copy, Debug)]
pub struct Payloads {
    pool: &'static [u8],
    size: usize,
    /// Where events end in the pool; nothing for records of one size.
    ends: &'static [usize],
}

impl Payloads {
    /// Events have sizes of their own.
    pub fn new(content: Content, size: usize) -> Self {
        let bytes = POOL_BYTES + size;
        let (pool, ends) = match content {
            Content::Random => (random(bytes), Vec::new()),
            Content::Text => (text(bytes), Vec::new()),
            Content::Events => events(POOL_BYTES),
        };
        Self { pool: Vec::leak(pool), size, ends: Vec::leak(ends) }
    }

    /// The bytes of the record with this number.
    pub fn record(&self, number: u64) -> &'static [u8] {
        if self.ends.is_empty() {
            let start = (number as usize).wrapping_mul(STRIDE) % POOL_BYTES;
            return &self.pool[start..start + self.size];
        }
        let index = (number % self.ends.len() as u64) as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.pool[start..self.ends[index]]
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

const PLACES: [&str; 8] = [
    "Amboy, Washington",
    "Lima, Montana",
    "Pāhala, Hawaii",
    "The Geysers, California",
    "Cantwell, Alaska",
    "San José de Ocoa, Dominican Republic",
    "Kokopo, Papua New Guinea",
    "Waynoka, Oklahoma",
];
const DIRECTIONS: [&str; 8] = ["N", "NNE", "NE", "ESE", "S", "SSW", "W", "NNW"];
const NETWORKS: [&str; 6] = ["uw", "mb", "us", "nc", "ak", "pr"];
const MAGNITUDES: [&str; 4] = ["ml", "md", "mb", "mww"];

/// Events until there are so many bytes, and where each ends.
fn events(bytes: usize) -> (Vec<u8>, Vec<usize>) {
    let mut noise = Noise(0x5851_f42d_4c95_7f2d);
    let (mut text, mut ends) = (String::with_capacity(bytes + 512), Vec::new());
    let mut time = 1_517_363_399_650;
    while text.len() < bytes {
        time += noise.below(300_000);
        event(&mut text, &mut noise, time);
        ends.push(text.len());
    }
    (text.into_bytes(), ends)
}

fn event(text: &mut String, noise: &mut Noise, time: u64) {
    let network = noise.one_of(&NETWORKS);
    let (id, updated) = (noise.below(100_000_000), time + noise.below(600_000_000));
    let (magnitude, depth) = (noise.below(700) as f64 / 100.0 - 0.5, noise.below(30_000) as f64 / 100.0 - 2.5);
    let (kind, far, toward) = (noise.one_of(&MAGNITUDES), noise.below(200), noise.one_of(&DIRECTIONS));
    let (place, felt) = (noise.one_of(&PLACES), noise.below(40));
    let (longitude, latitude) =
        (noise.below(3_600_000) as f64 / 1e4 - 180.0, noise.below(1_700_000) as f64 / 1e4 - 85.0);
    let (felt, tsunami) = (if felt < 36 { "null".to_owned() } else { felt.to_string() }, u8::from(felt == 39));
    let (significance, status) = (noise.below(800), noise.one_of(&["reviewed", "automatic"]));
    let _never_fails = write!(
        text,
        r#"{{"id":"{network}{id}","time":{time},"updated":{updated},"magnitude":{magnitude:.2},"magnitude_type":"{kind}","#
    );
    let _never_fails = write!(
        text,
        r#""place":"{far}km {toward} of {place}","longitude":{longitude},"latitude":{latitude},"depth_km":{depth:.2},"#
    );
    let _never_fails = write!(
        text,
        r#""tsunami":{tsunami},"felt":{felt},"significance":{significance},"network":"{network}","status":"{status}"}}"#
    );
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

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 33) % end
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Payloads};

    #[test]
    fn events_are_json_objects_of_their_own_and_the_same_in_every_run() {
        let (one, other) = (Payloads::new(Content::Events, 0), Payloads::new(Content::Events, 0));
        let mut bytes = 0;
        for number in 0..1_000 {
            let event: serde_json::Value = serde_json::from_slice(one.record(number)).expect("an event is JSON");
            assert!(event["id"].is_string() && event["time"].is_u64(), "{event}");
            assert_eq!(one.record(number), other.record(number));
            bytes += one.record(number).len();
        }
        assert!((250_000..300_000).contains(&bytes), "{bytes} bytes");
        assert_ne!(one.record(0), one.record(1));
    }

    #[test]
    fn events_start_over_after_the_last_one() {
        let payloads = Payloads::new(Content::Events, 0);
        let count = payloads.ends.len() as u64;
        assert_eq!(payloads.record(count), payloads.record(0));
        assert_eq!(payloads.record(count * 3 + 7), payloads.record(7));
    }
}
