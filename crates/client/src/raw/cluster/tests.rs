//! The map as answers, refusals and hints change it.

use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{BrokerId, TopicName as WireTopicName};

use super::*;
use crate::test_support::partition;

fn name(topic: &str) -> TopicName {
    TopicName::parse(topic).unwrap()
}

fn at(topic: &str, index: i32) -> TopicPartition {
    partition(&name(topic), index)
}

/// A topic whose partitions are led by these nodes, all in epoch 5.
fn topic(topic: &str, leaders: &[i32]) -> MetadataResponseTopic {
    let led_by = |(index, leader): (usize, &i32)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_epoch(5)
            .with_leader_id(BrokerId(*leader))
    };
    MetadataResponseTopic::default()
        .with_name(Some(WireTopicName(StrBytes::from_string(topic.to_owned()))))
        .with_partitions(leaders.iter().enumerate().map(led_by).collect())
}

fn answer(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    let broker = |id| MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_port(9092);
    MetadataResponse::default()
        .with_controller_id(BrokerId(2))
        .with_brokers(vec![broker(1), broker(2)])
        .with_topics(topics)
}

fn refused(name: &str, code: ErrorCode) -> MetadataResponseTopic {
    topic(name, &[]).with_error_code(code as i16)
}

#[test]
fn a_node_that_does_not_answer_leads_nothing_in_the_map_any_more() {
    let cluster = Cluster::default();
    cluster.learn(&answer(vec![topic("t", &[1, 2])]), Scope::Named);
    let leader = |index| cluster.view().leader(&at("t", index));
    cluster.forget_node(Node::Any);
    assert_eq!((leader(0), leader(1)), (Some(NodeId(1)), Some(NodeId(2))));
    cluster.forget_node(Node::Controller);
    assert_eq!((leader(0), leader(1)), (Some(NodeId(1)), None));
    assert_eq!(cluster.view().controller, None);
    cluster.forget_node(Node::Id(NodeId(1)));
    assert_eq!(leader(0), None);
}

#[test]
fn a_view_in_hand_does_not_change_whatever_is_forgotten_or_learned() {
    let cluster = Cluster::default();
    let before = cluster.learn(&answer(vec![topic("t", &[1, 2]), topic("u", &[1])]), Scope::Named);
    let copy = ClusterView::clone(&before);
    cluster.forget_leader(&at("t", 0));
    cluster.forget_node(Node::Id(NodeId(2)));
    cluster.learn_leader(&at("u", 0), NodeId(2), LeaderEpoch(6));
    cluster.learn(&answer(vec![topic("v", &[1])]), Scope::All);
    assert_eq!(*before, copy);
    assert_eq!(cluster.view().topics.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["v"]);
}

#[test]
fn a_map_of_ten_thousand_partitions_forgets_them_one_by_one_without_copies_of_itself() {
    let cluster = Cluster::default();
    let names: Vec<String> = (0..1_000).map(|index| format!("topic-{index}")).collect();
    cluster.learn(&answer(names.iter().map(|name| topic(name, &[1; 10])).collect()), Scope::All);
    let held = cluster.view(); // one reader: one copy, of the map but not of its topics
    cluster.forget_leader(&at("topic-0", 0));
    let address = Arc::as_ptr(&cluster.view());
    for name in &names {
        (0..10).for_each(|index| cluster.forget_leader(&at(name, index)));
    }
    let view = cluster.view();
    assert_eq!(Arc::as_ptr(&view), address, "edited in place while nobody looked");
    assert!(names.iter().all(|name| view.leader(&at(name, 9)).is_none()));
    assert!(names.iter().all(|name| held.leader(&at(name, 9)).is_some()));
    assert!(!Arc::ptr_eq(&held.topics[&name("topic-7")], &view.topics[&name("topic-7")]));
}

#[test]
fn topics_of_which_nothing_changed_are_shared_between_views() {
    let cluster = Cluster::default();
    let before = cluster.learn(&answer(vec![topic("t", &[1]), topic("u", &[2])]), Scope::Named);
    cluster.forget_node(Node::Id(NodeId(1)));
    let after = cluster.view();
    assert!(Arc::ptr_eq(&before.topics[&name("u")], &after.topics[&name("u")]));
    assert!(!Arc::ptr_eq(&before.topics[&name("t")], &after.topics[&name("t")]));
}

#[test]
fn the_hint_of_a_broker_counts_only_if_it_is_newer_and_names_a_known_broker() {
    let cluster = Cluster::default();
    cluster.learn(&answer(vec![topic("t", &[1])]), Scope::Named);
    let hint = |leader, epoch| {
        cluster.learn_leader(&at("t", 0), NodeId(leader), LeaderEpoch(epoch));
        cluster.view().leader(&at("t", 0))
    };
    assert_eq!(hint(2, 4), Some(NodeId(1)), "older");
    assert_eq!(hint(2, 5), Some(NodeId(1)), "as old, and the leader is known");
    assert_eq!(hint(9, 6), Some(NodeId(1)), "no address");
    assert_eq!(hint(2, 6), Some(NodeId(2)));
    cluster.learn(&answer(vec![topic("t", &[1])]), Scope::Named);
    assert_eq!(cluster.view().leader(&at("t", 0)), Some(NodeId(2)), "an answer of an older epoch changes nothing");
    cluster.forget_leader(&at("t", 0));
    assert_eq!(hint(1, 6), Some(NodeId(1)), "as old, and the leader is not known");
    cluster.learn_leader(&at("none", 0), NodeId(1), LeaderEpoch(1));
    assert!(!cluster.view().topics.contains_key(&name("none")));
}

#[test]
fn a_topic_that_may_not_be_seen_is_told_from_one_that_does_not_exist() {
    let cluster = Cluster::default();
    let secret = || refused("secret", ErrorCode::TopicAuthorizationFailed);
    cluster.learn(&answer(vec![secret(), refused("gone", ErrorCode::UnknownTopicOrPartition)]), Scope::Named);
    let error = |topic| cluster.view().topic_error(&name(topic));
    assert_eq!(error("secret"), ErrorCode::TopicAuthorizationFailed);
    assert_eq!(error("gone"), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(error("never-asked"), ErrorCode::UnknownTopicOrPartition);
    cluster.learn(&answer(vec![topic("secret", &[1])]), Scope::Named);
    assert_eq!(error("secret"), ErrorCode::None);
    cluster.learn(&answer(vec![secret()]), Scope::Named);
    assert_eq!(error("secret"), ErrorCode::TopicAuthorizationFailed);
    cluster.learn(&answer(vec![refused("secret", ErrorCode::UnknownTopicOrPartition)]), Scope::Named);
    assert_eq!(error("secret"), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn only_an_answer_about_all_topics_forgets_those_it_does_not_name() {
    let cluster = Cluster::default();
    cluster.learn(&answer(vec![topic("t", &[1]), topic("u", &[2])]), Scope::Named);
    cluster.learn(&answer(vec![topic("t", &[2])]), Scope::Named);
    assert_eq!(cluster.view().topics.len(), 2);
    let view = cluster.learn(&answer(vec![topic("t", &[1])]), Scope::All);
    assert_eq!(view.topics.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["t"]);
}
