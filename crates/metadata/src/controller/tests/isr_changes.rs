//! Leaders ask for another ISR: what is granted, and what each kind of outdated or wrong request hears.

use super::*;

fn three() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    cluster
}

/// What the controller says to a change that is wrong in one way.
fn refusal(cluster: &mut Cluster, node: i32, change: IsrChange) -> Option<ErrorCode> {
    let decision = cluster.controller.alter_partitions(NodeId(node), cluster.epoch_of(node), &[change]);
    assert!(decision.records.is_empty());
    decision.answer.expect("a registered broker").remove(0).err()
}

#[test]
fn a_leader_shrinks_and_grows_its_isr() {
    let mut cluster = three();
    let shrunk = cluster.propose("a", &[1, 3]).expect("a shrink");
    assert_eq!((shrunk.isr.clone(), shrunk.partition_epoch), (nodes(&[1, 3]), 1));
    assert_eq!(shrunk.leader_epoch, LeaderEpoch(0), "an ISR change is no new leadership");
    assert_eq!(shrunk, cluster.first("a"));
    cluster.propose("a", &[1, 3, 2]).expect("a growth");
    assert_eq!(cluster.state("a"), "isr 1 3 2 | elr | leader 1");
}

#[test]
fn a_shrink_below_the_minimum_fills_the_elr() {
    let mut cluster = three();
    cluster.propose("a", &[1]).expect("a shrink");
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 3 | leader 1");
    cluster.kill(1);
    assert_eq!(cluster.state("a"), "isr 2 | elr 1 3 | leader 2");
}

#[test]
fn an_unchanged_isr_is_answered_and_writes_nothing() {
    let mut cluster = three();
    let before = cluster.first("a");
    assert_eq!(cluster.propose("a", &[1, 2, 3]), Ok(before));
}

#[test]
fn only_the_leader_of_this_epoch_is_heard_about_the_state_it_has_seen() {
    let mut cluster = three();
    cluster.propose("a", &[1, 2]).expect("a shrink");
    cluster.kill(1);
    cluster.restart(1);
    let good = cluster.isr_change("a", &[2, 3]);
    let ahead = IsrChange { leader_epoch: LeaderEpoch(9), ..good.clone() };
    assert_eq!(refusal(&mut cluster, 2, ahead), Some(ErrorCode::NotController));
    let ahead = IsrChange { partition_epoch: 9, ..good.clone() };
    assert_eq!(refusal(&mut cluster, 2, ahead), Some(ErrorCode::NotController));
    let old = IsrChange { leader_epoch: LeaderEpoch(0), partition_epoch: 0, ..good.clone() };
    assert_eq!(refusal(&mut cluster, 1, old), Some(ErrorCode::FencedLeaderEpoch));
    let old = IsrChange { partition_epoch: 0, ..good.clone() };
    assert_eq!(refusal(&mut cluster, 2, old), Some(ErrorCode::InvalidUpdateVersion));
    assert_eq!(refusal(&mut cluster, 1, good.clone()), Some(ErrorCode::InvalidRequest), "1 leads no more");
    let unknown = IsrChange { topic_id: TopicId(Uuid::from_u128(9)), ..good.clone() };
    assert_eq!(refusal(&mut cluster, 2, unknown), Some(ErrorCode::UnknownTopicId));
    let unknown = IsrChange { partition: PartitionIndex(1), ..good };
    assert_eq!(refusal(&mut cluster, 2, unknown), Some(ErrorCode::UnknownTopicOrPartition));
    let decision = cluster.controller.alter_partitions(NodeId(2), 99, &[]);
    assert_eq!(decision.answer.unwrap_err().code(), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn an_isr_is_a_set_of_replicas_with_the_leader() {
    let mut cluster = three();
    let good = cluster.isr_change("a", &[1, 2]);
    let bad: [&[i32]; 4] = [&[], &[2, 3], &[1, 1], &[1, 4]];
    for isr in bad {
        let isr = isr.iter().map(|node| (NodeId(*node), -1)).collect();
        let change = IsrChange { isr, ..good.clone() };
        assert_eq!(refusal(&mut cluster, 1, change), Some(ErrorCode::InvalidRequest));
    }
}

#[test]
fn nobody_joins_who_is_fenced_about_to_stop_or_another_process_than_the_leader_knows() {
    let mut cluster = three();
    cluster.propose("a", &[1]).expect("a shrink");
    let as_known = cluster.isr_change("a", &[1, 2]);
    cluster.kill(2);
    assert_eq!(refusal(&mut cluster, 1, as_known.clone()), Some(ErrorCode::IneligibleReplica), "fenced");
    cluster.restart(2);
    assert_eq!(refusal(&mut cluster, 1, as_known), Some(ErrorCode::IneligibleReplica), "an older process");
    let mut unknown_epoch = cluster.isr_change("a", &[1, 2]);
    unknown_epoch.isr[1].1 = -1;
    let decision = cluster.controller.alter_partitions(NodeId(1), cluster.epoch_of(1), &[unknown_epoch]);
    assert!(decision.answer.expect("registered")[0].is_ok());
    // 3 leads another partition, so it does not stop at once.
    cluster.create_on("b", &[3, 1], "1");
    let epoch = cluster.epoch_of(3);
    let leave = Heartbeat { wants_shutdown: true, ..beat_of(3, epoch) };
    assert!(!cluster.heartbeat(leave).expect("registered").may_shut_down);
    assert_eq!(cluster.propose("a", &[1, 3]), Err(ErrorCode::IneligibleReplica), "about to stop");
}

#[test]
fn of_two_changes_of_one_partition_the_second_is_out_of_date() {
    let mut cluster = three();
    let change = cluster.isr_change("a", &[1, 2]);
    let decision = cluster.controller.alter_partitions(NodeId(1), cluster.epoch_of(1), &[change.clone(), change]);
    let answers = cluster.commit(decision).expect("registered");
    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(ErrorCode::InvalidUpdateVersion));
}
