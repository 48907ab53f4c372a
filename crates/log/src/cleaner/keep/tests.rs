use super::*;
use crate::transactions::Outcome;
use crate::txn_index::AbortedEntry;
use twinstream_model::{LeaderEpoch, ProducerEpoch};
use twinstream_protocol::batch::{Attributes, BatchBuilder, ProducerStamp};
use twinstream_protocol::compression::Compression;

const NOW: i64 = 1_000_000;
const RETENTION: i64 = 5_000;

/// A transactional batch of a producer.
pub(crate) fn data(producer: i64, offset: i64, records: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(offset),
        len: 100,
        leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: Attributes(1 << 4),
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        base_sequence: 0,
        record_count: records,
    }
}

pub(crate) fn control(producer: i64, offset: i64) -> BatchHeader {
    BatchHeader { attributes: Attributes(1 << 4 | 1 << 5), ..data(producer, offset, 1) }
}

/// A batch at offset 10 of records like `a=1`, or `a` for a tombstone.
fn batch(records: &str) -> Vec<u8> {
    stored(BatchBuilder::new(), records)
}

fn stored(builder: BatchBuilder, records: &str) -> Vec<u8> {
    let mut builder = builder.with_base_offset(Offset(10)).with_leader_epoch(LeaderEpoch(4));
    for (i, record) in records.split_whitespace().enumerate() {
        let (key, value) = match record.split_once('=') {
            Some((key, value)) => (key, Some(value.as_bytes())),
            None => (record, None),
        };
        let key = (key != "-").then_some(key.as_bytes());
        builder.append(1_000 + i as i64, key, value, [(&b"h"[..], None)]);
    }
    builder.build().unwrap()
}

/// What is left, as `offset:key=value`, with the kind of answer before.
fn shown(kept: &Kept, original: &[u8]) -> String {
    let (name, bytes) = match kept {
        Kept::Nothing => return "nothing".to_owned(),
        Kept::AsItIs => ("same", original),
        Kept::Rewritten(bytes) => ("new", &bytes[..]),
    };
    let batch = BatchView::parse(bytes).unwrap();
    batch.check_crc().unwrap();
    let (before, after) = (BatchView::parse(original).unwrap().header(), batch.header());
    assert_eq!((before.base_offset, before.last_offset()), (after.base_offset, after.last_offset()));
    assert_eq!((before.leader_epoch, before.base_sequence), (after.leader_epoch, after.base_sequence));
    let mut text = name.to_owned();
    for record in &batch.records(1 << 20).unwrap() {
        let record = record.unwrap();
        assert_eq!(record.timestamp, 1_000 + record.offset.0 - 10);
        assert_eq!(record.headers.len(), 1);
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let value = record.value.map_or("".to_owned(), |value| format!("={}", utf8(value)));
        text += &format!(" {}:{}{value}", record.offset, record.key.map_or("-".to_owned(), utf8));
    }
    text
}

/// A map in which these keys have these newest offsets, and which covers all up to `latest`.
fn map(keys: &[(&str, i64)], latest: i64) -> OffsetMap {
    let mut map = OffsetMap::new(1 << 16, 100, 0.9);
    for (key, offset) in keys {
        assert!(map.put(map.hash(key.as_bytes()), Offset(*offset)));
    }
    map.reached(Offset(latest));
    map
}

struct Case {
    map: OffsetMap,
    producers: HashMap<ProducerId, LastRecord>,
    transactions: CleanedTransactions,
    now: i64,
    is_last: bool,
}

impl Case {
    fn new(keys: &[(&str, i64)]) -> Case {
        let transactions = CleanedTransactions::default();
        Case { map: map(keys, 99), producers: HashMap::new(), transactions, now: NOW, is_last: false }
    }

    fn judge(&mut self, bytes: &[u8]) -> Kept {
        let rules = Rules {
            map: &self.map,
            producers: &self.producers,
            now: self.now,
            delete_retention_ms: RETENTION,
            unpacked_max: 1 << 20,
            io_bytes: 1 << 16,
        };
        let batch = BatchView::parse(bytes).unwrap();
        rules.judge(&batch, self.is_last, &mut self.transactions, &mut Counts::default()).unwrap()
    }

    fn shows(&mut self, bytes: &[u8]) -> String {
        shown(&self.judge(bytes), bytes)
    }
}

#[test]
fn newest_record_of_each_key_stays() {
    assert_eq!(Case::new(&[("a", 12), ("b", 11)]).shows(&batch("a=1 b=1 a=2")), "new 11:b=1 12:a=2");
    assert_eq!(Case::new(&[("a", 10), ("b", 11)]).shows(&batch("a=1 b=1")), "same 10:a=1 11:b=1");
    assert_eq!(Case::new(&[("a", 50), ("b", 51)]).shows(&batch("a=1 b=1")), "nothing");
    assert_eq!(Case::new(&[]).shows(&batch("a=1")), "same 10:a=1", "of a key that the dirty part does not have");
}

#[test]
fn records_behind_the_map_stay_and_records_without_a_key_go() {
    let mut case = Case::new(&[]);
    case.map = map(&[("a", 11)], 11);
    assert_eq!(case.shows(&batch("a=1 a=2 a=3 -=4")), "new 11:a=2 12:a=3 13:-=4");
    assert_eq!(Case::new(&[]).shows(&batch("-=1 b=2")), "new 11:b=2");
}

#[test]
fn codec_and_broker_time_stay() {
    for codec in Compression::ALL {
        let bytes = stored(BatchBuilder::new().with_compression(codec), "a=1 a=2");
        let Kept::Rewritten(kept) = Case::new(&[("a", 11)]).judge(&bytes) else { panic!("{codec}") };
        assert_eq!(BatchView::parse(&kept).unwrap().attributes().compression(), Some(codec));
    }
    let bytes = stored(BatchBuilder::new().with_log_append_time(7_777), "a=1 a=2");
    let Kept::Rewritten(kept) = Case::new(&[("a", 11)]).judge(&bytes) else { panic!() };
    let header = BatchView::parse(&kept).unwrap().header();
    assert!(header.attributes.is_log_append_time());
    assert_eq!(header.max_timestamp, 7_777);
}

#[test]
fn tombstone_gets_a_horizon_when_it_is_first_met_and_goes_behind_it() {
    let mut case = Case::new(&[("a", 10), ("b", 11)]);
    let bytes = batch("a b=1");
    let Kept::Rewritten(first) = case.judge(&bytes) else { panic!("no horizon was set") };
    assert_eq!(shown(&Kept::Rewritten(first.clone()), &bytes), "new 10:a 11:b=1");
    assert_eq!(BatchView::parse(&first).unwrap().header().delete_horizon(), Some(NOW + RETENTION));
    // It does not move with later cleanings.
    case.now = NOW + RETENTION - 1;
    assert_eq!(case.shows(&first), "same 10:a 11:b=1");
    case.now = NOW + RETENTION;
    assert_eq!(case.shows(&first), "new 11:b=1");
    let Kept::Rewritten(second) = case.judge(&first) else { panic!() };
    assert_eq!(BatchView::parse(&second).unwrap().header().delete_horizon(), Some(NOW + RETENTION));
}

#[test]
fn tombstone_that_is_not_the_newest_goes_at_once() {
    assert_eq!(Case::new(&[("a", 11)]).shows(&batch("a a=1")), "new 11:a=1");
}

fn produced(id: i64) -> BatchBuilder {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(2), base_sequence: 40 };
    BatchBuilder::new().with_producer(stamp)
}

#[test]
fn last_batch_of_a_producer_stays_without_its_records() {
    let mut case = Case::new(&[("a", 50), ("b", 50)]);
    let bytes = stored(produced(7), "a=1 b=1");
    assert_eq!(case.shows(&bytes), "nothing");
    let last = |offset: i64| LastRecord { last_data: Some(Offset(offset)), epoch: ProducerEpoch(2) };
    case.producers.insert(ProducerId(7), last(11));
    let Kept::Rewritten(emptied) = case.judge(&bytes) else { panic!("it did not stay") };
    let header = BatchView::parse(&emptied).unwrap().header();
    assert_eq!((header.record_count, header.last_sequence(), header.last_offset()), (0, 41, Offset(11)));
    assert_eq!(case.judge(&emptied), Kept::AsItIs);
    case.producers.insert(ProducerId(7), last(60));
    assert_eq!(case.judge(&emptied), Kept::Nothing);
}

#[test]
fn last_batch_of_the_cleaning_stays_without_its_records() {
    let mut case = Case::new(&[("a", 50)]);
    case.is_last = true;
    assert_eq!(case.shows(&batch("a=1")), "new");
}

fn marker(id: i64, outcome: i16) -> Vec<u8> {
    let mut builder = produced(id).with_base_offset(Offset(20)).with_control().with_transactional();
    builder.append(1_010, Some(&[[0, 0], outcome.to_be_bytes()].concat()), Some(&[0; 6]), [(&b"h"[..], None)]);
    builder.build().unwrap()
}

fn aborted(producer: i64, first: i64) -> AbortedEntry {
    let (producer_id, last) = (ProducerId(producer), Offset(20));
    AbortedEntry { producer_id, first: Offset(first), last, last_stable: Offset(21) }
}

#[test]
fn aborted_records_go_at_once_and_their_marker_after_a_cleaning_without_them() {
    let mut case = Case::new(&[]);
    case.transactions.announce([aborted(7, 10)]);
    assert_eq!(case.judge(&stored(produced(7).with_transactional(), "a=1")), Kept::Nothing);
    let marker = marker(7, 0);
    assert_eq!(case.judge(&marker), Kept::AsItIs);
    assert_eq!(case.transactions.take_index(), [aborted(7, 10)]);
    // The next cleaning meets the marker alone and gives it time, a later one drops it.
    case.transactions = CleanedTransactions::default();
    let Kept::Rewritten(timed) = case.judge(&marker) else { panic!("no horizon was set") };
    let batch = BatchView::parse(&timed).unwrap();
    assert_eq!(batch.header().delete_horizon(), Some(NOW + RETENTION));
    assert!(batch.attributes().is_control() && batch.attributes().is_transactional());
    assert_eq!(Marker::of(&batch).unwrap().unwrap().outcome, Outcome::Abort);
    assert_eq!(case.judge(&timed), Kept::AsItIs);
    case.now = NOW + RETENTION;
    assert_eq!(case.judge(&timed), Kept::Nothing);
}

#[test]
fn marker_that_is_all_that_is_known_of_a_producer_stays_empty() {
    let mut case = Case::new(&[]);
    let Kept::Rewritten(timed) = case.judge(&marker(7, 1)) else { panic!() };
    case.now = NOW + RETENTION;
    case.producers.insert(ProducerId(7), LastRecord { last_data: None, epoch: ProducerEpoch(2) });
    let Kept::Rewritten(emptied) = case.judge(&timed) else { panic!("it did not stay") };
    let header = BatchView::parse(&emptied).unwrap().header();
    assert_eq!((header.record_count, header.producer_epoch), (0, ProducerEpoch(2)));
    assert!(header.attributes.is_control());
}

#[test]
fn commit_marker_stays_while_records_of_its_transaction_do() {
    let mut case = Case::new(&[("a", 10)]);
    let records = stored(produced(7).with_transactional(), "a=1");
    assert_eq!(case.shows(&records), "same 10:a=1");
    assert_eq!(case.judge(&marker(7, 1)), Kept::AsItIs);
}

#[test]
fn records_out_of_order_are_an_error_and_no_panic() {
    let mut bytes = batch("a=1 b=1 c=1");
    // The second record says that it is the fifth.
    let at = bytes.windows(3).position(|bytes| bytes == [2, 2, 2]).unwrap() + 1;
    bytes[at] = 8;
    let case = Case::new(&[("c", 50)]);
    let rules = Rules {
        map: &case.map,
        producers: &case.producers,
        now: NOW,
        delete_retention_ms: RETENTION,
        unpacked_max: 1 << 20,
        io_bytes: 1 << 16,
    };
    let batch = BatchView::parse(&bytes).unwrap();
    let judged = rules.judge(&batch, false, &mut CleanedTransactions::default(), &mut Counts::default());
    assert!(matches!(judged, Err(JudgeError::Disorder(_))), "{judged:?}");
}

#[test]
fn time_of_tombstones_runs_from_the_cleaning_that_reaches_all_of_their_batch() {
    let original = batch("a b");
    let mut case = Case::new(&[("a", 10)]);
    case.map = map(&[("a", 10)], 10); // the map was full before b
    assert_eq!(case.shows(&original), "same 10:a 11:b");
    let mut case = Case::new(&[("b", 11)]);
    case.map = map(&[("b", 11)], 11);
    let Kept::Rewritten(bytes) = case.judge(&original) else { panic!("it has a horizon now") };
    assert_eq!(BatchView::parse(&bytes).unwrap().header().delete_horizon(), Some(NOW + RETENTION));
}
