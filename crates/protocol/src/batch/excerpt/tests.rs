use super::*;
use crate::batch::{BatchBuilder, BatchError, ProducerStamp, Record};
use crate::compression::CompressionError;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

const NOW: i64 = 1_700_000_000_000;

fn builder() -> BatchBuilder {
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(2), base_sequence: 40 };
    BatchBuilder::new()
        .with_base_offset(Offset(100))
        .with_leader_epoch(LeaderEpoch(3))
        .with_producer(stamp)
        .with_transactional()
}

/// Five records with gaps before the third and behind the last one; the fourth is larger than a window.
fn five(mut builder: BatchBuilder) -> BatchBuilder {
    let large = vec![b'x'; 50_000];
    for (delta, time, value) in [(0, 9, &b"a"[..]), (1, 70_000, b"b"), (5, 3, b""), (6, 4, &large), (7, 1, b"e")] {
        let key = [b'k', delta as u8];
        let value = (delta != 5).then_some(value);
        let headers = [(&b"h"[..], None), (&b"g"[..], Some(&b"v"[..]))];
        builder.append_at_delta(delta, NOW + time, Some(&key), value, headers);
    }
    builder.end_at_delta(9);
    builder
}

fn taken(batch: &[u8], stays: &[usize], horizon: Option<i64>, len_max: usize) -> Result<Vec<u8>, RepackError> {
    let stays = |index| stays.contains(&index);
    let wanted = Excerpt { stays: &stays, horizon, unpacked_max: 1 << 20, len_max };
    BatchView::parse(batch).unwrap().excerpt(&wanted)
}

#[test]
fn excerpt_is_the_batch_that_a_builder_makes_of_the_same_records() {
    for codec in Compression::ALL {
        for log_append_time in [None, Some(NOW + 5)] {
            for horizon in [None, Some(NOW + 1_000)] {
                let begin = || {
                    let begun = builder().with_compression(codec);
                    log_append_time.map_or(begun.clone(), |time| begun.with_log_append_time(time))
                };
                let whole = five(begin()).build().unwrap();
                for stays in [&[1, 3][..], &[2], &[0, 1, 2, 3, 4]] {
                    let mut expected = horizon.map_or(begin(), |horizon| begin().with_delete_horizon(horizon));
                    let view = BatchView::parse(&whole).unwrap();
                    let records = view.records(1 << 20).unwrap();
                    let all: Vec<Record<'_>> = records.iter().map(Result::unwrap).collect();
                    for record in stays.iter().map(|at| all[*at]) {
                        let headers = record.headers.iter().map(|header| (header.key, header.value));
                        let delta = (record.offset.0 - 100) as i32;
                        expected.append_at_delta(delta, record.timestamp, record.key, record.value, headers);
                    }
                    expected.end_at_delta(9);
                    let expected = expected.build().unwrap();
                    let excerpt = taken(&whole, stays, horizon, 1 << 20).unwrap();
                    let (expected, excerpt) =
                        (BatchView::parse(&expected).unwrap(), BatchView::parse(&excerpt).unwrap());
                    excerpt.check_crc().unwrap();
                    let packed = |batch: &BatchView<'_>| BatchHeader { len: 0, crc: 0, ..batch.header() };
                    assert_eq!(packed(&excerpt), packed(&expected), "{codec} {stays:?}");
                    let bytes = |batch: &BatchView<'_>| batch.records(1 << 20).unwrap().bytes().to_vec();
                    assert_eq!(bytes(&excerpt), bytes(&expected), "{codec} {stays:?}");
                }
            }
        }
    }
}

#[test]
fn excerpt_that_becomes_too_large_is_an_error() {
    for codec in Compression::ALL {
        let whole = five(builder().with_compression(codec)).build().unwrap();
        let len = taken(&whole, &[0, 3], None, 1 << 20).unwrap().len();
        assert!(taken(&whole, &[0, 3], None, len).is_ok(), "{codec}");
        let error = taken(&whole, &[0, 3], None, len - 1).unwrap_err();
        assert!(matches!(error, RepackError::TooLarge { max, .. } if max == len - 1), "{codec}: {error}");
    }
}

#[test]
fn excerpt_of_what_unpacks_to_too_much_or_is_cut_is_an_error() {
    let whole = five(builder().with_compression(Compression::Zstd)).build().unwrap();
    let wanted = Excerpt { stays: &|_| false, horizon: None, unpacked_max: 50_000, len_max: 1 << 20 };
    let error = BatchView::parse(&whole).unwrap().excerpt(&wanted).unwrap_err();
    let RepackError::Batch(BatchError::Compression(CompressionError::TooLarge { .. })) = error else {
        panic!("{error}")
    };
    let plain = five(builder()).build().unwrap();
    for count in [4, 6i32] {
        let mut miscounted = plain.clone();
        miscounted[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
        let error = taken(&miscounted, &[0], None, 1 << 20).unwrap_err();
        assert!(matches!(error, RepackError::Batch(BatchError::RecordCount { .. })), "{count}: {error}");
    }
}
