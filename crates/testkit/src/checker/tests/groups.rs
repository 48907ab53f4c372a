//! Groups that skip, and groups that only look as if they did; how late readers are.

use std::time::Duration;

use super::{READER, Story, three, value};
use crate::checker::{Kind, judge};
use crate::history::{What, Worker};

const ONE: Worker = Worker(11);
const OTHER: Worker = Worker(12);

impl Story {
    fn joins(self, member: Worker, group: &str) -> Self {
        let assigned = What::Assigned { partitions: vec![(0, -1)] };
        self.then(member, What::Member { group: group.to_owned() }).then(member, assigned)
    }

    fn member_polls(self, member: Worker, records: &[(i64, u64)]) -> Self {
        let records = records.iter().map(|(offset, number)| (*offset, value(*number))).collect();
        self.then(member, What::Polled { partition: 0, records })
    }

    fn commits_offset(self, member: Worker, offset: i64) -> Self {
        self.then(member, What::Committed { partitions: vec![(0, offset)] })
    }
}

const ALL: [(i64, u64); 3] = [(0, 0), (1, 1), (2, 2)];

#[test]
fn a_group_that_commits_over_what_none_of_its_members_polled_skips() {
    let handed_over = |from: &[(i64, u64)]| {
        let story = three().joins(ONE, "readers").member_polls(ONE, &[(0, 0)]).commits_offset(ONE, 1);
        story.joins(OTHER, "readers").member_polls(OTHER, from).commits_offset(OTHER, 3).ends_with(&ALL)
    };
    handed_over(&[(1, 1), (2, 2)]).has(&[]);
    handed_over(&ALL).has(&[]);
    handed_over(&[(2, 2)]).has(&[Kind::GroupSkip]);
}

#[test]
fn what_lies_behind_the_last_commit_is_still_to_be_read() {
    let story = three().joins(ONE, "readers").member_polls(ONE, &[(0, 0)]).commits_offset(ONE, 1);
    story.ends_with(&ALL).has(&[]);
}

#[test]
fn what_members_of_another_group_polled_counts_for_nothing() {
    let story = three().joins(ONE, "readers").member_polls(ONE, &[(2, 2)]).commits_offset(ONE, 3);
    let story = story.joins(OTHER, "others").member_polls(OTHER, &ALL).commits_offset(OTHER, 3);
    let verdict = judge(&story.ends_with(&ALL).0);
    assert_eq!((verdict.kinds(), verdict.count(Kind::GroupSkip)), (vec![Kind::GroupSkip], 2), "{verdict}");
    assert_eq!(verdict.counts.group_commits, 2);
    assert!(verdict.to_string().contains("groups: 2 commits"), "{verdict}");
}

#[test]
fn what_failed_and_what_never_arrived_is_not_to_be_read() {
    let story = three().failed(3).doubtful(4).sent(5, 3).joins(ONE, "readers");
    let story = story.member_polls(ONE, &[(0, 0), (1, 1), (2, 2), (3, 5)]).commits_offset(ONE, 4);
    story.ends_with(&[(0, 0), (1, 1), (2, 2), (3, 5)]).has(&[]);
}

#[test]
fn what_arrived_without_an_acknowledgement_is_to_be_read() {
    let story = three().doubtful(3).joins(ONE, "readers").member_polls(ONE, &ALL).commits_offset(ONE, 4);
    story.ends_with(&[(0, 0), (1, 1), (2, 2), (3, 3)]).has(&[Kind::GroupSkip]);
}

/// An event is a millisecond.
#[test]
fn readers_are_as_late_as_what_became_due_while_they_were_there() {
    let lag = |story: Story| judge(&story.0).lag_max;
    let backlog = three().starts(0).polls(&ALL).ends_with(&ALL);
    assert_eq!(lag(backlog), Duration::ZERO, "all of it was there before the reader");
    // Begins at 1 ms; the values are due at 3, 5 and 7 ms; polls come at 8 and 9 ms.
    let story = Story::default().starts(0).sent(0, 0).sent(1, 1).sent(2, 2).polls(&[(0, 0)]).polls(&[(1, 1), (2, 2)]);
    assert_eq!(lag(story), Duration::from_millis(5));
    let curious = Story::default().then(READER, What::ReadsUncommitted).starts(0).sent(0, 0).polls(&[(0, 0)]);
    assert_eq!(lag(curious), Duration::ZERO);
}
