//! The golden bytes were compared with what the serializers of Kafka 4.3.1 write for the same values.

use proptest::prelude::*;

use super::*;

fn key() -> OffsetKey {
    OffsetKey { group: "g1".into(), topic: TopicName::parse("orders").unwrap(), partition: PartitionIndex(7) }
}

fn offset() -> CommittedOffset {
    CommittedOffset {
        offset: Offset(42),
        leader_epoch: LeaderEpoch(3),
        metadata: "note".into(),
        commit_timestamp_ms: 1_000,
        expire_timestamp_ms: None,
        topic_id: TopicId::NONE,
    }
}

fn metadata() -> GroupMetadata {
    GroupMetadata {
        protocol_type: Some("consumer".into()),
        generation: Generation(5),
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        current_state_timestamp_ms: Some(2_000),
        members: vec![StoredMember {
            member: "m-1".into(),
            instance: Some("one".into()),
            client_id: "app".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"asg"),
        }],
    }
}

const OFFSET_KEY_V1: &[u8] = b"\x00\x01\x00\x02g1\x00\x06orders\x00\x00\x00\x07";
const GROUP_KEY_V2: &[u8] = b"\x00\x02\x00\x02g1";
const OFFSET_VALUE_V4: &[u8] =
    b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x05note\x00\x00\x00\x00\x00\x00\x03\xe8\x00";
const OFFSET_VALUE_V4_TOPIC_ID: &[u8] = b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x05note\
    \x00\x00\x00\x00\x00\x00\x03\xe8\x01\x00\x10\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11";
const OFFSET_VALUE_V3: &[u8] =
    b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x00\x04note\x00\x00\x00\x00\x00\x00\x03\xe8";
const OFFSET_VALUE_V1: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x04note\
    \x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x00\x00\x00\x00\x07\xd0";
const OFFSET_VALUE_V0: &[u8] = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x04note\x00\x00\x00\x00\x00\x00\x03\xe8";
const GROUP_VALUE_V3: &[u8] = b"\x00\x03\x00\x08consumer\x00\x00\x00\x05\x00\x05range\x00\x03m-1\
    \x00\x00\x00\x00\x00\x00\x07\xd0\x00\x00\x00\x01\
    \x00\x03m-1\x00\x03one\x00\x03app\x00\x0a/127.0.0.1\x00\x04\x93\xe0\x00\x00\xaf\xc8\
    \x00\x00\x00\x03sub\x00\x00\x00\x03asg";
const GROUP_VALUE_V4: &[u8] = b"\x00\x04\x09consumer\x00\x00\x00\x05\x06range\x04m-1\
    \x00\x00\x00\x00\x00\x00\x07\xd0\x02\
    \x04m-1\x04one\x04app\x0b/127.0.0.1\x00\x04\x93\xe0\x00\x00\xaf\xc8\x04sub\x04asg\x00\x00";
const GROUP_VALUE_V1: &[u8] = b"\x00\x01\x00\x08consumer\x00\x00\x00\x05\x00\x05range\x00\x03m-1\
    \x00\x00\x00\x01\x00\x03m-1\x00\x03app\x00\x0a/127.0.0.1\x00\x04\x93\xe0\x00\x00\xaf\xc8\
    \x00\x00\x00\x03sub\x00\x00\x00\x03asg";
const GROUP_VALUE_V0: &[u8] = b"\x00\x00\x00\x08consumer\x00\x00\x00\x05\x00\x05range\x00\x03m-1\
    \x00\x00\x00\x01\x00\x03m-1\x00\x03app\x00\x0a/127.0.0.1\x00\x00\xaf\xc8\
    \x00\x00\x00\x03sub\x00\x00\x00\x03asg";

fn commit(value: CommittedOffset) -> Record {
    Record::OffsetCommit { key: key(), value: Some(value) }
}

fn group(value: GroupMetadata) -> Record {
    Record::GroupMetadata { group: "g1".into(), value: Some(value) }
}

fn golden(record: &Record, key: &[u8], value: Option<&[u8]>) {
    let encoded = encode(record).unwrap();
    assert_eq!(&encoded.key[..], key);
    assert_eq!(encoded.value.as_deref(), value);
    assert_eq!(decode(Some(key), value).as_ref(), Ok(record));
}

#[test]
fn offset_commit_is_written_as_value_version_4() {
    golden(&commit(offset()), OFFSET_KEY_V1, Some(OFFSET_VALUE_V4));
}

#[test]
fn known_topic_id_is_the_tagged_field_0_of_version_4() {
    let topic_id = TopicId(Uuid::from_bytes([0x11; 16]));
    golden(&commit(CommittedOffset { topic_id, ..offset() }), OFFSET_KEY_V1, Some(OFFSET_VALUE_V4_TOPIC_ID));
}

#[test]
fn commit_with_its_own_retention_is_written_as_value_version_1() {
    let value = CommittedOffset {
        leader_epoch: LeaderEpoch::NONE, // version 1 cannot hold it
        expire_timestamp_ms: Some(2_000),
        ..offset()
    };
    golden(&commit(value), OFFSET_KEY_V1, Some(OFFSET_VALUE_V1));
}

#[test]
fn group_metadata_is_written_as_value_version_3() {
    golden(&group(metadata()), GROUP_KEY_V2, Some(GROUP_VALUE_V3));
}

#[test]
fn tombstones_have_a_key_and_no_value() {
    golden(&Record::OffsetCommit { key: key(), value: None }, OFFSET_KEY_V1, None);
    golden(&Record::GroupMetadata { group: "g1".into(), value: None }, GROUP_KEY_V2, None);
}

#[test]
fn every_older_version_is_read() {
    let no_epoch = CommittedOffset { leader_epoch: LeaderEpoch::NONE, ..offset() };
    assert_eq!(decode(Some(OFFSET_KEY_V1), Some(OFFSET_VALUE_V3)), Ok(commit(offset())));
    assert_eq!(decode(Some(OFFSET_KEY_V1), Some(OFFSET_VALUE_V0)), Ok(commit(no_epoch.clone())));
    let version_2 = [&[0, 2], &OFFSET_VALUE_V0[2..]].concat();
    assert_eq!(decode(Some(OFFSET_KEY_V1), Some(&version_2)), Ok(commit(no_epoch)));
    let key_v0 = [&[0, 0], &OFFSET_KEY_V1[2..]].concat();
    assert_eq!(decode(Some(&key_v0), Some(OFFSET_VALUE_V4)), Ok(commit(offset())));

    assert_eq!(decode(Some(GROUP_KEY_V2), Some(GROUP_VALUE_V4)), Ok(group(metadata())));
    let mut old = metadata();
    old.current_state_timestamp_ms = None;
    old.members[0].instance = None;
    assert_eq!(decode(Some(GROUP_KEY_V2), Some(GROUP_VALUE_V1)), Ok(group(old.clone())));
    old.members[0].rebalance_timeout_ms = old.members[0].session_timeout_ms; // version 0 has one for both
    assert_eq!(decode(Some(GROUP_KEY_V2), Some(GROUP_VALUE_V0)), Ok(group(old)));
}

#[test]
fn unknown_tagged_fields_of_a_newer_writer_are_passed_over() {
    let mut bytes = OFFSET_VALUE_V4[..OFFSET_VALUE_V4.len() - 1].to_vec();
    bytes.extend(b"\x01\x09\x03new");
    assert_eq!(decode(Some(OFFSET_KEY_V1), Some(&bytes)), Ok(commit(offset())));
}

#[test]
fn newer_kinds_and_versions_are_named() {
    assert_eq!(decode(Some(b"\x00\x09\x00\x02g1"), Some(b"")), Err(DecodeError::UnknownKind(9)));
    assert_eq!(decode(None, Some(b"")), Err(DecodeError::NoKey));
    let error = decode(Some(OFFSET_KEY_V1), Some(b"\x00\x05rest")).unwrap_err();
    assert_eq!(error, DecodeError::UnknownVersion { what: "offset commit value", version: 5, max: 4 });
    assert!(error.to_string().contains("written by a newer release"));
    let error = decode(Some(GROUP_KEY_V2), Some(b"\x00\x09")).unwrap_err();
    assert_eq!(error, DecodeError::UnknownVersion { what: "group metadata value", version: 9, max: 4 });
}

#[test]
fn truncated_bytes_are_malformed() {
    let values = [OFFSET_VALUE_V4_TOPIC_ID, OFFSET_VALUE_V3, OFFSET_VALUE_V1];
    for value in values {
        for len in 0..value.len() {
            let result = decode(Some(OFFSET_KEY_V1), Some(&value[..len]));
            assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{len} bytes of {value:?}");
        }
    }
    for value in [GROUP_VALUE_V0, GROUP_VALUE_V1, GROUP_VALUE_V3, GROUP_VALUE_V4] {
        for len in 0..value.len() {
            let result = decode(Some(GROUP_KEY_V2), Some(&value[..len]));
            assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{len} bytes of {value:?}");
        }
    }
    for len in 0..OFFSET_KEY_V1.len() {
        assert!(decode(Some(&OFFSET_KEY_V1[..len]), None).is_err());
    }
}

#[test]
fn name_too_long_for_the_format_is_refused() {
    let record = Record::GroupMetadata { group: "x".repeat(40_000).into(), value: None };
    assert_eq!(encode(&record), Err(EncodeError { field: "group id", len: 40_000, max: 32_767 }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(key: Vec<u8>, value: Vec<u8>, kind in 0u8..4, version in 0u8..6) {
        let key = [&[0, kind], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        drop(decode(Some(&key), Some(&value)));
    }

    #[test]
    fn offset_commits_round_trip(offset: i64, epoch: i32, note in ".{0,200}", at: i64, id: u128) {
        let value = CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(epoch),
            metadata: note.as_str().into(),
            commit_timestamp_ms: at,
            expire_timestamp_ms: None,
            topic_id: TopicId(Uuid::from_u128(id)),
        };
        let encoded = encode(&commit(value.clone())).unwrap();
        prop_assert_eq!(decode(Some(&encoded.key), encoded.value.as_deref()), Ok(commit(value)));
    }
}
