//! Anomalies of transactions, each planted into a history that is clean without it.

use super::Story;
use crate::checker::{Kind, judge};
use crate::history::{Outcome, Value, What, Worker};

const ONE: Worker = Worker(1);
const TWO: Worker = Worker(5);
/// Sees what is not committed.
const CURIOUS: Worker = Worker(7);

fn value(worker: Worker, number: u64) -> Value {
    Value { worker, number }
}

impl Story {
    fn begin(self, worker: Worker) -> Self {
        self.then(worker, What::Begin)
    }

    /// Sent within a transaction, and acknowledged.
    fn puts(self, worker: Worker, number: u64, partition: i32, offset: i64) -> Self {
        let values = vec![value(worker, number)];
        let sent = What::Sent { partition, values: values.clone(), offset };
        self.then(worker, What::Send { partition, values }).then(worker, sent)
    }

    fn ends(self, worker: Worker, commit: bool, outcome: Outcome) -> Self {
        self.then(worker, What::Ending { commit }).then(worker, What::Ended { outcome })
    }

    fn commits(self, worker: Worker) -> Self {
        self.ends(worker, true, Outcome::Committed)
    }

    fn aborts(self, worker: Worker) -> Self {
        self.ends(worker, false, Outcome::Aborted)
    }

    fn sees(self, reader: Worker, partition: i32, records: &[(i64, Value)]) -> Self {
        self.then(reader, What::Polled { partition, records: records.to_vec() })
    }

    /// The last reading of what is committed, up to the ends.
    fn closes(self, ends: &[(i32, i64)], partitions: &[&[(i64, Value)]]) -> Self {
        let mut story = self.then(Worker::NEMESIS, What::Healed);
        let asked_us = (story.0.len() as u64 + 1) * 1_000;
        for ((partition, offset), records) in ends.iter().zip(partitions) {
            let reader = Worker(20 + u32::try_from(*partition).unwrap());
            let end = What::End { partition: *partition, offset: *offset, asked_us };
            story = story.then(reader, What::Assigned { partitions: vec![(*partition, 0)] });
            story = story.sees(reader, *partition, records).then(reader, end);
        }
        story
    }
}

/// Two values of one transaction in two partitions, which is committed; markers stand behind them.
fn committed() -> Story {
    Story::default().begin(ONE).puts(ONE, 0, 0, 0).puts(ONE, 1, 1, 0).commits(ONE)
}

#[test]
fn committed_and_aborted_transactions_pass_and_are_counted() {
    let story = committed().begin(TWO).puts(TWO, 0, 0, 2).puts(TWO, 1, 1, 2).aborts(TWO);
    let story = story.begin(ONE).puts(ONE, 2, 0, 4).commits(ONE);
    let story = story.then(CURIOUS, What::ReadsUncommitted).then(CURIOUS, What::Assigned { partitions: vec![(0, 0)] });
    let story = story.sees(CURIOUS, 0, &[(0, value(ONE, 0)), (2, value(TWO, 0)), (4, value(ONE, 2))]);
    let all: [&[(i64, Value)]; 2] = [&[(0, value(ONE, 0)), (4, value(ONE, 2))], &[(0, value(ONE, 1))]];
    let story = story.closes(&[(0, 6), (1, 4)], &all);
    let verdict = judge(&story.0);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.counts.committed, verdict.counts.aborted, verdict.counts.in_doubt), (2, 1, 0));
    assert!(verdict.to_string().ends_with("2 committed, 1 aborted, 0 in doubt: no anomaly"), "{verdict}");
}

#[test]
fn a_value_of_an_aborted_transaction_that_is_read_as_committed_is_an_aborted_read() {
    let story = Story::default().begin(ONE).puts(ONE, 0, 0, 0).aborts(ONE);
    story.closes(&[(0, 2)], &[&[(0, value(ONE, 0))]]).has(&[Kind::AbortedRead]);
}

#[test]
fn a_transaction_that_nobody_asked_to_commit_cannot_have_been_committed() {
    let left = Story::default().begin(ONE).puts(ONE, 0, 0, 0);
    left.closes(&[(0, 2)], &[&[(0, value(ONE, 0))]]).has(&[Kind::AbortedRead]);
    let doubtful = Story::default().begin(ONE).puts(ONE, 0, 0, 0).ends(ONE, false, Outcome::Unknown);
    doubtful.closes(&[(0, 2)], &[&[(0, value(ONE, 0))]]).has(&[Kind::AbortedRead]);
}

#[test]
fn a_value_that_is_read_as_committed_before_anybody_asked_is_a_precommitted_read() {
    let story = Story::default().begin(ONE).puts(ONE, 0, 0, 0).sees(TWO, 0, &[(0, value(ONE, 0))]).commits(ONE);
    story.closes(&[(0, 2)], &[&[(0, value(ONE, 0))]]).has(&[Kind::PrecommittedRead]);
}

#[test]
fn a_transaction_that_polls_its_own_value_is_a_precommitted_read() {
    let story = Story::default().begin(ONE).puts(ONE, 0, 0, 0).sees(ONE, 0, &[(0, value(ONE, 0))]).commits(ONE);
    story.closes(&[(0, 2)], &[&[(0, value(ONE, 0))]]).has(&[Kind::PrecommittedRead]);
}

#[test]
fn whoever_reads_what_is_not_committed_may_see_it_early_and_aborted() {
    let story = Story::default().then(CURIOUS, What::ReadsUncommitted).begin(ONE).puts(ONE, 0, 0, 0);
    let story = story.sees(CURIOUS, 0, &[(0, value(ONE, 0))]).aborts(ONE);
    story.closes(&[(0, 2)], &[&[]]).has(&[]);
}

#[test]
fn a_committed_value_that_is_missing_is_lost() {
    committed().closes(&[(0, 2), (1, 2)], &[&[(0, value(ONE, 0))], &[]]).has(&[Kind::LostWrite]);
}

#[test]
fn half_of_a_transaction_in_doubt_is_a_lost_write_and_nothing_of_it_is_fine() {
    let doubtful = || {
        let story = Story::default().begin(ONE).puts(ONE, 0, 0, 0).puts(ONE, 1, 1, 0);
        story.ends(ONE, true, Outcome::Unknown)
    };
    doubtful().closes(&[(0, 2), (1, 2)], &[&[], &[]]).has(&[]);
    doubtful().closes(&[(0, 2), (1, 2)], &[&[(0, value(ONE, 0))], &[(0, value(ONE, 1))]]).has(&[]);
    let torn = doubtful().closes(&[(0, 2), (1, 2)], &[&[(0, value(ONE, 0))], &[]]);
    let verdict = judge(&torn.0);
    assert_eq!(verdict.kinds(), [Kind::LostWrite], "{verdict}");
    assert!(verdict.to_string().contains("committed, since 1.0 of the same transaction was read"), "{verdict}");
}

#[test]
fn without_a_last_reading_what_readers_of_committed_records_passed_is_lost() {
    let story = || committed().begin(TWO).puts(TWO, 0, 0, 2).commits(TWO);
    story().sees(Worker(9), 0, &[(2, value(TWO, 0))]).has(&[Kind::LostWrite, Kind::Unseen]);
    let curious = story().then(CURIOUS, What::ReadsUncommitted).sees(CURIOUS, 0, &[(2, value(TWO, 0))]);
    curious.has(&[Kind::Unseen]);
}

#[test]
fn a_reader_skips_what_was_aborted_but_not_what_was_committed() {
    let middle = |outcome: fn(Story, Worker) -> Story| {
        let story = Story::default().begin(ONE).puts(ONE, 0, 0, 0).commits(ONE).begin(TWO).puts(TWO, 0, 0, 2);
        let story = outcome(story, TWO).begin(ONE).puts(ONE, 1, 0, 4).commits(ONE);
        let story = story.then(Worker(9), What::Assigned { partitions: vec![(0, 0)] });
        story.sees(Worker(9), 0, &[(0, value(ONE, 0))]).sees(Worker(9), 0, &[(4, value(ONE, 1))])
    };
    let first_and_last = [(0, value(ONE, 0)), (4, value(ONE, 1))];
    middle(Story::aborts).closes(&[(0, 6)], &[&first_and_last]).has(&[]);
    let all = [(0, value(ONE, 0)), (2, value(TWO, 0)), (4, value(ONE, 1))];
    middle(Story::commits).closes(&[(0, 6)], &[&all]).has(&[Kind::PollSkip]);
    let curious = middle(Story::aborts).then(CURIOUS, What::ReadsUncommitted).sees(CURIOUS, 0, &first_and_last);
    curious.closes(&[(0, 6)], &[&first_and_last]).has(&[Kind::IntPollSkip]);
}

#[test]
fn polls_of_one_transaction_count_as_one() {
    let polls = |ends: bool, second: (i64, Value)| {
        let story = committed().begin(TWO).puts(TWO, 0, 0, 2).commits(TWO).begin(ONE).puts(ONE, 2, 0, 4).commits(ONE);
        let story = story.begin(TWO).sees(TWO, 0, &[(0, value(ONE, 0))]);
        let story = if ends { story.commits(TWO).begin(TWO) } else { story };
        let story = story.sees(TWO, 0, &[second]).commits(TWO);
        let all = [(0, value(ONE, 0)), (2, value(TWO, 0)), (4, value(ONE, 2))];
        story.closes(&[(0, 6), (1, 2)], &[&all, &[(0, value(ONE, 1))]])
    };
    polls(false, (4, value(ONE, 2))).has(&[Kind::IntPollSkip]);
    polls(true, (4, value(ONE, 2))).has(&[Kind::PollSkip]);
    polls(false, (0, value(ONE, 0))).has(&[Kind::IntNonmonotonicPoll]);
    polls(true, (0, value(ONE, 0))).has(&[Kind::NonmonotonicPoll]);
}

#[test]
fn a_member_that_is_given_a_partition_anew_may_go_back() {
    let story = committed().sees(Worker(9), 0, &[(0, value(ONE, 0))]);
    let story = story.then(Worker(9), What::Assigned { partitions: vec![(0, -1)] });
    let story = story.sees(Worker(9), 0, &[(0, value(ONE, 0))]);
    story.closes(&[(0, 2), (1, 2)], &[&[(0, value(ONE, 0))], &[(0, value(ONE, 1))]]).has(&[]);
}

#[test]
fn sends_of_one_transaction_that_go_back_are_told_as_such() {
    let sends = |apart: bool| {
        let story = Story::default().begin(ONE).puts(ONE, 0, 0, 1);
        let story = if apart { story.commits(ONE).begin(ONE) } else { story };
        let story = story.puts(ONE, 1, 0, 0).commits(ONE);
        story.closes(&[(0, 3)], &[&[(0, value(ONE, 1)), (1, value(ONE, 0))]])
    };
    sends(false).has(&[Kind::Reordered, Kind::IntNonmonotonicSend]);
    sends(true).has(&[Kind::Reordered, Kind::NonmonotonicSend]);
}

#[test]
fn transactions_that_stand_before_each_other_are_told_and_allowed() {
    let story = Story::default().begin(ONE).begin(TWO);
    let story = story.puts(ONE, 0, 0, 0).puts(TWO, 0, 0, 1).puts(TWO, 1, 1, 0).puts(ONE, 1, 1, 1);
    let story = story.commits(ONE).commits(TWO);
    let logs: [&[(i64, Value)]; 2] =
        [&[(0, value(ONE, 0)), (1, value(TWO, 0))], &[(0, value(TWO, 1)), (1, value(ONE, 1))]];
    let verdict = judge(&story.closes(&[(0, 4), (1, 4)], &logs).0);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.kinds(), [Kind::CircularWrite]);
    assert!(verdict.to_string().ends_with("no anomaly, 1 x G0, which is allowed"), "{verdict}");
}

#[test]
fn transactions_that_read_from_each_other_are_a_circle() {
    let story = Story::default().begin(ONE).begin(TWO).puts(ONE, 0, 0, 0).puts(TWO, 0, 1, 0);
    let story = story.sees(ONE, 1, &[(0, value(TWO, 0))]).sees(TWO, 0, &[(0, value(ONE, 0))]);
    let story = story.commits(ONE).commits(TWO);
    let verdict = judge(&story.closes(&[(0, 2), (1, 2)], &[&[(0, value(ONE, 0))], &[(0, value(TWO, 0))]]).0);
    assert_eq!(verdict.kinds(), [Kind::PrecommittedRead, Kind::CircularRead], "{verdict}");
    assert!(verdict.to_string().contains("1 x G1c"), "{verdict}");
}

#[test]
fn who_reads_from_another_is_no_circle() {
    let story = committed().begin(TWO).sees(TWO, 0, &[(0, value(ONE, 0))]).puts(TWO, 0, 0, 2).commits(TWO);
    let story = story.begin(ONE).sees(ONE, 0, &[(0, value(ONE, 0)), (2, value(TWO, 0))]).commits(ONE);
    let logs: [&[(i64, Value)]; 2] = [&[(0, value(ONE, 0)), (2, value(TWO, 0))], &[(0, value(ONE, 1))]];
    story.closes(&[(0, 4), (1, 2)], &logs).has(&[]);
}
