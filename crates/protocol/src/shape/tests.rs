use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, RequestKind, ResponseKind,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;

/// A small generator of numbers, so that a failure repeats.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Writes random bytes in a shape.
struct Writer {
    dice: Dice,
    out: BytesMut,
    version: i16,
    flexible: bool,
}

impl Writer {
    fn fields(&mut self, fields: &[Field]) {
        let here: Vec<&Field> = fields.iter().filter(|field| field.is_in(self.version)).collect();
        for field in here.iter().filter(|field| field.tag.is_none()) {
            self.field(&field.kind);
        }
        if self.flexible {
            let tagged = here.into_iter().filter_map(|field| Some((field.tag?, &field.kind)));
            let tagged: Vec<_> = tagged.filter(|_| self.dice.roll(3) == 0).collect();
            self.tagged(&tagged);
        }
    }

    /// These, and sometimes an unknown tag with two bytes.
    fn tagged(&mut self, known: &[(usize, &Kind)]) {
        let unknown: &[u8] = if self.dice.roll(5) == 0 { &[99, 2, 7, 7] } else { &[] };
        self.out.put_u8(known.len() as u8 + u8::from(!unknown.is_empty()));
        for (tag, kind) in known {
            let before = std::mem::take(&mut self.out);
            self.field(kind);
            let content = std::mem::replace(&mut self.out, before);
            assert!(content.len() < 0x80, "its length takes a byte");
            self.out.put_slice(&[*tag as u8, content.len() as u8]);
            self.out.put_slice(&content);
        }
        self.out.put_slice(unknown);
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
            Kind::Structure(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                let present = self.dice.roll(2) == 0;
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
            let bit = self.dice.roll(2);
            self.out.put_u8(bit as u8);
        }
    }

    fn count(&mut self) -> usize {
        let count = self.dice.roll(3) as u8;
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
    let mut writer = Writer { dice: Dice(seed), out: BytesMut::new(), version, flexible };
    writer.fields(shape.fields);
    writer.out.freeze()
}

/// Every shape at every version, with contents: the walk passes it, and `round_trip` gives what the codec makes of it.
fn every_body(shapes: &[&Shape], round_trip: impl Fn(ApiKey, &mut Bytes, i16) -> Result<BytesMut, String>) {
    for shape in shapes {
        let api = ApiKey::try_from(shape.api_key).unwrap();
        for version in shape.versions() {
            for seed in 0..40 {
                let mut body = random_body(shape, version, seed);
                assert_eq!(shape.check(version, &body), Ok(0), "{api:?} v{version} seed {seed}");
                let encoded = round_trip(api, &mut body, version);
                assert!(body.is_empty(), "{api:?} v{version} seed {seed}: {} bytes left", body.len());
                let encoded = encoded.unwrap_or_else(|error| panic!("{api:?} v{version} seed {seed}: {error}"));
                assert_eq!(shape.check(version, &encoded), Ok(0), "{api:?} v{version} seed {seed}, encoded");
            }
        }
    }
}

#[test]
fn the_codec_reads_and_writes_requests_exactly_as_the_walk_reads_them() {
    every_body(REQUESTS, |api, body, version| {
        let decoded = RequestKind::decode(api, body, version).map_err(|error| error.to_string())?;
        let mut out = BytesMut::new();
        decoded.encode(&mut out, version).map_err(|error| error.to_string())?;
        Ok(out)
    });
}

#[test]
fn the_codec_reads_and_writes_answers_exactly_as_the_walk_reads_them() {
    every_body(ANSWERS, |api, body, version| {
        let decoded = ResponseKind::decode(api, body, version).map_err(|error| error.to_string())?;
        let mut out = BytesMut::new();
        decoded.encode(&mut out, version).map_err(|error| error.to_string())?;
        Ok(out)
    });
}

#[test]
fn every_request_has_an_answer() {
    let keys = |shapes: &[&Shape]| {
        let mut keys: Vec<i16> = shapes.iter().map(|shape| shape.api_key()).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(REQUESTS), keys(ANSWERS));
}

#[test]
fn a_cut_body_is_truncated_wherever_it_is_cut() {
    for shape in REQUESTS.iter().chain(ANSWERS) {
        let body = random_body(shape, shape.max, 1);
        for end in 0..body.len() {
            assert!(shape.check(shape.max, &body[..end]).is_err(), "{shape:?} cut at {end}");
        }
    }
}

#[test]
fn an_array_longer_than_its_frame_is_refused() {
    let refused = |version, body: &[u8]| decode::<MetadataRequest>(Bytes::copy_from_slice(body), version).unwrap_err();
    assert_eq!(refused(1, &i32::MAX.to_be_bytes()), ShapeError::Truncated.into());
    assert_eq!(refused(12, &[0xff, 0xff, 0xff, 0xff, 0x0f]), ShapeError::Truncated.into());
    assert_eq!(refused(1, &(-2i32).to_be_bytes()), ShapeError::BadLength.into());
    assert_eq!(refused(12, &[0xff; 6]), ShapeError::BadLength.into());
    assert_eq!(refused(14, &[0; 6]), ShapeError::Unknown(14).into());
    let answer = [&[0; 4][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(decode::<MetadataResponse>(answer.into(), 12).unwrap_err(), ShapeError::Truncated.into());
}

#[test]
fn a_frame_full_of_tiny_elements_is_refused() {
    let full = |count: u32, element: usize| {
        let mut body = count.to_be_bytes().to_vec();
        body.resize(4 + element * count as usize, 0);
        Bytes::from(body)
    };
    assert_eq!(
        decode::<MetadataRequest>(full(2_000_000, 2), 0).unwrap_err(),
        ShapeError::TooManyElements(1_000_000).into()
    );
    assert_eq!(
        decode::<MetadataResponse>(full(5_000_000, 10), 0).unwrap_err(),
        ShapeError::TooManyElements(4_000_000).into()
    );
}

#[test]
fn a_text_is_no_longer_than_kafka_takes_it() {
    let rack = |length| FetchRequest::default().with_rack_id(StrBytes::from_string("r".repeat(length)));
    let check = |length| {
        let mut body = BytesMut::new();
        rack(length).encode(&mut body, 12).unwrap();
        FetchRequest::SHAPE.check(12, &body)
    };
    assert_eq!((check(32_767), check(32_768)), (Ok(0), Err(ShapeError::BadLength)));
}

/// What librdkafka 2.12 sends for `kcat -L`: no topics, two flags, no tags, and three bytes more.
#[test]
fn bytes_behind_the_request_are_ignored_as_librdkafka_needs_it() {
    let body = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(MetadataRequest::SHAPE.check(13, &body), Ok(3));
    assert!(decode::<MetadataRequest>(body, 13).is_ok());
}

/// The codec reads 16 bytes of a directory id whatever length stands before it, and then a list as long as it likes.
#[test]
fn a_tag_cannot_hide_an_array_from_the_walk() {
    const DIRECTORY_ID: usize = 16;
    let partition = [&[0; 4 + 4 + 8 + 4 + 8 + 4][..], &[1, 0]].concat(); // one tag, the directory id
    let hidden = [
        &[0; DIRECTORY_ID][..],
        &[0, 0xff, 0xff, 0xff, 0xff, 0x0f], // no tags of the topic, and the codec's forgotten topics: four billion
    ]
    .concat();
    let body = [
        &[0; 4 + 4 + 4 + 1 + 4 + 4][..], // waits, bounds, session
        &[2],                            // one topic
        &[0; 16],
        &[2], // one partition
        &partition,
        &[hidden.len() as u8],
        &hidden,
        &[0, 0, 1, 1, 0], // topic's tags; no forgotten topics; no rack; no tags
    ]
    .concat();
    assert_eq!(decode::<FetchRequest>(body.into(), 17).unwrap_err(), ShapeError::TagLength(0).into());
    // The endpoints of an answer are an array inside a tag.
    let endpoints = [&[0; 4 + 2 + 4][..], &[1, 1, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(decode::<FetchResponse>(endpoints.into(), 16).unwrap_err(), ShapeError::Truncated.into());
}
