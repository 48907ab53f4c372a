//! What clients, links, brokers and registries send: requests, record batches, codecs, what members say of themselves.

use std::sync::OnceLock;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ApiKey, ProduceRequest, ResponseKind};
use twinstream_client::avro::AvroSchema;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{self, BatchBuilder, BatchMut, BatchView, ProducerStamp, whole_batches};
use twinstream_protocol::compression::{Compression, CompressionSpec};
use twinstream_protocol::{frame, mirror, shape};

use crate::checksums;

/// What a batch may unpack to here; small, so that a target that ignores it is found.
const UNPACKED_MAX: usize = 1 << 20;

pub(crate) fn request(bytes: &[u8]) {
    twinstream_broker::fuzzing::request(bytes);
}

/// What a broker answers: the header's key and version stand in front, as in a request.
pub(crate) fn answer(bytes: &[u8]) {
    let mut body = Bytes::copy_from_slice(bytes);
    if body.remaining() < 4 {
        return;
    }
    let (key, version) = (body.get_i16(), body.get_i16());
    let Some(shape) = shape::ANSWERS.iter().find(|shape| shape.api_key() == key) else { return };
    let Ok(api) = ApiKey::try_from(key) else { return };
    if frame::decode_response_header(&mut body, frame::response_is_flexible(key, version)).is_err() {
        return;
    }
    let Ok(behind) = shape.check(version, &body) else { return };
    if ResponseKind::decode(api, &mut body, version).is_ok() {
        assert_eq!(body.len(), behind, "the codec reads what the walk reads");
    }
}

/// The tagged field of a link in each message that has one; the first byte says in which.
pub(crate) fn mirror_tags(bytes: &[u8]) {
    let Some((place, field)) = bytes.split_first() else { return };
    let field = Bytes::copy_from_slice(field);
    match place % 4 {
        0 => {
            let mut request = ProduceRequest::default();
            request.unknown_tagged_fields.insert(mirror::TAG, field.clone());
            let Ok(Some(link)) = mirror::link_of(&request) else { return };
            assert_eq!(mirror::link_field(link), field, "what was read is written as such");
        }
        1 => {
            let mut data = PartitionProduceData::default();
            data.unknown_tagged_fields.insert(mirror::TAG, field.clone());
            let Ok(range) = mirror::range_of(&data) else { return };
            mirror::tell_range(&mut data, &range);
            assert_eq!(data.unknown_tagged_fields.get(&mirror::TAG), Some(&field), "what was read is written as such");
        }
        2 => {
            let mut answer = PartitionProduceResponse::default();
            answer.unknown_tagged_fields.insert(mirror::TAG, field.clone());
            let Some(end) = mirror::log_end_of(&answer) else { return };
            mirror::tell_log_end(&mut answer, end);
            assert_eq!(
                answer.unknown_tagged_fields.get(&mirror::TAG),
                Some(&field),
                "what was read is written as such"
            );
        }
        _ => {
            let mut topic = CreatableTopic::default();
            topic.unknown_tagged_fields.insert(mirror::TAG, field.clone());
            let Ok(Some(source)) = mirror::source_of(&topic) else { return };
            mirror::tell_source(&mut topic, &source);
            assert_eq!(topic.unknown_tagged_fields.get(&mirror::TAG), Some(&field), "what was read is written as such");
        }
    }
}

/// A Produce or Fetch body: views, headers, edits, and the form in which the raw client appends a batch elsewhere.
pub(crate) fn batches(input: &[u8]) {
    let bytes = checksums::sealed(input, checksums::batches);
    let mut len = 0;
    for batch in batch::batches(&bytes) {
        let Ok(batch) = batch else { break };
        len += batch.len();
        whole(batch);
    }
    assert!(len <= bytes.len());
    if let Ok(whole) = whole_batches(&bytes) {
        assert_eq!(whole.len(), len);
    }
}

fn whole(batch: BatchView<'_>) {
    let header = batch.header();
    assert_eq!(header.len, batch.len());
    let _numbers = (header.last_offset(), header.next_offset(), header.last_sequence());
    let good = batch.check_crc().is_ok();
    read_records(batch);
    if let Ok(Some(copy)) = twinstream_client::raw::ready_to_append(batch.bytes())
        && good
    {
        let copy = BatchView::parse(&copy).expect("a copy of a batch is a batch");
        assert_eq!(copy.base_offset(), Offset(0));
        copy.check_crc().expect("the checksum was redone");
        assert_eq!(copy.body(), batch.body());
    }
    let mut copy = batch.bytes().to_vec();
    let mut edited = BatchMut::parse(&mut copy).expect("a copy of a batch is a batch");
    edited.set_base_offset(Offset(77));
    edited.set_leader_epoch(LeaderEpoch(5));
    let copy = BatchView::parse(&copy).expect("an edited batch is a batch");
    assert_eq!(copy.base_offset(), Offset(77));
    assert_eq!(copy.check_crc().is_ok(), good, "the checksum does not cover what a broker assigns");
}

fn read_records(batch: BatchView<'_>) {
    let Ok(records) = batch.records(UNPACKED_MAX) else { return };
    assert!(records.bytes().len() <= UNPACKED_MAX.max(batch.len()));
    let mut held = 0;
    for record in &records {
        let Ok(record) = record else { return };
        held += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        assert_eq!(record.headers.iter().count(), record.headers.len());
    }
    assert!(held <= records.bytes().len(), "keys and values overlap");
}

/// Plain records under a header that is always good.
pub(crate) fn records(input: &[u8]) {
    let Some((count, body)) = input.split_first() else { return };
    let mut batch = frame();
    batch[57..61].copy_from_slice(&i32::from(*count).to_be_bytes());
    batch.extend_from_slice(body);
    let length = (batch.len() - batch::LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let view = BatchView::parse(&batch).expect("the header is good");
    read_records(view);
    let Ok(records) = view.records(UNPACKED_MAX) else { return };
    let Ok(all) = records.iter().collect::<Result<Vec<_>, _>>() else { return };
    if !all.is_sorted_by(|a, b| a.offset < b.offset) {
        return; // the builder makes no such batches
    }
    let mut builder = BatchBuilder::new();
    for record in &all {
        let headers = record.headers.iter().map(|header| (header.key, header.value));
        let delta = record.offset.0;
        if !(0..i64::from(i32::MAX)).contains(&delta) {
            return;
        }
        builder.append_at_delta(delta as i32, record.timestamp, record.key, record.value, headers);
    }
    let again = builder.build().expect("what was read can be written");
    let again = BatchView::parse(&again).expect("a batch").records(usize::MAX).expect("plain records");
    let again: Vec<_> = again.iter().map(|record| record.expect("a record")).collect();
    assert_eq!(again.len(), all.len());
    for (one, other) in again.iter().zip(&all) {
        let facts = |record: &batch::Record<'_>| (record.offset, record.timestamp, record.key.map(<[u8]>::to_vec));
        assert_eq!(facts(one), facts(other));
    }
}

fn frame() -> Vec<u8> {
    let stamp = ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(0), base_sequence: 3 };
    BatchBuilder::new().with_producer(stamp).build().expect("an empty batch")
}

pub(crate) fn gzip(bytes: &[u8]) {
    codec(Compression::Gzip, bytes);
}

pub(crate) fn snappy(bytes: &[u8]) {
    codec(Compression::Snappy, bytes);
}

pub(crate) fn lz4(bytes: &[u8]) {
    codec(Compression::Lz4, bytes);
}

pub(crate) fn zstd(bytes: &[u8]) {
    codec(Compression::Zstd, bytes);
}

/// Unpacks within two bounds, and packs again what was unpacked.
fn codec(codec: Compression, bytes: &[u8]) {
    let whole = codec.decompress(bytes, UNPACKED_MAX);
    if let Ok(unpacked) = &whole {
        assert!(unpacked.len() <= UNPACKED_MAX);
        if let Some(less) = unpacked.len().checked_sub(1) {
            assert!(codec.decompress(bytes, less).is_err(), "{codec}: a bound is a bound");
        }
        let packed = CompressionSpec::from(codec).compress(unpacked).expect("anything can be packed");
        assert_eq!(codec.decompress(&packed, unpacked.len()).expect("our own bytes"), *unpacked);
    }
}

/// What a member of a group says of itself, and what its leader assigns to it.
pub(crate) fn group_member(bytes: &[u8]) {
    twinstream_client::fuzzing::assignment(bytes);
    twinstream_connect::fuzzing::group_metadata(bytes);
    twinstream_coordinator::fuzzing::subscription(bytes);
}

/// A record's Avro under a schema with each kind of type; the number of the schema comes first.
pub(crate) fn avro_record(bytes: &[u8]) {
    static SCHEMA: OnceLock<AvroSchema> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| AvroSchema::parse(crate::seeds::AVRO).expect("our own schema"));
    let Ok(value) = schema.decode(bytes) else { return };
    if schema.to_json(&value).is_ok() {
        schema.encode(value).expect("what was decoded can be encoded");
    }
}

/// The text of a schema, as the registry and as a reader of records parse it.
pub(crate) fn avro_schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    twinstream_registry::fuzzing::schema(text);
    if let Ok(schema) = AvroSchema::parse(text) {
        assert_eq!(schema.text(), text);
    }
}
