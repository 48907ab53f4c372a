use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, ProducerStamp, batches};

const NOW: i64 = 1_700_000_000_000;
const UNPACKED_MAX: usize = 8 << 20;

/// (offset, time, value); the key is the offset's text.
type Plain = (i64, i64, Vec<u8>);

fn batch(codec: Compression, records: &[Plain]) -> Vec<u8> {
    let base = records[0].0;
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(2), base_sequence: 40 };
    let mut builder = BatchBuilder::new()
        .with_base_offset(Offset(base))
        .with_leader_epoch(LeaderEpoch(3))
        .with_producer(stamp)
        .with_transactional()
        .with_compression(codec);
    append(&mut builder, base, records);
    builder.build().unwrap()
}

fn append(builder: &mut BatchBuilder, base: i64, records: &[Plain]) {
    for (offset, time, value) in records {
        let key = offset.to_string();
        let headers = [(&b"h"[..], None), (&b"g"[..], Some(&b"v"[..]))];
        builder.append_at_delta((offset - base) as i32, *time, Some(key.as_bytes()), Some(value), headers);
    }
}

fn read(bytes: &[u8]) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
    let view = BatchView::parse(bytes).unwrap();
    view.check_crc().unwrap();
    assert_eq!(view.len(), bytes.len());
    let records = view.records(UNPACKED_MAX).unwrap();
    let read = records.iter().map(Result::unwrap).enumerate().map(|(index, record)| {
        assert_eq!(record.offset, Offset(index as i64), "numbered from 0 without holes");
        assert_eq!(record.headers.len(), 2);
        (record.key.unwrap().to_vec(), record.timestamp, record.value.unwrap().to_vec())
    });
    read.collect()
}

fn joined(parts: &[Vec<u8>], from: i64, len_max: usize) -> Result<Vec<JoinedBatch>, RepackError> {
    let codec = BatchView::parse(&parts[0]).unwrap().attributes().compression().unwrap();
    let mut joiner = BatchJoiner::new(codec, bounds(len_max, len_max));
    for part in parts {
        joiner.add(&BatchView::parse(part).unwrap(), Offset(from), UNPACKED_MAX)?;
    }
    joiner.finish()
}

fn bounds(good: usize, max: usize) -> JoinBounds {
    JoinBounds { good, max, expected: 5_000 }
}

fn small(offsets: impl IntoIterator<Item = i64>) -> Vec<Plain> {
    offsets.into_iter().map(|offset| (offset, NOW + offset % 7 * 1000, vec![b'v'; 10])).collect()
}

#[test]
fn joined_batch_is_the_one_that_a_builder_makes_of_the_same_records() {
    for codec in Compression::ALL {
        let parts = [small(100..103), small([103, 105, 109]), small(110..111)];
        let made = joined(&parts.clone().map(|part| batch(codec, &part)), 0, 1 << 20).unwrap();
        let mut expected = BatchBuilder::new().with_compression(codec);
        let dense: Vec<Plain> = parts.concat();
        for (offset, time, value) in &dense {
            let key = offset.to_string();
            expected.append(
                *time,
                Some(key.as_bytes()),
                Some(value),
                [(&b"h"[..], None), (&b"g"[..], Some(&b"v"[..]))],
            );
        }
        assert_eq!(made.len(), 1);
        let expected = expected.build().unwrap();
        assert_eq!(BatchView::parse(&made[0].bytes).unwrap().header().attributes.compression(), Some(codec));
        assert_eq!(read(&made[0].bytes), read(&expected));
        if codec == Compression::None {
            assert_eq!(made[0].bytes, expected, "byte for byte");
        }
        let runs: Vec<(i64, u32)> = made[0].runs.iter().map(|run| (run.from.0, run.length)).collect();
        assert_eq!(runs, [(100, 4), (105, 1), (109, 2)]);
        assert_eq!((made[0].records, made[0].max_timestamp), (7, NOW + 5000));
    }
}

#[test]
fn records_of_every_codec_go_to_batches_of_the_one_that_is_wanted() {
    let parts: Vec<Vec<u8>> =
        Compression::ALL.into_iter().zip(0..).map(|(codec, at)| batch(codec, &small(at * 10..at * 10 + 3))).collect();
    let specs = Compression::ALL.map(CompressionSpec::from).into_iter().chain([
        CompressionSpec { codec: Compression::Zstd, level: Some(9) },
        CompressionSpec { codec: Compression::Lz4, level: Some(12) },
    ]);
    let mut read_as = Vec::new();
    for spec in specs {
        let mut joiner = BatchJoiner::new(spec, bounds(1 << 20, 1 << 20));
        for part in &parts {
            joiner.add(&BatchView::parse(part).unwrap(), Offset(0), UNPACKED_MAX).unwrap();
        }
        let made = joiner.finish().unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(BatchView::parse(&made[0].bytes).unwrap().attributes().compression(), Some(spec.codec));
        assert_eq!(made[0].runs.len(), 5);
        read_as.push(read(&made[0].bytes));
    }
    assert_eq!(read_as[0].len(), 15);
    assert!(read_as.windows(2).all(|pair| pair[0] == pair[1]), "the same records, however they are packed");
}

#[test]
fn records_before_the_position_stay_behind() {
    for codec in Compression::ALL {
        let made = joined(&[batch(codec, &small(100..110))], 107, 1 << 20).unwrap();
        assert_eq!(made[0].runs, [OffsetRun { from: Offset(107), length: 3 }]);
        assert_eq!(read(&made[0].bytes).len(), 3);
    }
}

#[test]
fn what_does_not_fit_goes_to_further_batches() {
    for codec in Compression::ALL {
        // Digits that no codec packs well.
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as u8
        };
        let records: Vec<Plain> = (0..64).map(|offset| (offset, NOW, (0..1000).map(|_| noise()).collect())).collect();
        let len_max = 10_000;
        let made = joined(&[batch(codec, &records)], 0, len_max).unwrap();
        assert!(made.len() >= 7, "{} batches", made.len());
        assert!(made.iter().all(|batch| batch.bytes.len() <= len_max));
        let all: Vec<_> = made.iter().flat_map(|batch| read(&batch.bytes)).collect();
        assert_eq!(all.len(), 64);
        assert!(all.iter().zip(&records).all(|(read, record)| read.2 == record.2));
        let firsts: Vec<i64> = made.iter().map(|batch| batch.runs[0].from.0).collect();
        assert!(firsts.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

/// Bytes that no codec packs.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn what_packs_well_goes_to_few_batches_and_what_does_not_never_beyond_the_limit() {
    let levels = [(Compression::Gzip, 9), (Compression::Lz4, 12), (Compression::Zstd, 3), (Compression::Zstd, 12)];
    let specs = Compression::ALL.map(CompressionSpec::from).into_iter();
    for spec in specs.chain(levels.map(|(codec, level)| CompressionSpec { codec, level: Some(level) })) {
        // Both in turn, so that what is on its way in the codec is now much and now little.
        let value = |at: i64| match at / 20 % 3 {
            0 => noise(at as u64 + 1, 20_000),
            _ => vec![at as u8; 20_000],
        };
        let mixed: Vec<Plain> = (0..250).map(|at| (at, NOW, value(at))).collect();
        let plain: Vec<Plain> = (0..250).map(|at| (at, NOW, vec![b'x'; 20_000])).collect();
        let made = |records: &[Plain]| {
            let mut joiner = BatchJoiner::new(spec, bounds(1 << 20, 1 << 20));
            joiner
                .add(&BatchView::parse(&batch(Compression::None, records)).unwrap(), Offset(0), UNPACKED_MAX)
                .unwrap();
            joiner.finish().unwrap()
        };
        let (mixed, plain) = (made(&mixed), made(&plain));
        for made in [&mixed, &plain] {
            assert_eq!(made.iter().map(|one| one.records).sum::<u32>(), 250);
            assert!(made.iter().all(|one| one.bytes.len() <= 1 << 20), "{spec:?}");
        }
        assert_eq!(plain.len() == 1, spec.codec != Compression::None, "{spec:?}: {} batches", plain.len());
    }
}

#[test]
fn single_record_beyond_the_limit_is_an_error() {
    let one = batch(Compression::None, &[(5, NOW, vec![b'x'; 20_000])]);
    assert!(matches!(joined(&[one], 0, 10_000), Err(RepackError::TooLarge { max: 10_000, .. })));
    let packs_well = batch(Compression::Lz4, &[(5, NOW, vec![b'x'; 20_000])]);
    assert_eq!(joined(&[packs_well], 0, 10_000).unwrap().len(), 1);
}

#[test]
fn record_beyond_the_good_length_goes_alone() {
    let records = [(5, NOW, vec![b'x'; 100]), (6, NOW, vec![b'y'; 20_000]), (7, NOW, vec![b'z'; 100])];
    let mut joiner = BatchJoiner::new(Compression::None, bounds(10_000, 30_000));
    joiner.add(&BatchView::parse(&batch(Compression::None, &records)).unwrap(), Offset(0), UNPACKED_MAX).unwrap();
    let made = joiner.finish().unwrap();
    assert_eq!(made.iter().map(|batch| batch.records).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn records_are_changed_and_left_out_on_their_way_and_the_others_are_numbered_without_holes() {
    for codec in Compression::ALL {
        let mut joiner = BatchJoiner::new(codec, bounds(1 << 20, 1 << 20));
        let (mut seen, mut buffers_were_empty) = (0, true);
        for part in [small(100..104), small([110, 115])] {
            let part = batch(codec, &part);
            let mut gate = |record: &RecordTail<'_>, changed: &mut Vec<u8>| {
                buffers_were_empty &= changed.is_empty();
                assert_eq!(record.headers().iter().next().map(|header| header.key), Some(&b"h"[..]));
                seen += 1;
                match seen % 3 {
                    0 => Passage::LeftOut,
                    1 => Passage::AsItIs,
                    _ => {
                        record.write_with_header(b"g", b"changed", changed);
                        Passage::Changed
                    }
                }
            };
            joiner.add_through(&BatchView::parse(&part).unwrap(), Offset(101), UNPACKED_MAX, &mut gate).unwrap();
        }
        let made = joiner.finish().unwrap();
        let runs: Vec<(i64, u32)> = made[0].runs.iter().map(|run| (run.from.0, run.length)).collect();
        // Of 101, 102, 103, 110, 115 the third is left out.
        assert_eq!((runs, seen, buffers_were_empty), (vec![(101, 2), (110, 1), (115, 1)], 5, true));
        let keys: Vec<Vec<u8>> = read(&made[0].bytes).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, [b"101", b"102", b"110", b"115"]);
        let records = BatchView::parse(&made[0].bytes).unwrap().records(UNPACKED_MAX).unwrap();
        let last = |record: crate::batch::Record<'_>| record.headers.iter().last().unwrap().value.unwrap().to_vec();
        let headers: Vec<Vec<u8>> = records.iter().map(|record| last(record.unwrap())).collect();
        assert_eq!(headers, [&b"v"[..], b"changed", b"v", b"changed"]);
    }
}

#[test]
fn nothing_is_made_of_records_that_are_all_left_out() {
    let mut joiner = BatchJoiner::new(Compression::Zstd, bounds(1 << 20, 1 << 20));
    let part = batch(Compression::Zstd, &small(0..5));
    let mut gate = |_: &RecordTail<'_>, _: &mut Vec<u8>| Passage::LeftOut;
    joiner.add_through(&BatchView::parse(&part).unwrap(), Offset(0), UNPACKED_MAX, &mut gate).unwrap();
    assert_eq!(joiner.finish().unwrap(), []);
}

#[test]
fn append_time_and_horizon_become_the_records_own_times() {
    let records = small(100..103);
    let mut append_time = BatchBuilder::new().with_base_offset(Offset(100)).with_log_append_time(NOW + 5);
    append(&mut append_time, 100, &records);
    let mut horizon = BatchBuilder::new().with_base_offset(Offset(103)).with_delete_horizon(NOW - 9);
    append(&mut horizon, 103, &small(103..105));
    let made = joined(&[append_time.build().unwrap(), horizon.build().unwrap()], 0, 1 << 20).unwrap();
    let times: Vec<i64> = read(&made[0].bytes).iter().map(|(_, time, _)| time - NOW).collect();
    assert_eq!(times, [5, 5, 5, 103 % 7 * 1000, 104 % 7 * 1000]);
    let attributes = BatchView::parse(&made[0].bytes).unwrap().attributes();
    assert!(!attributes.is_log_append_time() && !attributes.has_delete_horizon() && !attributes.is_transactional());
}

#[test]
fn bytes_that_lie_are_errors() {
    let good = batch(Compression::None, &small(0..3));
    for at in HEADER_BYTES..good.len() {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let mut joiner = BatchJoiner::new(Compression::None, bounds(1 << 20, 1 << 20));
            // Whatever it says: it neither panics nor makes a batch that cannot be walked.
            if joiner.add(&BatchView::parse(&bytes).unwrap(), Offset(0), UNPACKED_MAX).is_ok() {
                joiner.finish().unwrap();
            }
        }
    }
    let mut more = good.clone();
    more[RECORD_COUNT + 3] = 4;
    let mut joiner = BatchJoiner::new(Compression::None, bounds(1 << 20, 1 << 20));
    joiner.add(&BatchView::parse(&more).unwrap(), Offset(0), UNPACKED_MAX).unwrap_err();
}

proptest! {
    #[test]
    fn every_record_goes_over_once_and_in_order(
        sizes in prop::collection::vec((1usize..6, 0usize..700, 1i64..4), 1..20),
        codec in 0usize..5,
        from in 0i64..40,
        len_max in 900usize..20_000,
    ) {
        let codec = Compression::ALL[codec];
        let (mut next, mut all, mut parts) = (0i64, Vec::new(), Vec::new());
        for (count, size, step) in sizes {
            let records: Vec<Plain> = (0..count as i64)
                .map(|index| (next + index * step, NOW - index * 1_000_000, vec![b'x'; size]))
                .collect();
            next = records[count - 1].0 + step;
            parts.push(batch(codec, &records));
            all.extend(records);
        }
        let made = joined(&parts, from, len_max).unwrap();
        let expected: Vec<(i64, i64)> = all.iter().filter(|r| r.0 >= from).map(|r| (r.0, r.1)).collect();
        let mut got = Vec::new();
        for one in &made {
            prop_assert!(one.bytes.len() <= len_max);
            let offsets = one.runs.iter().flat_map(|run| (0..i64::from(run.length)).map(|at| run.from.0 + at));
            let records = read(&one.bytes);
            prop_assert_eq!(records.len(), one.records as usize);
            prop_assert_eq!(records.iter().map(|r| r.1).max(), Some(one.max_timestamp));
            for (offset, record) in offsets.zip(records) {
                prop_assert_eq!(offset.to_string().into_bytes(), record.0);
                got.push((offset, record.1));
            }
        }
        prop_assert_eq!(got, expected);
        prop_assert!(batches(&made.iter().flat_map(|one| one.bytes.clone()).collect::<Vec<_>>()).all(|one| one.is_ok()));
    }
}
