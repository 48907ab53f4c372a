use kafka_protocol::messages::FetchResponse;
use kafka_protocol::protocol::Decodable;
use uuid::Uuid;

use super::*;

fn answer() -> FetchAnswer<Bytes> {
    let mut whole = PartitionAnswer::failed(PartitionIndex(0), ErrorCode::None);
    whole.high_watermark = Offset(10);
    whole.last_stable_offset = Offset(9);
    whole.log_start_offset = Offset(2);
    whole.records = Some(Bytes::from(vec![7; 300]));
    let mut moved = PartitionAnswer::failed(PartitionIndex(1), ErrorCode::NotLeaderOrFollower);
    moved.aborted = Some(vec![AbortedTransaction { producer_id: ProducerId(5), first_offset: Offset(6) }]);
    moved.current_leader = Some(CurrentLeader { leader: NodeId(3), epoch: LeaderEpoch(4) });
    moved.diverging = Some(EpochEnd { epoch: LeaderEpoch(1), end_offset: Offset(77) });
    let topic =
        TopicAnswer { name: "orders".to_owned(), id: TopicId(Uuid::from_u128(9)), partitions: vec![whole, moved] };
    FetchAnswer {
        throttle_time_ms: 11,
        error: ErrorCode::None,
        session_id: 42,
        topics: vec![topic],
        endpoints: vec![LeaderEndpoint { node: NodeId(3), host: "127.0.0.1".into(), port: 9092, rack: None }],
    }
}

fn join(parts: Vec<Part<Bytes>>) -> Bytes {
    let mut out = BytesMut::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) | Part::Records(bytes) => out.extend_from_slice(&bytes),
        }
    }
    out.freeze()
}

#[test]
fn every_version_is_read_back_by_the_generated_decoder() {
    for version in VERSION_MIN..=VERSION_MAX {
        let mut bytes = join(answer().encode(version));
        let decoded = FetchResponse::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty(), "version {version} leaves {} bytes", bytes.len());
        assert_eq!(decoded.throttle_time_ms, 11);
        assert_eq!(decoded.session_id, if version >= 7 { 42 } else { 0 });
        let topic = &decoded.responses[0];
        match version >= 13 {
            true => assert_eq!(topic.topic_id, Uuid::from_u128(9)),
            false => assert_eq!(topic.topic.as_str(), "orders"),
        }
        let (whole, moved) = (&topic.partitions[0], &topic.partitions[1]);
        assert_eq!((whole.high_watermark, whole.last_stable_offset), (10, 9));
        assert_eq!(whole.log_start_offset, if version >= 5 { 2 } else { -1 });
        assert_eq!(whole.records.as_deref(), Some(&[7u8; 300][..]));
        assert_eq!(whole.aborted_transactions, None);
        assert_eq!(moved.error_code, 6);
        assert_eq!(moved.aborted_transactions.as_ref().unwrap()[0].first_offset, 6);
        if version >= 12 {
            assert_eq!((moved.current_leader.leader_id.0, moved.current_leader.leader_epoch), (3, 4));
            assert_eq!((moved.diverging_epoch.epoch, moved.diverging_epoch.end_offset), (1, 77));
        }
        assert_eq!(decoded.node_endpoints.len(), usize::from(version >= 16));
    }
}

#[test]
fn empty_records_are_zero_bytes_and_never_null() {
    for version in VERSION_MIN..=VERSION_MAX {
        for records in [None, Some(Bytes::new())] {
            let mut answer = answer();
            answer.topics[0].partitions[0].records = records;
            let parts = answer.encode(version);
            assert!(parts.iter().all(|part| matches!(part, Part::Bytes(_))));
            let decoded = FetchResponse::decode(&mut join(parts), version).unwrap();
            assert_eq!(decoded.responses[0].partitions[0].records, Some(Bytes::new()), "version {version}");
        }
    }
}

#[test]
fn records_are_passed_on_and_not_copied() {
    let records = Bytes::from(vec![1; 64]);
    let mut answer = answer();
    answer.topics[0].partitions[0].records = Some(records.clone());
    let passed = answer.encode(12).into_iter().find_map(|part| match part {
        Part::Records(bytes) => Some(bytes),
        Part::Bytes(_) => None,
    });
    assert_eq!(passed.unwrap().as_ptr(), records.as_ptr());
}
