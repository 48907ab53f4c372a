use std::fs;
use std::os::unix::fs::FileExt;

use twinstream_protocol::batch::{BatchBuilder, BatchMut};

use super::*;
use crate::partition_log::tests::{Fixture, NOW, idempotent, plain, small};
use crate::{AppendError, LastStop, Origin};

mod known; // what is known of producers after cuts and stops

/// A log that leads in an epoch, or follows one that does.
struct Replica(Fixture);

impl Replica {
    fn new() -> Replica {
        Replica(Fixture::new(small()))
    }

    fn end(&self) -> i64 {
        self.0.end()
    }

    fn lead(&self, epoch: i32, batch: BatchBuilder) -> i64 {
        let appended = self.0.log.append(&batch.build().unwrap(), Origin::Client, LeaderEpoch(epoch), NOW).unwrap();
        appended.base_offset.0
    }

    /// Leads with so many batches of one record.
    fn fill(&self, epoch: i32, batches: usize) {
        for _ in 0..batches {
            self.lead(epoch, plain(&[NOW]));
        }
    }

    /// Copies from a leader all that is there from the own end on, as fetches bring it.
    fn follow(&self, leader: &Replica, epoch: i32) {
        while self.end() < leader.end() {
            let bytes = leader.0.read(self.end());
            let appended = self.0.log.append_as_follower(&bytes, LeaderEpoch(epoch), NOW).unwrap();
            assert_eq!(appended.log_end.0, self.end());
        }
    }

    /// Where an epoch ends, as a leader answers it.
    fn end_of(&self, epoch: i32) -> Option<(i32, i64)> {
        self.0.log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.0, end.0))
    }

    fn last_epoch(&self) -> i32 {
        self.0.log.last_epoch().0
    }

    fn cut(&self, end: i64) -> Truncated {
        self.0.log.truncate_to(Offset(end)).unwrap()
    }

    /// Cuts as a leader's answers demand (KIP-595, KIP-279) until the histories agree; returns how many cuts it took.
    fn agree_with(&self, leader: &Replica) -> usize {
        let mut cuts = 0;
        loop {
            let (epoch, end) = leader.end_of(self.last_epoch()).unwrap();
            if epoch >= self.last_epoch() && end >= self.end() {
                return cuts;
            }
            let own_end = self.end_of(epoch).map_or(end, |(_, own_end)| own_end);
            let _cut = self.cut(own_end.min(end));
            cuts += 1;
        }
    }

    fn files_with(&self, extension: &str) -> Vec<Vec<u8>> {
        self.0.files(extension).iter().map(|name| fs::read(self.0.dir().join(name)).unwrap()).collect()
    }

    fn stop(self, stop: LastStop) -> Replica {
        Replica(self.0.reopen(|opening| opening.last_stop = stop))
    }
}

/// A batch as it stands in a leader's log.
fn stored(base: i64, epoch: i32, batch: BatchBuilder) -> Vec<u8> {
    let mut bytes = batch.build().unwrap();
    let mut header = BatchMut::parse(&mut bytes).unwrap();
    header.set_base_offset(Offset(base));
    header.set_leader_epoch(LeaderEpoch(epoch));
    bytes
}

#[test]
fn follower_has_the_bytes_of_its_leader() {
    let (leader, follower) = (Replica::new(), Replica::new());
    leader.fill(1, 30);
    leader.lead(2, plain(&[NOW, NOW + 5, NOW + 3]));
    leader.fill(4, 30);
    follower.follow(&leader, 4);
    assert_eq!(follower.files_with(".log").concat(), leader.files_with(".log").concat());
    assert!(follower.0.log.segment_count() > 3);
    assert_eq!(follower.0.bases(0), leader.0.bases(0));
    assert_eq!(follower.0.log.high_watermark(), Offset(0), "that is the leader's to tell");
    for epoch in 0..6 {
        assert_eq!(follower.end_of(epoch), leader.end_of(epoch), "epoch {epoch}");
    }
    let time = |log: &Replica| log.0.log.offset_for_time(NOW + 4).unwrap();
    assert_eq!(time(&follower), time(&leader));
}

#[test]
fn many_batches_of_one_answer_fill_segments_like_single_ones() {
    let bytes: Vec<u8> = (0..100).flat_map(|i| stored(i, 3, plain(&[NOW]))).collect();
    let follower = Replica::new();
    let appended = follower.0.log.append_as_follower(&bytes, LeaderEpoch(3), NOW).unwrap();
    let expected =
        FollowerAppended { log_end: Offset(100), last_epoch: LeaderEpoch(3), bytes: bytes.len(), records: 100 };
    assert_eq!(appended, expected);
    assert!(follower.files_with(".log").iter().all(|file| file.len() <= 2_000));
    let single = Replica::new();
    single.fill(3, 100);
    assert_eq!(follower.0.files(".log"), single.0.files(".log"));
}

#[test]
fn batch_larger_than_a_segment_gets_one_of_its_own() {
    let follower = Replica::new();
    let bytes = [stored(0, 1, plain(&[NOW])), stored(1, 1, plain(&[NOW; 40])), stored(41, 1, plain(&[NOW]))].concat();
    follower.0.log.append_as_follower(&bytes, LeaderEpoch(1), NOW).unwrap();
    assert_eq!(follower.0.bases(0), [0, 1, 41]);
    assert_eq!(follower.0.log.segment_count(), 3);
}

#[test]
fn batch_that_is_cut_off_is_left_for_the_next_fetch() {
    let follower = Replica::new();
    let bytes = [stored(0, 1, plain(&[NOW])), stored(1, 1, plain(&[NOW]))].concat();
    let appended = follower.0.log.append_as_follower(&bytes[..bytes.len() - 1], LeaderEpoch(1), NOW).unwrap();
    assert_eq!((appended.log_end, appended.bytes), (Offset(1), bytes.len() / 2));
    let nothing = follower.0.log.append_as_follower(&bytes[..10], LeaderEpoch(1), NOW).unwrap();
    assert_eq!((nothing.log_end, nothing.bytes, nothing.last_epoch), (Offset(1), 0, LeaderEpoch(1)));
}

#[test]
fn batches_that_do_not_belong_there_are_refused_as_a_whole() {
    let follower = Replica::new();
    follower.0.log.append_as_follower(&stored(0, 3, plain(&[NOW, NOW])), LeaderEpoch(3), NOW).unwrap();
    let good = stored(2, 3, plain(&[NOW]));
    let refused = |bytes: Vec<u8>| {
        let error = follower.0.log.append_as_follower(&bytes, LeaderEpoch(5), NOW).unwrap_err();
        assert_eq!(follower.end(), 2);
        error.to_string()
    };
    assert_eq!(refused(stored(1, 3, plain(&[NOW]))), "batch at offset 1 lies before the log end 2");
    assert_eq!(refused(stored(2, 2, plain(&[NOW]))), "batch at offset 2 has epoch 2, after epoch 3");
    let newer = [good.clone(), stored(3, 6, plain(&[NOW]))].concat();
    assert_eq!(refused(newer), "batch at offset 3 has epoch 6, its leader has epoch 5");
    let overlap = [good.clone(), stored(2, 3, plain(&[NOW]))].concat();
    assert_eq!(refused(overlap), "batch at offset 2 follows one that ends at 2");
    let back = [stored(2, 4, plain(&[NOW])), stored(3, 3, plain(&[NOW]))].concat();
    assert_eq!(refused(back), "batch at offset 3 has epoch 3, after epoch 4");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(refused(flipped).contains("fails its checksum"));
    follower.0.log.append_as_follower(&good, LeaderEpoch(5), NOW).unwrap();
}

#[test]
fn gaps_that_compaction_left_are_followed() {
    let follower = Replica::new();
    let bytes = [stored(3, 1, plain(&[NOW])), stored(10, 1, plain(&[NOW]))].concat();
    follower.0.log.append_as_follower(&bytes, LeaderEpoch(1), NOW).unwrap();
    assert_eq!((follower.end(), follower.0.bases(0)), (11, vec![3, 10]));
}

#[test]
fn new_leader_knows_where_the_epochs_before_it_ended_before_it_writes() {
    let log = Replica::new();
    log.fill(1, 5);
    log.0.log.note_leadership(LeaderEpoch(4)).unwrap();
    assert_eq!([log.end_of(1), log.end_of(3), log.end_of(4)], [Some((1, 5)), Some((1, 5)), Some((4, 5))]);
    assert_eq!(log.last_epoch(), 1, "no record is of epoch 4 yet");
    log.fill(4, 1);
    assert_eq!((log.last_epoch(), log.end_of(1), log.end_of(4)), (4, Some((1, 5)), Some((4, 6))));
}

#[test]
fn leadership_without_records_leaves_no_trace() {
    let log = Replica::new();
    log.fill(1, 5);
    log.0.log.note_leadership(LeaderEpoch(4)).unwrap();
    // The next leader went on with a record of epoch 2 that this one had not seen.
    log.0.log.append_as_follower(&stored(5, 2, plain(&[NOW])), LeaderEpoch(5), NOW).unwrap();
    assert_eq!((log.last_epoch(), log.end_of(2)), (2, Some((2, 6))));
    log.0.log.note_leadership(LeaderEpoch(7)).unwrap();
    assert_eq!(log.cut(6).offsets, 0);
    assert_eq!(log.end_of(7), None);
}

#[test]
fn cut_goes_back_over_segments_and_the_log_goes_on() {
    let log = Replica::new();
    log.fill(1, 60);
    let segments = log.0.log.segment_count();
    for end in [59, 44, 43, 30, 1, 0] {
        assert_eq!(log.cut(end).log_end, Offset(end));
        assert_eq!(log.0.bases(0), (0..end).collect::<Vec<_>>());
        assert!(log.0.log.read(Offset(end), 100, true, Offset(i64::MAX)).unwrap().is_empty());
    }
    assert_eq!((log.0.log.segment_count(), log.last_epoch()), (1, -1));
    log.fill(2, 60);
    assert_eq!(log.0.log.segment_count(), segments);
    let log = log.stop(LastStop::Unknown);
    assert_eq!((log.end(), log.0.bases(0).len()), (60, 60));
}

#[test]
fn cut_at_a_segments_first_offset_removes_the_segment() {
    let log = Replica::new();
    log.fill(1, 60);
    let bases: Vec<i64> = log.0.files(".log").iter().map(|name| name[..20].parse().unwrap()).collect();
    let _cut = log.cut(bases[2]);
    assert_eq!(log.0.files(".log").len(), 2);
    assert!(log.0.files(".deleted").is_empty());
    log.fill(1, 1);
    assert_eq!(log.0.bases(0).last(), Some(&bases[2]));
}

#[test]
fn cut_inside_a_batch_takes_the_whole_batch() {
    let log = Replica::new();
    for _ in 0..20 {
        log.lead(1, plain(&[NOW; 3]));
    }
    let cut = log.cut(31);
    assert_eq!((cut.log_end, cut.offsets), (Offset(30), 30));
}

#[test]
fn cut_brings_high_watermark_and_recovery_point_down_and_says_so() {
    let log = Replica::new();
    log.fill(1, 60);
    log.0.log.flush(NOW).unwrap();
    log.fill(1, 10);
    log.0.log.advance_high_watermark(Offset(50));
    let cut = log.cut(65);
    assert_eq!((cut.recovery_point_moved, log.0.log.high_watermark()), (false, Offset(50)));
    assert!(log.cut(40).recovery_point_moved);
    assert_eq!((log.0.log.recovery_point(), log.0.log.high_watermark()), (Offset(40), Offset(40)));
    log.fill(2, 5);
    assert_eq!(log.0.log.flush(NOW).unwrap(), Offset(45));
}

#[test]
fn epochs_follow_a_cut_and_survive_every_kind_of_stop() {
    for stop in [LastStop::Clean, LastStop::Killed, LastStop::Unknown] {
        let log = Replica::new();
        [1, 2, 5].iter().for_each(|epoch| log.fill(*epoch, 20));
        let _cut = log.cut(30);
        assert_eq!((log.last_epoch(), log.end_of(2), log.end_of(5)), (2, Some((2, 30)), None));
        log.fill(7, 3);
        let log = log.stop(stop);
        assert_eq!([log.end_of(1), log.end_of(2), log.end_of(7)], [Some((1, 20)), Some((2, 30)), Some((7, 33))]);
    }
}

#[test]
fn epochs_that_the_disk_lost_are_read_from_the_log() {
    let log = Replica::new();
    [1, 2, 5].iter().for_each(|epoch| log.fill(*epoch, 20));
    // What was in the file when the machine went down: nothing of epoch 5, and something that was cut later.
    fs::write(log.0.dir().join("leader-epoch-checkpoint"), "0\n3\n1 0\n2 20\n3 37\n").unwrap();
    let log = log.stop(LastStop::Unknown);
    assert_eq!([log.end_of(2), log.end_of(3), log.end_of(5)], [Some((2, 40)), Some((2, 40)), Some((5, 60))]);
    let file = fs::read_to_string(log.0.dir().join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(file, "0\n3\n1 0\n2 20\n5 40\n");
}

#[test]
fn tail_that_was_cut_once_and_came_back_is_cut_again() {
    let log = Replica::new();
    log.fill(1, 4);
    let _cut = log.cut(2);
    log.fill(3, 2);
    // The disk has the new records, and behind them an old one of a length that fits.
    let file = fs::OpenOptions::new().write(true).open(log.0.dir().join(&log.0.files(".log")[0])).unwrap();
    let size = log.0.log.size();
    file.write_all_at(&stored(4, 1, plain(&[NOW])), size).unwrap();
    let log = log.stop(LastStop::Unknown);
    assert_eq!((log.end(), log.last_epoch()), (4, 3));
}

#[test]
fn torn_tail_of_a_follower_is_cut_and_then_the_rest_as_the_leader_demands() {
    for stop in [LastStop::Killed, LastStop::Unknown] {
        let (leader, follower) = (Replica::new(), Replica::new());
        leader.fill(1, 20);
        follower.follow(&leader, 1);
        follower.fill(2, 10); // it led for a while, and nobody followed
        leader.fill(3, 10);
        let file = follower.0.active_file();
        let size = fs::metadata(&file).unwrap().len();
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size - 7).unwrap();
        let follower = follower.stop(stop);
        assert_eq!(follower.end(), 29);
        assert_eq!(follower.agree_with(&leader), 1);
        assert_eq!(follower.end(), 20);
        follower.follow(&leader, 3);
        assert_eq!(follower.files_with(".log").concat(), leader.files_with(".log").concat());
    }
}

#[test]
fn restarted_follower_keeps_what_its_high_watermark_did_not_cover() {
    // KIP-101, first scenario: B has both records, its high watermark lags. It restarts, A fails, B leads. Cut at its
    // high watermark, the second record would be gone although it was committed.
    let (a, b) = (Replica::new(), Replica::new());
    a.fill(0, 2);
    b.follow(&a, 0);
    b.0.log.advance_high_watermark(Offset(1));
    let b = b.stop(LastStop::Killed);
    assert_eq!(b.agree_with(&a), 0);
    b.0.log.note_leadership(LeaderEpoch(1)).unwrap();
    assert_eq!(a.agree_with(&b), 0);
    assert_eq!((a.end(), b.end()), (2, 2));
}

#[test]
fn replicas_that_lost_different_tails_do_not_diverge() {
    // KIP-101, second scenario: A has two records, B lost the second and leads first; A comes back.
    let (a, b) = (Replica::new(), Replica::new());
    a.fill(0, 1);
    b.follow(&a, 0);
    a.lead(0, plain(&[NOW + 1]));
    b.0.log.note_leadership(LeaderEpoch(1)).unwrap();
    b.lead(1, plain(&[NOW + 2, NOW + 3]));
    assert_eq!(a.agree_with(&b), 1);
    a.follow(&b, 1);
    assert_eq!(a.0.read(0), b.0.read(0));
}

#[test]
fn fast_changes_of_leaders_take_a_cut_for_each_epoch_that_is_not_shared() {
    // KIP-279: each led for a moment while the other was away.
    let (a, b) = (Replica::new(), Replica::new());
    a.fill(1, 10);
    b.follow(&a, 1);
    a.fill(2, 3);
    b.fill(3, 5);
    a.fill(4, 2);
    b.0.log.note_leadership(LeaderEpoch(5)).unwrap();
    assert_eq!(b.end_of(a.last_epoch()), Some((3, 15)), "an epoch that A never saw");
    assert_eq!(a.agree_with(&b), 2);
    assert_eq!(a.end(), 10);
    a.follow(&b, 5);
    assert_eq!(a.0.read(0), b.0.read(0));
}

#[test]
fn retry_of_a_replicated_batch_is_recognised_by_the_next_leader() {
    let (a, b) = (Replica::new(), Replica::new());
    for i in 0..8 {
        a.lead(1, idempotent(9, 0, i * 2, 2));
    }
    b.follow(&a, 1);
    b.0.log.note_leadership(LeaderEpoch(2)).unwrap();
    for batch in 3..8 {
        let retry = idempotent(9, 0, batch * 2, 2).build().unwrap();
        let answer = b.0.log.append(&retry, Origin::Client, LeaderEpoch(2), NOW).unwrap();
        assert_eq!((answer.duplicate, answer.base_offset), (true, Offset(i64::from(batch) * 2)));
    }
    assert_eq!(b.lead(2, idempotent(9, 0, 16, 2)), 16);
}

#[test]
fn producers_go_back_with_the_records_that_were_cut() {
    for stop in [None, Some(LastStop::Killed), Some(LastStop::Unknown)] {
        let log = Replica::new();
        for i in 0..20 {
            log.lead(1, idempotent(9, 0, i * 2, 2));
            log.lead(1, plain(&[NOW]));
        }
        log.lead(1, idempotent(10, 0, 0, 1)); // all that there is of this one goes
        let _cut = log.cut(30); // ten of each
        let log = match stop {
            None => log,
            Some(stop) => log.stop(stop),
        };
        let append =
            |batch: BatchBuilder| log.0.log.append(&batch.build().unwrap(), Origin::Client, LeaderEpoch(2), NOW);
        assert!(append(idempotent(9, 0, 18, 2)).unwrap().duplicate, "{stop:?}");
        assert!(matches!(append(idempotent(9, 0, 22, 2)), Err(AppendError::OutOfOrderSequence { expected: 20, .. })));
        assert_eq!(append(idempotent(9, 0, 20, 2)).unwrap().base_offset, Offset(30));
        assert_eq!(append(idempotent(10, 0, 0, 1)).unwrap().base_offset, Offset(32));
    }
}

#[test]
fn producers_are_had_back_from_snapshots_between_segments() {
    let log = Replica(Fixture::new(LogConfig::default()));
    let large = |i: i32| {
        let stamp = twinstream_protocol::batch::ProducerStamp {
            id: twinstream_model::ProducerId(9),
            epoch: twinstream_model::ProducerEpoch(0),
            base_sequence: i,
        };
        let mut builder = BatchBuilder::new();
        builder.append(NOW, None, Some(&vec![7; 500_000]), []);
        builder.with_producer(stamp)
    };
    for i in 0..110 {
        log.lead(1, large(i));
        if i % 10 == 0 {
            log.0.log.flush(NOW).unwrap();
        }
    }
    let snapshots = log.0.files(".snapshot");
    assert_eq!(snapshots.len(), 2, "55 MB: a flush writes one after 16 MiB, two are kept: {snapshots:?}");
    // A cut that takes the newest leaves the other.
    let between: Vec<i64> = snapshots.iter().map(|name| name[..20].parse().unwrap()).collect();
    let _cut = log.cut(between[1] - 1);
    assert_eq!(log.0.files(".snapshot").len(), 1);
    let log = log.stop(LastStop::Killed);
    let append = |i| log.0.log.append(&large(i).build().unwrap(), Origin::Client, LeaderEpoch(1), NOW).unwrap();
    assert!(append(between[1] as i32 - 2).duplicate);
    assert_eq!(append(between[1] as i32 - 1).base_offset, Offset(between[1] - 1));
}

#[test]
fn producer_snapshot_comes_without_a_flush_when_none_came_for_long() {
    let log = Replica(Fixture::new(LogConfig::default()));
    for _ in 0..68 {
        assert_eq!(log.0.files(".snapshot").len(), 0);
        let mut builder = BatchBuilder::new();
        builder.append(NOW, None, Some(&vec![7; 1_000_000]), []);
        log.lead(1, builder);
    }
    assert_eq!(log.0.files(".snapshot").len(), 1, "after 64 MiB");
}

#[test]
fn log_that_its_leader_has_deleted_begins_anew() {
    let log = Replica::new();
    log.lead(1, idempotent(9, 0, 0, 2));
    log.fill(2, 40);
    log.0.log.flush(NOW).unwrap();
    let restarted = log.0.log.restart_at(Offset(500)).unwrap();
    assert_eq!((restarted.log_end, restarted.recovery_point_moved), (Offset(500), false));
    let positions = |log: &Replica| {
        let log = &log.0.log;
        [log.log_start_offset().0, log.high_watermark().0, log.recovery_point().0, log.log_end_offset().0]
    };
    assert_eq!(positions(&log), [500; 4]);
    assert_eq!((log.0.log.producer_count(), log.last_epoch(), log.end_of(2)), (0, -1, None));
    log.0.log.append_as_follower(&stored(500, 6, plain(&[NOW])), LeaderEpoch(6), NOW).unwrap();
    let log = log.stop(LastStop::Unknown);
    assert_eq!((log.end(), log.0.bases(500), log.0.files(".log").len()), (501, vec![500], 1));
    // A leader whose log begins earlier: possible after an unclean election.
    log.0.log.flush(NOW).unwrap();
    assert!(log.0.log.restart_at(Offset(3)).unwrap().recovery_point_moved);
    assert_eq!(positions(&log), [3; 4]);
}

#[test]
fn empty_log_begins_with_the_batch_that_its_start_lies_in() {
    let (leader, log) = (Replica::new(), Replica::new());
    leader.lead(3, plain(&[NOW; 10]));
    leader.lead(3, idempotent(9, 0, 40, 10));
    leader.fill(4, 1);
    leader.0.log.advance_high_watermark(Offset(21));
    leader.0.log.delete_records(Offset(15), NOW).unwrap();
    let _restarted = log.0.log.restart_at(Offset(15)).unwrap();
    let bytes = leader.0.read(15);
    assert_eq!(log.0.log.begin_of(&bytes), Some(Offset(10)));
    assert!(log.0.log.append_as_follower(&bytes, LeaderEpoch(4), NOW).is_err());
    assert!(log.0.log.restart_at(Offset(10)).unwrap().recovery_point_moved);
    assert_eq!(log.0.log.begin_of(&bytes), None);
    log.0.log.append_as_follower(&bytes, LeaderEpoch(4), NOW).unwrap();
    log.follow(&leader, 4);
    log.0.log.advance_high_watermark(Offset(21));
    assert_eq!(log.0.log.follow_log_start(Offset(15), NOW).unwrap(), Offset(15));
    let log = log.stop(LastStop::Unknown);
    assert_eq!((log.end(), log.end_of(3), log.end_of(4)), (21, Some((3, 20)), Some((4, 21))));
    let retry = idempotent(9, 0, 40, 10).build().unwrap();
    let answer = log.0.log.append(&retry, Origin::Client, LeaderEpoch(5), NOW).unwrap();
    assert_eq!((answer.duplicate, answer.base_offset), (true, Offset(10)));
}

#[test]
fn log_is_moved_for_no_other_batch() {
    let log = Replica::new();
    assert_eq!(log.0.log.begin_of(&stored(0, 1, plain(&[NOW; 3]))), None);
    let _restarted = log.0.log.restart_at(Offset(15)).unwrap();
    let begin = |base| log.0.log.begin_of(&stored(base, 1, plain(&[NOW; 10])));
    assert_eq!([4, 5, 6, 14, 15, 16].map(begin), [None, None, Some(6), Some(14), None, None].map(|at| at.map(Offset)));
    assert_eq!((begin(-1), log.0.log.begin_of(&[]), log.0.log.begin_of(&[0; 30])), (None, None, None));
    log.0.log.append_as_follower(&stored(15, 1, plain(&[NOW])), LeaderEpoch(1), NOW).unwrap();
    assert_eq!(begin(10), None, "it has records");
}

#[test]
fn log_start_follows_the_leader_as_far_as_is_committed() {
    let log = Replica::new();
    log.fill(1, 60);
    log.0.log.advance_high_watermark(Offset(40));
    assert_eq!(log.0.log.follow_log_start(Offset(17), NOW).unwrap(), Offset(17));
    assert_eq!(log.0.log.follow_log_start(Offset(3), NOW).unwrap(), Offset(17));
    assert_eq!(log.0.log.follow_log_start(Offset(50), NOW).unwrap(), Offset(40));
    assert!(log.0.bases(40).starts_with(&[40]));
}

#[test]
fn closed_log_is_neither_followed_nor_cut() {
    let log = Replica::new();
    log.fill(1, 2);
    log.0.log.close(NOW).unwrap();
    let bytes = stored(2, 1, plain(&[NOW]));
    let refused = log.0.log.append_as_follower(&bytes, LeaderEpoch(1), NOW);
    assert!(matches!(refused, Err(AppendError::Storage(LogError::Closed))));
    assert!(matches!(log.0.log.truncate_to(Offset(0)), Err(LogError::Closed)));
    assert!(matches!(log.0.log.restart_at(Offset(0)), Err(LogError::Closed)));
    assert!(matches!(log.0.log.note_leadership(LeaderEpoch(2)), Err(LogError::Closed)));
}

#[test]
fn failed_cut_puts_the_log_out_of_use() {
    let log = Replica::new();
    log.fill(1, 60);
    // A segment that has to go cannot be renamed, because its name is gone.
    let last = log.0.files(".log").pop().unwrap();
    fs::remove_file(log.0.dir().join(last)).unwrap();
    let checked = log.0.dir().with_file_name(".twinstream-running");
    fs::write(&checked, "version: 0").unwrap();
    assert!(log.0.log.truncate_to(Offset(3)).is_err());
    assert!(log.0.log.is_poisoned());
    assert!(matches!(log.0.log.truncate_to(Offset(1)), Err(LogError::Poisoned { .. })));
    assert!(!checked.exists(), "the next start must not trust the page cache");
}

#[test]
fn truncation_cuts_at_a_batch_and_forgets_what_was_behind() {
    let log = Fixture::new(small());
    for i in 0..20 {
        log.append(idempotent(9, 0, i * 2, 2)).unwrap();
    }
    let cut = log.log.truncate_to(Offset(11)).unwrap();
    assert_eq!(cut, Truncated { log_end: Offset(10), offsets: 30, recovery_point_moved: false });
    assert_eq!((log.end(), log.log.high_watermark()), (10, Offset(10)));
    assert!(log.append(idempotent(9, 0, 8, 2)).unwrap().duplicate);
    assert_eq!(log.append(idempotent(9, 0, 10, 2)).unwrap().base_offset, Offset(10));
    assert_eq!(log.bases(0), [0, 2, 4, 6, 8, 10]);
    let log = log.crash();
    assert_eq!(log.end(), 12);
}

#[test]
fn cut_that_breaks_off_leaves_no_hole() {
    for end in [3, 0] {
        let replica = Replica::new();
        replica.fill(1, 60);
        let files = replica.0.files(".log");
        assert!(files.len() > 3);
        // The cut ends here, as if the process did: a folder stands where a file would be renamed to.
        let obstacle = replica.0.dir().join(format!("{}.deleted", files[1]));
        fs::create_dir_all(obstacle.join("full")).unwrap();
        replica.0.log.truncate_to(Offset(end)).unwrap_err();
        fs::remove_dir_all(&obstacle).unwrap();
        let replica = replica.stop(LastStop::Killed);
        let left = replica.end();
        assert!((1..60).contains(&left), "{left}");
        assert_eq!(replica.0.bases(0), (0..left).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_read_while_the_log_is_cut() {
    let replica = Replica::new();
    replica.fill(1, 5);
    let read = || replica.0.log.read(Offset(0), 1 << 20, true, Offset(5)).unwrap();
    let cutting = replica.0.log.cuts.begin();
    assert!(read().is_empty());
    drop(cutting);
    assert!(!read().is_empty());
}
