//! Topics and partitions are made, placed and deleted.

use super::*;

#[test]
fn partitions_spread_round_robin_over_live_brokers() {
    let mut cluster = Cluster::of(3);
    cluster.create_one(topic("a", 4)).expect("a good topic");
    assert_eq!(cluster.leaders("a"), [Some(1), Some(2), Some(3), Some(1)]);
    cluster.create_one(topic("b", 2)).expect("a good topic");
    assert_eq!(cluster.leaders("b"), [Some(2), Some(3)]);
}

#[test]
fn minus_one_takes_the_defaults() {
    let mut cluster = Cluster::of(1);
    let created = cluster.create_one(NewTopic { replication_factor: -1, ..topic("a", -1) }).expect("defaults work");
    assert_eq!((created.partitions, created.replication_factor), (1, 1));
}

#[test]
fn a_replication_factor_that_no_brokers_can_hold_is_refused_with_both_numbers() {
    let mut cluster = Cluster::of(2);
    let error = cluster.create_one(NewTopic { replication_factor: 3, ..topic("a", 1) }).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidReplicationFactor);
    assert!(error.to_string().contains("needs 3 brokers and 2 are registered"), "{error}");
    for factor in [0, -2] {
        let answer = cluster.create_one(NewTopic { replication_factor: factor, ..topic("a", 1) });
        assert_eq!(code(answer), ErrorCode::InvalidReplicationFactor);
    }
}

#[test]
fn a_broker_that_takes_no_replicas_gets_none_until_it_says_otherwise() {
    let mut cluster = Cluster::of(2);
    let epoch = cluster.epoch_of(2);
    let beat = |takes_replicas| Heartbeat { takes_replicas, ..beat_of(2, epoch) };
    cluster.heartbeat(beat(false)).expect("a registered broker");
    cluster.create_one(topic("a", 4)).expect("there is another broker");
    assert_eq!(cluster.leaders("a"), [Some(1); 4]);
    let more = NewPartitions { topic: "a".into(), count: 6, assignments: None };
    let decision = cluster.controller.create_partitions(&[more], Mode::Apply);
    cluster.commit(decision).remove(0).expect("there is another broker");
    assert_eq!(cluster.leaders("a"), [Some(1); 6]);
    let both = NewTopic { replication_factor: 2, ..topic("b", 1) };
    assert_eq!(code(cluster.create_one(both.clone())), ErrorCode::InvalidReplicationFactor);
    cluster.heartbeat(beat(true)).expect("a registered broker");
    cluster.create_one(both).expect("both take replicas");
}

#[test]
fn bad_partition_counts_are_refused() {
    let mut cluster = Cluster::of(1);
    for count in [0, -2, i32::MIN] {
        assert_eq!(code(cluster.create_one(topic("a", count))), ErrorCode::InvalidPartitions, "{count}");
    }
    assert_eq!(code(cluster.create_one(topic("a", i32::MAX))), ErrorCode::PolicyViolation);
}

#[test]
fn one_request_makes_a_bounded_number_of_partitions() {
    let mut cluster = Cluster::of(1);
    let answers = cluster.create(&[topic("a", 6000), topic("b", 6000), topic("c", 4000)]);
    let codes: Vec<ErrorCode> = answers.into_iter().map(code).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::PolicyViolation, ErrorCode::None]);
}

#[test]
fn illegal_names_and_collisions_are_invalid_topics() {
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a.b", 1)).expect("a good topic");
    for bad in ["", ".", "..", "a b", "ä", "a_b", &"x".repeat(250)] {
        assert_eq!(code(cluster.create_one(topic(bad, 1))), ErrorCode::InvalidTopicException, "{bad:?}");
    }
    assert_eq!(code(cluster.create_one(topic("a.b", 1))), ErrorCode::TopicAlreadyExists);
}

#[test]
fn a_topic_named_twice_in_one_request_is_made_neither_time() {
    let mut cluster = Cluster::of(1);
    let answers = cluster.create(&[topic("a", 1), topic("b", 1), topic("a", 2)]);
    let codes: Vec<ErrorCode> = answers.into_iter().map(code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest, ErrorCode::None, ErrorCode::InvalidRequest]);
    assert_eq!(cluster.controller.image().topic_count(), 1);
}

#[test]
fn topics_of_one_request_collide_with_each_other() {
    let mut cluster = Cluster::of(1);
    let answers = cluster.create(&[topic("a.b", 1), topic("a_b", 1)]);
    assert_eq!(answers.into_iter().map(code).collect::<Vec<_>>(), [ErrorCode::None, ErrorCode::InvalidTopicException]);
}

#[test]
fn manual_assignments_are_checked() {
    let mut cluster = Cluster::of(2);
    cluster.create_one(assigned("good", &[(1, &[2]), (0, &[1])])).expect("order does not matter");
    assert_eq!(cluster.leaders("good"), [Some(1), Some(2)]);
    let bad: [&[(i32, &[i32])]; 4] = [&[(1, &[1])], &[(0, &[])], &[(0, &[9])], &[(0, &[1]), (0, &[1])]];
    for assignments in bad {
        let answer = cluster.create_one(assigned("bad", assignments));
        assert_eq!(code(answer), ErrorCode::InvalidReplicaAssignment, "{assignments:?}");
    }
    let both = NewTopic { partitions: 1, ..assigned("bad", &[(0, &[1])]) };
    assert_eq!(code(cluster.create_one(both)), ErrorCode::InvalidRequest);
}

#[test]
fn validate_only_answers_the_same_and_writes_nothing() {
    let cluster = Cluster::of(1);
    let mut new_id = || TopicId(Uuid::from_u128(5));
    let topics = [topic("a", 2), topic("b", 0)];
    let decision = cluster.controller.create_topics(&topics, Mode::ValidateOnly, &NoBrokerDefaults, &mut new_id);
    assert!(decision.records.is_empty());
    assert_eq!(decision.answer[0].as_ref().map(|created| created.partitions), Ok(2));
    assert!(decision.answer[1].is_err());
}

#[test]
fn a_bad_config_stops_its_topic_only() {
    let mut cluster = Cluster::of(1);
    let bad = NewTopic { configs: vec![("retention.mss".into(), Some("1".into()))], ..topic("a", 1) };
    let good = NewTopic { configs: vec![("retention.ms".into(), Some(" 7 ".into()))], ..topic("b", 1) };
    let codes: Vec<ErrorCode> = cluster.create(&[bad, good]).into_iter().map(code).collect();
    assert_eq!(codes, [ErrorCode::InvalidConfig, ErrorCode::None]);
    assert_eq!(cluster.config("b", "retention.ms"), Some("7"));
}

#[test]
fn without_a_live_broker_nothing_is_placed() {
    let mut cluster = Cluster::of(0);
    assert_eq!(code(cluster.create_one(topic("a", 1))), ErrorCode::InvalidReplicationFactor);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut cluster = Cluster::of(1);
    let created = cluster.create(&[topic("a", 1), topic("b", 1)]);
    let id = created[1].as_ref().expect("a good topic").topic_id;
    let targets = [
        DeleteTarget::Name("a".into()),
        DeleteTarget::Id(id),
        DeleteTarget::Name("b".into()),
        DeleteTarget::Name("c".into()),
        DeleteTarget::Name("bad name".into()),
        DeleteTarget::Id(TopicId(Uuid::from_u128(99))),
    ];
    let decision = cluster.controller.delete_topics(&targets);
    let codes: Vec<ErrorCode> = cluster
        .commit(decision)
        .into_iter()
        .map(|answer| answer.map_or_else(|error| error.code(), |_| ErrorCode::None))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::None,
            ErrorCode::InvalidRequest,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId
        ]
    );
    assert_eq!(cluster.controller.image().topic_count(), 0);
}

#[test]
fn partitions_are_only_added() {
    let mut cluster = Cluster::of(2);
    cluster.create_one(topic("a", 2)).expect("a good topic");
    let wanted = |topic: &str, count| NewPartitions { topic: topic.into(), count, assignments: None };
    let requests = [wanted("a", 5), wanted("gone", 5)];
    let decision = cluster.controller.create_partitions(&requests, Mode::Apply);
    let answers = cluster.commit(decision);
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().code(), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(cluster.leaders("a").len(), 5);
    for count in [5, 4, 0, -1] {
        let decision = cluster.controller.create_partitions(&[wanted("a", count)], Mode::Apply);
        assert_eq!(decision.answer[0].as_ref().unwrap_err().code(), ErrorCode::InvalidPartitions, "{count}");
    }
}

#[test]
fn assignments_of_new_partitions_must_match_their_number() {
    let mut cluster = Cluster::of(2);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let wanted = |assignments: &[&[i32]]| NewPartitions {
        topic: "a".into(),
        count: 2,
        assignments: Some(assignments.iter().map(|nodes| nodes.iter().copied().map(NodeId).collect()).collect()),
    };
    let bad: [&[&[i32]]; 3] = [&[], &[&[1], &[2]], &[&[7]]];
    for assignments in bad {
        let decision = cluster.controller.create_partitions(&[wanted(assignments)], Mode::Apply);
        assert_eq!(decision.answer[0].as_ref().unwrap_err().code(), ErrorCode::InvalidReplicaAssignment);
    }
    let decision = cluster.controller.create_partitions(&[wanted(&[&[2]])], Mode::Apply);
    assert!(cluster.commit(decision)[0].is_ok());
    assert_eq!(cluster.leaders("a")[1], Some(2));
}

#[test]
fn a_restart_is_accepted_at_once_when_the_old_process_is_gone() {
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let decision = cluster.controller.broker_gone(NodeId(1));
    cluster.commit(decision);
    assert_eq!(cluster.leaders("a"), [None]);
    let epoch = cluster.register(1, 77).expect("the old process is gone");
    assert_eq!(epoch, 1);
    cluster.beat(1, epoch);
    assert_eq!(cluster.leaders("a"), [Some(1)]);
}

#[test]
fn partitions_have_as_many_replicas_as_asked_for() {
    let settings = ControllerSettings { replication_factor: 3, ..ControllerSettings::default() };
    let mut cluster = Cluster::with(3, settings);
    let created = cluster.create_one(NewTopic { replication_factor: -1, ..topic("a", 3) }).expect("a good topic");
    assert_eq!(created.replication_factor, 3);
    assert_eq!(cluster.leaders("a"), [Some(1), Some(2), Some(3)]);
    assert_eq!(cluster.state("a"), "isr 1 2 3 | elr | leader 1");
    let wanted = NewPartitions { topic: "a".into(), count: 4, assignments: None };
    let decision = cluster.controller.create_partitions(&[wanted], Mode::Apply);
    assert_eq!(cluster.commit(decision), [Ok(())]);
    let fourth = cluster.controller.image().partition(&name("a"), PartitionIndex(3)).expect("it is new");
    assert_eq!(fourth.replicas.len(), 3);
}

#[test]
fn replicas_of_a_manual_assignment_are_distinct_and_as_many_everywhere() {
    let mut cluster = Cluster::of(3);
    let created = cluster.create_one(assigned("good", &[(0, &[2, 1]), (1, &[3, 2])])).expect("a good assignment");
    assert_eq!(created.replication_factor, 2);
    assert_eq!(cluster.state("good"), "isr 2 1 | elr | leader 2");
    let bad: [&[(i32, &[i32])]; 2] = [&[(0, &[1, 1])], &[(0, &[1, 2]), (1, &[1])]];
    for assignments in bad {
        let answer = cluster.create_one(assigned("bad", assignments));
        assert_eq!(code(answer), ErrorCode::InvalidReplicaAssignment, "{assignments:?}");
    }
}

#[test]
fn a_new_partition_is_in_sync_where_brokers_are_up() {
    let mut cluster = Cluster::of(3);
    cluster.kill(1);
    cluster.create_one(assigned("a", &[(0, &[1, 2, 3])])).expect("two are up");
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    let answer = cluster.create_one(assigned("b", &[(0, &[1])]));
    assert_eq!(code(answer), ErrorCode::InvalidReplicaAssignment, "nobody could lead");
    cluster.create_one(NewTopic { replication_factor: 3, ..topic("c", 1) }).expect("three are registered");
    assert_eq!(cluster.first("c").isr.len(), 2);
}
