//! What becomes of batches on their way from an answer to the target.

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, BatchView, ProducerStamp};
use twinstream_client::protocol::compression::{Compression, CompressionSpec};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::provenance::{HEADER, Path};
use crate::request::{self, Prepared, Ready, RequestError, Run, Wishes, reach};

const LEN_MAX: usize = 1_048_588;

/// Records with these offsets; the value is the offset's text, the time 1000 + offset.
fn builder(offsets: &[i64]) -> BatchBuilder {
    let base = offsets[0];
    let mut builder = BatchBuilder::new().with_base_offset(Offset(base)).with_leader_epoch(LeaderEpoch(7));
    for offset in offsets {
        let value = offset.to_string();
        let headers = [(b"h".as_slice(), Some(b"1".as_slice())), (b"n".as_slice(), None)];
        builder.append_at_delta((offset - base) as i32, 1000 + offset, None, Some(value.as_bytes()), headers);
    }
    builder
}

/// One record of that many bytes at this offset.
fn large(offset: i64, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(offset));
    builder.append(1000 + offset, None, Some(&vec![b'x'; bytes]), []);
    made(builder)
}

fn made(builder: BatchBuilder) -> Vec<u8> {
    builder.build().expect("batch")
}

/// Nothing is wished.
fn prepare(
    answer: &Bytes,
    aborted: &[(ProducerId, Offset)],
    position: Offset,
    len_max: usize,
) -> Result<Prepared, RequestError> {
    request::prepare(answer, aborted, position, len_max, Wishes::default())
}

fn taken(bytes: &[u8], position: i64) -> Prepared {
    prepare(&Bytes::copy_from_slice(bytes), &[], Offset(position), LEN_MAX).expect("prepared")
}

fn one(prepared: Prepared) -> Ready {
    assert_eq!(prepared.batches.len(), 1);
    prepared.batches.into_iter().next().expect("one")
}

/// (time, value) of what goes to the target.
fn sent(ready: &Ready) -> Vec<(i64, String)> {
    let view = BatchView::parse(&ready.bytes).expect("batch");
    view.check_crc().expect("checksum");
    assert_eq!(view.len(), ready.bytes.len(), "exactly one batch");
    let records = view.records(1 << 20).expect("records");
    let sent: Vec<(i64, String)> = records
        .iter()
        .map(|record| record.expect("record"))
        .map(|record| (record.timestamp, String::from_utf8_lossy(record.value.expect("value")).into_owned()))
        .collect();
    assert_eq!(sent.len(), ready.records as usize);
    sent
}

fn values(ready: &Ready) -> Vec<String> {
    sent(ready).into_iter().map(|(_, value)| value).collect()
}

fn runs(ready: &Ready) -> Vec<(i64, u32)> {
    ready.runs.iter().map(|Run { from, length }| (from.0, *length)).collect()
}

#[test]
fn whole_batch_goes_as_a_piece_of_the_answer() {
    for codec in Compression::ALL {
        let stamp = ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(1), base_sequence: 5 };
        let spec = CompressionSpec::from(codec);
        let batch = builder(&[100, 101, 102]).with_compression(spec).with_producer(stamp).with_transactional();
        let answer = Bytes::from(made(batch));
        let ready = one(prepare(&answer, &[], Offset(100), LEN_MAX).expect("prepared"));
        assert_eq!(ready.bytes.as_ptr(), answer.as_ptr(), "nothing is copied");
        assert_eq!((ready.bytes.len(), ready.next, ready.records), (answer.len(), Offset(103), 3));
        assert_eq!((ready.max_timestamp, runs(&ready)), (1102, vec![(100, 3)]));
    }
}

#[test]
fn small_batches_in_a_row_become_one() {
    for codec in Compression::ALL {
        let spec = CompressionSpec::from(codec);
        let answer: Vec<u8> = (0..50).flat_map(|at| made(builder(&[100 + at]).with_compression(spec))).collect();
        let ready = one(taken(&answer, 100));
        assert_eq!(values(&ready), (100..150).map(|at: i64| at.to_string()).collect::<Vec<_>>());
        assert_eq!((ready.next, runs(&ready)), (Offset(150), vec![(100, 50)]));
        let header = BatchView::parse(&ready.bytes).expect("batch").header();
        assert_eq!((header.base_offset, header.attributes.compression()), (Offset(0), Some(codec)));
    }
}

#[test]
fn large_batches_are_not_joined_and_codecs_are_not_mixed() {
    let lz4 = CompressionSpec::from(Compression::Lz4);
    let answer = [
        made(builder(&[1])),
        made(builder(&[2])),
        large(3, 100_000),
        made(builder(&[4])),
        made(builder(&[5]).with_compression(lz4)),
        made(builder(&[6]).with_compression(lz4)),
    ];
    let answer = Bytes::from(answer.concat());
    let prepared = prepare(&answer, &[], Offset(0), LEN_MAX).expect("prepared");
    let offsets: Vec<Vec<(i64, u32)>> = prepared.batches.iter().map(runs).collect();
    assert_eq!(offsets, [vec![(1, 2)], vec![(3, 1)], vec![(4, 1)], vec![(5, 2)]]);
    let next: Vec<i64> = prepared.batches.iter().map(|batch| batch.next.0).collect();
    assert_eq!(next, [3, 4, 5, 7]);
    let within = answer.as_ptr_range();
    let kept: Vec<bool> = prepared.batches.iter().map(|batch| within.contains(&batch.bytes.as_ptr())).collect();
    assert_eq!(kept, [false, true, true, false], "one that stands alone goes as it is");
}

#[test]
fn joined_batches_end_at_what_the_target_takes() {
    let answer: Vec<u8> = (0..40).flat_map(|at| large(at, 20_000)).collect();
    let prepared = prepare(&Bytes::from(answer), &[], Offset(0), 100_000).expect("prepared");
    assert!(prepared.batches.iter().all(|batch| batch.bytes.len() <= 100_000));
    assert_eq!(prepared.batches.len(), 10, "four records each");
    let mut next = Offset(0);
    for batch in &prepared.batches {
        assert_eq!(batch.runs[0].from, next);
        next = batch.next;
    }
    assert_eq!(next, Offset(40));
}

#[test]
fn batch_that_is_too_large_becomes_several_and_a_record_that_is_is_named() {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(10));
    for at in 0..8 {
        builder.append(1000 + at, None, Some(&[b'x'; 20_000]), []);
    }
    let answer = Bytes::from(made(builder));
    let prepared = prepare(&answer, &[], Offset(10), 50_000).expect("prepared");
    let offsets: Vec<Vec<(i64, u32)>> = prepared.batches.iter().map(runs).collect();
    assert_eq!(offsets, [vec![(10, 2)], vec![(12, 2)], vec![(14, 2)], vec![(16, 2)]]);
    let error = prepare(&answer, &[], Offset(10), 15_000).expect_err("too large");
    assert!(matches!(error, RequestError::TooLarge { max: 15_000, .. }), "{error}");
    assert!(error.to_string().contains("max.message.bytes"), "{error}");
}

#[test]
fn control_batch_is_not_copied_but_passed() {
    let marker = made(builder(&[100]).with_control().with_transactional());
    assert_eq!(taken(&marker, 100).batches, []);
    assert_eq!(reach(&marker, Offset(100)).expect("reach"), Some((Offset(101), LeaderEpoch(7))));
    let answer = [made(builder(&[98, 99])), marker, made(builder(&[101]))].concat();
    let ready = one(taken(&answer, 98));
    assert_eq!((runs(&ready), ready.next), (vec![(98, 2), (101, 1)], Offset(102)));
    let trailing = one(taken(&answer[..answer.len() - 10], 98));
    assert_eq!(trailing.next, Offset(101), "the marker behind it is passed with it");
}

#[test]
fn holes_of_compaction_are_closed_and_told() {
    let mut hollow = builder(&[101, 104, 109]).with_compression(CompressionSpec::from(Compression::Zstd));
    hollow.end_at_delta(11);
    let ready = one(taken(&made(hollow), 100));
    assert_eq!(ready.next, Offset(113), "what compaction removed behind the last record is passed");
    assert_eq!(sent(&ready), [(1101, "101".to_owned()), (1104, "104".to_owned()), (1109, "109".to_owned())]);
    assert_eq!(runs(&ready), [(101, 1), (104, 1), (109, 1)]);
    let codec = BatchView::parse(&ready.bytes).expect("batch").attributes().compression();
    assert_eq!(codec, Some(Compression::Zstd));
}

#[test]
fn records_before_the_position_are_not_copied_again() {
    let bytes = made(builder(&[100, 101, 102, 103]));
    let ready = one(taken(&bytes, 102));
    assert_eq!((ready.next, values(&ready)), (Offset(104), vec!["102".to_owned(), "103".to_owned()]));
    assert_eq!(taken(&bytes, 104), Prepared::default());
    assert_eq!(reach(&bytes, Offset(500)).expect("reach"), None);
}

#[test]
fn append_time_becomes_the_records_own_time() {
    let ready = one(taken(&made(builder(&[100, 101]).with_log_append_time(5_000)), 100));
    assert_eq!(sent(&ready).iter().map(|(time, _)| *time).collect::<Vec<_>>(), [5_000, 5_000]);
    assert!(!BatchView::parse(&ready.bytes).expect("batch").attributes().is_log_append_time());
}

#[test]
fn aborted_records_are_left_out_for_readers_of_committed_ones() {
    let of = |id: i64, offset: i64| {
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: 0 };
        made(builder(&[offset]).with_producer(stamp).with_transactional())
    };
    let marker = |id: i64, offset: i64, kind: u8| {
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: -1 };
        let mut builder = BatchBuilder::new().with_base_offset(Offset(offset)).with_producer(stamp);
        builder.append(1000, Some(&[0, 0, 0, kind]), Some(&[0; 6]), []);
        made(builder.with_transactional().with_control())
    };
    // Producer 1 aborts, producer 2 commits, then producer 1 commits.
    let answer = [of(1, 0), of(2, 1), of(1, 2), marker(1, 3, 0), marker(2, 4, 1), of(1, 5), marker(1, 6, 1)].concat();
    let answer = Bytes::from(answer);
    let prepared = prepare(&answer, &[(ProducerId(1), Offset(0))], Offset(0), LEN_MAX).expect("prepared");
    assert_eq!(prepared.aborted, 2);
    let ready = one(prepared);
    assert_eq!((runs(&ready), ready.next), (vec![(1, 1), (5, 1)], Offset(7)));
    let everything = one(prepare(&answer, &[], Offset(0), LEN_MAX).expect("prepared"));
    assert_eq!(everything.records, 4, "without the list nothing is left out");
}

#[test]
fn damaged_batch_is_never_packed_again() {
    let mut bytes = [made(builder(&[100, 101])), made(builder(&[102]))].concat();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = prepare(&Bytes::from(bytes), &[], Offset(100), LEN_MAX).expect_err("damaged");
    assert!(error.to_string().contains("offset 102"), "{error}");
}

#[test]
fn cut_answer_ends_with_its_last_whole_batch() {
    let bytes = [made(builder(&[100, 101])), made(builder(&[102]))].concat();
    for cut in 1..bytes.len() {
        let reached = reach(&bytes[..cut], Offset(100)).expect("reach").map(|(next, _)| next);
        let next = taken(&bytes[..cut], 100).batches.last().map(|ready| ready.next);
        assert_eq!(reached, next, "both see the same");
    }
}

fn packed_as(bytes: &[u8], codec: Compression, level: Option<i32>) -> Prepared {
    let wishes = Wishes { compression: Some(CompressionSpec { codec, level }), path: None };
    request::prepare(&Bytes::copy_from_slice(bytes), &[], Offset(0), LEN_MAX, wishes).expect("prepared")
}

#[test]
fn batches_of_another_codec_are_packed_by_the_wished_one_and_those_of_the_same_go_as_they_are() {
    for wished in Compression::ALL {
        for stored in Compression::ALL {
            let offsets: Vec<i64> = (0..2_000).collect();
            let batch = made(builder(&offsets).with_compression(stored));
            let ready = one(packed_as(&batch, wished, None));
            let view = BatchView::parse(&ready.bytes).expect("batch");
            assert_eq!(view.attributes().compression(), Some(wished), "{stored} to {wished}");
            assert_eq!((ready.next, runs(&ready)), (Offset(2_000), vec![(0, 2_000)]));
            assert_eq!(sent(&ready), sent(&one(taken(&batch, 0))), "the same records");
            assert_eq!(ready.bytes == batch, wished == stored, "{stored} to {wished}");
        }
    }
}

#[test]
fn a_batch_that_is_packed_well_becomes_several_where_one_would_be_larger_than_the_target_takes() {
    let mut batch = BatchBuilder::new().with_base_offset(Offset(0)).with_compression(Compression::Zstd);
    for _ in 0..100 {
        batch.append(7, None, Some(&vec![b'x'; 50_000]), []);
    }
    let (batch, wishes) = (made(batch), Wishes { compression: Some(Compression::None.into()), path: None });
    let prepared = request::prepare(&Bytes::from(batch), &[], Offset(0), 200_000, wishes).expect("prepared");
    assert!(prepared.batches.iter().all(|ready| ready.bytes.len() <= 200_000));
    assert_eq!(prepared.batches.iter().map(|ready| ready.records).sum::<u32>(), 100);
    let runs: Vec<(i64, u32)> = prepared.batches.iter().flat_map(runs).collect();
    assert!(runs.len() > 20 && runs.windows(2).all(|pair| pair[0].0 + i64::from(pair[0].1) == pair[1].0));
}

#[test]
fn records_of_all_codecs_in_a_row_become_one_batch_of_the_wished_one() {
    let answer: Vec<u8> = Compression::ALL
        .into_iter()
        .zip(0..)
        .flat_map(|(codec, at)| made(builder(&[at * 2, at * 2 + 1]).with_compression(codec)))
        .collect();
    let ready = one(packed_as(&answer, Compression::Lz4, Some(9)));
    assert_eq!(values(&ready), (0..10).map(|at: i64| at.to_string()).collect::<Vec<_>>());
    assert_eq!(BatchView::parse(&ready.bytes).expect("batch").attributes().compression(), Some(Compression::Lz4));
}

#[test]
fn a_damaged_batch_is_not_packed_by_another_codec() {
    let mut batch = made(builder(&[0, 1]).with_compression(Compression::Gzip));
    let last = batch.len() - 1;
    batch[last] ^= 1;
    let wishes = Wishes { compression: Some(Compression::Zstd.into()), path: None };
    let error = request::prepare(&Bytes::from(batch), &[], Offset(0), LEN_MAX, wishes).expect_err("damaged");
    assert!(matches!(error, RequestError::Batch { offset: Offset(0), .. }), "{error}");
}

/// A batch of records with these paths; the value is the offset's text.
fn with_paths(base: i64, paths: &[Option<&str>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(base)).with_compression(Compression::Lz4);
    for (path, offset) in paths.iter().zip(base..) {
        let headers = path.map(|path| (HEADER, Some(path.as_bytes())));
        builder.append(1000 + offset, None, Some(offset.to_string().as_bytes()), headers);
    }
    made(builder)
}

fn through(answer: &[u8], position: i64, len_max: usize) -> Result<Prepared, RequestError> {
    let path = Path::between(Some("east".to_owned()), Some("west".to_owned())).expect("a path");
    let wishes = Wishes { compression: None, path: Some(&path) };
    request::prepare(&Bytes::copy_from_slice(answer), &[], Offset(position), len_max, wishes)
}

#[test]
fn records_that_have_been_at_the_target_are_holes_of_the_copy() {
    let answer = [
        with_paths(10, &[None, Some("west"), Some("north")]),
        with_paths(13, &[Some("west"), Some("north,west")]),
        with_paths(15, &[None, Some("west")]),
    ];
    let prepared = through(&answer.concat(), 10, LEN_MAX).expect("prepared");
    assert_eq!((prepared.echoes, prepared.batches.len()), (4, 1));
    let ready = one(prepared);
    assert_eq!((runs(&ready), ready.next), (vec![(10, 1), (12, 1), (15, 1)], Offset(17)));
    assert_eq!(values(&ready), ["10", "12", "15"]);
    let view = BatchView::parse(&ready.bytes).expect("batch");
    let records = view.records(1 << 20).expect("records");
    let path = |record: &twinstream_client::protocol::batch::Record<'_>| {
        let header = record.headers.iter().next().expect("a header");
        assert_eq!(header.key, HEADER);
        String::from_utf8_lossy(header.value.expect("a value")).into_owned()
    };
    let paths: Vec<String> = records.iter().map(|record| path(&record.expect("record"))).collect();
    assert_eq!(paths, ["east", "north,east", "east"]);
    assert_eq!(view.attributes().compression(), Some(Compression::Lz4), "packed as it was");
}

#[test]
fn an_answer_of_nothing_but_what_has_been_at_the_target_moves_the_position() {
    let answer = [with_paths(10, &[Some("west"); 3]), with_paths(13, &[Some("west")])].concat();
    let ready = one(through(&answer, 11, LEN_MAX).expect("prepared"));
    assert_eq!((ready.bytes.len(), ready.records, ready.from, ready.next), (0, 0, Offset(11), Offset(14)));
    assert_eq!(through(&answer, 14, LEN_MAX).expect("prepared"), Prepared::default());
}

#[test]
fn a_record_that_its_path_makes_too_large_is_named_as_any_other() {
    let batch = large(10, 10_000);
    assert_eq!(one(prepare(&Bytes::from(batch.clone()), &[], Offset(10), batch.len()).expect("as it is")).records, 1);
    let error = through(&batch, 10, batch.len()).expect_err("too large");
    assert!(matches!(error, RequestError::TooLarge { offset: Offset(10), .. }), "{error}");
}
