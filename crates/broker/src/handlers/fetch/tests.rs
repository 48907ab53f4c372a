use bytes::Buf;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName as WireTopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

use super::*;
use crate::context::Principal;
use crate::metrics::BrokerMetrics;

fn context(version: i16) -> RequestContext {
    RequestContext {
        api_key: ApiKey::Fetch as i16,
        api_name: "Fetch",
        api_version: version,
        correlation_id: 1,
        client_id: None,
        principal: Principal::anonymous(),
        listener: "PLAINTEXT".into(),
        peer: ([127, 0, 0, 1], 1).into(),
        metrics: Arc::new(BrokerMetrics::new(Arc::default(), twinstream_model::NodeId(1))),
    }
}

fn request(topic: &str) -> FetchRequest {
    let name = || WireTopicName(StrBytes::from_string(topic.to_owned()));
    let partition = FetchPartition::default().with_partition(3).with_fetch_offset(7).with_partition_max_bytes(-5);
    let topic =
        FetchTopic::default().with_topic(name()).with_topic_id(Uuid::from_u128(9)).with_partitions(vec![partition]);
    let forgotten = ForgottenTopic::default().with_topic(name()).with_topic_id(Uuid::from_u128(9));
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
        .with_forgotten_topics_data(vec![forgotten.with_partitions(vec![4])])
}

#[test]
fn topics_are_named_as_the_version_does_it() {
    let by_name = ask_of(&context(12), &request("orders"));
    let name = TopicKey::Name(TopicName::parse("orders").unwrap());
    assert_eq!(by_name.partitions[0].0, (name.clone(), PartitionIndex(3)));
    assert_eq!(by_name.partitions[0].1.bytes_max, 0);
    assert_eq!(by_name.forgotten, [(name, PartitionIndex(4))]);
    let by_id = ask_of(&context(13), &request(""));
    assert_eq!(by_id.partitions[0].0.0, TopicKey::Id(TopicId(Uuid::from_u128(9))));
    let odd = ask_of(&context(4), &request("no such/name"));
    assert_eq!(odd.partitions[0].0.0, TopicKey::Invalid("no such/name".into()));
}

#[test]
fn followers_are_told_apart_from_consumers() {
    let of = |replica: i32| request("t").with_replica_id(BrokerId(replica));
    assert!(!is_follower(&context(11), &of(-1)) && !is_follower(&context(11), &of(-2)));
    assert!(is_follower(&context(11), &of(0)));
    let mut newer = request("t").with_replica_id(BrokerId(-1));
    newer.replica_state.replica_id = BrokerId(5);
    assert!(is_follower(&context(15), &newer));
}

#[test]
fn failure_of_the_whole_request_is_shaped_by_version() {
    for version in VERSION_MIN..=VERSION_MAX {
        let ctx = context(version);
        let failed = error_response(&ctx, request("odd name"), ErrorCode::UnknownServerError);
        let Response::Body { parts, .. } = failed.into_response(&ctx).unwrap() else { panic!("an answer is sent") };
        let [ResponsePart::Bytes(bytes)] = &parts[..] else { panic!("there are no records") };
        let mut bytes = bytes.clone();
        let decoded = FetchResponse::decode(&mut bytes, version).unwrap();
        assert!(!bytes.has_remaining());
        match version >= SESSIONS_SINCE {
            true => assert_eq!((decoded.error_code, decoded.responses.len()), (-1, 0)),
            false => {
                assert_eq!(decoded.responses[0].topic.as_str(), "odd name");
                assert_eq!(decoded.responses[0].partitions[0].error_code, -1);
            }
        }
    }
}
