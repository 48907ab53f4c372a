//! The map against a plain list of pairs, its bytes, and what bounds it.

use super::*;
use crate::syncs::formats::FormatError;
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

fn run(from: i64, length: u32) -> OffsetRun {
    OffsetRun { from: Offset(from), length }
}

fn map(batches: &[(&[OffsetRun], i64)]) -> OffsetMap {
    let mut map = OffsetMap::default();
    batches.iter().for_each(|(runs, base)| map.copied(runs, Offset(*base)));
    map
}

fn to_target(map: &OffsetMap, up: i64) -> Option<i64> {
    map.to_target(Offset(up)).map(|down| down.0)
}

fn to_source(map: &OffsetMap, down: i64) -> Option<i64> {
    map.to_source(Offset(down)).map(|up| up.0)
}

#[test]
fn a_partition_without_holes_is_one_run_however_long() {
    let mut map = OffsetMap::default();
    for batch in 0..10_000 {
        map.copied(&[run(100 + batch * 7, 7)], Offset(batch * 7));
    }
    assert_eq!(map.runs(), [Run { up: 100, down: 0, len: 70_000 }]);
    assert_eq!((to_target(&map, 12_345), to_source(&map, 12_245)), (Some(12_245), Some(12_345)));
}

#[test]
fn holes_lead_to_the_record_behind_them_and_the_end_is_never_passed() {
    // Offsets 3 and 6..8 were markers or compacted away.
    let map = map(&[(&[run(0, 3), run(4, 2), run(9, 1)], 50)]);
    let expected = [None, Some(51), Some(52), Some(53), Some(53), Some(54), Some(55), Some(55), Some(55), Some(55)];
    assert_eq!(to_target(&map, 0), Some(50));
    for (up, down) in expected.into_iter().enumerate().skip(1) {
        assert_eq!(to_target(&map, up as i64), down, "upstream {up}");
    }
    assert_eq!((to_target(&map, 10), to_target(&map, 1_000)), (Some(56), Some(56)));
    assert_eq!((to_source(&map, 53), to_source(&map, 55), to_source(&map, 56)), (Some(4), Some(9), Some(10)));
    assert_eq!(to_source(&map, 49), None);
}

#[test]
fn what_lies_before_the_first_copy_is_known_only_where_the_target_begins_with_it() {
    let fresh = map(&[(&[run(500, 10)], 0)]);
    assert_eq!(to_target(&fresh, 3), Some(0), "nothing older is mirrored");
    let taken_over = map(&[(&[run(500, 10)], 480)]);
    assert_eq!(to_target(&taken_over, 3), None);
    assert_eq!(to_target(&OffsetMap::default(), 3), None);
}

#[test]
fn records_that_were_copied_twice_lead_to_the_second_copy() {
    let map = map(&[(&[run(0, 100)], 0), (&[run(90, 20)], 100)]);
    assert_eq!((to_target(&map, 89), to_target(&map, 90), to_target(&map, 109)), (Some(89), Some(100), Some(119)));
    // A reader among the first copies has everything before the second ones.
    assert_eq!((to_source(&map, 95), to_source(&map, 100)), (Some(90), Some(90)));
}

#[test]
fn a_source_that_begins_anew_and_a_target_that_lost_its_end_leave_nothing_stale() {
    let anew = map(&[(&[run(1_000, 50)], 0), (&[run(0, 5)], 50)]);
    assert_eq!(anew.runs(), [Run { up: 0, down: 50, len: 5 }]);
    let rebuilt = map(&[(&[run(0, 50)], 0), (&[run(50, 5)], 0)]);
    assert_eq!(rebuilt.runs(), [Run { up: 50, down: 0, len: 5 }]);
    let cut = map(&[(&[run(0, 50)], 0), (&[run(50, 5)], 40)]);
    assert_eq!(cut.runs(), [Run { up: 0, down: 0, len: 40 }, Run { up: 50, down: 40, len: 5 }]);
}

/// The next record to read, by trying all of them.
fn model(copied: &BTreeMap<i64, i64>, up: i64) -> Option<i64> {
    copied.range(up..).next().map(|(_, down)| *down)
}

#[test]
fn translation_agrees_with_a_list_of_all_records() {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut map, mut copied, mut up, mut down) = (OffsetMap::default(), BTreeMap::new(), 0_i64, 0_i64);
    for _ in 0..2_000 {
        up += random(3) as i64;
        let length = random(5) as u32 + 1;
        map.copied(&[run(up, length)], Offset(down));
        for _ in 0..length {
            copied.insert(up, down);
            (up, down) = (up + 1, down + 1);
        }
    }
    for up in 0..up {
        let (exact, said) = (model(&copied, up), to_target(&map, up));
        assert_eq!(said, exact, "upstream {up}");
        assert_eq!(to_source(&map, said.unwrap()), copied.range(up..).next().map(|(up, _)| *up));
    }
}

#[test]
fn memory_is_bounded_and_old_offsets_become_coarse_but_never_late() {
    let mut map = OffsetMap::default();
    // Transactions of 9 records and a marker.
    for n in 0..200_000_i64 {
        map.copied(&[run(n * 10, 9)], Offset(n * 9));
    }
    assert!(map.chunks.len() <= CHUNKS_MAX && map.chunks.values().all(|chunk| chunk.len() <= CHUNK_RUNS));
    let exact = |up: i64| up / 10 * 9 + (up % 10).min(9);
    for up in (0..2_000_000).step_by(37) {
        let said = to_target(&map, up).unwrap();
        assert!(said <= exact(up), "{up} leads to {said}, which is late");
    }
    let recent = (CHUNKS_MAX as i64 - 2) * CHUNK_RUNS as i64 * 10;
    for up in (2_000_000 - recent)..2_000_000 {
        assert_eq!(to_target(&map, up), Some(exact(up)));
    }
}

#[test]
fn what_is_stored_gives_the_same_map_after_any_number_of_changes() {
    let (mut map, mut read, mut next) = (OffsetMap::default(), OffsetMap::default(), 0);
    for n in 0..30_000_i64 {
        // Now and then a restart copies the last 40 once more.
        let back = if n % 997 == 996 { 40 } else { 0 };
        map.copied(&[run((n - back).max(0) * 3, 2)], Offset(next));
        next += 2;
        if n % 13 == 0 {
            for (first, runs) in map.take_unsaved() {
                let value = runs.as_deref().map(stored::value);
                read.replay(first, value.map(|value| stored::read_value(first, &value).unwrap()));
            }
        }
    }
    for (first, runs) in map.take_unsaved() {
        read.replay(first, runs);
    }
    assert_eq!(read.runs(), map.runs());
    assert!(map.take_unsaved().is_empty());
    let newest = *map.chunks.keys().next_back().unwrap();
    map.not_saved([newest]);
    assert_eq!(map.take_unsaved().len(), 1, "what could not be written is written later");
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(3))
}

#[test]
fn stored_chunks_keep_their_bytes_for_ever() {
    let key = stored::key(&partition(), 258);
    assert_eq!(key, b"\x00\x00\x00\x06orders\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x01\x02");
    assert_eq!(stored::read_key(&key), Ok((partition(), 258)));
    let runs = [Run { up: 258, down: 7, len: 300 }, Run { up: 560, down: 307, len: 1 }];
    let value = stored::value(&runs);
    assert_eq!(value, b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\xac\x02\x02\x00\x01");
    assert_eq!(stored::read_value(258, &value), Ok(runs.to_vec()));
}

#[test]
fn broken_and_newer_chunks_are_refused() {
    let value = stored::value(&[Run { up: 258, down: 7, len: 300 }, Run { up: 560, down: 307, len: 1 }]);
    for end in 0..value.len() {
        // Cut after a whole run, it is a shorter list.
        assert!(end == 12 || stored::read_value(258, &value[..end]).is_err(), "{end}");
    }
    let mut newer = value.clone();
    newer[1] = 1;
    assert_eq!(stored::read_value(258, &newer), Err(FormatError::Version(1)));
    let empty_run = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00";
    assert_eq!(stored::read_value(0, empty_run), Err(FormatError::Broken("run")));
    let huge = [&b"\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"[..], b"\x05"].concat();
    assert_eq!(stored::read_value(0, &huge), Err(FormatError::Broken("run")));
    let endless = [&b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"[..], &[0xff; 12]].concat();
    assert_eq!(stored::read_value(0, &endless), Err(FormatError::Broken("varint")));
    let key = stored::key(&partition(), 1);
    assert_eq!(stored::read_key(&key[..key.len() - 1]), Err(FormatError::Short));
    assert_eq!(stored::read_key(&[&key[..], b"x"].concat()), Err(FormatError::Broken("end")));
}

#[test]
fn runs_from_an_offset_begin_with_the_one_that_it_lies_in_or_behind() {
    let mut map = OffsetMap::default();
    for n in 0..200_i64 {
        map.copied(&[run(n * 10, 9)], Offset(n * 9));
    }
    let firsts = |up: i64| map.runs_from(Offset(up)).map(|run| run.up).take(2).collect::<Vec<_>>();
    assert_eq!(firsts(0), [0, 10]);
    assert_eq!(firsts(639), [630, 640], "the last of a chunk, and the first of the next");
    assert_eq!(firsts(1_999), [1_990]);
    assert_eq!(map.runs_from(Offset(0)).count(), 200);
    assert_eq!(OffsetMap::default().runs_from(Offset(5)).count(), 0);
}
