use kafka_protocol::records::{
    Compression as TheirCompression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

fn sample(codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .with_base_offset(Offset(100))
        .with_leader_epoch(LeaderEpoch(3))
        .with_compression(codec)
        .with_producer(ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(1), base_sequence: 5 });
    builder.append(1_000, Some(b"k1"), Some(b"v1"), [(&b"h"[..], Some(&b"x"[..])), (&b"null"[..], None)]);
    builder.append(3_000_000_000_000, None, None, []);
    builder.append(2_000, Some(b""), Some(b""), []);
    builder.build().unwrap()
}

#[test]
fn built_batch_reads_back_with_every_codec() {
    for codec in Compression::ALL {
        let bytes = sample(codec);
        let batch = BatchView::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        let header = batch.header();
        assert_eq!((header.base_offset, header.last_offset(), header.record_count), (Offset(100), Offset(102), 3));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 3_000_000_000_000));
        assert_eq!((header.base_sequence, header.last_sequence()), (5, 7));
        assert_eq!(header.attributes.compression(), Some(codec));
        let records = batch.records(LIMIT).unwrap();
        let records: Vec<Record<'_>> = records.iter().map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        assert_eq!((records[0].key, records[0].value), (Some(&b"k1"[..]), Some(&b"v1"[..])));
        let headers: Vec<_> = records[0].headers.iter().map(|h| (h.name().into_owned(), h.value)).collect();
        assert_eq!(headers, [("h".to_owned(), Some(&b"x"[..])), ("null".to_owned(), None)]);
        assert_eq!((records[1].key, records[1].value, records[1].timestamp), (None, None, 3_000_000_000_000));
        assert_eq!((records[2].offset, records[2].key, records[2].timestamp), (Offset(102), Some(&b""[..]), 2_000));
    }
}

#[test]
fn batch_of_one_record_has_the_known_bytes() {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(1)).with_leader_epoch(LeaderEpoch(2));
    builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), [(&b"h"[..], Some(&b"1"[..]))]);
    let hex: String = builder.build().unwrap().iter().map(|b| format!("{b:02x}")).collect();
    let golden = concat!(
        "0000000000000001",
        "00000044",
        "00000002",
        "02",
        "16c8334a",
        "0000",
        "00000000",
        "0000018bcfe56800",
        "0000018bcfe56800",
        "ffffffffffffffff",
        "ffff",
        "ffffffff",
        "00000001",
        "24",
        "00",
        "00",
        "00",
        "066b6579",
        "0a76616c7565",
        "02",
        "0268",
        "0231",
    );
    assert_eq!(hex, golden);
}

#[test]
fn reads_what_another_implementation_wrote() {
    let ours = sample(Compression::None);
    let mut theirs = bytes::Bytes::from(ours.clone());
    let set = RecordBatchDecoder::decode(&mut theirs).unwrap();
    assert_eq!(set.records.len(), 3);
    assert_eq!(set.records[0].key.as_deref(), Some(&b"k1"[..]));
    for codec in [TheirCompression::None, TheirCompression::Gzip] {
        let mut out = bytes::BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: codec };
        if RecordBatchEncoder::encode(&mut out, &set.records, &options).is_err() {
            continue; // the codec is not compiled into that crate
        }
        for batch in batches(&out) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            assert!(batch.records(LIMIT).unwrap().iter().all(|r| r.is_ok()));
        }
    }
}

#[test]
fn flipped_bit_fails_the_checksum() {
    let mut bytes = sample(Compression::None);
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(BatchView::parse(&bytes).unwrap().check_crc(), Err(BatchError::BadCrc { .. })));
}

#[test]
fn offset_and_epoch_lie_outside_the_checksum() {
    let mut bytes = sample(Compression::Lz4);
    let mut batch = BatchMut::parse(&mut bytes).unwrap();
    batch.set_base_offset(Offset(7_000));
    batch.set_leader_epoch(LeaderEpoch(12));
    let view = batch.view();
    view.check_crc().unwrap();
    assert_eq!((view.base_offset(), view.last_offset()), (Offset(7_000), Offset(7_002)));
    assert_eq!(view.header().leader_epoch, LeaderEpoch(12));
}

#[test]
fn edits_inside_the_checksum_renew_it() {
    let mut bytes = sample(Compression::None);
    let mut batch = BatchMut::parse(&mut bytes).unwrap();
    batch.set_log_append_time(55);
    batch.set_producer(None);
    batch.view().check_crc().unwrap();
    assert!(!batch.view().header().is_idempotent());
    let records = batch.view().records(LIMIT).unwrap();
    assert!(records.iter().all(|r| r.unwrap().timestamp == 55));
    batch.set_max_timestamp(66);
    batch.view().check_crc().unwrap();
    assert!(!batch.view().attributes().is_log_append_time());
}

#[test]
fn recompressed_batch_holds_the_same_records() {
    let bytes = sample(Compression::Gzip);
    let batch = BatchView::parse(&bytes).unwrap();
    let records = batch.records(LIMIT).unwrap();
    let packed = batch.recompress(records.bytes(), Compression::Zstd.into()).unwrap();
    let packed = BatchView::parse(&packed).unwrap();
    packed.check_crc().unwrap();
    assert_eq!(packed.attributes().compression(), Some(Compression::Zstd));
    assert_eq!(packed.records(LIMIT).unwrap().bytes(), records.bytes());
    assert_eq!(packed.header().producer_id, ProducerId(9));
}

#[test]
fn old_formats_and_cut_batches_are_told_apart() {
    let bytes = sample(Compression::None);
    let mut old = bytes.clone();
    old[16] = 1;
    assert!(matches!(BatchView::parse(&old), Err(BatchError::UnsupportedMagic(1))));
    assert!(matches!(BatchView::parse(&bytes[..60]), Err(BatchError::Truncated { .. })));
    assert!(matches!(BatchView::parse(&bytes[..bytes.len() - 1]), Err(BatchError::Truncated { .. })));
    let mut short = bytes.clone();
    short[8..12].copy_from_slice(&10i32.to_be_bytes());
    assert!(matches!(BatchView::parse(&short), Err(BatchError::BadLength(10))));
    short[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    assert!(matches!(BatchView::parse(&short), Err(BatchError::BadLength(-1))));
}

#[test]
fn trailing_piece_of_a_batch_is_cut_off() {
    let one = sample(Compression::None);
    let bytes = [&one[..], &one[..], &one[..30]].concat();
    assert_eq!(whole_batches(&bytes).unwrap().len(), 2 * one.len());
    let views: Vec<_> = batches(&bytes).collect();
    assert_eq!(views.len(), 3);
    assert!(views[2].is_err());
}

#[test]
fn wrong_record_count_is_an_error() {
    for count in [0i32, 2, 4, -1] {
        let mut bytes = sample(Compression::None);
        bytes[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
        let records = BatchView::parse(&bytes).unwrap().records(LIMIT).unwrap();
        assert!(records.iter().any(|r| matches!(r, Err(BatchError::RecordCount { .. }))), "{count}");
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(add_sequence(i32::MAX, 1), 0);
    assert_eq!(add_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(add_sequence(4, 2), 6);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0u8..8) {
        if bytes.len() >= HEADER_BYTES {
            let len = (bytes.len() - LENGTH_OVERHEAD) as i32;
            bytes[LENGTH..LENGTH + 4].copy_from_slice(&len.to_be_bytes());
            bytes[MAGIC_AT] = 2;
            bytes[ATTRIBUTES + 1] = codec;
        }
        for batch in batches(&bytes).flatten() {
            prop_assert!(batch.check_crc().is_err() || batch.len() > 0);
            if let Ok(records) = batch.records(4096) {
                let _seen = records.iter().count();
            }
        }
    }
}

#[test]
fn horizon_takes_the_place_of_the_base_timestamp_and_records_keep_their_times() {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(40)).with_delete_horizon(9_000);
    builder.append_at_delta(2, 1_000, Some(b"k"), None, []).append_at_delta(3, 1_500, Some(b"l"), Some(b"v"), []);
    builder.end_at_delta(7);
    let bytes = builder.build().unwrap();
    let batch = BatchView::parse(&bytes).unwrap();
    batch.check_crc().unwrap();
    let header = batch.header();
    assert_eq!((header.delete_horizon(), header.base_timestamp, header.max_timestamp), (Some(9_000), 9_000, 1_500));
    assert_eq!((header.last_offset(), header.record_count), (Offset(47), 2));
    let records = batch.records(1_000).unwrap();
    let times: Vec<(i64, i64)> = records.iter().map(|r| r.map(|r| (r.offset.0, r.timestamp)).unwrap()).collect();
    assert_eq!(times, [(42, 1_000), (43, 1_500)]);
}

#[test]
fn emptied_batch_keeps_offsets_and_producer() {
    let stamp = ProducerStamp { id: ProducerId(5), epoch: ProducerEpoch(2), base_sequence: 11 };
    let mut builder = BatchBuilder::new().with_base_offset(Offset(40)).with_producer(stamp);
    builder = builder.with_compression(Compression::Zstd).with_transactional().with_delete_horizon(9_000);
    builder.append(1_000, Some(b"k"), None, []).append(1_001, Some(b"l"), None, []);
    let bytes = builder.build().unwrap();
    let before = BatchView::parse(&bytes).unwrap().header();
    let bytes = BatchView::parse(&bytes).unwrap().emptied();
    let batch = BatchView::parse(&bytes).unwrap();
    batch.check_crc().unwrap();
    let after = batch.header();
    assert_eq!((after.len, after.record_count, after.base_timestamp), (HEADER_BYTES, 0, NO_TIMESTAMP));
    assert!(after.attributes.is_transactional() && after.delete_horizon().is_none());
    assert_eq!(after.attributes.compression(), Some(Compression::None));
    assert_eq!((after.base_offset, after.last_offset()), (before.base_offset, before.last_offset()));
    assert_eq!((after.producer_id, after.producer_epoch), (before.producer_id, before.producer_epoch));
    assert_eq!((after.base_sequence, after.last_sequence()), (11, 12));
    assert_eq!((after.max_timestamp, after.leader_epoch), (before.max_timestamp, before.leader_epoch));
    assert_eq!(batch.records(0).unwrap().iter().count(), 0);
}
