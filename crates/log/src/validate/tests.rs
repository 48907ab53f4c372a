use twinstream_model::{Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, BatchError, ProducerStamp};
use twinstream_protocol::compression::Compression;

use super::*;
use crate::RecordFaultKind;
use crate::{CleanupPolicy, RecordChecks};

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

fn stored(bytes: &[u8], config: &LogConfig) -> Vec<u8> {
    let prepared = prepare(bytes, Origin::Client, config, NOW).unwrap();
    let stored = [&prepared[0].head[..], &prepared[0].body].concat();
    let view = BatchView::parse(&stored).unwrap();
    view.check_crc().unwrap();
    assert_eq!(prepared[0].header, view.header());
    stored
}

fn header_of(bytes: &[u8]) -> BatchHeader {
    BatchView::parse(bytes).unwrap().header()
}

#[test]
fn header_that_claims_a_time_no_record_can_have_is_corrected() {
    let config = LogConfig::default();
    for wrong in [NOW * 2, NOW - 1, -1] {
        let bytes = forged(batch(&[None; 3], &[NOW, NOW + 7, NOW + 2]), 35, &wrong.to_be_bytes());
        assert_eq!(header_of(&stored(&bytes, &config)).max_timestamp, NOW + 7, "{wrong}");
    }
}

#[test]
fn header_that_claims_a_likely_time_is_corrected_where_every_record_is_checked() {
    let config = LogConfig { record_checks: RecordChecks::Records, ..LogConfig::default() };
    let bytes = forged(batch(&[None; 2], &[NOW, NOW + 70]), 35, &(NOW + 5).to_be_bytes());
    assert_eq!(header_of(&stored(&bytes, &config)).max_timestamp, NOW + 70);
    assert_eq!(header_of(&stored(&bytes, &LogConfig::default())).max_timestamp, NOW + 5, "it is believed");
}

#[test]
fn producer_that_claims_the_brokers_time_is_corrected() {
    let bytes = forged(batch(&[None; 2], &[NOW - 9, NOW - 4]), 21, &(3i16 | 1 << 3).to_be_bytes());
    let header = header_of(&stored(&bytes, &LogConfig::default()));
    assert_eq!((header.attributes.is_log_append_time(), header.max_timestamp), (false, NOW - 4));
}

#[test]
fn copied_batch_with_a_delete_horizon_is_believed() {
    let mut builder = BatchBuilder::new().with_delete_horizon(NOW * 3);
    builder.append(NOW, Some(b"k"), None, []);
    let bytes = builder.build().unwrap();
    assert_eq!(stored(&bytes, &LogConfig::default()), bytes);
}

#[test]
fn unsound_records_are_refused_where_every_record_is_checked() {
    let config = LogConfig { record_checks: RecordChecks::Records, ..LogConfig::default() };
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new().with_compression(codec);
        builder.append(NOW, None, Some(b"value"), []).append(NOW, None, None, []);
        let sound = builder.build().unwrap();
        check(&sound, &config).unwrap();
        let more = [&3i32.to_be_bytes()[..], &2i32.to_be_bytes()[..]];
        let bytes = forged(forged(sound, 57, more[0]), 23, more[1]);
        let error = check(&bytes, &config).unwrap_err();
        assert!(
            matches!(error, AppendError::Batch(BatchError::RecordCount { announced: 3, found: 2 })),
            "{codec}: {error}"
        );
        check(&bytes, &LogConfig::default()).unwrap();
    }
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
    assert!(matches!(check(&transactional, &config), Err(AppendError::InvalidBatch(_))), "no producer id");
    let stamp = ProducerStamp { id: ProducerId(4), epoch: ProducerEpoch(0), base_sequence: -1 };
    let mut builder = BatchBuilder::new().with_producer(stamp);
    builder.append(NOW, None, None, []);
    assert!(matches!(check(&builder.build().unwrap(), &config), Err(AppendError::InvalidBatch(_))));
}

#[test]
fn topic_codec_repacks_the_batch() {
    for codec in Compression::ALL {
        let config = LogConfig { compression: Some(codec.into()), ..LogConfig::default() };
        let stored = stored(&simple(), &config);
        let view = BatchView::parse(&stored).unwrap();
        assert_eq!(view.attributes().compression(), Some(codec));
        assert_eq!(view.records(1 << 20).unwrap().iter().count(), 2);
    }
}

#[test]
fn batch_that_is_too_large_only_after_repacking_is_refused() {
    let mut builder = BatchBuilder::new().with_compression(Compression::Zstd);
    builder.append(NOW, None, Some(&vec![0; 1 << 20]), []);
    let config =
        LogConfig { compression: Some(Compression::None.into()), message_bytes_max: 100_000, ..LogConfig::default() };
    let result = check(&builder.build().unwrap(), &config);
    assert!(matches!(result, Err(AppendError::TooLarge { max: 100_000, .. })), "{result:?}");
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

#[test]
fn only_what_must_be_unpacked_or_is_large_takes_long() {
    let plain = LogConfig::default();
    let compacted = LogConfig { cleanup: CleanupPolicy { delete: false, compact: true }, ..LogConfig::default() };
    let gzip = LogConfig { compression: Some(Compression::Gzip.into()), ..LogConfig::default() };
    let mut uncompressed = BatchBuilder::new();
    uncompressed.append(NOW, None, Some(b"value"), []);
    let uncompressed = uncompressed.build().unwrap();
    for (bytes, config, expected) in [
        (&simple(), &plain, false),
        (&simple(), &compacted, true),
        (&simple(), &gzip, true),
        (&uncompressed, &compacted, false),
        (&uncompressed, &gzip, true),
        (&vec![0; SHORT_BYTES_MAX + 1], &plain, true),
        (&vec![0; 100], &gzip, false),
    ] {
        assert_eq!(takes_long(bytes, config, NOW), expected, "{} bytes, {config:?}", bytes.len());
    }
}
