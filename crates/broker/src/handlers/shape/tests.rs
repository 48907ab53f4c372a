use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::handlers::SERVED;

#[test]
fn every_served_version_has_a_shape() {
    for row in SERVED {
        for version in row.min..=row.max {
            let covered = table::SHAPES.iter().any(|s| s.api_key == row.key && (s.min..=s.max).contains(&version));
            assert!(covered, "{} v{version} is served without a shape", row.name);
        }
    }
}

/// Writes random bytes in a shape.
struct Writer {
    random: StdRng,
    out: BytesMut,
    version: i16,
    flexible: bool,
}

impl Writer {
    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            if (field.since..=field.until).contains(&self.version) {
                self.field(&field.kind);
            }
        }
        if self.flexible {
            // An unknown tag with two bytes, or none.
            let tagged: &[u8] = if self.random.random_bool(0.2) { &[1, 99, 2, 7, 7] } else { &[0] };
            self.out.put_slice(tagged);
        }
    }

    fn field(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(size) => self.zeroes_and_ones(*size),
            Kind::Text => self.sized(false, b"text"),
            Kind::Blob => self.sized(true, b"\0\xff blob"),
            Kind::Items(size) => {
                let count = self.count();
                self.zeroes_and_ones(count * size);
            }
            Kind::Texts => {
                for _ in 0..self.count() {
                    self.sized(false, b"one of texts");
                }
            }
            Kind::Array(fields) => {
                for _ in 0..self.count() {
                    self.fields(fields);
                }
            }
            Kind::Optional(fields) => {
                let present = self.random.random_bool(0.5);
                self.out.put_i8(if present { 1 } else { -1 });
                if present {
                    self.fields(fields);
                }
            }
        }
    }

    /// Values that every number and boolean may have.
    fn zeroes_and_ones(&mut self, length: usize) {
        for _ in 0..length {
            let bit = self.random.random_range(0..2);
            self.out.put_u8(bit);
        }
    }

    fn count(&mut self) -> usize {
        let count = self.random.random_range(0..3u8);
        match self.flexible {
            true => self.out.put_u8(count + 1),
            false => self.out.put_i32(i32::from(count)),
        }
        usize::from(count)
    }

    fn sized(&mut self, is_blob: bool, bytes: &[u8]) {
        match (self.flexible, is_blob) {
            (true, _) => self.out.put_u8(bytes.len() as u8 + 1),
            (false, true) => self.out.put_i32(bytes.len() as i32),
            (false, false) => self.out.put_i16(bytes.len() as i16),
        }
        self.out.put_slice(bytes);
    }
}

fn random_body(shape: &Shape, version: i16, seed: u64) -> Bytes {
    let flexible = version >= shape.flexible;
    let mut writer = Writer { random: StdRng::seed_from_u64(seed), out: BytesMut::new(), version, flexible };
    writer.fields(shape.fields);
    writer.out.freeze()
}

#[test]
fn the_codec_reads_exactly_what_the_walk_reads() {
    for shape in table::SHAPES {
        let api = ApiKey::try_from(shape.api_key).unwrap();
        for version in shape.min..=shape.max {
            for seed in 0..20 {
                let mut body = random_body(shape, version, seed);
                assert_eq!(check(shape.api_key, version, &body), Ok(()), "{api:?} v{version} seed {seed}");
                let decoded = RequestKind::decode(api, &mut body, version);
                assert!(decoded.is_ok(), "{api:?} v{version} seed {seed}: {:?}", decoded.err());
                assert!(body.is_empty(), "{api:?} v{version} seed {seed}: {} bytes left", body.len());
            }
        }
    }
}

#[test]
fn a_cut_body_is_truncated_wherever_it_is_cut() {
    for shape in table::SHAPES {
        let body = random_body(shape, shape.max, 1);
        for end in 0..body.len() {
            assert!(check(shape.api_key, shape.max, &body[..end]).is_err(), "{shape:?} cut at {end}");
        }
    }
}

#[test]
fn an_array_longer_than_its_frame_is_refused() {
    let metadata = ApiKey::Metadata as i16;
    assert_eq!(check(metadata, 1, &i32::MAX.to_be_bytes()), Err(ShapeError::Truncated));
    assert_eq!(check(metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(ShapeError::Truncated));
    assert_eq!(check(metadata, 1, &(-2i32).to_be_bytes()), Err(ShapeError::BadLength));
    assert_eq!(check(metadata, 12, &[0xff; 6]), Err(ShapeError::BadLength));
}

#[test]
fn a_frame_full_of_tiny_elements_is_refused() {
    let count = 2_000_000u32;
    let mut body = count.to_be_bytes().to_vec();
    body.resize(4 + 2 * count as usize, 0);
    assert_eq!(check(ApiKey::Metadata as i16, 0, &body), Err(ShapeError::TooManyElements));
}

/// What librdkafka 2.12 sends for `kcat -L`: no topics, two flags, no tags, and three bytes more.
#[test]
fn bytes_behind_the_request_are_ignored_as_librdkafka_needs_it() {
    assert_eq!(check(ApiKey::Metadata as i16, 13, &[0, 0, 0, 0, 1, 0, 0]), Ok(()));
}
