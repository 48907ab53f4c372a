//! Brokers come, are heard of, stop and leave for good: registrations, sessions, controlled shutdown.

use super::*;

#[test]
fn a_fenced_broker_leads_nothing_until_it_is_back() {
    let mut cluster = Cluster::of(2);
    cluster.create_one(topic("a", 2)).expect("a good topic");
    let epoch = cluster.leader_epoch("a");
    cluster.now += Duration::from_secs(5);
    cluster.beat(2, 1);
    cluster.now += Duration::from_secs(5);
    let decision = cluster.controller.expire_sessions(cluster.now);
    assert_eq!(cluster.commit(decision), [NodeId(1)]);
    assert_eq!(cluster.leaders("a"), [None, Some(2)]);
    assert_eq!(cluster.leader_epoch("a"), LeaderEpoch(epoch.0 + 1));
    assert!(!cluster.beat(1, 0).fenced);
    assert_eq!(cluster.leaders("a"), [Some(1), Some(2)]);
    assert_eq!(cluster.leader_epoch("a"), LeaderEpoch(epoch.0 + 2));
}

#[test]
fn a_broker_that_has_not_caught_up_stays_fenced() {
    let mut cluster = Cluster::of(0);
    let epoch = cluster.register(1, 1).expect("a free node id");
    let behind = Heartbeat { caught_up: false, ..beat_of(1, epoch) };
    assert!(cluster.heartbeat(behind).expect("registered").fenced);
    assert!(!cluster.beat(1, epoch).fenced);
}

#[test]
fn a_second_process_with_a_live_node_id_is_refused() {
    let mut cluster = Cluster::of(1);
    let error = cluster.register(1, 77).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DuplicateBrokerRegistration);
    cluster.now += Duration::from_secs(9);
    assert!(cluster.register(1, 77).is_ok());
}

#[test]
fn a_broken_connection_lets_a_new_process_in_unless_the_old_one_is_heard_of() {
    let mut cluster = Cluster::of(1);
    cluster.controller.connection_lost(NodeId(1));
    cluster.beat(1, 0);
    assert!(cluster.register(1, 77).is_err());
    cluster.controller.connection_lost(NodeId(1));
    assert!(cluster.register(1, 77).is_ok());
}

#[test]
fn a_clean_stop_hands_over_and_frees_the_node_id() {
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let leave = Heartbeat { wants_shutdown: true, ..beat_of(1, 0) };
    assert!(cluster.heartbeat(leave).expect("registered").may_shut_down);
    assert_eq!(cluster.leaders("a"), [None]);
    assert!(cluster.register(1, 77).is_ok());
}

#[test]
fn the_same_process_keeps_its_epoch() {
    let mut cluster = Cluster::of(1);
    assert_eq!(cluster.register(1, 1), Ok(0));
    assert!(!cluster.controller.image().broker(NodeId(1)).expect("registered").fenced);
}

#[test]
fn an_older_epoch_is_refused() {
    let mut cluster = Cluster::of(1);
    cluster.now += Duration::from_secs(9);
    cluster.register(1, 77).expect("the session is over");
    let stale = beat_of(1, 0);
    assert_eq!(cluster.heartbeat(stale).unwrap_err().code(), ErrorCode::StaleBrokerEpoch);
    assert_eq!(
        cluster.controller.allocate_producer_ids(NodeId(1), 0).answer.unwrap_err().code(),
        ErrorCode::StaleBrokerEpoch
    );
    let unknown = Heartbeat { node_id: NodeId(8), ..stale };
    assert_eq!(cluster.heartbeat(unknown).unwrap_err().code(), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn data_of_another_cluster_is_refused() {
    let mut cluster = Cluster::of(0);
    let foreign = Registration { cluster_id: Some(ClusterId::from("other")), ..registration(1, 1) };
    let error = cluster.controller.register_broker(&foreign, cluster.now).answer.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InconsistentClusterId);
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut cluster = Cluster::of(2);
    for expected in [0, 1000, 2000] {
        let decision = cluster.controller.allocate_producer_ids(NodeId(1), 0);
        let block = cluster.commit(decision).expect("registered");
        assert_eq!(block, ProducerIdBlock { first: ProducerId(expected), len: 1000 });
    }
}

#[test]
fn a_new_controller_gives_serving_brokers_a_full_session() {
    let cluster = Cluster::of(2);
    let later = cluster.now + Duration::from_secs(100);
    let mut next = Controller::new(cluster.controller.image().clone(), ControllerSettings::default(), later);
    assert!(next.expire_sessions(later).answer.is_empty());
    assert_eq!(next.session_deadline(), Some(later + Duration::from_secs(9)));
}

#[test]
fn after_a_crash_of_the_whole_cluster_nobody_waits_for_old_sessions() {
    let mut cluster = Cluster::of(2);
    let image = cluster.controller.image().clone();
    cluster.controller = Controller::new(image, ControllerSettings::default(), cluster.now);
    assert!(cluster.register(1, 77).is_ok());
    cluster.beat(2, 1);
    assert!(cluster.register(2, 78).is_err(), "this one was heard of");
}

fn leave(cluster: &mut Cluster, node: i32) -> HeartbeatAnswer {
    let epoch = cluster.epoch_of(node);
    let heartbeat = Heartbeat { wants_shutdown: true, ..beat_of(node, epoch) };
    cluster.heartbeat(heartbeat).expect("registered")
}

#[test]
fn a_controlled_shutdown_hands_over_first_and_serves_until_it_may_stop() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    assert_eq!(leave(&mut cluster, 1), HeartbeatAnswer { fenced: false, may_shut_down: false });
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    let broker = cluster.controller.image().broker(NodeId(1)).expect("registered").clone();
    assert!(broker.shutting_down && !broker.fenced && !broker.is_eligible());
    assert_eq!(leave(&mut cluster, 1), HeartbeatAnswer { fenced: true, may_shut_down: true });
    assert_eq!(leave(&mut cluster, 1), HeartbeatAnswer { fenced: true, may_shut_down: true }, "asked again");
    let decision = cluster.controller.register_broker(&registration(1, 77), cluster.now);
    let registered = cluster.commit(decision).expect("nobody waits for the session of a process that left");
    cluster.beat(1, registered.epoch);
    assert!(cluster.controller.image().broker(NodeId(1)).expect("registered").is_eligible());
}

#[test]
fn what_nobody_else_can_lead_does_not_hold_up_a_shutdown() {
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "1");
    cluster.kill(2);
    cluster.restart(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
    assert!(leave(&mut cluster, 1).may_shut_down);
    assert_eq!(cluster.state("a"), "isr | elr 1 | last 1", "2 is up and not in sync");
}

#[test]
fn a_shutdown_gives_no_data_up_though_the_topic_allows_it() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2], "1");
    cluster.create_on("b", &[1, 3], "1");
    cluster.set(topic_resource("a"), rules::UNCLEAN_ELECTION, "true");
    cluster.propose("a", &[1]).expect("a shrink");
    assert!(!leave(&mut cluster, 1).may_shut_down, "b is handed over");
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
    assert_eq!(cluster.state("b"), "isr 3 | elr | leader 3");
}

#[test]
fn a_previous_leader_that_hangs_is_out_sooner_than_the_others() {
    let cluster = Cluster::of(2);
    let now = cluster.now + Duration::from_secs(100);
    let mut next = Controller::new(cluster.controller.image().clone(), ControllerSettings::default(), now);
    next.previous_leader(NodeId(1), now - Duration::from_secs(4));
    assert!(next.expire_sessions(now).records.is_empty());
    assert_eq!(next.session_deadline(), Some(now + Duration::from_secs(5)));
    assert_eq!(next.expire_sessions(now + Duration::from_secs(5)).answer, nodes(&[1]));
    // Once it reports it has a session like everybody.
    let beat = beat_of(1, 0);
    assert!(next.heartbeat(&beat, now + Duration::from_secs(5)).answer.is_ok());
    next.previous_leader(NodeId(1), now);
    assert_eq!(next.session_deadline(), Some(now + Duration::from_secs(9)));
}

#[test]
fn a_broker_that_left_for_good_may_come_back_as_a_stranger() {
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "1");
    cluster.kill(2);
    cluster.kill(1);
    let decision = cluster.controller.unregister_broker(NodeId(1));
    assert_eq!(cluster.commit(decision), Ok(()));
    assert_eq!(cluster.state("a"), "isr | elr | no last");
    let epoch = cluster.register(1, 77).expect("a free node id");
    assert_eq!(epoch, 2, "epochs go on");
    cluster.beat(1, epoch);
    assert_eq!(cluster.state("a"), "isr | elr | no last", "nobody knows what its disk still has");
}
