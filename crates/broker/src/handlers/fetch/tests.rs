use bytes::Buf;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName as WireTopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

use super::reader::Consumer;
use super::*;
use crate::context::Principal;
use crate::metrics::BrokerMetrics;
use crate::partitions::Served;

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
        connection: None,
        metrics: Arc::new(BrokerMetrics::new(Arc::default(), NodeId(1))),
        departed: Default::default(),
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
    let of = |version: i16, replica: i32| {
        let request = request("t").with_replica_id(BrokerId(replica));
        matches!(Reader::of(&context(version), &request), Reader::Follower(_))
    };
    assert!(!of(11, -1) && !of(11, -2) && of(11, 0));
    let mut newer = request("t").with_replica_id(BrokerId(-1));
    newer.replica_state.replica_id = BrokerId(5);
    newer.replica_state.replica_epoch = 7;
    let Reader::Follower(follower) = Reader::of(&context(15), &newer) else { panic!("it is a follower") };
    assert_eq!((follower.node, follower.broker_epoch), (NodeId(5), 7));
}

#[test]
fn consumers_read_followers_from_the_version_on_that_knows_racks() {
    let of = |version: i16| match Reader::of(&context(version), &request("t").with_rack_id("r1".into())) {
        Reader::Consumer(consumer) => consumer,
        Reader::Follower(_) => panic!("it is a consumer"),
    };
    assert_eq!(of(10), Consumer { rack: None, served: Served::ByLeader });
    assert_eq!(of(11), Consumer { rack: Some("r1".into()), served: Served::ByAnyReplica });
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
        let code_of_the_whole = if version >= 7 { -1 } else { 0 };
        assert_eq!(decoded.error_code, code_of_the_whole);
        match version >= BY_ID_SINCE {
            true => assert!(decoded.responses.is_empty()),
            false => {
                assert_eq!(decoded.responses[0].topic.as_str(), "odd name");
                let partition = &decoded.responses[0].partitions[0];
                assert_eq!((partition.error_code, partition.aborted_transactions.as_deref()), (-1, Some(&[][..])));
            }
        }
    }
}
