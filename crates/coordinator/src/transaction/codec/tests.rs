//! The golden bytes were compared with what `TransactionLog` of Kafka 4.3.1 writes for the same values.

use proptest::prelude::*;

use super::*;

const KEY_V0: &[u8] = b"\x00\x00\x00\x08payments";

const ONGOING_V0: &[u8] = b"\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x07\x00\x00\xea\x60\x01\
    \x00\x00\x00\x02\x00\x06orders\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05\
    \x00\x06prices\x00\x00\x00\x01\x00\x00\x00\x02\
    \x00\x00\x00\x00\x00\x00\x07\xd0\x00\x00\x00\x00\x00\x00\x03\xe8";

const PREPARE_COMMIT_V1: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x7f\xff\x00\x00\xea\x60\x02\
    \x02\x07orders\x02\x00\x00\x00\x05\x00\
    \x00\x00\x00\x00\x00\x00\x07\xd0\x00\x00\x00\x00\x00\x00\x03\xe8\
    \x03\x00\x08\x00\x00\x00\x00\x00\x00\x03\xe8\x01\x08\x00\x00\x00\x00\x00\x00\x03\xe9\x02\x02\x00\x02";

const EMPTY_V1: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x00\x00\xea\x60\x00\x00\
    \x00\x00\x00\x00\x00\x00\x07\xd0\xff\xff\xff\xff\xff\xff\xff\xff\x00";

fn ongoing() -> TransactionMetadata {
    TransactionMetadata {
        producer: Producer::new(1_000, 7),
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        last_epoch: ProducerEpoch::NONE,
        timeout_ms: 60_000,
        state: TransactionState::Ongoing,
        partitions: [partition("orders", 0), partition("orders", 5), partition("prices", 2)].into(),
        last_update_ms: 2_000,
        start_ms: 1_000,
        client_version: TransactionVersion::V0,
        layout: Layout::V0,
    }
}

fn prepare_commit() -> TransactionMetadata {
    TransactionMetadata {
        producer: Producer::new(1_000, i16::MAX),
        previous_producer_id: ProducerId(1_000),
        next_producer_id: ProducerId(1_001),
        state: TransactionState::PrepareCommit,
        partitions: [partition("orders", 5)].into(),
        client_version: TransactionVersion::V2,
        layout: Layout::V1,
        ..ongoing()
    }
}

fn empty() -> TransactionMetadata {
    TransactionMetadata {
        producer: Producer::new(1_000, 0),
        state: TransactionState::Empty,
        partitions: BTreeSet::new(),
        start_ms: -1,
        layout: Layout::V1,
        ..ongoing()
    }
}

fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse(topic).unwrap(), number)
}

fn record(value: TransactionMetadata) -> Record {
    Record { transactional_id: "payments".into(), value: Some(value) }
}

fn golden(record: &Record, value: Option<&[u8]>) {
    let encoded = encode(record).unwrap();
    assert_eq!(&encoded.key[..], KEY_V0);
    assert_eq!(encoded.value.as_deref(), value);
    assert_eq!(decode(Some(KEY_V0), value).as_ref(), Ok(record));
}

#[test]
fn each_layout_is_written_as_kafka_writes_it() {
    golden(&record(ongoing()), Some(ONGOING_V0));
    golden(&record(prepare_commit()), Some(PREPARE_COMMIT_V1));
    golden(&record(empty()), Some(EMPTY_V1));
}

#[test]
fn tombstone_has_a_key_and_no_value() {
    golden(&Record { transactional_id: "payments".into(), value: None }, None);
}

#[test]
fn old_layout_forgets_what_it_has_no_field_for() {
    let written = record(TransactionMetadata { layout: Layout::V0, ..prepare_commit() });
    let encoded = encode(&written).unwrap();
    let read = TransactionMetadata {
        layout: Layout::V0,
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        client_version: TransactionVersion::V0,
        ..prepare_commit()
    };
    assert_eq!(decode(Some(KEY_V0), encoded.value.as_deref()), Ok(record(read)));
}

#[test]
fn unknown_tagged_fields_of_a_newer_writer_are_passed_over() {
    let mut bytes = EMPTY_V1[..EMPTY_V1.len() - 1].to_vec();
    bytes.extend(b"\x01\x03\x02\x00\x05");
    assert_eq!(decode(Some(KEY_V0), Some(&bytes)), Ok(record(empty())));
}

#[test]
fn newer_kinds_and_versions_are_named() {
    assert_eq!(decode(Some(b"\x00\x01\x00\x01a"), Some(b"")), Err(DecodeError::UnknownKind(1)));
    assert_eq!(decode(None, Some(b"")), Err(DecodeError::NoKey));
    let error = decode(Some(KEY_V0), Some(b"\x00\x02rest")).unwrap_err();
    assert_eq!(error, DecodeError::UnknownVersion { what: VALUE, version: 2, max: 1 });
}

#[test]
fn states_that_are_never_stored_are_malformed() {
    for id in [6, 7, 8, -1] {
        let mut bytes = EMPTY_V1.to_vec();
        bytes[16] = id as u8;
        let result = decode(Some(KEY_V0), Some(&bytes));
        assert_eq!(result, Err(DecodeError::Malformed { what: "state of a transaction" }), "{id}");
    }
}

#[test]
fn truncated_bytes_are_malformed() {
    for value in [ONGOING_V0, PREPARE_COMMIT_V1, EMPTY_V1] {
        for len in 0..value.len() {
            let result = decode(Some(KEY_V0), Some(&value[..len]));
            assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{len} bytes of {value:?}");
        }
    }
    for len in 0..KEY_V0.len() {
        assert!(decode(Some(&KEY_V0[..len]), None).is_err());
    }
}

#[test]
fn id_too_long_for_the_format_is_refused() {
    let record = Record { transactional_id: "x".repeat(40_000).into(), value: None };
    assert_eq!(encode(&record), Err(EncodeError { field: "transactional id", len: 40_000, max: 32_767 }));
}

fn any_metadata() -> impl Strategy<Value = TransactionMetadata> {
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<i16>(), any::<i32>(), any::<i64>(), any::<i64>());
    let partitions = proptest::collection::btree_set(("[a-c]{1,3}", 0..9i32), 0..12);
    (numbers, partitions, 0..6usize, 0..3i16).prop_map(|(numbers, partitions, state, level)| {
        let (id, previous, next, epoch, timeout_ms, last_update_ms, start_ms) = numbers;
        let state = TransactionState::ALL[state];
        let partitions = partitions.into_iter().map(|(topic, number)| partition(&topic, number)).collect();
        TransactionMetadata {
            producer: Producer::new(id, epoch),
            previous_producer_id: ProducerId(previous),
            next_producer_id: ProducerId(next),
            last_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state,
            partitions: if state == TransactionState::Empty { BTreeSet::new() } else { partitions },
            last_update_ms,
            start_ms,
            client_version: TransactionVersion::from_level(level).unwrap(),
            layout: Layout::V1,
        }
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(key: Vec<u8>, value: Vec<u8>, kind in 0u8..2, version in 0u8..3) {
        let key = [&[0, kind], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        drop(decode(Some(&key), Some(&value)));
    }

    #[test]
    fn transactions_round_trip(id in ".{0,50}", value in any_metadata()) {
        let record = Record { transactional_id: id.into(), value: Some(value) };
        let encoded = encode(&record).unwrap();
        let estimate = record.approximate_bytes();
        let exact = encoded.key.len() + encoded.value.as_ref().map_or(0, |value| value.len());
        prop_assert!(estimate >= exact, "{} < {}", estimate, exact);
        prop_assert_eq!(decode(Some(&encoded.key), encoded.value.as_deref()), Ok(record));
    }
}
