use twinstream_model::LeaderEpoch;

use super::*;
use crate::{
    features::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION},
    record::{decode_batch, encode_batch},
};

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a legal name")
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn broker(node: i32, epoch: i64) -> Record {
    Record::RegisterBroker {
        node_id: NodeId(node),
        incarnation: Uuid::from_u128(epoch as u128),
        epoch,
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 1, security_protocol: 0 }],
        rack: None,
        controller: node == 1,
        directories: vec![Uuid::from_u128(node as u128)],
        metadata_directory: Some(Uuid::from_u128(7)),
        boot_id: "boot-1".into(),
    }
}

fn partition(topic: u128, index: i32, leader: Option<i32>) -> Record {
    Record::Partition {
        topic_id: id(topic),
        partition: PartitionIndex(index),
        image: PartitionImage {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: leader.map(NodeId),
            ..PartitionImage::default()
        },
    }
}

fn change(topic: u128, index: i32, epoch: i32) -> Record {
    Record::PartitionChange {
        topic_id: id(topic),
        partition: PartitionIndex(index),
        image: PartitionImage {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
            ..PartitionImage::default()
        },
    }
}

fn config(resource: ConfigResource, value: Option<&str>) -> Record {
    Record::Config { resource, name: "retention.ms".into(), value: value.map(str::to_owned) }
}

fn alice() -> QuotaEntity {
    QuotaEntity { parts: [(QuotaEntityType::User, Some("alice".to_owned()))].into() }
}

fn quota(key: &str, value: Option<f64>) -> Record {
    Record::ClientQuota { entity: alice(), key: key.into(), value: value.map(QuotaValue) }
}

fn credential(iterations: Option<i32>) -> Record {
    let credential =
        |iterations| ScramCredential { salt: vec![1], stored_key: vec![2], server_key: vec![3], iterations };
    Record::ScramCredential { user: scram_user(), credential: iterations.map(credential) }
}

fn scram_user() -> ScramUser {
    ScramUser { name: "alice".into(), mechanism: ScramMechanism::Sha512 }
}

fn sample() -> Image {
    let mut image = Image::default();
    image
        .apply_batch(&[
            Record::ClusterId { cluster_id: ClusterId::from("c1") },
            broker(1, 0),
            Record::FenceBroker { node_id: NodeId(1), epoch: 0, fenced: false, shutting_down: false },
            broker(2, 1),
            Record::Topic { name: name("a"), topic_id: id(1) },
            partition(1, 0, Some(1)),
            partition(1, 1, None),
            config(ConfigResource::Topic(name("a")), Some("5")),
            config(ConfigResource::BrokerDefault, Some("6")),
            Record::ProducerIds { node_id: NodeId(1), broker_epoch: 0, next_producer_id: 3000 },
            Record::FeatureLevel { name: METADATA_VERSION.into(), level: 30 },
            config(ConfigResource::Group("readers".into()), Some("7")),
            quota("producer_byte_rate", Some(1000.0)),
            quota("request_percentage", Some(12.5)),
            credential(Some(4096)),
        ])
        .expect("records that fit");
    image.check_invariants().expect("a sound image");
    image
}

#[test]
fn a_clone_does_not_see_later_records() {
    let before = sample();
    let mut after = before.clone();
    after.apply(&Record::RemoveTopic { topic_id: id(1) }).expect("topic a is there");
    assert!(before.topic(&name("a")).is_some());
    assert!(after.topic(&name("a")).is_none());
    assert!(after.topic_by_id(id(1)).is_none());
}

#[test]
fn a_removed_topic_takes_its_configs_along() {
    let mut image = sample();
    image.apply(&Record::RemoveTopic { topic_id: id(1) }).expect("topic a is there");
    image.apply(&Record::Topic { name: name("a"), topic_id: id(2) }).expect("the name is free");
    assert_eq!(image.config(&ConfigResource::Topic(name("a")), "retention.ms"), None);
    assert_eq!(image.config(&ConfigResource::BrokerDefault, "retention.ms"), Some("6"));
}

#[test]
fn an_entity_without_quotas_is_not_listed() {
    let mut image = sample();
    assert_eq!(image.client_quota(&alice(), "request_percentage"), Some(QuotaValue(12.5)));
    image.apply(&quota("request_percentage", None)).expect("a quota that is there");
    assert_eq!(image.client_quotas().count(), 1);
    image.apply(&quota("producer_byte_rate", None)).expect("a quota that is there");
    assert_eq!(image.client_quotas().count(), 0);
}

#[test]
fn a_removed_credential_is_gone() {
    let mut image = sample();
    assert_eq!(image.scram_credential(&scram_user()).map(|found| found.iterations), Some(4096));
    image.apply(&credential(None)).expect("a credential that is there");
    assert_eq!(image.scram_credentials().count(), 0);
}

#[test]
fn a_secret_is_not_in_what_is_printed_for_debugging() {
    let printed = format!("{:?}", credential(Some(4096)));
    assert!(printed.contains("iterations: 4096") && !printed.contains("key"), "{printed}");
}

#[test]
fn a_feature_that_nobody_set_has_its_lowest_level() {
    let image = Image::default();
    assert_eq!(image.feature_level(ELIGIBLE_LEADER_REPLICAS_VERSION), 1);
    assert_eq!(image.feature_level("no.such.feature"), 0);
}

#[test]
fn a_feature_level_of_a_newer_release_is_not_replayed() {
    let mut image = sample();
    for (name, level) in [(METADATA_VERSION, 31), ("share.version", 1), (METADATA_VERSION, -1)] {
        let error = image.apply(&Record::FeatureLevel { name: name.into(), level }).unwrap_err();
        assert!(error.to_string().contains("a later one"), "{error}");
    }
    assert_eq!(image, sample());
}

#[test]
fn a_snapshot_gives_the_same_image_and_the_same_bytes() {
    let image = sample();
    let bytes = image.to_snapshot();
    let loaded = Image::from_snapshot(&bytes).expect("a good snapshot");
    assert_eq!(loaded, image);
    assert_eq!(loaded.to_snapshot(), bytes);
}

#[test]
fn a_snapshot_keeps_epochs_and_ids_that_no_record_shows() {
    let image = sample();
    let loaded = Image::from_snapshot(&image.to_snapshot()).expect("a good snapshot");
    assert_eq!(loaded.next_broker_epoch(), 2);
    assert_eq!(loaded.next_producer_id(), 3000);
}

#[test]
fn a_damaged_or_newer_snapshot_is_refused() {
    let mut bytes = sample().to_snapshot();
    assert!(Image::from_snapshot(&bytes[..bytes.len() - 1]).is_err());
    bytes[0] = 2;
    let error = Image::from_snapshot(&bytes).unwrap_err().to_string();
    assert!(error.contains("metadata snapshot version 2 is newer"), "{error}");
}

#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let before = sample();
    let mut image = before.clone();
    let batch = [Record::Topic { name: name("b"), topic_id: id(9) }, partition(9, 5, None)];
    let error = image.apply_batch(&batch).unwrap_err();
    assert_eq!(error, ReplayError::PartitionOrder { topic: name("b"), have: 0, partition: PartitionIndex(5) });
    assert_eq!(image, before);
}

#[test]
fn epochs_never_go_back() {
    let mut image = sample();
    image.apply(&change(1, 0, 4)).expect("a newer epoch");
    assert!(matches!(image.apply(&change(1, 0, 3)), Err(ReplayError::EpochBack { from: 4, to: 3, .. })));
    assert!(matches!(image.apply(&broker(2, 0)), Err(ReplayError::EpochBack { .. })));
    let backwards = Record::ProducerIds { node_id: NodeId(1), broker_epoch: 0, next_producer_id: 2000 };
    assert!(image.apply(&backwards).is_err());
}

#[test]
fn the_cluster_id_never_changes() {
    let mut image = sample();
    assert!(image.apply(&Record::ClusterId { cluster_id: ClusterId::from("c1") }).is_ok());
    let error = image.apply(&Record::ClusterId { cluster_id: ClusterId::from("other") }).unwrap_err();
    assert!(error.to_string().contains("c1"), "{error}");
}

#[test]
fn fencing_of_an_older_registration_is_refused() {
    let mut image = sample();
    image.apply(&broker(1, 5)).expect("a newer registration");
    let stale = Record::FenceBroker { node_id: NodeId(1), epoch: 0, fenced: false, shutting_down: false };
    assert_eq!(image.apply(&stale), Err(ReplayError::UnknownBroker(NodeId(1))));
    assert!(image.broker(NodeId(1)).is_some_and(|broker| broker.fenced));
}

#[test]
fn a_config_without_value_is_back_to_its_default() {
    let mut image = sample();
    image.apply(&config(ConfigResource::Topic(name("a")), None)).expect("configs always fit");
    image.apply(&config(ConfigResource::Broker(NodeId(7)), None)).expect("removing nothing is fine");
    assert_eq!(image.config_resources().count(), 2);
}

#[test]
fn log_and_memory_agree_after_a_round_trip() {
    let records = sample().to_records();
    let decoded = decode_batch(&encode_batch(&records)).expect("our own bytes");
    let mut image = Image::default();
    image.apply_batch(&decoded).expect("records that fit");
    assert_eq!(image, sample());
}

#[test]
fn an_image_without_the_leaderships_of_a_node_differs_in_nothing_else() {
    let image = sample();
    let masked = image.without_leaderships_of(NodeId(1));
    assert!(masked.topics().all(|topic| topic.partitions.iter().all(|partition| partition.leader.is_none())));
    assert_eq!(masked.partition(&name("a"), PartitionIndex(0)).map(|partition| &partition.isr), Some(&vec![NodeId(1)]));
    assert_eq!(image.without_leaderships_of(NodeId(2)), image);
    assert_ne!(masked, image, "the original is as it was");
}
