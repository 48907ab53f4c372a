//! Decisions about more partitions than one batch holds.

use super::*;

const PARTITIONS: i32 = 1000;

/// Brokers 1 to 3, and many partitions on each, with batches that are full after some fifty of them.
fn crowded() -> Cluster {
    let mut cluster = Cluster::of(3);
    let topic = NewTopic { replication_factor: 3, ..topic("a", PARTITIONS) };
    cluster.create_one(topic).expect("a good topic");
    cluster.controller.draft_bytes_max = 5000;
    cluster
}

/// Does what is left to do until nothing is; answers in how many batches.
fn settle(cluster: &mut Cluster) -> usize {
    let mut batches = 0;
    while cluster.controller.session_deadline().is_some_and(|deadline| deadline <= cluster.now) {
        let decision = cluster.controller.expire_sessions(cluster.now);
        batches += usize::from(!decision.records.is_empty());
        cluster.commit(decision);
        cluster.now += RETRY_PAUSE;
    }
    batches
}

fn led_by(cluster: &Cluster, node: i32) -> usize {
    cluster.leaders("a").into_iter().filter(|leader| *leader == Some(node)).count()
}

#[test]
fn a_fencing_of_many_partitions_goes_on_from_batch_to_batch_and_fences_last() {
    let mut cluster = crowded();
    settle(&mut cluster);
    cluster.kill(1);
    assert!(!cluster.controller.image().broker(NodeId(1)).expect("registered").fenced);
    assert!(settle(&mut cluster) > 10);
    assert!(cluster.controller.image().broker(NodeId(1)).expect("registered").fenced);
    assert_eq!(led_by(&cluster, 1), 0);
    assert_eq!(led_by(&cluster, 2) + led_by(&cluster, 3), PARTITIONS as usize);
}

#[test]
fn a_new_controller_goes_on_with_a_fencing_that_was_cut_short() {
    let mut cluster = crowded();
    cluster.kill(1);
    let image = cluster.controller.image().clone();
    cluster.controller = Controller::new(image, ControllerSettings::default(), cluster.now);
    cluster.now += Duration::from_secs(8);
    for node in [2, 3] {
        cluster.beat(node, cluster.epoch_of(node));
    }
    cluster.now += Duration::from_secs(1);
    settle(&mut cluster);
    assert_eq!(led_by(&cluster, 1), 0);
}

#[test]
fn leaderless_partitions_of_a_broker_that_is_back_are_led_however_many_they_are() {
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", PARTITIONS)).expect("a good topic");
    cluster.controller.draft_bytes_max = 5000;
    cluster.kill(1);
    settle(&mut cluster);
    assert_eq!(led_by(&cluster, 1), 0);
    cluster.restart(1);
    settle(&mut cluster);
    assert_eq!(led_by(&cluster, 1), PARTITIONS as usize);
}

#[test]
fn a_wiped_broker_is_not_registered_before_it_has_left_every_isr() {
    let mut cluster = crowded();
    cluster.controller.connection_lost(NodeId(2));
    let wiped = Registration { directories: vec![Uuid::from_u128(99)], ..registration(2, 77) };
    let mut attempts = 0;
    loop {
        let decision = cluster.controller.register_broker(&wiped, cluster.now);
        attempts += 1;
        match cluster.commit(decision) {
            Err(error) => assert_eq!(error, BrokerError::StillLeaving(NodeId(2))),
            Ok(registered) => {
                assert_eq!(registered.loss, Some(ReplicaLoss::Disk));
                break;
            }
        }
    }
    assert!(attempts > 10);
    let image = cluster.controller.image();
    let topic = image.topic(&name("a")).expect("a known topic");
    assert!(topic.partitions.iter().all(|partition| !partition.isr.contains(&NodeId(2))));
}

#[test]
fn a_shutdown_with_many_leaderships_takes_several_heartbeats() {
    let mut cluster = crowded();
    let leave = Heartbeat { wants_shutdown: true, ..beat_of(1, 0) };
    let mut beats = 1;
    while !cluster.heartbeat(leave).expect("registered").may_shut_down {
        beats += 1;
        assert!(cluster.controller.image().broker(NodeId(1)).expect("registered").shutting_down);
    }
    assert!(beats > 10);
    assert_eq!(led_by(&cluster, 1), 0);
}

#[test]
fn an_unregistered_broker_is_in_no_elr() {
    let mut cluster = crowded();
    for node in [2, 3] {
        cluster.kill(node);
        settle(&mut cluster);
    }
    let error = cluster.controller.unregister_broker(NodeId(1)).answer.unwrap_err();
    assert_eq!(error, BrokerError::Serving(NodeId(1)));
    loop {
        let decision = cluster.controller.unregister_broker(NodeId(3));
        if cluster.commit(decision).is_ok() {
            break;
        }
    }
    assert!(cluster.controller.image().broker(NodeId(3)).is_none());
    let error = cluster.controller.unregister_broker(NodeId(3)).answer.unwrap_err();
    assert_eq!(error.code(), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn ten_thousand_partitions_are_fenced_in_one_batch() {
    let mut cluster = Cluster::of(3);
    cluster.create_one(NewTopic { replication_factor: 3, ..topic("a", 10_000) }).expect("a good topic");
    let decision = cluster.controller.broker_gone(NodeId(1));
    assert_eq!(decision.records.len(), 10_001);
    cluster.commit(decision);
    assert_eq!(led_by(&cluster, 1), 0);
}
