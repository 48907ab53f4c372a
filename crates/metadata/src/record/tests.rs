use proptest::prelude::*;
use twinstream_model::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::{
    codec::DecodeError,
    image::{MirrorState, QuotaEntityType, ScramMechanism},
};

/// `name hex` per line: the bytes of each record of [`samples_v1`] in version 1. Never changed, only added to.
const GOLDEN_V1: &str = include_str!("golden_v1.txt");
/// The bytes of each record of [`samples_v2`], each kind in the newest version of its time. Never changed.
const GOLDEN_V2: &str = include_str!("golden_v2.txt");
/// The bytes of each record of [`samples_v3`], each kind in the newest version of its time. Never changed.
const GOLDEN_V3: &str = include_str!("golden_v3.txt");
/// The bytes of each record of [`samples_v4`], each kind in the newest version of its time. Never changed.
const GOLDEN_V4: &str = include_str!("golden_v4.txt");
/// The bytes of each record of [`samples`], each kind in its newest version. Never changed, only added to.
const GOLDEN_V5: &str = include_str!("golden_v5.txt");

fn topic_id() -> TopicId {
    TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10))
}

fn registration(directories: Vec<Uuid>, metadata_directory: Option<Uuid>, boot_id: &str) -> Record {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, security_protocol: 0 };
    Record::RegisterBroker {
        node_id: NodeId(3),
        incarnation: Uuid::from_u128(7),
        epoch: 42,
        endpoints: vec![endpoint],
        rack: Some("r1".into()),
        controller: true,
        directories,
        metadata_directory,
        boot_id: boot_id.into(),
    }
}

fn fencing(fenced: bool, shutting_down: bool) -> Record {
    Record::FenceBroker { node_id: NodeId(3), epoch: 42, fenced, shutting_down }
}

/// Kinds whose layout is the same in both versions.
fn samples_of_both() -> Vec<(&'static str, Record)> {
    let topic = || TopicName::parse("orders.v1").expect("a legal name");
    let config = |resource, value: Option<&str>| Record::Config {
        resource,
        name: "retention.ms".into(),
        value: value.map(str::to_owned),
    };
    vec![
        ("cluster_id", Record::ClusterId { cluster_id: ClusterId::from("Pv4OC5vJTyKKkxUxsDPWkQ") }),
        ("topic", Record::Topic { name: topic(), topic_id: topic_id() }),
        ("remove_topic", Record::RemoveTopic { topic_id: topic_id() }),
        ("config_topic", config(ConfigResource::Topic(topic()), Some("1000"))),
        ("config_broker", config(ConfigResource::Broker(NodeId(3)), Some("1000"))),
        ("config_removed", config(ConfigResource::BrokerDefault, None)),
        ("producer_ids", Record::ProducerIds { node_id: NodeId(3), broker_epoch: 42, next_producer_id: 5000 }),
    ]
}

/// What the bytes of version 1 read as.
fn samples_v1() -> Vec<(&'static str, Record)> {
    let node = || vec![NodeId(3)];
    let partition = |image| (topic_id(), PartitionIndex(1), image);
    let (topic_id, partition, image) = partition(PartitionImage {
        replicas: node(),
        isr: node(),
        leader: Some(NodeId(3)),
        ..PartitionImage::default()
    });
    let change =
        PartitionImage { isr: node(), leader_epoch: LeaderEpoch(5), partition_epoch: 6, ..PartitionImage::default() };
    let mut samples = samples_of_both();
    samples.extend([
        ("register_broker", registration(vec![], None, "")),
        ("fence_broker", fencing(true, false)),
        ("partition", Record::Partition { topic_id, partition, image }),
        ("partition_change", Record::PartitionChange { topic_id, partition, image: change }),
    ]);
    samples
}

/// What the bytes of version 2 read as: it knew of no failed disks.
fn samples_v2() -> Vec<(&'static str, Record)> {
    samples_with(&[])
}

/// What the bytes of version 3 read as: it knew of no features, quotas and credentials.
fn samples_v3() -> Vec<(&'static str, Record)> {
    samples_with(&[3])
}

/// One record of each kind, with nothing at its default.
fn samples() -> Vec<(&'static str, Record)> {
    let mirror = |state| Mirror {
        link: Uuid::from_u128(11),
        cluster: "upstream".into(),
        topic: TopicName::parse("orders").expect("a legal name"),
        topic_id: TopicId(Uuid::from_u128(12)),
        state,
    };
    let record = |state| Record::Mirror { topic_id: topic_id(), mirror: mirror(state) };
    let mut samples = samples_v4();
    samples.extend([
        ("mirror", record(MirrorState::Mirroring)),
        ("mirror_promoted", record(MirrorState::Promoted { epoch: LeaderEpoch(5), own: None })),
        ("mirror_promoted_again", record(MirrorState::Promoted { epoch: LeaderEpoch(5), own: Some(LeaderEpoch(3)) })),
        ("mirror_again", record(MirrorState::MirroringAgain { epoch: LeaderEpoch(6) })),
    ]);
    samples
}

/// What the bytes of version 4 read as: it knew of no mirrors.
fn samples_v4() -> Vec<(&'static str, Record)> {
    let config = |resource| Record::Config { resource, name: "interval.ms".into(), value: Some("5000".into()) };
    let both = [(QuotaEntityType::User, Some("alice".to_owned())), (QuotaEntityType::ClientId, None)];
    let clients = QuotaEntity { parts: both.into() };
    let address = QuotaEntity { parts: [(QuotaEntityType::Ip, Some("10.0.0.1".to_owned()))].into() };
    let quota = |entity, key: &str, value| Record::ClientQuota { entity, key: key.into(), value };
    let credential =
        ScramCredential { salt: vec![1, 2], stored_key: vec![3; 4], server_key: vec![5; 3], iterations: 8192 };
    let scram = |mechanism, credential| Record::ScramCredential {
        user: ScramUser { name: "alice".into(), mechanism },
        credential,
    };
    let mut samples = samples_v3();
    samples.extend([
        ("config_group", config(ConfigResource::Group("readers".into()))),
        ("config_client_metrics", config(ConfigResource::ClientMetrics("basic".into()))),
        ("feature_level", Record::FeatureLevel { name: "metadata.version".into(), level: 30 }),
        ("client_quota", quota(clients, "producer_byte_rate", Some(QuotaValue(1024.5)))),
        ("client_quota_removed", quota(address, "connection_creation_rate", None)),
        ("scram_credential", scram(ScramMechanism::Sha256, Some(credential))),
        ("scram_credential_removed", scram(ScramMechanism::Sha512, None)),
    ]);
    samples
}

fn samples_with(offline_nodes: &[i32]) -> Vec<(&'static str, Record)> {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    let (topic_id, partition) = (topic_id(), PartitionIndex(1));
    let image = PartitionImage {
        replicas: nodes(&[4, 1, 2, 3]),
        isr: nodes(&[1]),
        elr: nodes(&[2]),
        last_known_leader: None,
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 6,
        adding: nodes(&[4]),
        removing: nodes(&[3]),
        offline: nodes(offline_nodes),
    };
    let offline = PartitionImage {
        isr: vec![],
        elr: nodes(&[1, 2]),
        leader: None,
        last_known_leader: Some(NodeId(1)),
        ..image.clone()
    };
    let mut samples = samples_of_both();
    samples.extend([
        (
            "register_broker",
            registration(vec![Uuid::from_u128(8), Uuid::from_u128(9)], Some(Uuid::from_u128(10)), "b-1"),
        ),
        ("fence_broker", fencing(false, true)),
        ("unregister_broker", Record::UnregisterBroker { node_id: NodeId(3), epoch: 42 }),
        ("partition", Record::Partition { topic_id, partition, image }),
        ("partition_change", Record::PartitionChange { topic_id, partition, image: offline }),
    ]);
    samples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn bytes_of_every_record_kind_stay_as_released() {
    let written: String =
        samples().into_iter().map(|(name, record)| format!("{name} {}\n", hex(&encode_batch(&[record])))).collect();
    assert_eq!(written, GOLDEN_V5);
}

#[test]
fn released_bytes_still_read_as_the_same_records() {
    let released = [
        (GOLDEN_V1, samples_v1()),
        (GOLDEN_V2, samples_v2()),
        (GOLDEN_V3, samples_v3()),
        (GOLDEN_V4, samples_v4()),
        (GOLDEN_V5, samples()),
    ];
    for (golden, samples) in released {
        assert_eq!(golden.lines().count(), samples.len());
        for line in golden.lines() {
            let (name, bytes) = line.split_once(' ').expect("two words");
            let (_, record) = samples.iter().find(|(sample, _)| *sample == name).expect("a sample of each line");
            assert_eq!(decode_batch(&unhex(bytes)).as_deref(), Ok(std::slice::from_ref(record)), "{name}");
        }
    }
}

#[test]
fn a_batch_keeps_the_order_of_its_records() {
    let records: Vec<Record> = samples().into_iter().map(|(_, record)| record).collect();
    assert_eq!(decode_batch(&encode_batch(&records)), Ok(records));
}

#[test]
fn a_newer_batch_is_refused_with_the_way_out() {
    let mut bytes = encode_batch(&[]);
    bytes[0] = 9;
    let error = decode_batch(&bytes).unwrap_err();
    assert_eq!(error, DecodeError::NewerVersion { what: "metadata batch", found: 9, newest: 1 });
    assert!(error.to_string().contains("start the release that wrote it"), "{error}");
}

#[test]
fn a_newer_record_version_is_refused() {
    let mut bytes = encode_batch(&[samples().remove(1).1]);
    bytes[8] = 2; // the low byte of the record's version
    assert_eq!(decode_batch(&bytes), Err(DecodeError::NewerVersion { what: "topic record", found: 2, newest: 1 }));
}

#[test]
fn an_unknown_record_kind_is_refused() {
    let mut bytes = encode_batch(&[samples().remove(1).1]);
    bytes[6] = 99;
    assert_eq!(decode_batch(&bytes), Err(DecodeError::UnknownKind { kind: 99 }));
}

#[test]
fn every_cut_of_a_batch_is_an_error() {
    let records: Vec<Record> = samples().into_iter().map(|(_, record)| record).collect();
    let bytes = encode_batch(&records);
    for end in 0..bytes.len() {
        assert!(decode_batch(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn an_absurd_length_allocates_nothing() {
    let bytes = [1, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(decode_batch(&bytes), Err(DecodeError::Truncated { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let decoded = decode_batch(&bytes);
        if let Ok(records) = decoded {
            // Older versions are read and the newest is written, so the records agree and the bytes need not.
            prop_assert_eq!(decode_batch(&encode_batch(&records)), Ok(records));
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(at in 0usize..600, bit in 0u8..8) {
        let records: Vec<Record> = samples().into_iter().map(|(_, record)| record).collect();
        let mut bytes = encode_batch(&records);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(records) = decode_batch(&bytes) {
            prop_assert_eq!(records.len(), samples().len());
        }
    }
}
