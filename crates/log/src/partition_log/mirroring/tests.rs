use proptest::prelude::*;
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, BatchMut};

use super::*;
use crate::LastStop;
use crate::partition_log::tests::{Fixture, NOW, idempotent, plain, small};

/// The leader epoch of the mirror, unless a test says otherwise.
const OURS: LeaderEpoch = LeaderEpoch(9);

/// A batch as it stands in the source's log.
fn stored(base: i64, epoch: i32, batch: BatchBuilder) -> Vec<u8> {
    let mut bytes = batch.build().unwrap();
    let mut header = BatchMut::parse(&mut bytes).unwrap();
    header.set_base_offset(Offset(base));
    header.set_leader_epoch(LeaderEpoch(epoch));
    bytes
}

fn transactional(id: i64, sequence: i32) -> BatchBuilder {
    idempotent(id, 3, sequence, 1).with_transactional()
}

fn marker(id: i64, commit: bool) -> Vec<u8> {
    let (producer_id, producer_epoch) = (ProducerId(id), ProducerEpoch(3));
    EndMarker { producer_id, producer_epoch, commit, coordinator_epoch: 5 }.to_batch(NOW).unwrap()
}

/// A marker as it stands in the source's log.
fn stored_marker(base: i64, epoch: i32, id: i64, commit: bool) -> Vec<u8> {
    let mut bytes = marker(id, commit);
    let mut header = BatchMut::parse(&mut bytes).unwrap();
    header.set_base_offset(Offset(base));
    header.set_leader_epoch(LeaderEpoch(epoch));
    bytes
}

struct Mirror(Fixture);

impl Mirror {
    fn new() -> Mirror {
        Mirror(Fixture::new(small()))
    }

    fn append_from(&self, source: MirroredFrom, bytes: &[u8]) -> Result<Mirrored, AppendError> {
        let appended = self.0.log.append_mirrored(bytes, &source, OURS, NOW);
        self.0.log.advance_high_watermark(self.0.log.log_end_offset());
        appended
    }

    /// From a source that has all of its log.
    fn append(&self, from: i64, bytes: &[u8]) -> Result<Mirrored, AppendError> {
        self.append_from(
            MirroredFrom {
                from: Offset(from),
                source_start: Offset(0),
                source_epoch: OURS,
                last_epoch: LeaderEpoch::NONE,
            },
            bytes,
        )
    }

    fn end(&self) -> i64 {
        self.0.end()
    }
}

#[test]
fn a_mirror_has_the_bytes_of_its_source_markers_gaps_and_epochs_included() {
    let mirror = Mirror::new();
    let source = [
        stored(0, 1, plain(&[NOW, NOW])),
        stored(2, 1, transactional(7, 0)),
        stored_marker(3, 2, 7, true),
        stored(9, 4, plain(&[NOW])),
    ];
    let appended = mirror.append(0, &source.concat()).unwrap();
    let bytes = source.concat().len();
    assert_eq!(appended, Mirrored { log_end: Offset(10), end: Offset(10), bytes, records: 10 });
    assert_eq!(mirror.0.batches_from(0), source);
    let end_of = |epoch| mirror.0.log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.0, end.0));
    assert_eq!([end_of(1), end_of(2), end_of(4)], [Some((1, 3)), Some((2, 9)), Some((4, 10))]);
    assert_eq!(mirror.0.log.last_stable_offset(), Offset(10));
}

#[test]
fn what_comes_twice_is_there_once() {
    let mirror = Mirror::new();
    let batches = [stored(0, 1, plain(&[NOW, NOW])), stored(2, 1, plain(&[NOW]))];
    mirror.append(0, &batches.concat()).unwrap();
    for (from, bytes, end) in [(0, batches.concat(), 3), (0, batches[0].clone(), 2), (2, batches[1].clone(), 3)] {
        let again = mirror.append(from, &bytes).unwrap();
        assert_eq!(again, Mirrored { log_end: Offset(3), end: Offset(end), bytes: 0, records: 0 });
    }
    assert_eq!(mirror.0.batches_from(0), batches);
}

#[test]
fn what_goes_beyond_the_log_end_is_appended_from_there_on() {
    let mirror = Mirror::new();
    let batches = [stored(0, 1, plain(&[NOW])), stored(1, 1, plain(&[NOW])), stored(2, 1, plain(&[NOW]))];
    mirror.append(0, &batches[..2].concat()).unwrap();
    let appended = mirror.append(0, &batches.concat()).unwrap();
    assert_eq!((appended.log_end, appended.bytes), (Offset(3), batches[2].len()));
    assert_eq!(mirror.0.batches_from(0), batches);
}

#[test]
fn what_would_leave_a_hole_is_refused_and_the_log_end_is_told() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 1, plain(&[NOW]))).unwrap();
    let refused = mirror.append(2, &stored(2, 1, plain(&[NOW])));
    assert!(matches!(refused, Err(AppendError::Beyond { from: Offset(2), end: Offset(1) })), "{refused:?}");
    assert_eq!(mirror.end(), 1);
}

#[test]
fn what_is_gone_at_the_source_leaves_no_hole() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 1, plain(&[NOW]))).unwrap();
    let source = MirroredFrom {
        from: Offset(5_000_000_000),
        source_start: Offset(5_000_000_000),
        source_epoch: OURS,
        last_epoch: LeaderEpoch::NONE,
    };
    // DeleteRecords left the source's start within a batch.
    let batch = stored(4_999_999_999, 1, plain(&[NOW, NOW]));
    let appended = mirror.append_from(source, &batch).unwrap();
    assert_eq!(appended.log_end, Offset(5_000_000_001));
    assert_eq!(mirror.0.log.follow_log_start(source.source_start, NOW).unwrap(), source.source_start);
    let mirror = Mirror(mirror.0.reopen(|opening| opening.last_stop = LastStop::Unknown));
    assert_eq!((mirror.end(), mirror.0.bases(5_000_000_000)), (5_000_000_001, vec![4_999_999_999]));
    mirror.append(5_000_000_001, &stored(5_000_000_001, 1, plain(&[NOW]))).unwrap();
}

#[test]
fn nothing_but_a_question_is_answered_with_the_log_end() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 1, plain(&[NOW]))).unwrap();
    let asked = mirror.append(0, &[]).unwrap();
    assert_eq!(asked, Mirrored { log_end: Offset(1), end: Offset(1), bytes: 0, records: 0 });
    assert!(matches!(mirror.append(2, &[]), Err(AppendError::Beyond { .. })));
}

#[test]
fn an_epoch_above_the_leaders_waits_until_that_is_raised() {
    let mirror = Mirror::new();
    let batches = [stored(0, 9, plain(&[NOW])), stored(1, 10, plain(&[NOW]))].concat();
    let source = MirroredFrom {
        from: Offset(0),
        source_start: Offset(0),
        source_epoch: LeaderEpoch(12),
        last_epoch: LeaderEpoch::NONE,
    };
    let refused = mirror.append_from(source, &batches);
    assert!(matches!(refused, Err(AppendError::EpochAhead { theirs: LeaderEpoch(12), ours: OURS })), "{refused:?}");
    assert_eq!(mirror.end(), 0, "a part of a request would be as good, and more to think about");
    mirror.0.log.append_mirrored(&batches, &source, LeaderEpoch(12), NOW).unwrap();
    let asked = mirror.0.log.append_mirrored(&[], &source, OURS, NOW);
    assert!(
        matches!(asked, Err(AppendError::EpochAhead { .. })),
        "whoever may be promoted hears of it while nothing is written"
    );
}

#[test]
fn batches_that_no_source_has_are_refused_as_a_whole() {
    let mirror = Mirror::new();
    let good = stored(0, 3, plain(&[NOW, NOW]));
    mirror.append(0, &good).unwrap();
    let next = stored(2, 3, plain(&[NOW]));
    let refused = |bytes: Vec<u8>| {
        let error = mirror.append(2, &bytes).unwrap_err();
        assert_eq!(mirror.end(), 2);
        error.to_string()
    };
    assert_eq!(refused(stored(1, 3, plain(&[NOW, NOW]))), "batch at offset 1 lies before the log end 2");
    assert_eq!(refused(stored(2, 2, plain(&[NOW]))), "batch at offset 2 has epoch 2, after epoch 3");
    assert_eq!(refused(stored(2, 10, plain(&[NOW]))), "batch at offset 2 has epoch 10, its leader has epoch 9");
    assert!(refused([next.clone(), next.clone()].concat()).contains("follows one that ends at 2"));
    assert!(refused(next[..next.len() - 1].to_vec()).contains("bytes"), "a link sends whole batches");
    let mut flipped = next.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(refused([next, flipped].concat()).contains("fails its checksum"));
}

#[test]
fn a_source_that_was_cut_is_noticed_by_its_epochs() {
    let mirror = Mirror::new();
    mirror.append(0, &[stored(0, 1, plain(&[NOW])), stored(1, 1, plain(&[NOW]))].concat()).unwrap();
    let rewritten = mirror.append(1, &stored(1, 4, plain(&[NOW]))).unwrap_err().to_string();
    assert!(rewritten.contains("has epoch 4 at offset 1, its mirror has epoch 1"), "{rewritten}");
}

#[test]
fn a_fork_behind_the_log_end_is_noticed_by_the_epoch_before_the_records() {
    let mirror = Mirror::new();
    mirror.append(0, &[stored(0, 1, plain(&[NOW])), stored(1, 3, plain(&[NOW]))].concat()).unwrap();
    let behind = |last_epoch: i32, from: i64| MirroredFrom {
        from: Offset(from),
        source_start: Offset(0),
        source_epoch: OURS,
        last_epoch: LeaderEpoch(last_epoch),
    };
    let next = stored(2, 5, plain(&[NOW]));
    let parted = mirror.append_from(behind(4, 2), &next).unwrap_err().to_string();
    assert!(parted.contains("has epoch 4 at offset 1, its mirror has epoch 3"), "{parted}");
    assert_eq!(mirror.end(), 2);
    assert!(mirror.append_from(behind(4, 2), &[]).is_err(), "a question alone is enough");
    mirror.append_from(behind(3, 2), &next).unwrap();
    assert_eq!(mirror.end(), 3);
}

#[test]
fn a_cut_goes_below_the_high_watermark_and_takes_transactions_with_it() {
    let mirror = Mirror::new();
    let kept = [stored(0, 1, plain(&[NOW])), stored(1, 1, transactional(1, 0))];
    let gone = [stored_marker(2, 1, 1, true), stored(3, 2, transactional(2, 0)), stored(4, 2, plain(&[NOW]))];
    mirror.append(0, &[kept.concat(), gone.concat()].concat()).unwrap();
    let refused = mirror.0.log.cut_mirrored(Offset(2), LeaderEpoch(2)).unwrap_err().to_string();
    assert!(refused.contains("goes on at offset 2 with epoch 2"), "{refused}");
    assert_eq!(mirror.end(), 5, "a cut that replicas could not follow is none");
    let cut = mirror.0.log.cut_mirrored(Offset(2), LeaderEpoch(3)).unwrap();
    assert_eq!((cut.log_end, cut.offsets), (Offset(2), 3));
    assert_eq!((mirror.end(), mirror.0.log.high_watermark()), (2, Offset(2)));
    assert_eq!(mirror.0.log.last_stable_offset(), Offset(1), "its marker went, so the transaction is open again");
    assert_eq!(mirror.0.log.cut_mirrored(Offset(2), LeaderEpoch(3)).unwrap().offsets, 0, "once is as good as twice");
    let instead = [stored_marker(2, 3, 1, false), stored(3, 3, plain(&[NOW]))];
    mirror.append(2, &instead.concat()).unwrap();
    let mirror = Mirror(mirror.0.crash());
    assert_eq!(mirror.0.batches_from(0), [kept, instead].concat());
    let end_of = |epoch| mirror.0.log.end_offset_for_epoch(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.0, end.0));
    assert_eq!([end_of(1), end_of(2), end_of(3)], [Some((1, 2)), Some((1, 2)), Some((3, 4))], "followers see the fork");
}

#[test]
fn where_a_promotion_began_is_known_when_its_records_are_gone() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 3, plain(&[NOW, NOW]))).unwrap();
    let promoted = LeaderEpoch(1_024);
    mirror.0.log.note_leadership(promoted).unwrap();
    let own = plain(&[NOW]).build().unwrap();
    for epoch in [promoted, LeaderEpoch(1_030)] {
        mirror.0.log.append(&own, Origin::Client, epoch, NOW).unwrap();
    }
    mirror.0.log.advance_high_watermark(mirror.0.log.log_end_offset());
    assert_eq!(mirror.0.log.delete_records(Offset(4), NOW).unwrap(), Offset(4));
    let parted = |log: &PartitionLog| log.end_offset_for_epoch(LeaderEpoch(1_023)).map(|(_, end)| end);
    assert_eq!(parted(&mirror.0.log), Some(Offset(2)));
    let mirror = Mirror(mirror.0.crash());
    assert_eq!(parted(&mirror.0.log), Some(Offset(2)));
}

#[test]
fn transactions_that_began_before_the_log_does_count_as_old_as_its_first_record() {
    let mirror = Mirror::new();
    mirror.append(0, &[stored(0, 1, transactional(1, 0)), stored(1, 1, plain(&[NOW]))].concat()).unwrap();
    mirror.append(2, &stored(2, 2, plain(&[NOW]))).unwrap();
    assert_eq!(mirror.0.log.follow_log_start(Offset(2), NOW).unwrap(), Offset(2));
    assert_eq!(
        mirror.0.log.abort_foreign(LeaderEpoch::NONE..LeaderEpoch(2), LeaderEpoch(10), NOW).unwrap().transactions,
        0
    );
    assert_eq!(
        mirror.0.log.abort_foreign(LeaderEpoch::NONE..LeaderEpoch(3), LeaderEpoch(10), NOW).unwrap().transactions,
        1
    );
}

#[test]
fn repetitions_of_producers_are_known_to_the_mirror_once_it_is_promoted() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 1, idempotent(7, 3, 0, 2))).unwrap();
    let retry = idempotent(7, 3, 0, 2).build().unwrap();
    let appended = mirror.0.log.append(&retry, Origin::Client, OURS, NOW).unwrap();
    assert!(appended.duplicate && appended.base_offset == Offset(0));
}

#[test]
fn producer_whose_records_were_cut_goes_on_where_it_was_and_others_do_not() {
    let mirror = Mirror::new();
    mirror.append(0, &[stored(0, 1, idempotent(7, 3, 0, 2)), stored(2, 1, transactional(8, 0))].concat()).unwrap();
    let log = &mirror.0.log;
    let promoted = LeaderEpoch(10);
    let append = |id, sequence, origin| {
        log.append(&idempotent(id, 3, sequence, 1).build().unwrap(), origin, promoted, NOW).map(|done| done.base_offset)
    };
    assert!(matches!(append(7, 9, Origin::Client), Err(AppendError::OutOfOrderSequence { expected: 2, .. })));
    assert!(!log.forget_older(ProducerId(7), LeaderEpoch(1)) && !log.forget_older(ProducerId(99), promoted));
    assert!(!log.forget_older(ProducerId(8), promoted), "its transaction is open");
    assert!(log.forget_older(ProducerId(7), promoted));
    assert_eq!(append(7, 9, Origin::Client).unwrap(), Offset(3));
    // What it writes in the epoch of the promotion is in order again.
    assert!(!log.forget_older(ProducerId(7), promoted));
    assert!(matches!(append(7, 11, Origin::Client), Err(AppendError::OutOfOrderSequence { expected: 10, .. })));
}

#[test]
fn open_transactions_of_older_epochs_are_aborted_and_nothing_is_cut() {
    let mirror = Mirror::new();
    let source = [
        stored(0, 1, transactional(1, 0)),
        stored(1, 1, transactional(2, 0)),
        stored(2, 1, plain(&[NOW])),
        stored_marker(3, 1, 2, true),
        stored(4, 2, transactional(3, 0)),
    ];
    mirror.append(0, &source.concat()).unwrap();
    assert_eq!(mirror.0.log.last_stable_offset(), Offset(0));
    let promoted = LeaderEpoch(10);
    let aborted = mirror.0.log.abort_foreign(LeaderEpoch::NONE..promoted, promoted, NOW).unwrap();
    assert_eq!(aborted, Aborted { transactions: 2, refused: 0 });
    mirror.0.log.advance_high_watermark(mirror.0.log.log_end_offset());
    assert_eq!((mirror.end(), mirror.0.log.last_stable_offset()), (7, Offset(7)));
    assert_eq!(mirror.0.batches_from(0)[..5], source, "what was mirrored stays");
    let firsts: Vec<i64> =
        mirror.0.log.aborted_transactions(Offset(0), Offset(7)).unwrap().iter().map(|a| a.first_offset.0).collect();
    assert_eq!(firsts, [0, 4]);
    assert_eq!(
        mirror.0.log.end_offset_for_epoch(LeaderEpoch(9)),
        Some((LeaderEpoch(2), Offset(5))),
        "where the logs part"
    );
    assert_eq!(
        mirror.0.log.abort_foreign(LeaderEpoch::NONE..promoted, LeaderEpoch(11), NOW).unwrap(),
        Aborted::default()
    );
}

#[test]
fn a_marker_that_was_lost_with_its_leader_is_written_by_the_next_one() {
    let mirror = Mirror::new();
    mirror.append(0, &stored(0, 1, transactional(1, 0))).unwrap();
    let promoted = LeaderEpoch(10);
    mirror.0.log.abort_foreign(LeaderEpoch::NONE..promoted, promoted, NOW).unwrap();
    let _cut = mirror.0.log.truncate_to(Offset(1)).unwrap();
    let aborted = mirror.0.log.abort_foreign(LeaderEpoch::NONE..promoted, LeaderEpoch(11), NOW).unwrap();
    assert_eq!((aborted.transactions, mirror.end()), (1, 2));
}

#[test]
fn transactions_from_before_the_topic_was_a_mirror_again_are_not_touched() {
    let mirror = Mirror::new();
    let own = transactional(8, 0).build().unwrap();
    mirror.0.log.append(&own, Origin::Unverified, LeaderEpoch(3), NOW).unwrap();
    mirror.append(1, &stored(1, 6, transactional(9, 0))).unwrap();
    let foreign = LeaderEpoch(5)..LeaderEpoch(10);
    let aborted = mirror.0.log.abort_foreign(foreign, LeaderEpoch(10), NOW).unwrap();
    let open: Vec<_> =
        mirror.0.log.active_producers().into_iter().map(|producer| (producer.id, producer.open_since)).collect();
    assert_eq!((aborted.transactions, open), (1, vec![(ProducerId(8), Some(Offset(0))), (ProducerId(9), None)]));
}

#[test]
fn transactions_that_began_after_the_promotion_are_not_touched() {
    let mirror = Mirror::new();
    let promoted = LeaderEpoch(10);
    let own = transactional(8, 0).build().unwrap();
    mirror.0.log.append(&own, Origin::Unverified, promoted, NOW).unwrap();
    assert_eq!(
        mirror.0.log.abort_foreign(LeaderEpoch::NONE..promoted, LeaderEpoch(11), NOW).unwrap(),
        Aborted::default()
    );
}

/// What may happen between a source and its mirror.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The source takes a batch of so many records, behind a gap, in an epoch that is newer by so much.
    Written { records: usize, gap: i64, newer: i32 },
    /// The link sends so many batches from so many batches before the mirror's end on.
    Sent { back: usize, batches: usize },
    /// A new leader lacks so many batches.
    Lost { batches: usize },
    /// The source loses so many batches and goes on in a newer epoch; the link says so.
    Forked { batches: usize },
    /// The mirror's process dies and comes back.
    Crashed,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1usize..4, 0i64..3, 0i32..2).prop_map(|(records, gap, newer)| Event::Written { records, gap, newer }),
        6 => (0usize..4, 1usize..5).prop_map(|(back, batches)| Event::Sent { back, batches }),
        1 => (1usize..4).prop_map(|batches| Event::Lost { batches }),
        1 => (1usize..6).prop_map(|batches| Event::Forked { batches }),
        1 => Just(Event::Crashed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_mirror_is_a_prefix_of_its_source_whatever_is_sent_twice_lost_or_cut(events in proptest::collection::vec(event(), 1..60)) {
        let mut mirror = Mirror::new();
        let mut source: Vec<(i64, Vec<u8>)> = Vec::new();
        let (mut end, mut epoch) = (0, 0);
        for event in events {
            let here = source.partition_point(|(batch_end, _)| *batch_end <= mirror.end());
            match event {
                Event::Written { records, gap, newer } => {
                    epoch += newer;
                    let base = end + gap;
                    end = base + records as i64;
                    source.push((end, stored(base, epoch, plain(&vec![NOW; records]))));
                }
                Event::Sent { back, batches } => {
                    let first = here.saturating_sub(back);
                    let sent = source.iter().skip(first).take(batches);
                    let bytes: Vec<u8> = sent.flat_map(|(_, bytes)| bytes.clone()).collect();
                    let from = first.checked_sub(1).map_or(0, |before| source[before].0);
                    let place = MirroredFrom { from: Offset(from), source_start: Offset(0), source_epoch: LeaderEpoch(epoch), last_epoch: LeaderEpoch::NONE };
                    mirror.0.log.append_mirrored(&bytes, &place, LeaderEpoch(epoch), NOW).unwrap();
                }
                Event::Lost { batches } => {
                    let kept = here.saturating_sub(batches).checked_sub(1).map_or(0, |last| source[last].0);
                    let _cut = mirror.0.log.truncate_to(Offset(kept)).unwrap();
                }
                Event::Forked { batches } => {
                    source.truncate(source.len().saturating_sub(batches));
                    end = source.last().map_or(0, |last| last.0);
                    epoch += 1;
                    let cut = mirror.0.log.cut_mirrored(Offset(end), LeaderEpoch(epoch)).unwrap();
                    prop_assert_eq!(cut.log_end, mirror.0.log.log_end_offset());
                }
                Event::Crashed => mirror = Mirror(mirror.0.crash()),
            }
            let has: Vec<u8> = mirror.0.batches_from(0).concat();
            let whole: Vec<u8> = source.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert!(whole.starts_with(&has));
        }
    }
}
