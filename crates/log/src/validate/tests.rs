use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, BatchError, ProducerStamp};
use twinstream_protocol::compression::Compression;

use super::*;
use crate::CleanupPolicy;

const NOW: i64 = 1_000_000_000;

fn batch(keys: &[Option<&[u8]>], timestamps: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().with_compression(Compression::Lz4);
    for (key, timestamp) in keys.iter().zip(timestamps) {
        builder.append(*timestamp, *key, Some(b"value"), []);
    }
    builder.build().unwrap()
}

fn simple() -> Vec<u8> {
    batch(&[None, None], &[NOW, NOW])
}

fn check(bytes: &[u8], config: &LogConfig) -> Result<(), AppendError> {
    prepare(bytes, Origin::Client, config, NOW).map(|_| ())
}

fn faults(result: Result<(), AppendError>) -> (RecordFaultKind, Vec<usize>) {
    match result {
        Err(AppendError::InvalidRecords { kind, faults }) => (kind, faults.iter().map(|f| f.batch_index).collect()),
        other => panic!("{other:?}"),
    }
}

/// Changes header bytes and makes the checksum right again.
fn forged(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn sound_batch_passes_without_being_copied() {
    let bytes = simple();
    let prepared = prepare(&bytes, Origin::Client, &LogConfig::default(), NOW).unwrap();
    assert!(matches!(prepared[0].body, Cow::Borrowed(_)));
}

#[test]
fn wrong_checksum_and_old_formats_are_refused() {
    let config = LogConfig::default();
    let mut bytes = simple();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(check(&bytes, &config), Err(AppendError::Batch(BatchError::BadCrc { .. }))));
    let mut old = simple();
    old[16] = 1;
    assert!(matches!(check(&old, &config), Err(AppendError::Batch(BatchError::UnsupportedMagic(1)))));
    assert!(matches!(check(&simple()[..70], &config), Err(AppendError::Batch(BatchError::Truncated { .. }))));
    assert!(matches!(check(&[], &config), Err(AppendError::Empty)));
}

#[test]
fn client_sends_exactly_one_batch() {
    let two = [simple(), simple()].concat();
    assert!(matches!(check(&two, &LogConfig::default()), Err(AppendError::SeveralBatches)));
    assert_eq!(prepare(&two, Origin::Coordinator, &LogConfig::default(), NOW).unwrap().len(), 2);
}

#[test]
fn batch_over_the_limit_is_too_large() {
    let config = LogConfig { message_bytes_max: 80, ..LogConfig::default() };
    assert!(matches!(check(&simple(), &config), Err(AppendError::TooLarge { max: 80, .. })));
    let config = LogConfig { segment_bytes: 80, ..LogConfig::default() };
    assert!(matches!(check(&simple(), &config), Err(AppendError::LargerThanSegment { max: 80, .. })));
}

#[test]
fn keyless_records_of_a_compacted_topic_are_named() {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let config = LogConfig { cleanup, ..LogConfig::default() };
    let bytes = batch(&[Some(b"a"), None, Some(b"c"), None], &[NOW; 4]);
    assert_eq!(faults(check(&bytes, &config)), (RecordFaultKind::Record, vec![1, 3]));
    check(&batch(&[Some(b"a")], &[NOW]), &config).unwrap();
}

#[test]
fn timestamps_outside_the_range_are_named() {
    let config =
        LogConfig { timestamp_after_max_ms: Some(1_000), timestamp_before_max_ms: Some(5_000), ..LogConfig::default() };
    let bytes = batch(&[None; 4], &[NOW, NOW + 1_001, NOW - 5_001, NOW - 5_000]);
    assert_eq!(faults(check(&bytes, &config)), (RecordFaultKind::Timestamp, vec![1, 2]));
    let broker_time = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..config };
    check(&bytes, &broker_time).unwrap();
}

#[test]
fn header_that_claims_a_future_no_record_has_is_refused() {
    let bytes = forged(simple(), 35, &(NOW * 2).to_be_bytes());
    assert!(matches!(check(&bytes, &LogConfig::default()), Err(AppendError::InvalidBatch(_))));
}

#[test]
fn inconsistent_headers_are_refused() {
    let config = LogConfig::default();
    let cases: [(usize, &[u8]); 6] = [
        (0, &5i64.to_be_bytes()),         // base offset
        (23, &5i32.to_be_bytes()),        // last offset delta
        (57, &0i32.to_be_bytes()),        // count
        (57, &(-2i32).to_be_bytes()),     // count
        (21, &(1i16 << 5).to_be_bytes()), // control
        (21, &7i16.to_be_bytes()),        // codec
    ];
    for (at, value) in cases {
        assert!(matches!(check(&forged(simple(), at, value), &config), Err(AppendError::InvalidBatch(_))), "{at}");
    }
    let transactional = forged(simple(), 21, &(3i16 | 1 << 4).to_be_bytes());
    assert!(matches!(check(&transactional, &config), Err(AppendError::Transactional)));
    let stamp = ProducerStamp { id: ProducerId(4), epoch: ProducerEpoch(0), base_sequence: -1 };
    let mut builder = BatchBuilder::new().with_producer(stamp);
    builder.append(NOW, None, None, []);
    assert!(matches!(check(&builder.build().unwrap(), &config), Err(AppendError::InvalidBatch(_))));
}

#[test]
fn topic_codec_repacks_the_batch() {
    for codec in Compression::ALL {
        let config = LogConfig { compression: Some(codec.into()), ..LogConfig::default() };
        let bytes = simple();
        let prepared = prepare(&bytes, Origin::Client, &config, NOW).unwrap();
        let stored = [&prepared[0].head[..], &prepared[0].body].concat();
        let view = BatchView::parse(&stored).unwrap();
        view.check_crc().unwrap();
        assert_eq!(view.attributes().compression(), Some(codec));
        assert_eq!(view.records(1 << 20).unwrap().iter().count(), 2);
        assert_eq!(prepared[0].header, view.header());
    }
}

#[test]
fn bomb_is_refused_where_the_broker_must_unpack() {
    let mut builder = BatchBuilder::new().with_compression(Compression::Zstd);
    builder.append(NOW, None, Some(&vec![0; 1 << 20]), []);
    let config = LogConfig {
        compression: Some(Compression::Gzip.into()),
        decompressed_bytes_max: 1 << 16,
        ..LogConfig::default()
    };
    let result = check(&builder.build().unwrap(), &config);
    assert!(matches!(result, Err(AppendError::Batch(BatchError::Compression(_)))), "{result:?}");
}

#[test]
fn log_append_time_is_put_into_the_batch() {
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let bytes = batch(&[None], &[NOW - 77]);
    let prepared = prepare(&bytes, Origin::Client, &config, NOW).unwrap();
    let stored = [&prepared[0].head[..], &prepared[0].body].concat();
    let view = BatchView::parse(&stored).unwrap();
    view.check_crc().unwrap();
    assert_eq!(view.header().last_offset(), Offset(0));
    assert!(view.records(1 << 20).unwrap().iter().all(|r| r.unwrap().timestamp == NOW));
}
