//! Copies with holes: they step aside, and come back when they are cut.

use super::*;

impl Cluster {
    /// Partition 0 as a broker sees it now.
    pub(super) fn seen_copy(&self, topic: &str) -> SeenCopy {
        let partition = self.first(topic);
        SeenCopy {
            topic_id: self.controller.image().topic(&name(topic)).expect("a known topic").id,
            partition: PartitionIndex(0),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        }
    }

    fn move_copy(&mut self, node: i32, wanted: CopyMove, copy: SeenCopy) {
        let decision = self.controller.move_copies(NodeId(node), self.epoch_of(node), wanted, &[copy]);
        assert_eq!(self.commit(decision), Ok(Reported::All));
    }

    fn step_aside(&mut self, node: i32, topic: &str) {
        self.move_copy(node, CopyMove::StepAside, self.seen_copy(topic));
    }

    fn come_back(&mut self, node: i32, topic: &str) {
        self.move_copy(node, CopyMove::ComeBack, self.seen_copy(topic));
    }
}

#[test]
fn leader_with_a_hole_hands_over_and_joins_again_only_after_it_came_back() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    let before = cluster.first("a");
    cluster.step_aside(1, "a");
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    assert!(cluster.first("a").leader_epoch > before.leader_epoch);
    assert_eq!(cluster.propose("a", &[2, 3, 1]), Err(ErrorCode::IneligibleReplica));
    cluster.come_back(1, "a");
    assert!(cluster.first("a").offline.is_empty());
    cluster.propose("a", &[2, 3, 1]).expect("it is back");
    assert_eq!(cluster.state("a"), "isr 2 3 1 | elr | leader 2");
}

#[test]
fn follower_with_a_hole_leaves_isr_and_elr() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "3");
    cluster.step_aside(2, "a");
    assert_eq!(cluster.state("a"), "isr 1 3 | elr | leader 1");
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "3");
    cluster.propose("a", &[1, 3]).expect("a leader may");
    assert_eq!(cluster.state("a"), "isr 1 3 | elr 2 | leader 1");
    cluster.step_aside(2, "a");
    assert_eq!(cluster.state("a"), "isr 1 3 | elr | leader 1");
}

#[test]
fn what_the_leader_heard_before_a_copy_came_back_counts_no_more() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    cluster.step_aside(2, "a");
    // The leader has seen all that is decided, and last heard from 2 before it cut its log.
    let stale = cluster.isr_change("a", &[1, 2, 3]);
    cluster.come_back(2, "a");
    let decision = cluster.controller.alter_partitions(NodeId(1), cluster.epoch_of(1), &[stale]);
    assert_eq!(cluster.commit(decision).expect("a registered leader"), [Err(ErrorCode::FencedLeaderEpoch)]);
    assert_eq!(cluster.state("a"), "isr 1 3 | elr | leader 1");
}

#[test]
fn nobody_steps_aside_who_has_what_no_other_live_replica_has() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1], "1");
    cluster.create_on("b", &[1, 2], "1");
    cluster.kill(2);
    for topic in ["a", "b"] {
        let before = cluster.first(topic);
        cluster.step_aside(1, topic);
        assert_eq!(cluster.first(topic), before);
    }
}

#[test]
fn report_about_a_state_that_is_over_changes_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "1");
    let stale = cluster.seen_copy("a");
    cluster.propose("a", &[1, 2]).expect("a leader may");
    let before = cluster.first("a");
    cluster.move_copy(2, CopyMove::StepAside, stale);
    assert_eq!(cluster.first("a"), before, "the ISR changed since");
    let other_leader = SeenCopy { leader_epoch: LeaderEpoch(7), ..cluster.seen_copy("a") };
    cluster.move_copy(2, CopyMove::StepAside, other_leader);
    cluster.come_back(2, "a");
    assert_eq!(cluster.first("a"), before, "it was not aside");
    let earlier = cluster.epoch_of(2) - 1;
    let decision = cluster.controller.move_copies(NodeId(2), earlier, CopyMove::StepAside, &[cluster.seen_copy("a")]);
    assert!(matches!(decision.answer, Err(BrokerError::StaleEpoch { .. })));
    // Asked twice, the second time about a state that is over.
    let seen = cluster.seen_copy("a");
    cluster.move_copy(2, CopyMove::StepAside, seen);
    let aside = cluster.first("a");
    cluster.move_copy(2, CopyMove::StepAside, seen);
    assert_eq!(cluster.first("a"), aside);
}

#[test]
fn process_that_starts_again_is_not_aside_any_more() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2], "1");
    cluster.step_aside(2, "a");
    cluster.kill(2);
    cluster.restart(2);
    assert!(cluster.first("a").offline.is_empty());
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
}
