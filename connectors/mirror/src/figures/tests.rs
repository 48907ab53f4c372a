//! Figures by hand-made clocks.

use twinstream_model::{PartitionIndex, TopicName};

use super::age::{Spread, Summary};
use super::behind::{MARKS_MAX, Marks};
use super::*;

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(0))
}

fn heard(end: i64, offsets: i64, bytes: usize) -> Heard {
    Heard { leader: NodeId(1), source_end: Offset(end), log_start: Offset(0), offsets, bytes }
}

#[test]
fn a_record_waits_since_its_offset_was_seen_to_be_the_end() {
    let mut marks = Marks::default();
    marks.ends_at(100, 100, 1_000);
    marks.ends_at(100, 100, 61_000); // a minute of rest is no lag of the next record
    marks.ends_at(110, 100, 62_000);
    marks.ends_at(120, 100, 63_000);
    assert_eq!(marks.waited(100, 65_000), Some(4_000), "it came after second 61");
    marks.arrived(110);
    assert_eq!(marks.waited(110, 65_000), Some(3_000));
    assert_eq!(marks.waited(115, 65_000), Some(3_000), "within what came between two looks");
}

#[test]
fn what_was_there_before_anybody_watched_is_as_old_as_its_records() {
    let mut marks = Marks::default();
    marks.ends_at(1_000, 0, 500_000);
    assert_eq!(marks.waited(0, 500_000), None, "nothing arrived that tells a time");
    marks.newest(200_000);
    marks.arrived(300);
    assert_eq!(marks.waited(300, 510_000), Some(310_000));
    marks.arrived(1_000);
    marks.ends_at(1_001, 1_000, 512_000);
    assert_eq!(marks.waited(1_000, 512_500), Some(12_500), "from here on we have watched");
}

#[test]
fn marks_are_bounded_and_tell_no_less_than_the_truth() {
    let mut marks = Marks::default();
    marks.ends_at(0, 0, 0);
    for second in 1..=10_000 {
        marks.ends_at(second, 0, second * 1_000);
    }
    for arrived in (0..10_000).step_by(97) {
        let (told, truth) = (marks.waited(arrived, 10_000_000).unwrap(), 10_000_000 - (arrived + 1) * 1_000);
        assert!(told >= truth, "at {arrived}: {told} for {truth}");
    }
    assert!(marks.waited(9_999, 10_000_000).unwrap() < 10_000_000, "what is recent stays known: {MARKS_MAX} marks");
}

#[test]
fn a_source_that_was_cut_leaves_no_marks_beyond_its_end() {
    let mut marks = Marks::default();
    marks.ends_at(100, 100, 1_000);
    marks.ends_at(50, 50, 2_000);
    marks.ends_at(60, 50, 9_000);
    assert_eq!(marks.waited(50, 9_500), Some(7_500));
}

#[test]
fn a_spread_covers_the_last_minute_and_then_its_last_value() {
    let mut spread = Spread::default();
    assert_eq!(spread.summary(0), None);
    for (value, now) in [(900, 1_000_000), (10, 1_029_000), (20, 1_031_000)] {
        spread.add(value, now);
    }
    assert_eq!(spread.summary(1_032_000), Some(Summary { last: 20, min: 10, max: 900, avg: 310.0 }));
    spread.add(30, 1_070_000);
    assert_eq!(spread.summary(1_070_000), Some(Summary { last: 30, min: 20, max: 30, avg: 25.0 }));
    assert_eq!(spread.summary(9_000_000), Some(Summary { last: 30, min: 30, max: 30, avg: 30.0 }));
}

#[test]
fn lag_counts_what_the_target_has_not_acknowledged() {
    let link = LinkFigures::default();
    let figures = link.partition(&at("t"), &at("s.t"));
    figures.held();
    figures.stands(Standing::Copying, "");
    figures.heard(&heard(10, 10, 1_000), Offset(0), 1_000);
    let seen = || link.partitions_at(5_000).remove(0);
    assert_eq!(seen().lag, Lag { records: 10, bytes: Some(1_000), ms: None });
    figures.arrived(Offset(4), Some((70, 3_000)), 4_000);
    assert_eq!(seen().lag, Lag { records: 6, bytes: Some(600), ms: Some(2_000) });
    figures.arrived(Offset(10), Some((50, 4_000)), 4_500);
    assert_eq!(seen().lag, Lag { records: 0, bytes: Some(0), ms: Some(0) });
    assert_eq!(seen().latency.map(|latency| (latency.min, latency.max)), Some((50, 70)));
}

#[test]
fn a_leader_that_answers_without_a_word_of_a_partition_confirms_what_it_said_last() {
    let link = LinkFigures::default();
    let figures = link.partition(&at("t"), &at("s.t"));
    figures.held();
    figures.stands(Standing::Copying, "");
    figures.heard(&heard(10, 10, 100), Offset(10), 1_000);
    link.heard_at(NodeId(1), 60_000);
    link.heard_at(NodeId(2), 90_000);
    assert_eq!(link.partitions_at(60_000)[0].contact_ms, Some(60_000));
    // One that is behind may be held back: then nobody asks for it.
    figures.heard(&heard(20, 0, 0), Offset(10), 61_000);
    link.heard_at(NodeId(1), 95_000);
    assert_eq!(link.partitions_at(95_000)[0].contact_ms, Some(61_000));
}

#[test]
fn a_partition_that_is_held_back_is_as_far_behind_as_its_source_says_to_a_question() {
    let link = LinkFigures::default();
    let figures = link.partition(&at("t"), &at("s.t"));
    figures.held();
    figures.stands(Standing::Copying, "");
    figures.ends_at(Offset(5), 500);
    assert_eq!(link.partitions_at(600)[0].source_end, None, "nothing is known of it yet");
    figures.heard(&heard(10, 10, 1_000), Offset(0), 1_000);
    figures.arrived(Offset(10), Some((5, 900)), 2_000);
    assert_eq!(link.partitions_at(3_000)[0].lag.records, 0);
    figures.ends_at(Offset(40), 4_000);
    figures.ends_at(Offset(30), 5_000);
    let seen = link.partitions_at(6_000).remove(0);
    assert_eq!(
        seen.lag,
        Lag { records: 30, bytes: Some(3_000), ms: Some(5_000) },
        "since its end was seen at second 1"
    );
    assert_eq!((seen.source_end, seen.contact_ms), (Some(Offset(40)), Some(5_000)));
}

#[test]
fn what_was_said_until_a_partition_stopped_is_the_last_word() {
    let link = LinkFigures::default();
    let copying = |topic: &str, end| {
        let figures = link.partition(&at(topic), &at(topic));
        figures.held();
        figures.stands_at(Standing::Copying, "", 0);
        figures.heard(&heard(end, 10, 100), Offset(10), 1_000);
        figures
    };
    let (idle, behind) = (copying("idle", 10), copying("behind", 20));
    link.heard_at(NodeId(1), 60_000);
    for figures in [&idle, &behind] {
        figures.stands_at(Standing::Away, "no answer", 63_000);
        figures.stands_at(Standing::Starting, "", 64_000);
    }
    behind.arrived(Offset(20), None, 65_000);
    let words = || link.partitions_at(99_000).iter().map(|seen| seen.contact_ms).collect::<Vec<_>>();
    assert_eq!(words(), [Some(1_000), Some(60_000)], "one that was behind may have been held back");
    link.heard_at(NodeId(1), 90_000);
    assert_eq!(words(), [Some(1_000), Some(63_000)], "the leader is back, and was not asked for these");
    idle.stands_at(Standing::Copying, "", 91_000);
    assert_eq!(words()[1], Some(90_000));
}

#[test]
fn what_a_link_would_lose_grows_while_its_source_is_silent() {
    let link = LinkFigures::default();
    for (topic, end) in [("a", 10), ("b", 30)] {
        let figures = link.partition(&at(topic), &at(topic));
        figures.held();
        figures.stands(Standing::Copying, "");
        figures.heard(&heard(end, 1, 100), Offset(10), 1_000);
    }
    let rpo = |now| Rpo::of(&link.partitions_at(now), now);
    assert_eq!(rpo(2_000).records, 20);
    link.partition(&at("b"), &at("b")).arrived(Offset(30), None, 2_000);
    assert_eq!(rpo(2_000), Rpo::default());
    assert_eq!(
        rpo(31_000),
        Rpo { ms: 30_000, silent_ms: 30_000, ..Rpo::default() },
        "what it accepted since then is not known"
    );
    link.partition(&at("b"), &at("b")).stands(Standing::Recreated, "made anew");
    assert_eq!(rpo(2_000).unknown, 1, "nobody copies what the new topic has");
    link.partition(&at("b"), &at("b")).stands(Standing::Copying, "");
    link.partition(&at("b"), &at("b")).let_go();
    link.partition(&at("a"), &at("a")).let_go();
    assert_eq!(rpo(31_000), Rpo::default(), "another worker copies them, and tells");
}

#[test]
fn a_partition_that_was_never_heard_of_may_lose_what_it_got_since_it_is_copied() {
    let link = LinkFigures::default();
    let figures = link.partition(&at("t"), &at("t"));
    figures.held();
    let since = link.partitions()[0].since_ms;
    assert_eq!(Rpo::of(&link.partitions_at(since + 60_000), since + 60_000).silent_ms, 60_000);
    figures.heard(&heard(10, 0, 0), Offset(10), since + 61_000);
    assert_eq!(Rpo::of(&link.partitions_at(since + 62_000), since + 62_000), Rpo::default());
}

#[test]
fn a_task_that_restarts_finds_what_was_verified() {
    let link = LinkFigures::default();
    let first = link.partition(&at("t"), &at("s.t"));
    first.verified(Offset(7));
    first.differs(2);
    drop(first);
    link.partition(&at("t"), &at("s.t"));
    let seen = link.partitions_at(0).remove(0);
    assert_eq!((seen.verified, seen.differences), (Some(Offset(7)), 2));
    link.keep(|_| false);
    assert_eq!(link.partitions_at(0), []);
}
