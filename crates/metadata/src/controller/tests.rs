use std::time::{Duration, Instant};

use twinstream_model::{ClusterId, ErrorCode, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicName};
use uuid::Uuid;

use super::*;
use crate::{
    configs::NoBrokerDefaults,
    image::ConfigResource,
    record::{Endpoint, decode_batch, encode_batch},
};

/// A controller whose decisions are committed at once.
struct Cluster {
    controller: Controller,
    now: Instant,
    next_id: u128,
}

struct AnyBrokerConfig;

impl BrokerConfigs for AnyBrokerConfig {
    fn check(&self, _resource: &ConfigResource, name: &str, value: &str) -> Result<String, String> {
        if name == "static.setting" { Err("static.setting needs a restart".to_owned()) } else { Ok(value.to_owned()) }
    }

    fn list_default(&self, name: &str) -> Option<String> {
        (name == "some.list").then(String::new)
    }
}

impl Cluster {
    /// Brokers 1 to `count`, all serving.
    fn of(count: i32) -> Self {
        let mut image = Image::default();
        image.apply(&Record::ClusterId { cluster_id: ClusterId::from("c1") }).expect("the first record");
        let now = Instant::now();
        let controller = Controller::new(image, ControllerSettings::default(), now);
        let mut cluster = Self { controller, now, next_id: 1 };
        for node in 1..=count {
            let epoch = cluster.register(node, node as u128).expect("a free node id");
            cluster.beat(node, epoch);
        }
        cluster
    }

    fn commit<T>(&mut self, decision: Decision<T>) -> T {
        let records = decode_batch(&encode_batch(&decision.records)).expect("our own bytes");
        self.controller.replay(&records).expect("records that fit");
        self.controller.image().check_invariants().expect("a sound image");
        decision.answer
    }

    fn register(&mut self, node: i32, incarnation: u128) -> Result<i64, BrokerError> {
        let registration = registration(node, incarnation);
        let decision = self.controller.register_broker(&registration, self.now);
        self.commit(decision).map(|registered| registered.epoch)
    }

    fn beat(&mut self, node: i32, epoch: i64) -> HeartbeatAnswer {
        self.heartbeat(Heartbeat { node_id: NodeId(node), epoch, caught_up: true, wants_shutdown: false })
            .expect("a registered broker")
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, BrokerError> {
        let decision = self.controller.heartbeat(&heartbeat, self.now);
        self.commit(decision)
    }

    fn create(&mut self, topics: &[NewTopic]) -> Vec<Result<CreatedTopic, TopicError>> {
        let first = self.next_id;
        self.next_id += topics.len() as u128;
        let mut next = first;
        let mut new_id = || {
            next += 1;
            TopicId(Uuid::from_u128(next - 1))
        };
        let decision = self.controller.create_topics(topics, Mode::Apply, &NoBrokerDefaults, &mut new_id);
        self.commit(decision)
    }

    fn create_one(&mut self, topic: NewTopic) -> Result<CreatedTopic, TopicError> {
        self.create(&[topic]).remove(0)
    }

    fn leaders(&self, topic: &str) -> Vec<Option<i32>> {
        let topic = self.controller.image().topic(&name(topic)).expect("a known topic");
        topic.partitions.iter().map(|partition| partition.leader.map(|node| node.0)).collect()
    }

    fn leader_epoch(&self, topic: &str) -> LeaderEpoch {
        self.controller.image().partition(&name(topic), PartitionIndex(0)).expect("partition 0").leader_epoch
    }

    fn alter(
        &mut self,
        resource: ConfigResource,
        settings: &[(&str, ConfigOperation, Option<&str>)],
    ) -> Result<(), AlterError> {
        let change = alteration(resource, settings);
        let decision = self.controller.alter_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
        self.commit(decision).remove(0)
    }

    fn config(&self, topic: &str, config: &str) -> Option<&str> {
        self.controller.image().config(&topic_resource(topic), config)
    }
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a legal name")
}

fn topic_resource(topic: &str) -> ConfigResource {
    ConfigResource::Topic(name(topic))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: 1, ..NewTopic::default() }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    let assignments = assignments.iter().map(|(index, replicas)| (PartitionIndex(*index), nodes(replicas))).collect();
    NewTopic { name: name.into(), partitions: -1, replication_factor: -1, assignments, configs: vec![] }
}

fn registration(node: i32, incarnation: u128) -> Registration {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, security_protocol: 0 };
    Registration {
        node_id: NodeId(node),
        incarnation: Uuid::from_u128(incarnation),
        cluster_id: None,
        endpoints: vec![endpoint],
        rack: None,
        controller: node == 1,
        directories: vec![Uuid::from_u128(node as u128)],
        metadata_directory: None,
        boot_id: "boot-1".into(),
        clean: true,
    }
}

fn alteration(resource: ConfigResource, settings: &[(&str, ConfigOperation, Option<&str>)]) -> AlterResource {
    let setting = |(name, operation, value): &(&str, ConfigOperation, Option<&str>)| ConfigSetting {
        name: (*name).to_owned(),
        operation: *operation,
        value: value.map(str::to_owned),
    };
    AlterResource { resource, settings: settings.iter().map(setting).collect() }
}

fn code(answer: Result<CreatedTopic, TopicError>) -> ErrorCode {
    answer.map_or_else(|error| error.code(), |_| ErrorCode::None)
}

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
    let behind = Heartbeat { node_id: NodeId(1), epoch, caught_up: false, wants_shutdown: false };
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
    let leave = Heartbeat { node_id: NodeId(1), epoch: 0, caught_up: true, wants_shutdown: true };
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
    let stale = Heartbeat { node_id: NodeId(1), epoch: 0, caught_up: true, wants_shutdown: false };
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

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    use ConfigOperation::{Append, Delete, Set, Subtract};
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let mut policy = |operation, value| cluster.alter(topic_resource("a"), &[("cleanup.policy", operation, value)]);
    // The default is "delete", and appending what is there changes nothing.
    policy(Append, Some("compact")).expect("a list");
    policy(Append, Some("compact")).expect("a list");
    assert_eq!(cluster.config("a", "cleanup.policy"), Some("delete,compact"));
    let mut policy = |operation, value| cluster.alter(topic_resource("a"), &[("cleanup.policy", operation, value)]);
    policy(Subtract, Some("delete")).expect("a list");
    assert_eq!(cluster.config("a", "cleanup.policy"), Some("compact"));
    let mut alter = |name, operation, value| cluster.alter(topic_resource("a"), &[(name, operation, value)]);
    assert_eq!(alter("retention.ms", Append, Some("1")).unwrap_err().code(), ErrorCode::InvalidConfig);
    assert_eq!(alter("retention.ms", Set, None).unwrap_err().code(), ErrorCode::InvalidRequest);
    alter("cleanup.policy", Delete, None).expect("it is set");
    alter("cleanup.policy", Delete, None).expect("deleting a default is fine");
    assert_eq!(alter("no.such.config", Delete, None).unwrap_err().code(), ErrorCode::InvalidConfig);
    assert_eq!(cluster.config("a", "cleanup.policy"), None);
}

#[test]
fn a_resource_changes_wholly_or_not_at_all() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let settings = [("retention.ms", Set, Some("1")), ("segment.bytes", Set, Some("1"))];
    assert_eq!(cluster.alter(topic_resource("a"), &settings).unwrap_err().code(), ErrorCode::InvalidConfig);
    assert_eq!(cluster.config("a", "retention.ms"), None);
    let twice = [("retention.ms", Set, Some("1")), ("retention.ms", Set, Some("2"))];
    assert_eq!(cluster.alter(topic_resource("a"), &twice).unwrap_err().code(), ErrorCode::InvalidRequest);
}

#[test]
fn configs_of_what_does_not_exist_are_refused() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    let settings = [("retention.ms", Set, Some("1"))];
    assert_eq!(cluster.alter(topic_resource("a"), &settings).unwrap_err().code(), ErrorCode::UnknownTopicOrPartition);
    let unknown = ConfigResource::Broker(NodeId(9));
    assert_eq!(cluster.alter(unknown, &settings).unwrap_err().code(), ErrorCode::BrokerIdNotRegistered);
    let static_setting = [("static.setting", Set, Some("1"))];
    let error = cluster.alter(ConfigResource::BrokerDefault, &static_setting).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (ErrorCode::InvalidRequest, "static.setting needs a restart")
    );
}

#[test]
fn replacing_configs_drops_what_is_not_named() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    cluster.alter(topic_resource("a"), &[("retention.ms", Set, Some("1"))]).expect("a good value");
    let change = alteration(topic_resource("a"), &[("retention.bytes", Set, Some("2"))]);
    let decision = cluster.controller.replace_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
    assert!(cluster.commit(decision)[0].is_ok());
    assert_eq!(cluster.config("a", "retention.ms"), None);
    assert_eq!(cluster.config("a", "retention.bytes"), Some("2"));
}
