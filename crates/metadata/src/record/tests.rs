use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// `name hex` per line: the bytes of each record of [`samples`] in version 1. Never changed, only added to.
const GOLDEN_V1: &str = include_str!("golden_v1.txt");

fn samples() -> Vec<(&'static str, Record)> {
    let topic_id = TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    let topic = || TopicName::parse("orders.v1").expect("a legal name");
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, security_protocol: 0 };
    let config = |resource, value: Option<&str>| Record::Config {
        resource,
        name: "retention.ms".into(),
        value: value.map(str::to_owned),
    };
    vec![
        ("cluster_id", Record::ClusterId { cluster_id: ClusterId::from("Pv4OC5vJTyKKkxUxsDPWkQ") }),
        (
            "register_broker",
            Record::RegisterBroker {
                node_id: NodeId(3),
                incarnation: Uuid::from_u128(7),
                epoch: 42,
                endpoints: vec![endpoint],
                rack: Some("r1".into()),
                controller: true,
            },
        ),
        ("fence_broker", Record::FenceBroker { node_id: NodeId(3), epoch: 42, fenced: true }),
        ("topic", Record::Topic { name: topic(), topic_id }),
        (
            "partition",
            Record::Partition {
                topic_id,
                partition: PartitionIndex(1),
                replicas: vec![NodeId(3)],
                isr: vec![NodeId(3)],
                leader: Some(NodeId(3)),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
            },
        ),
        (
            "partition_change",
            Record::PartitionChange {
                topic_id,
                partition: PartitionIndex(1),
                isr: vec![NodeId(3)],
                leader: None,
                leader_epoch: LeaderEpoch(5),
                partition_epoch: 6,
            },
        ),
        ("remove_topic", Record::RemoveTopic { topic_id }),
        ("config_topic", config(ConfigResource::Topic(topic()), Some("1000"))),
        ("config_broker", config(ConfigResource::Broker(NodeId(3)), Some("1000"))),
        ("config_removed", config(ConfigResource::BrokerDefault, None)),
        ("producer_ids", Record::ProducerIds { node_id: NodeId(3), broker_epoch: 42, next_producer_id: 5000 }),
    ]
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
    assert_eq!(written, GOLDEN_V1);
}

#[test]
fn released_bytes_still_read_as_the_same_records() {
    for (line, (name, record)) in GOLDEN_V1.lines().zip(samples()) {
        let (golden_name, bytes) = line.split_once(' ').expect("two words");
        assert_eq!(golden_name, name);
        assert_eq!(decode_batch(&unhex(bytes)).as_deref(), Ok(&[record][..]), "{name}");
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
    let mut bytes = encode_batch(&[samples().remove(3).1]);
    bytes[8] = 2; // the low byte of the record's version
    assert_eq!(decode_batch(&bytes), Err(DecodeError::NewerVersion { what: "topic record", found: 2, newest: 1 }));
}

#[test]
fn an_unknown_record_kind_is_refused() {
    let mut bytes = encode_batch(&[samples().remove(3).1]);
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
            prop_assert_eq!(encode_batch(&records), bytes);
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
