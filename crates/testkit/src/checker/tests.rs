//! Each anomaly, planted by hand into a history that is clean without it, is found under its name.

use super::*;
use crate::history::{Value, Worker};

mod groups; // of members that come and go
mod transactions; // of several workers

const PRODUCER: Worker = Worker(1);
const READER: Worker = Worker(2);

fn value(number: u64) -> Value {
    Value { worker: PRODUCER, number }
}

/// A history in the making; an event a millisecond.
#[derive(Default)]
struct Story(Vec<Event>);

impl Story {
    fn then(mut self, worker: Worker, what: What) -> Self {
        let at_us = (self.0.len() as u64 + 1) * 1_000;
        self.0.push(Event { at_us, worker, what });
        self
    }

    fn send(self, number: u64) -> Self {
        self.then(PRODUCER, What::Send { partition: 0, values: vec![value(number)] })
    }

    fn sent(self, number: u64, offset: i64) -> Self {
        self.send(number).then(PRODUCER, What::Sent { partition: 0, values: vec![value(number)], offset })
    }

    /// Sent, and nobody knows.
    fn doubtful(self, number: u64) -> Self {
        self.send(number).then(PRODUCER, What::Unknown { values: vec![value(number)], reason: "timed out".to_owned() })
    }

    fn failed(self, number: u64) -> Self {
        self.send(number).then(PRODUCER, What::Failed { values: vec![value(number)], reason: "too large".to_owned() })
    }

    fn starts(self, offset: i64) -> Self {
        self.then(READER, What::Assigned { partitions: vec![(0, offset)] })
    }

    fn polls(self, records: &[(i64, u64)]) -> Self {
        let records = records.iter().map(|(offset, number)| (*offset, value(*number))).collect();
        self.then(READER, What::Polled { partition: 0, records })
    }

    fn healed(self) -> Self {
        self.then(Worker::NEMESIS, What::Healed)
    }

    /// The last reading of all, up to the end.
    fn ends_with(self, records: &[(i64, u64)]) -> Self {
        let end = records.last().map_or(0, |(offset, _)| offset + 1);
        let story = self.healed();
        let asked_us = (story.0.len() as u64 + 1) * 1_000;
        let end = What::End { partition: 0, offset: end, asked_us };
        story.starts(0).polls(records).then(READER, end)
    }

    #[track_caller]
    fn has(self, expected: &[Kind]) {
        let verdict = judge(&self.0);
        assert_eq!(verdict.kinds(), expected, "{verdict}");
        for kind in expected {
            assert!(verdict.to_string().contains(kind.name()), "{verdict}");
        }
    }
}

fn three() -> Story {
    Story::default().sent(0, 0).sent(1, 1).sent(2, 2)
}

#[test]
fn a_clean_history_passes_and_is_counted() {
    let story = three().doubtful(3).doubtful(4).failed(5).starts(0).polls(&[(0, 0), (1, 1)]).polls(&[(2, 2)]);
    let story = story.ends_with(&[(0, 0), (1, 1), (2, 2), (3, 4)]);
    let verdict = judge(&story.0);
    assert!(verdict.is_clean(), "{verdict}");
    let counts =
        Counts { sent: 6, acknowledged: 3, failed: 1, unknown: 2, unknown_found: 1, read: 4, ..Counts::default() };
    assert_eq!(verdict.counts, counts);
    assert!(verdict.to_string().ends_with("no anomaly"), "{verdict}");
}

#[test]
fn an_acknowledged_record_missing_in_the_middle_is_lost() {
    three().ends_with(&[(0, 0), (2, 2)]).has(&[Kind::LostWrite, Kind::OffsetGap, Kind::IntPollSkip]);
}

#[test]
fn an_acknowledged_record_missing_at_the_end_is_lost() {
    three().ends_with(&[(0, 0), (1, 1)]).has(&[Kind::LostWrite]);
}

#[test]
fn a_partition_that_came_back_empty_lost_everything() {
    let verdict = judge(&three().ends_with(&[]).0);
    assert_eq!((verdict.kinds(), verdict.count(Kind::LostWrite)), (vec![Kind::LostWrite], 3), "{verdict}");
}

#[test]
fn an_offset_that_is_given_away_again_is_a_loss_and_inconsistent() {
    three().sent(3, 2).ends_with(&[(0, 0), (1, 1), (2, 3)]).has(&[
        Kind::LostWrite,
        Kind::InconsistentOffsets,
        Kind::NonmonotonicSend,
    ]);
}

#[test]
fn two_readers_that_see_different_values_at_one_offset_are_inconsistent() {
    let other = What::Polled { partition: 0, records: vec![(3, value(4))] };
    let story = three().doubtful(3).doubtful(4).starts(3).polls(&[(3, 3)]).then(Worker(9), other);
    story.ends_with(&[(0, 0), (1, 1), (2, 2), (3, 4)]).has(&[Kind::InconsistentOffsets, Kind::VanishedRead]);
}

#[test]
fn an_acknowledgement_without_an_offset_counts_all_the_same() {
    three().sent(3, -1001).sent(4, 4).ends_with(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]).has(&[]);
    three().sent(3, -1001).ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::LostWrite]);
}

#[test]
fn a_value_at_two_offsets_is_a_duplicate() {
    three().ends_with(&[(0, 0), (1, 1), (2, 2), (3, 1)]).has(&[Kind::Duplicate]);
}

#[test]
fn a_retried_value_that_was_acknowledged_at_another_place_is_a_duplicate() {
    Story::default().sent(0, 0).sent(1, 2).ends_with(&[(0, 0), (1, 1), (2, 1)]).has(&[Kind::Duplicate]);
}

#[test]
fn a_log_against_the_order_of_sending_is_reordered() {
    let story = Story::default().sent(0, 0).doubtful(1).sent(2, 1);
    story.ends_with(&[(0, 0), (1, 2), (2, 1)]).has(&[Kind::Reordered]);
}

#[test]
fn acknowledged_offsets_against_the_order_of_sending_are_told_as_such() {
    let story = Story::default().sent(0, 1).sent(1, 0);
    story.ends_with(&[(0, 1), (1, 0)]).has(&[Kind::Reordered, Kind::NonmonotonicSend]);
}

#[test]
fn a_reader_that_is_told_of_an_old_end_after_healing_reads_stale() {
    let story = three().healed().starts(0).polls(&[(0, 0), (1, 1)]);
    let old_end = What::End { partition: 0, offset: 2, asked_us: 8_000 };
    story.then(READER, old_end).ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::StaleRead]);
}

#[test]
fn a_reader_that_asked_before_the_acknowledgement_or_before_healing_may_be_behind() {
    let behind = What::End { partition: 0, offset: 2, asked_us: 5_000 };
    let story = three().healed().then(READER, behind.clone());
    story.ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[]);
    let broken = What::End { partition: 0, offset: 2, asked_us: 7_500 };
    three().then(READER, broken).ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[]);
}

#[test]
fn a_read_of_what_failed_is_an_aborted_read() {
    three().failed(3).ends_with(&[(0, 0), (1, 1), (2, 2), (3, 3)]).has(&[Kind::AbortedRead]);
}

#[test]
fn a_read_of_what_vanishes_is_told_as_such() {
    let story = three().doubtful(3).starts(2).polls(&[(2, 2), (3, 3)]);
    story.ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::VanishedRead]);
}

#[test]
fn a_read_of_what_nobody_sent_is_garbage() {
    three().ends_with(&[(0, 0), (1, 1), (2, 2), (3, 77)]).has(&[Kind::GarbageRead]);
    let strange = What::Garbage { partition: 0, offset: 3, text: "\\0\\0".to_owned() };
    three().then(READER, strange).ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::GarbageRead]);
}

#[test]
fn a_reader_that_jumps_over_a_record_skips() {
    let story = three().starts(0).polls(&[(0, 0)]).polls(&[(2, 2)]);
    story.ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::PollSkip]);
    let story = three().starts(0).polls(&[(1, 1), (2, 2)]);
    story.ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::PollSkip]);
    let story = three().starts(0).polls(&[(0, 0), (2, 2)]);
    story.ends_with(&[(0, 0), (1, 1), (2, 2)]).has(&[Kind::IntPollSkip]);
}

#[test]
fn a_reader_that_goes_back_is_not_monotonic_unless_it_was_assigned_anew() {
    let all = [(0, 0), (1, 1), (2, 2)];
    three().starts(0).polls(&[(0, 0), (1, 1)]).polls(&[(1, 1)]).ends_with(&all).has(&[Kind::NonmonotonicPoll]);
    three().starts(0).polls(&[(0, 0), (1, 1), (0, 0)]).ends_with(&all).has(&[Kind::IntNonmonotonicPoll]);
    three().starts(0).polls(&[(0, 0), (1, 1)]).starts(1).polls(&[(1, 1)]).ends_with(&all).has(&[]);
}

#[test]
fn records_of_one_batch_stand_side_by_side_in_their_order() {
    let batch = |numbers: &[u64]| What::Send { partition: 0, values: numbers.iter().copied().map(value).collect() };
    let other = Value { worker: Worker(5), number: 0 };
    let foreign = |story: Story| {
        let sent = What::Sent { partition: 0, values: vec![other], offset: 1 };
        story.then(Worker(5), What::Send { partition: 0, values: vec![other] }).then(Worker(5), sent)
    };
    let with_other = |story: Story| {
        let mut story = story.ends_with(&[(0, 0), (2, 1)]);
        for event in &mut story.0 {
            if let What::Polled { records, .. } = &mut event.what {
                records.insert(1, (1, other));
            }
        }
        story
    };
    with_other(foreign(Story::default().then(PRODUCER, batch(&[0, 1])))).has(&[Kind::IntSendSkip]);
    let turned = Story::default().then(PRODUCER, batch(&[0, 1])).ends_with(&[(0, 1), (1, 0)]);
    turned.has(&[Kind::Reordered, Kind::IntNonmonotonicSend]);
}

#[test]
fn without_a_last_reading_only_what_readers_passed_is_lost() {
    three().starts(0).polls(&[(0, 0)]).starts(2).polls(&[(2, 2)]).has(&[Kind::LostWrite]);
    three().starts(0).polls(&[(0, 0), (1, 1)]).has(&[Kind::Unseen]);
}

#[test]
fn a_reading_before_the_next_fault_is_not_the_last_one() {
    let story = three().ends_with(&[(0, 0), (1, 1), (2, 2)]);
    let story = story.then(Worker::NEMESIS, What::Fault { step: "SIGKILL 1".to_owned() });
    story.ends_with(&[(0, 0), (1, 1)]).has(&[Kind::LostWrite]);
}
