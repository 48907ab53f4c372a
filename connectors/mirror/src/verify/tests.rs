//! Both comparers on hand-made answers.

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::slice::{Answer, Slice};
use super::walk::first_copied;
use super::*;
use crate::offset_map::{OffsetMap, Run};
use crate::provenance::{HEADER, Path};

fn batch(base: i64, values: &[&str]) -> Vec<u8> {
    batch_of(base, 1, values)
}

fn batch_of(base: i64, epoch: i32, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(base)).with_leader_epoch(LeaderEpoch(epoch));
    for (delta, value) in values.iter().enumerate() {
        builder.append_at_delta(delta as i32, 1_000 + base + delta as i64, Some(b"key"), Some(value.as_bytes()), []);
    }
    builder.build().unwrap()
}

fn marker(base: i64) -> Vec<u8> {
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: -1 };
    let mut builder =
        BatchBuilder::new().with_base_offset(Offset(base)).with_producer(stamp).with_transactional().with_control();
    builder.append_at_delta(0, 1, Some(&[0, 0, 0, 1]), Some(&[0; 6]), []);
    builder.build().unwrap()
}

fn answer(batches: &[Vec<u8>], end: i64) -> Answer {
    Answer { bytes: Bytes::from(batches.concat()), aborted: Vec::new(), end, corrupt: false }
}

fn mirror(source: &Answer, target: &Answer, from: i64) -> Compared {
    aligned::compare(source, target, from, false)
}

fn only(compared: &Compared) -> (Option<i64>, Option<i64>, String) {
    let [difference] = compared.differences.as_slice() else { panic!("{compared:?}") };
    (difference.source, difference.target, difference.what.to_string())
}

#[test]
fn a_mirror_is_equal_up_to_the_smaller_answer() {
    let source = answer(&[batch(0, &["a", "b", "c"]), marker(3), batch(6, &["d", "e"])], 8);
    let whole = mirror(&source, &source, 0);
    assert_eq!((whole.next, whole.records, whole.differences.len()), (8, 6, 0));
    let shorter = answer(&[batch(0, &["a", "b", "c"]), marker(3)], 4);
    assert_eq!(mirror(&source, &shorter, 0), Compared { next: 4, records: 4, ..Compared::default() });
    assert_eq!(mirror(&source, &source, 4).records, 2);
}

#[test]
fn a_damaged_byte_of_a_mirror_is_named_by_its_record() {
    let source = answer(&[batch(0, &["aaaa", "bbbb"]), batch(2, &["cccc", "dddd", "eeee"])], 5);
    let mut bytes = source.bytes.to_vec();
    let at = bytes.windows(4).position(|window| window == b"dddd").unwrap();
    bytes[at + 1] = b'X';
    let target = Answer { bytes: Bytes::from(bytes), ..source.clone() };
    let compared = mirror(&source, &target, 0);
    assert_eq!(only(&compared), (Some(3), Some(3), "the record has another value".to_owned()));
    assert_eq!((compared.next, compared.records), (5, 5), "what follows is compared as well");
}

#[test]
fn damage_that_no_record_shows_is_named_by_its_batch_and_side() {
    let source = answer(&[batch(0, &["a"]), batch(1, &["b", "c"])], 3);
    let mut bytes = source.bytes.to_vec();
    let second = batch(0, &["a"]).len();
    bytes[second + 17] ^= 0x40; // the checksum itself
    let target = Answer { bytes: Bytes::from(bytes), ..source.clone() };
    let (there, here, what) = only(&mirror(&source, &target, 0));
    assert_eq!((there, here), (None, Some(1)));
    assert!(what.contains("damaged on the target") && what.contains("checksum"), "{what}");
}

#[test]
fn bytes_that_are_no_batch_are_told_and_the_walk_goes_on_behind_them() {
    let source = answer(&[batch(0, &["a"]), batch(1, &["b"]), batch(2, &["c"])], 3);
    let mut bytes = source.bytes.to_vec();
    bytes[batch(0, &["a"]).len() + 16] = 9; // a format that nobody knows
    let target = Answer { bytes: Bytes::from(bytes), ..source.clone() };
    let compared = mirror(&source, &target, 0);
    let (there, here, what) = only(&compared);
    assert_eq!((there, here, compared.next), (None, Some(1), 2));
    assert!(what.contains("format 9"), "{what}");
    assert_eq!(mirror(&source, &source, 2).next, 3);
}

#[test]
fn a_batch_that_its_broker_does_not_serve_is_told_as_damage_of_that_side() {
    let sound = answer(&[batch(0, &["a"]), batch(1, &["b"])], 2);
    let refused = Answer { bytes: Bytes::new(), end: -1, corrupt: true, aborted: Vec::new() };
    let target = mirror(&sound, &refused, 0);
    assert_eq!((only(&target).1, target.next), (Some(0), 1), "the next one is asked for by itself");
    let source = mirror(&refused, &sound, 0);
    assert_eq!((only(&source).0, source.next), (Some(0), 1));
    assert_eq!(mirror(&refused, &refused, 0), Compared::default(), "nobody knows what is there");
}

#[test]
fn another_epoch_or_other_batches_of_the_same_records_are_no_mirror() {
    let source = answer(&[batch(0, &["a", "b"])], 2);
    let epoch = mirror(&source, &answer(&[batch_of(0, 5, &["a", "b"])], 2), 0);
    assert_eq!(only(&epoch), (Some(0), Some(0), "the batch has another leader epoch".to_owned()));
    let split = mirror(&source, &answer(&[batch(0, &["a"]), batch(1, &["b"])], 2), 0);
    assert!(only(&split).2.contains("place"));
    assert_eq!(split.next, 2);
}

#[test]
fn compaction_of_one_side_is_counted_and_is_no_difference() {
    let source = answer(&[batch(0, &["a", "b"]), batch(2, &["c"])], 3);
    let target = answer(&[batch(1, &["b"]), batch(2, &["c"])], 3);
    let told = aligned::compare(&source, &target, 0, true);
    assert_eq!((told.next, told.records, told.removed, told.differences.len()), (3, 2, 1, 0));
    let lost = mirror(&source, &target, 0);
    assert_eq!(only(&lost), (Some(0), None, "the target lacks the record".to_owned()));
}

#[test]
fn a_mirror_that_has_nothing_where_the_source_has_records_lacks_them() {
    let source = answer(&[batch(0, &["a", "b"])], 2);
    let compared = mirror(&source, &answer(&[], 2), 0);
    assert_eq!((compared.next, compared.differences.len()), (2, 2));
    assert_eq!(mirror(&source, &answer(&[], 0), 0), Compared::default(), "it is only behind");
}

fn copy_of(answer: &Answer, from: i64) -> Slice {
    Slice::of_copy(answer, from, Side::Source, None)
}

fn copy(source: &Answer, target: &Answer, from: i64, down: i64, runs: &[Run]) -> Compared {
    let (source, target) = (copy_of(source, from), copy_of(target, down));
    content::compare(&source, &target, from, runs.to_vec(), false)
}

#[test]
fn a_copy_is_compared_record_by_record_whatever_its_batches_are() {
    let source = answer(&[batch(0, &["a", "b"]), marker(2), batch(3, &["c"]), marker(4)], 5);
    let mut one = BatchBuilder::new().with_base_offset(Offset(10));
    for (delta, (value, time)) in [("a", 1_000), ("b", 1_001), ("c", 1_003)].into_iter().enumerate() {
        one.append_at_delta(delta as i32, time, Some(b"key"), Some(value.as_bytes()), []);
    }
    let target = answer(&[one.build().unwrap()], 13);
    let runs = [Run { up: 0, down: 10, len: 2 }, Run { up: 3, down: 12, len: 1 }];
    let compared = copy(&source, &target, 0, 10, &runs);
    assert_eq!(compared, Compared { next: 5, records: 3, ..Compared::default() }, "the last marker is passed");
}

#[test]
fn a_changed_record_of_a_copy_is_named_with_both_offsets() {
    let source = answer(&[batch(100, &["a", "b", "c"])], 103);
    let mut changed = BatchBuilder::new().with_base_offset(Offset(0));
    for (delta, value) in ["a", "B", "c"].into_iter().enumerate() {
        let key: &[u8] = if delta == 2 { b"other" } else { b"key" };
        changed.append_at_delta(delta as i32, 1_100 + delta as i64, Some(key), Some(value.as_bytes()), []);
    }
    let target = answer(&[changed.build().unwrap()], 3);
    let compared = copy(&source, &target, 100, 0, &[Run { up: 100, down: 0, len: 3 }]);
    let told: Vec<String> = compared.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "source offset 101, target offset 1: the record has another value",
            "source offset 102, target offset 2: the record has another key"
        ]
    );
    assert_eq!(compared.next, 103);
}

#[test]
fn what_was_never_copied_is_missing_unless_the_map_has_forgotten() {
    let source = answer(&[batch(0, &["a", "b", "c"])], 3);
    let target = answer(&[batch(0, &["a"])], 2);
    let dense = copy(&source, &target, 0, 0, &[Run { up: 0, down: 0, len: 1 }, Run { up: 2, down: 1, len: 1 }]);
    assert_eq!(dense.differences[0], Difference { source: Some(1), target: None, what: What::Missing });
    // The map has forgotten a run: the target has a record where it was.
    let target = answer(&[batch(0, &["a", "b"])], 2);
    let thinned = copy(&source, &target, 0, 0, &[Run { up: 0, down: 0, len: 1 }, Run { up: 2, down: 2, len: 1 }]);
    assert_eq!((thinned.unpaired, thinned.differences.len(), thinned.next), (1, 0, 2));
}

#[test]
fn what_was_never_copied_is_missing_also_where_the_target_has_a_marker() {
    let source = answer(&[batch(0, &["a", "b", "c"])], 3);
    let mut last = BatchBuilder::new().with_base_offset(Offset(2));
    last.append_at_delta(0, 1_002, Some(b"key"), Some(b"c"), []);
    let target = answer(&[batch(0, &["a"]), marker(1), last.build().unwrap(), marker(3)], 4);
    let runs = [Run { up: 0, down: 0, len: 1 }, Run { up: 2, down: 2, len: 1 }];
    let told = copy(&source, &target, 0, 0, &runs);
    assert_eq!(told.differences, [Difference { source: Some(1), target: None, what: What::Missing }]);
    assert_eq!((told.next, told.records, told.unpaired), (3, 2, 0));
    let compacted = {
        let (source, target) = (copy_of(&source, 0), copy_of(&target, 0));
        content::compare(&source, &target, 0, runs.to_vec(), true)
    };
    assert_eq!((compacted.removed, compacted.differences.len()), (1, 0));
}

#[test]
fn a_hole_is_judged_when_the_whole_of_it_is_in_the_answer() {
    let source = answer(&[batch(0, &["a", "b", "c"])], 3);
    let runs = [Run { up: 0, down: 0, len: 1 }, Run { up: 2, down: 9, len: 1 }];
    let first = copy(&source, &answer(&[batch(0, &["a"])], 1), 0, 0, &runs);
    assert_eq!((first.next, first.records, first.unpaired), (1, 1, 0), "the next step begins there");
    let forgotten = copy(&source, &answer(&[batch(1, &["b", "x"])], 3), 1, 1, &runs);
    assert_eq!((forgotten.next, forgotten.unpaired, forgotten.differences.len()), (2, 1, 0));
}

#[test]
fn records_that_were_copied_twice_are_counted_and_the_second_copy_is_compared() {
    let source = answer(&[batch(0, &["a", "b"])], 2);
    let target = {
        let mut builder = BatchBuilder::new();
        for (delta, (value, time)) in [("a", 1_000), ("b", 1_001), ("b", 1_001)].into_iter().enumerate() {
            builder.append_at_delta(delta as i32, time, Some(b"key"), Some(value.as_bytes()), []);
        }
        answer(&[builder.build().unwrap()], 3)
    };
    let runs = [Run { up: 0, down: 0, len: 1 }, Run { up: 1, down: 2, len: 1 }];
    let compared = copy(&source, &target, 0, 0, &runs);
    assert_eq!(compared, Compared { next: 2, records: 2, repeated: 1, ..Compared::default() });
}

#[test]
fn nothing_is_compared_that_is_not_on_both_sides() {
    let source = answer(&[batch(0, &["a", "b", "c"])], 3);
    let target = answer(&[batch(0, &["a"])], 1);
    let unmapped = copy(&source, &target, 0, 0, &[Run { up: 0, down: 0, len: 1 }]);
    assert_eq!(unmapped, Compared { next: 1, records: 1, ..Compared::default() });
    let under_way = copy(&source, &target, 0, 0, &[Run { up: 0, down: 0, len: 3 }]);
    assert_eq!(under_way.next, 1, "the map is ahead of what readers see");
    assert_eq!(copy(&source, &target, 0, 0, &[]).next, 0);
}

#[test]
fn aborted_records_are_left_out_for_a_reader_of_committed_ones() {
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: 0 };
    let mut aborted = BatchBuilder::new().with_base_offset(Offset(1)).with_producer(stamp).with_transactional();
    aborted.append_at_delta(0, 1, None, Some(b"gone"), []);
    let mut abort =
        BatchBuilder::new().with_base_offset(Offset(2)).with_producer(stamp).with_transactional().with_control();
    abort.append_at_delta(0, 1, Some(&[0, 0, 0, 0]), Some(&[0; 6]), []);
    let mut source = answer(&[batch(0, &["a"]), aborted.build().unwrap(), abort.build().unwrap()], 3);
    source.aborted = vec![(ProducerId(7), Offset(1))];
    let target = answer(&[batch(0, &["a"])], 1);
    assert_eq!(copy(&source, &target, 0, 0, &[Run { up: 0, down: 0, len: 1 }]).next, 3);
}

/// Values with their paths.
fn with_paths(base: i64, records: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(base));
    for (value, path) in records {
        let path = path.map(|path| (HEADER, Some(path.as_bytes())));
        let headers = [(&b"own"[..], Some(value.as_bytes()))].into_iter().chain(path);
        builder.append(1_000, Some(b"key"), Some(value.as_bytes()), headers);
    }
    builder.build().unwrap()
}

#[test]
fn paths_are_none_of_the_contents_and_what_has_been_at_the_target_is_none_of_the_copy() {
    let source = [("a", None), ("theirs", Some("W")), ("b", Some("N")), ("theirs too", Some("N,W"))];
    let source = answer(&[with_paths(0, &source)], 4);
    let target = [("theirs", None), ("a", Some("E")), ("theirs too", Some("N")), ("b", Some("N,E"))];
    let target = answer(&[with_paths(0, &target)], 4);
    let runs = [Run { up: 0, down: 1, len: 1 }, Run { up: 2, down: 3, len: 1 }];
    let path = Path::between(Some("E".to_owned()), Some("W".to_owned())).unwrap();
    let of = |answer: &Answer, from, side| Slice::of_copy(answer, from, side, Some(&path));
    let compared =
        content::compare(&of(&source, 0, Side::Source), &of(&target, 1, Side::Target), 0, runs.to_vec(), false);
    let as_told = Compared { next: 4, records: 2, repeated: 1, ..Compared::default() };
    assert_eq!(compared, as_told, "one record of the target's own lies between the copies");
    let plain = copy(&source, &target, 0, 1, &runs);
    let told: Vec<String> = plain.differences.iter().map(|difference| difference.what.to_string()).collect();
    assert!(told.contains(&"the record has another headers".to_owned()), "without the setting they are: {told:?}");
}

#[test]
fn a_walk_begins_at_the_first_copy_that_retention_has_left_also_behind_a_hole() {
    let mut map = OffsetMap::default();
    // The source has a marker at 3, the target one at 13 and 14.
    map.replay(0, Some(vec![Run { up: 0, down: 10, len: 3 }, Run { up: 4, down: 15, len: 5 }]));
    let begins = |there, here| first_copied(&map, there, here);
    assert_eq!([begins(0, 0), begins(0, 10), begins(0, 12), begins(2, 11)], [Some(0), Some(0), Some(2), Some(2)]);
    // The target's log begins in the hole: what is at 3 there has no place on it.
    assert_eq!([begins(0, 13), begins(0, 14), begins(0, 15), begins(3, 14)], [Some(4); 4]);
    assert_eq!([begins(0, 17), begins(7, 0), begins(9, 20)], [Some(6), Some(7), Some(9)]);
    assert_eq!((begins(0, 20), first_copied(&OffsetMap::default(), 0, 0)), (None, None), "nothing both have");
}
