//! When syncs are due, and what a flush takes and gives back.

use twinstream_model::{PartitionIndex, TopicName};

use super::topic_log::Replicas;
use super::*;

fn run(from: i64, length: u32) -> OffsetRun {
    OffsetRun { from: Offset(from), length }
}

fn pair(up: i64, down: i64) -> Option<Pair> {
    Some((Offset(up), Offset(down)))
}

#[test]
fn first_record_holes_and_staleness_are_due_at_once_the_rest_with_the_full_round() {
    let mut due = Due::default();
    due.copied(&[run(10, 1)], Offset(0), 100);
    assert_eq!(due.take(false), pair(10, 0), "the first");
    due.copied(&[run(11, 50)], Offset(1), 100);
    assert_eq!(due.take(false), None, "50 behind");
    due.copied(&[run(61, 60)], Offset(51), 100);
    assert_eq!(due.take(false), pair(120, 110), "more than 100 behind");
    due.copied(&[run(122, 1)], Offset(111), 100);
    assert_eq!(due.take(false), pair(122, 111), "behind a hole");
    due.copied(&[run(123, 5)], Offset(112), 100);
    assert!(due.is_waiting());
    assert_eq!(due.take(true), pair(127, 116));
    due.copied(&[run(128, 1)], Offset(3), 100);
    assert_eq!(due.take(false), pair(128, 3), "the target lost its end");
    assert!(!due.is_waiting());
}

#[test]
fn a_sync_that_was_not_written_yields_to_a_newer_one() {
    let mut due = Due::default();
    due.copied(&[run(0, 1)], Offset(0), 1);
    let lost = due.take(false).unwrap();
    due.not_written(lost);
    assert_eq!(due.take(false), Some(lost));
    due.copied(&[run(1, 30)], Offset(1), 1);
    due.not_written(lost);
    assert_eq!(due.take(false), pair(30, 30));
}

fn names(count: i32) -> Vec<TopicPartition> {
    (0..count).map(|index| TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(index))).collect()
}

fn kept() -> Kept {
    let topic = |name: &str| TopicName::parse(name).unwrap();
    let settings = SyncSettings {
        emit: true,
        location: Location::Target,
        lag_max: 100,
        replicas: Replicas::UpTo(3),
        syncs_topic: topic("mm2-offset-syncs.a.internal"),
        map_topic: topic("mm2-offset-map.a.internal"),
    };
    Kept::new(&settings, &names(2))
}

#[test]
fn a_flush_takes_what_changed_once_and_what_failed_again() {
    let kept = kept();
    kept.copied(&names(2)[0], &[run(0, 10)], Offset(0));
    kept.copied(&names(2)[0], &[run(10, 10)], Offset(10));
    let (taken, chunks) = kept.take_changes(false);
    assert_eq!((taken.chunks.len(), chunks.len()), (1, 1));
    let (name, first, runs) = read_chunk(&chunks[0].0, chunks[0].1.as_deref()).unwrap();
    assert_eq!((name, first), (names(1).remove(0), 0));
    assert_eq!(runs, Some(vec![Run { up: 0, down: 0, len: 20 }]));
    assert_eq!(kept.take_changes(false).1.len(), 0);
    kept.not_written(taken);
    kept.copied(&names(2)[1], &[run(5, 1)], Offset(0));
    assert_eq!(kept.take_changes(false).1.len(), 2);

    let (taken, syncs) = kept.take_syncs(true);
    assert_eq!(syncs.len(), 2);
    kept.syncs_not_written(taken);
    kept.copied(&names(2)[0], &[run(20, 1)], Offset(20));
    let (_, syncs) = kept.take_syncs(true);
    let read = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| OffsetSync::read(key, value.as_deref().unwrap()).unwrap();
    let newest: Vec<(i64, i64)> = syncs.iter().map(read).map(|sync| (sync.upstream.0, sync.downstream.0)).collect();
    assert_eq!(syncs.len(), 2, "one for each partition: {newest:?}");
    assert!(newest.contains(&(20, 20)) && newest.contains(&(5, 0)), "{newest:?}");
    assert_eq!(kept.take_syncs(true).1.len(), 0);
}

#[test]
fn a_task_goes_on_with_the_map_that_was_stored() {
    let (before, after) = (kept(), kept());
    before.copied(&names(2)[0], &[run(0, 10), run(20, 5)], Offset(0));
    for (key, value) in &before.take_changes(false).1 {
        after.replay(Read::Record { key, value: value.as_deref() });
    }
    after.replay(Read::Record { key: b"no key of ours", value: None });
    after.copied(&names(2)[0], &[run(25, 5)], Offset(15));
    let runs = lock(&after.row(0)).map.runs();
    assert_eq!(runs, [Run { up: 0, down: 0, len: 10 }, Run { up: 20, down: 10, len: 10 }]);
    after.replay(Read::Anew);
    assert!(lock(&after.row(0)).map.runs().is_empty());
}

#[test]
fn whose_records_were_copied_is_stored_with_the_map() {
    let (before, after) = (kept(), kept());
    let (name, id) = (&names(1)[0], TopicId::parse("AAAAAAAAAAAAAAAAAAAAAQ").unwrap());
    before.reached(name, id, Offset(10), LeaderEpoch(3));
    let (taken, records) = before.take_changes(false);
    assert_eq!(records.len(), 1, "what is new is written at once");
    before.not_written(taken);
    before.reached(name, id, Offset(30), LeaderEpoch(3));
    let rounds = [false, false, true, true].map(|full| before.take_changes(full).1);
    assert_eq!([1, 0, 1, 0], rounds.each_ref().map(Vec::len), "what only moved waits for a full round");
    for (key, value) in rounds.iter().flatten() {
        after.replay(Read::Record { key, value: value.as_deref() });
    }
    let lived = lock(&after.row(0)).lived.clone();
    assert_eq!((lived.topic_id(), lived.epoch_before(Offset(20))), (id, LeaderEpoch(3)));
    assert!(lock(&after.row(0)).map.runs().is_empty(), "it is no chunk of the map");
}

#[test]
fn partitions_come_and_go_and_keep_nobody_waiting() {
    let kept = kept();
    let (name, other) = (names(3).remove(2), names(2).remove(1));
    kept.copied(&name, &[run(0, 1)], Offset(0));
    assert_eq!(kept.take_changes(false).1.len(), 0, "it is not ours yet");
    let fresh = self::kept();
    *fresh.rows_mut() = Rows::default();
    fresh.rows_mut().push(Partition::new(name.clone()));
    kept.join(fresh);
    kept.copied(&name, &[run(0, 1)], Offset(0));
    kept.copied(&other, &[run(0, 1)], Offset(0));
    kept.rows_mut().by_name.remove(&other);
    kept.copied(&other, &[run(1, 1)], Offset(1));
    let (taken, records) = kept.take_changes(false);
    assert_eq!((taken.chunks.len(), records.len()), (2, 2), "what was heard before it went is written");
    assert_eq!(kept.take_changes(false).1.len(), 0);
}

/// What `work` finds, if it ends: a lock that is taken twice would not.
fn within_a_minute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, found) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(work()));
    found.recv_timeout(Duration::from_secs(60)).expect("it waits for itself")
}

#[test]
fn syncs_that_wait_for_a_full_round_are_noted_again_without_waiting_for_themselves() {
    let rounds = within_a_minute(|| {
        let kept = kept();
        kept.copied(&names(2)[0], &[run(0, 1)], Offset(0));
        let first = kept.take_syncs(false).1.len();
        // Not yet due: taken from the list, and back onto it.
        kept.copied(&names(2)[0], &[run(1, 5)], Offset(1));
        let waiting = [kept.take_syncs(false).1.len(), lock(&kept.syncs).len()];
        kept.copied(&names(2)[0], &[run(6, 5)], Offset(6));
        let noted = lock(&kept.syncs).len();
        (first, waiting, noted, kept.take_syncs(true).1.len(), lock(&kept.syncs).len())
    });
    assert_eq!(rounds, (1, [0, 1], 1, 1, 0), "written, waiting, noted once, written, nothing left");
}

#[test]
fn a_mirror_has_syncs_with_the_same_offset_twice_and_no_map() {
    let kept = kept();
    let name = &names(1)[0];
    kept.mirrored(name, Offset(40), Offset(50));
    kept.mirrored(name, Offset(50), Offset(60));
    let (_, syncs) = kept.take_syncs(true);
    let [(key, Some(value))] = &syncs[..] else { panic!("{syncs:?}") };
    let sync = OffsetSync::read(key, value).unwrap();
    assert_eq!((sync.partition, sync.upstream, sync.downstream), (name.clone(), Offset(59), Offset(59)));
    // Its end was cut and has grown again.
    kept.mirrored(name, Offset(45), Offset(46));
    let (_, syncs) = kept.take_syncs(false);
    let sync = OffsetSync::read(&syncs[0].0, syncs[0].1.as_deref().unwrap()).unwrap();
    assert_eq!(sync.upstream, Offset(45), "at once");
    assert_eq!(kept.take_changes(true).1.len(), 0);
}

#[test]
fn replicas_not_configured_are_no_more_than_there_are_brokers() {
    assert_eq!((Replicas::UpTo(3).among(1), Replicas::UpTo(3).among(5)), (1, 3));
    assert_eq!((Replicas::Exactly(3).among(1), Replicas::Exactly(-1).among(5)), (3, -1));
}
