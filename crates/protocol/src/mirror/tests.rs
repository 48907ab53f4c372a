use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::shape::{self, Shaped};

const RANGE: SourceRange = SourceRange {
    from: Offset(258),
    log_start: Offset(3),
    high_watermark: Offset(0x0102_0304_0506_0708),
    leader_epoch: LeaderEpoch(5),
    last_epoch: LeaderEpoch(4),
    cut: true,
};

fn source() -> MirrorSource {
    MirrorSource {
        link: Uuid::from_u128(7),
        cluster: "upstream".to_owned(),
        topic: TopicName::parse("orders").unwrap(),
        topic_id: TopicId(Uuid::from_u128(8)),
    }
}

/// Over the wire and back.
fn sent<T: Encodable + Shaped>(request: &T, version: i16) -> T {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    shape::decode(bytes.freeze(), version).unwrap()
}

#[test]
fn a_link_and_its_ranges_travel_with_produce() {
    let mut data = PartitionProduceData::default().with_index(2);
    tell_range(&mut data, &RANGE);
    let golden = "01 01 0000000000000102 0000000000000003 0102030405060708 00000005 00000004".replace(' ', "");
    let hex: String = data.unknown_tagged_fields[&TAG].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    let topic = TopicProduceData::default()
        .with_name(WireTopicName(StrBytes::from_static_str("orders")))
        .with_partition_data(vec![data]);
    let mut request = ProduceRequest::default().with_topic_data(vec![topic]);
    assert_eq!(link_of(&request), Ok(None));
    tell_link(&mut request, Uuid::from_u128(7));
    let heard = sent(&request, PRODUCE_SINCE);
    assert_eq!(link_of(&heard), Ok(Some(Uuid::from_u128(7))));
    assert_eq!(range_of(&heard.topic_data[0].partition_data[0]), Ok(RANGE));
}

#[test]
fn a_log_end_travels_with_the_answer() {
    let mut answer = PartitionProduceResponse::default();
    assert_eq!(log_end_of(&answer), None);
    tell_log_end(&mut answer, Offset(1 << 40));
    assert_eq!(log_end_of(&answer), Some(Offset(1 << 40)));
    answer.unknown_tagged_fields.insert(TAG, Bytes::from_static(b"short"));
    assert_eq!(log_end_of(&answer), None);
}

#[test]
fn what_a_mirror_is_of_travels_with_create_topics() {
    let mut topic = CreatableTopic::default().with_name(WireTopicName(StrBytes::from_static_str("orders")));
    assert_eq!(source_of(&topic), Ok(None));
    tell_source(&mut topic, &source());
    let heard = sent(&CreateTopicsRequest::default().with_topics(vec![topic]), CREATE_TOPICS_SINCE);
    assert_eq!(source_of(&heard.topics[0]), Ok(Some(source())));
}

#[test]
fn a_field_of_another_length_is_an_error_at_every_cut() {
    let mut topic = CreatableTopic::default();
    tell_source(&mut topic, &source());
    let whole = topic.unknown_tagged_fields[&TAG].clone();
    for end in 0..whole.len() {
        topic.unknown_tagged_fields.insert(TAG, whole.slice(..end));
        assert!(source_of(&topic).is_err(), "cut at {end}");
    }
    topic.unknown_tagged_fields.insert(TAG, [&whole[..], &[0]].concat().into());
    assert!(source_of(&topic).is_err());
    let mut data = PartitionProduceData::default();
    assert!(range_of(&data).is_err(), "a link says where its records come from");
    tell_range(&mut data, &RANGE);
    let whole = data.unknown_tagged_fields[&TAG].clone();
    for end in 0..whole.len() {
        data.unknown_tagged_fields.insert(TAG, whole.slice(..end));
        assert!(range_of(&data).is_err(), "cut at {end}");
    }
    let mut request = ProduceRequest::default();
    let (mut nil, mut other_version) = ([0; 17], [7; 17]);
    (nil[0], other_version[0]) = (1, 2);
    for link in [&[][..], &[1; 16], &[1; 18], &nil, &other_version] {
        request.unknown_tagged_fields.insert(TAG, Bytes::copy_from_slice(link));
        assert!(link_of(&request).is_err(), "{link:?}");
    }
}

#[test]
fn negative_positions_are_refused() {
    for range in [
        SourceRange { from: Offset(-1), ..RANGE },
        SourceRange { log_start: Offset(-1), ..RANGE },
        SourceRange { leader_epoch: LeaderEpoch(-1), ..RANGE },
        SourceRange { last_epoch: LeaderEpoch(-2), ..RANGE },
    ] {
        let mut data = PartitionProduceData::default();
        tell_range(&mut data, &range);
        assert!(range_of(&data).is_err(), "{range:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_fields_never_panic_and_what_is_read_is_written_alike(
        version in prop_oneof![4 => Just(VERSION), 1 => any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        shape in 0usize..3,
    ) {
        let field = Bytes::from([&[version], &bytes[..]].concat());
        match shape {
            0 => {
                let mut topic = CreatableTopic::default();
                topic.unknown_tagged_fields.insert(TAG, field.clone());
                if let Ok(Some(source)) = source_of(&topic) {
                    tell_source(&mut topic, &source);
                    prop_assert_eq!(&topic.unknown_tagged_fields[&TAG], &field);
                }
            }
            1 => {
                let mut data = PartitionProduceData::default();
                data.unknown_tagged_fields.insert(TAG, field.slice(..field.len().min(1 + RANGE_BYTES)));
                if let Ok(range) = range_of(&data) {
                    tell_range(&mut data, &range);
                    prop_assert_eq!(range_of(&data), Ok(range));
                }
            }
            _ => {
                let mut answer = PartitionProduceResponse::default();
                // Most are long enough; some stay as they are.
                let field = if version % 2 == 1 { field.slice(..field.len().min(9)) } else { field };
                answer.unknown_tagged_fields.insert(TAG, field.clone());
                prop_assert_eq!(log_end_of(&answer).is_some(), version == VERSION && field.len() == 9);
            }
        }
    }
}
