//! Partitions move to other replicas: when the target counts, what a cancel brings back, what is refused.

use super::*;

fn four() -> Cluster {
    let mut cluster = Cluster::of(4);
    cluster.create_on("a", &[1, 2, 3], "2");
    cluster
}

fn reassign(cluster: &mut Cluster, target: Option<&[i32]>) -> Result<(), ReassignError> {
    let decision = cluster.controller.alter_reassignments(&[(at("a", 0), target.map(nodes))], false);
    cluster.commit(decision).remove(0)
}

/// Replicas, adding, removing.
fn sets(cluster: &Cluster) -> [Vec<NodeId>; 3] {
    let PartitionImage { replicas, adding, removing, .. } = cluster.first("a");
    [replicas, adding, removing]
}

#[test]
fn a_replica_is_exchanged_when_the_whole_target_is_in_sync() {
    let mut cluster = four();
    let before = cluster.first("a").leader_epoch;
    reassign(&mut cluster, Some(&[4, 2, 3])).expect("a good target");
    assert_eq!(sets(&cluster), [nodes(&[4, 2, 3, 1]), nodes(&[4]), nodes(&[1])]);
    assert_eq!(cluster.first("a").target_replicas(), nodes(&[4, 2, 3]));
    assert_eq!(cluster.state("a"), "isr 1 2 3 | elr | leader 1");
    assert_eq!(cluster.first("a").leader_epoch, before);
    assert_eq!(cluster.propose("a", &[1, 2, 3, 4]), Err(ErrorCode::NewLeaderElected), "done, and 1 is out");
    assert_eq!(sets(&cluster), [nodes(&[4, 2, 3]), vec![], vec![]]);
    assert_eq!(cluster.state("a"), "isr 2 3 4 | elr | leader 4");
}

#[test]
fn a_leader_that_stays_is_told_the_new_epoch_when_a_replica_leaves() {
    let mut cluster = four();
    reassign(&mut cluster, Some(&[1, 2, 4])).expect("a good target");
    let after = cluster.propose("a", &[1, 2, 3, 4]).expect("1 leads on");
    assert_eq!((after.replicas, after.isr), (nodes(&[1, 2, 4]), nodes(&[1, 2, 4])));
    assert_eq!(after.leader_epoch, LeaderEpoch(1), "3 must not be heard again");
}

#[test]
fn a_reassignment_waits_for_replicas_that_stay_too() {
    let mut cluster = four();
    cluster.kill(2);
    reassign(&mut cluster, Some(&[2, 3, 4])).expect("a good target");
    cluster.propose("a", &[1, 3, 4]).expect("4 caught up");
    assert!(cluster.first("a").is_reassigning(), "without 1 two replicas would be left");
    cluster.restart(2);
    assert_eq!(cluster.propose("a", &[1, 2, 3, 4]), Err(ErrorCode::NewLeaderElected));
    assert_eq!(cluster.state("a"), "isr 2 3 4 | elr | leader 2");
}

#[test]
fn a_target_that_is_in_sync_already_takes_effect_at_once() {
    let mut cluster = four();
    reassign(&mut cluster, Some(&[2, 1, 3])).expect("another order");
    assert_eq!(sets(&cluster), [nodes(&[2, 1, 3]), vec![], vec![]]);
    assert_eq!(cluster.state("a"), "isr 1 2 3 | elr | leader 1");
    let decision = cluster.controller.alter_reassignments(&[(at("a", 0), Some(nodes(&[2, 3])))], true);
    assert_eq!(cluster.commit(decision), [Ok(())]);
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
}

#[test]
fn cancelling_brings_the_original_replicas_back() {
    let mut cluster = four();
    assert_eq!(reassign(&mut cluster, None).unwrap_err().code(), ErrorCode::NoReassignmentInProgress);
    reassign(&mut cluster, Some(&[4, 2, 3])).expect("a good target");
    reassign(&mut cluster, None).expect("it runs");
    let [mut replicas, adding, removing] = sets(&cluster);
    replicas.sort();
    assert_eq!([replicas, adding, removing], [nodes(&[1, 2, 3]), vec![], vec![]]);
    assert_eq!(cluster.state("a"), "isr 1 2 3 | elr | leader 1");
}

#[test]
fn a_cancelled_replica_leaves_the_isr_and_leads_no_more() {
    let mut cluster = four();
    cluster.kill(3);
    reassign(&mut cluster, Some(&[4, 2, 3])).expect("a good target");
    cluster.propose("a", &[1, 2, 4]).expect("4 caught up");
    cluster.kill(1);
    assert_eq!(cluster.state("a"), "isr 2 4 | elr | leader 4");
    reassign(&mut cluster, None).expect("it runs");
    assert_eq!(cluster.state("a"), "isr 2 | elr | leader 2");
}

#[test]
fn what_only_the_new_replica_has_is_not_thrown_away_by_a_cancel() {
    let mut cluster = four();
    cluster.kill(2);
    cluster.kill(3);
    reassign(&mut cluster, Some(&[4, 2, 3])).expect("a good target");
    cluster.propose("a", &[1, 4]).expect("4 caught up");
    cluster.kill(1);
    assert_eq!(cluster.state("a"), "isr 4 | elr 1 | leader 4");
    let error = reassign(&mut cluster, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidReplicaAssignment);
    assert!(error.to_string().contains("without a leader"), "{error}");
}

#[test]
fn another_target_begins_from_the_original_replicas() {
    let mut cluster = Cluster::of(5);
    cluster.create_on("a", &[1, 2, 3], "2");
    reassign(&mut cluster, Some(&[4, 2, 3])).expect("a good target");
    reassign(&mut cluster, Some(&[5, 2, 3])).expect("a better one");
    assert_eq!(sets(&cluster), [nodes(&[5, 2, 3, 1]), nodes(&[5]), nodes(&[1])]);
    reassign(&mut cluster, Some(&[5, 4, 3])).expect("a better one still");
    let [_, adding, mut removing] = sets(&cluster);
    removing.sort();
    assert_eq!([adding, removing], [nodes(&[5, 4]), nodes(&[1, 2])]);
}

#[test]
fn bad_targets_are_refused() {
    let mut cluster = four();
    let bad: [&[i32]; 3] = [&[], &[1, 1, 2], &[1, 2, 9]];
    for target in bad {
        let error = reassign(&mut cluster, Some(target)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidReplicaAssignment, "{target:?}");
    }
    let error = reassign(&mut cluster, Some(&[1, 2])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidReplicationFactor);
    assert!(error.to_string().contains("replication factor 3 and the target has 2"), "{error}");
    let decision = cluster.controller.alter_reassignments(&[(at("b", 0), None), (at("a", 1), None)], false);
    assert!(
        decision
            .answer
            .iter()
            .all(|answer| answer.as_ref().is_err_and(|error| { error.code() == ErrorCode::UnknownTopicOrPartition }))
    );
}

#[test]
fn the_replication_factor_of_the_target_counts_during_a_reassignment() {
    let mut cluster = four();
    let decision = cluster.controller.alter_reassignments(&[(at("a", 0), Some(nodes(&[1, 2, 3, 4])))], true);
    assert_eq!(cluster.commit(decision), [Ok(())]);
    let wanted = NewPartitions { topic: "a".into(), count: 2, assignments: None };
    let decision = cluster.controller.create_partitions(&[wanted], Mode::Apply);
    assert_eq!(cluster.commit(decision), [Ok(())]);
    let second = cluster.controller.image().partition(&name("a"), PartitionIndex(1)).expect("it is new");
    assert_eq!(second.replicas.len(), 4);
}
