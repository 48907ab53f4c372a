//! `testdata/kafka/consumer-records.txt` was written by the serializers of Apache Kafka 4.3.1: name, key, value.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const WRITTEN_BY_KAFKA: &str = include_str!("../../../testdata/kafka/consumer-records.txt");

const A: TopicId = TopicId(Uuid::from_u128(0x0102_0304_0506_0708_1112_1314_1516_1718));
const B: TopicId = TopicId(Uuid::from_u128(0x2122_2324_2526_2728_3132_3334_3536_3738));

fn read(key: &[u8], value: Option<&[u8]>) -> Result<ConsumerRecord, DecodeError> {
    let mut reader = Reader::new(key, "record key");
    let kind = reader.i16()?;
    decode(kind, &mut reader, value)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Key and value of the line with that name.
fn kafkas(name: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let line = WRITTEN_BY_KAFKA.lines().find(|line| line.split(' ').next() == Some(name));
    let mut parts = line.unwrap_or_else(|| panic!("no line {name}")).split(' ').skip(1);
    let (key, value) = (parts.next().unwrap(), parts.next().unwrap());
    (bytes(key), (value != "-").then(|| bytes(value)))
}

/// Kafka's bytes are this record.
fn reads(name: &str, record: &ConsumerRecord) {
    let (key, value) = kafkas(name);
    assert_eq!(read(&key, value.as_deref()).as_ref(), Ok(record), "{name}");
}

/// Kafka's bytes are this record, and this record is Kafka's bytes.
fn golden(name: &str, record: &ConsumerRecord) {
    reads(name, record);
    let (key, value) = kafkas(name);
    let encoded = encode(record).unwrap();
    assert_eq!(&encoded.key[..], key, "{name}");
    assert_eq!(encoded.value.as_deref(), value.as_deref(), "{name}");
}

fn group(value: Option<GroupValue>) -> ConsumerRecord {
    ConsumerRecord::Group { group: "g1".into(), value }
}

fn member(value: Option<MemberValue>) -> ConsumerRecord {
    ConsumerRecord::Member { group: "g1".into(), member: "m-1".into(), value }
}

fn target(value: Option<TargetValue>) -> ConsumerRecord {
    ConsumerRecord::Target { group: "g1".into(), value }
}

fn target_member(value: Option<Partitions>) -> ConsumerRecord {
    ConsumerRecord::TargetMember { group: "g1".into(), member: "m-1".into(), value }
}

fn current(value: Option<CurrentValue>) -> ConsumerRecord {
    ConsumerRecord::Current { group: "g1".into(), member: "m-1".into(), value }
}

fn regex(value: Option<RegexValue>) -> ConsumerRecord {
    ConsumerRecord::Regex { group: "g1".into(), regex: "or.*".into(), value }
}

fn texts(of: &[&str]) -> BTreeSet<Arc<str>> {
    of.iter().map(|text| Arc::from(*text)).collect()
}

fn partitions(of: &[(TopicId, &[i32])]) -> Partitions {
    of.iter().map(|(topic, of)| (*topic, of.iter().map(|index| PartitionIndex(*index)).collect())).collect()
}

fn owned(of: &[(TopicId, &[(i32, i32)])]) -> OwnedPartitions {
    let with_epoch = |(index, epoch): &(i32, i32)| (PartitionIndex(*index), Epoch(*epoch));
    of.iter().map(|(topic, of)| (*topic, of.iter().map(with_epoch).collect())).collect()
}

fn plain_member() -> MemberValue {
    MemberValue {
        instance: None,
        rack: None,
        client_id: "app".into(),
        client_host: "/127.0.0.1".into(),
        topics: texts(&["orders", "prices"]),
        regex: None,
        rebalance_timeout_ms: 300_000,
        assignor: None,
        classic: None,
    }
}

fn whole_member() -> MemberValue {
    let protocol =
        |name: &str, metadata: &'static [u8]| Protocol { name: name.into(), metadata: Bytes::from_static(metadata) };
    MemberValue {
        instance: Some("one".into()),
        rack: Some("r1".into()),
        topics: texts(&[]),
        regex: Some("or.*".into()),
        rebalance_timeout_ms: -1,
        assignor: Some("range".into()),
        classic: Some(ClassicMember {
            session_timeout_ms: 45_000,
            protocols: vec![protocol("range", &[1, 2, 3]), protocol("cooperative-sticky", &[])],
        }),
        ..plain_member()
    }
}

fn moving() -> CurrentValue {
    CurrentValue {
        epoch: Epoch(10),
        previous_epoch: Epoch(9),
        state: MemberState::UnrevokedPartitions,
        assigned: owned(&[(A, &[(0, 7), (2, 10)])]),
        pending_revocation: owned(&[(B, &[(1, 9)])]),
    }
}

fn matched() -> RegexValue {
    RegexValue { topics: texts(&["orders", "orders.old"]), version: 12_345, timestamp_ms: 1_700_000_000_000 }
}

#[test]
fn group_and_target_are_written_as_kafka_does() {
    golden("group", &group(Some(GroupValue { epoch: Epoch(10), metadata_hash: 0 })));
    golden("group-hash", &group(Some(GroupValue { epoch: Epoch(10), metadata_hash: -81_985_529_216_486_896 })));
    golden("target", &target(Some(TargetValue { epoch: Epoch(10), timestamp_ms: 0 })));
    golden("target-time", &target(Some(TargetValue { epoch: Epoch(10), timestamp_ms: 1_700_000_000_000 })));
}

#[test]
fn members_are_written_as_kafka_does() {
    golden("member", &member(Some(plain_member())));
    golden("member-whole", &member(Some(whole_member())));
}

#[test]
fn assignments_are_written_as_kafka_does() {
    golden("target-member", &target_member(Some(partitions(&[(A, &[0, 2]), (B, &[1])]))));
    golden("target-member-nothing", &target_member(Some(Partitions::new())));
    golden("current", &current(Some(moving())));
    let away = CurrentValue {
        epoch: Epoch(0),
        previous_epoch: Epoch::AWAY,
        state: MemberState::Stable,
        assigned: OwnedPartitions::new(),
        pending_revocation: OwnedPartitions::new(),
    };
    golden("current-nothing", &current(Some(away)));
}

#[test]
fn resolved_regular_expressions_are_written_as_kafka_does() {
    golden("regex", &regex(Some(matched())));
}

#[test]
fn tombstones_have_a_key_and_no_value() {
    golden("group-gone", &group(None));
    golden("topics-gone", &ConsumerRecord::TopicMetadata { group: "g1".into() });
    golden("member-gone", &member(None));
    golden("target-gone", &target(None));
    golden("target-member-gone", &target_member(None));
    golden("current-gone", &current(None));
    golden("regex-gone", &regex(None));
}

#[test]
fn what_kafka_4_0_knew_of_topics_is_passed_over() {
    reads("topics-4.0", &ConsumerRecord::TopicMetadata { group: "g1".into() });
}

#[test]
fn partitions_without_epochs_have_that_of_their_member() {
    let value = CurrentValue {
        state: MemberState::UnreleasedPartitions,
        assigned: owned(&[(A, &[(0, 10), (2, 10)])]),
        pending_revocation: OwnedPartitions::new(),
        ..moving()
    };
    reads("current-no-epochs", &current(Some(value)));
}

#[test]
fn state_of_a_newer_release_is_unknown() {
    let (key, value) = kafkas("current");
    let mut value = value.unwrap();
    value[10] = 9; // behind the version and two epochs
    let newer = CurrentValue { state: MemberState::Unknown, ..moving() };
    assert_eq!(read(&key, Some(&value)), Ok(current(Some(newer.clone()))));
    assert_eq!(encode(&current(Some(newer))).unwrap().value.unwrap()[10], 127);
}

#[test]
fn unknown_tagged_fields_of_a_newer_writer_are_passed_over() {
    const NONE: &[u8] = b"\x00";
    const NO_CLASSIC_MEMBER: &[u8] = b"\x01\x00\x01\x00";
    for (name, tags, record) in [
        ("group", NONE, group(Some(GroupValue { epoch: Epoch(10), metadata_hash: 0 }))),
        ("target", NONE, target(Some(TargetValue { epoch: Epoch(10), timestamp_ms: 0 }))),
        ("member", NO_CLASSIC_MEMBER, member(Some(plain_member()))),
        ("target-member", NONE, target_member(Some(partitions(&[(A, &[0, 2]), (B, &[1])])))),
        ("current", NONE, current(Some(moving()))),
        ("regex", NONE, regex(Some(matched()))),
    ] {
        let (key, value) = kafkas(name);
        let value = value.unwrap();
        let head = value.strip_suffix(tags).unwrap_or_else(|| panic!("{name} ends with its tagged fields"));
        let newer = [head, &[tags[0] + 1], &tags[1..], b"\x09\x03new"].concat();
        assert_eq!(read(&key, Some(&newer)), Ok(record), "{name}");
    }
}

#[test]
fn newer_version_of_a_value_is_refused() {
    for name in ["group", "member", "target", "target-member", "current", "regex"] {
        let (key, value) = kafkas(name);
        let mut value = value.unwrap();
        value[1] = 1;
        let error = read(&key, Some(&value)).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownVersion { version: 1, max: 0, .. }), "{name}: {error}");
    }
}

#[test]
fn truncated_bytes_are_malformed() {
    for line in WRITTEN_BY_KAFKA.lines() {
        let name = line.split(' ').next().unwrap();
        let (key, value) = kafkas(name);
        for len in 0..key.len() {
            assert!(read(&key[..len], value.as_deref()).is_err(), "{name}: {len} bytes of the key");
        }
        for len in 0..value.as_ref().map_or(0, Vec::len) {
            let result = read(&key, value.as_ref().map(|value| &value[..len]));
            let is_ignored = name == "topics-4.0";
            assert!(is_ignored || matches!(result, Err(DecodeError::Malformed { .. })), "{name}: {len} bytes");
        }
    }
}

#[test]
fn text_too_long_for_the_format_is_refused() {
    let long: Arc<str> = "x".repeat(40_000).into();
    let error = |field| EncodeError { field, len: 40_000, max: 32_767 };
    let record = ConsumerRecord::Regex { group: "g1".into(), regex: long.clone(), value: None };
    assert_eq!(encode(&record), Err(error("regular expression")));
    let value = MemberValue { client_id: long.clone(), ..plain_member() };
    assert_eq!(encode(&member(Some(value))), Err(error("client id")));
    let value = MemberValue { topics: [long].into(), ..plain_member() };
    assert_eq!(encode(&member(Some(value))), Err(error("topic name")));
}

fn any_partitions() -> impl Strategy<Value = Partitions> {
    let some = prop::collection::btree_set(any::<i32>().prop_map(PartitionIndex), 1..20);
    prop::collection::btree_map(any::<u128>().prop_map(|id| TopicId(Uuid::from_u128(id))), some, 0..5)
}

fn any_owned() -> impl Strategy<Value = OwnedPartitions> {
    let (index, epoch) = (any::<i32>().prop_map(PartitionIndex), any::<i32>().prop_map(Epoch));
    let some = prop::collection::btree_map(index, epoch, 1..20);
    prop::collection::btree_map(any::<u128>().prop_map(|id| TopicId(Uuid::from_u128(id))), some, 0..5)
}

fn round_trip(record: &ConsumerRecord) {
    let encoded = encode(record).unwrap();
    assert_eq!(read(&encoded.key, encoded.value.as_deref()).as_ref(), Ok(record));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(key: Vec<u8>, value: Vec<u8>, kind in prop::sample::select(vec![3u8, 5, 6, 7, 8, 16])) {
        let key = [&[0, kind], &key[..]].concat();
        drop(read(&key, Some(&value)));
        let key = [0, kind, 0, 1, b'g', 0, 1, b'm'];
        drop(read(&key, Some(&[&[0, 0], &value[..]].concat())));
    }

    #[test]
    fn assignments_round_trip(target in any_partitions(), assigned in any_owned(), pending in any_owned(), epoch: i32) {
        round_trip(&target_member(Some(target)));
        let value = CurrentValue { assigned, pending_revocation: pending, epoch: Epoch(epoch), ..moving() };
        round_trip(&current(Some(value)));
    }

    #[test]
    fn members_round_trip(id in ".{0,40}", topics: BTreeSet<String>, metadata: Vec<u8>, timeout: i32) {
        let mut value = whole_member();
        value.client_id = id.as_str().into();
        value.topics = topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
        value.rebalance_timeout_ms = timeout;
        if let Some(classic) = &mut value.classic {
            classic.protocols[0].metadata = metadata.into();
        }
        round_trip(&member(Some(value)));
    }
}
