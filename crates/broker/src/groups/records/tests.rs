//! Transactions in a shard's log: as batches, and through a new shard.

use std::sync::Arc;

use twinstream_coordinator::group::*;
use twinstream_coordinator::transaction::TransactionVersion;
use twinstream_model::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName};
use twinstream_protocol::batch::BatchView;

use super::*;
use crate::coordinators::ShardLog;
use crate::coordinators::memory_log::MemoryLog;
use crate::groups::tests::shard;

const PRODUCER: Producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(3) };

fn offset(partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicName::parse("orders").unwrap(),
        topic_id: TopicId::NONE,
        topic_now: TopicId::NONE,
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        metadata: "".into(),
    }
}

fn commit(offsets: Vec<OffsetToCommit>) -> Request {
    Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
        group: "g".into(),
        producer: PRODUCER,
        verification: Verification::SwitchedOff,
        generation: Generation::NONE,
        member: MemberId::default(),
        instance: None,
        offsets,
    })
}

fn end(commit: bool) -> Request {
    let version = TransactionVersion::V0;
    Request::EndTransaction(EndTransaction { producer: PRODUCER, commit, coordinator_epoch: 9, version })
}

fn fetch(group: &str, partitions: Vec<PartitionIndex>) -> Request {
    let partitions = Some(vec![(TopicName::parse("orders").unwrap(), partitions)]);
    Request::FetchOffsets(FetchOffsets {
        group: group.into(),
        member: None,
        epoch: Epoch(-1),
        partitions,
        require_stable: true,
    })
}

/// What a new shard says of both partitions.
async fn found(log: &Arc<MemoryLog>) -> Vec<(i64, ErrorCode)> {
    let answer = shard(log).call(fetch("g", vec![PartitionIndex(0), PartitionIndex(1)])).await;
    let Ok(Answer::FetchOffsets(answer)) = answer else { panic!("{answer:?}") };
    answer.topics[0].1.iter().map(|found| (found.offset.0, found.error)).collect()
}

#[tokio::test]
async fn transaction_and_its_end_are_batches_of_its_producer() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    shard.call(commit(vec![offset(0, 5), offset(1, 6)])).await.unwrap();
    shard.call(end(true)).await.unwrap();
    let batches = log.batches.lock().clone();
    let headers: Vec<_> = batches.iter().map(|batch| BatchView::parse(batch).unwrap().header()).collect();
    assert_eq!(headers.len(), 2, "one decision is one batch");
    for header in &headers {
        assert_eq!((header.producer_id, header.producer_epoch), (PRODUCER.id, PRODUCER.epoch));
        assert_eq!(header.base_sequence, NO_SEQUENCE);
        assert!(header.attributes.is_transactional());
    }
    assert_eq!(headers.iter().map(|header| header.attributes.is_control()).collect::<Vec<_>>(), [false, true]);
    let marker = BatchView::parse(&batches[1]).unwrap();
    let records = marker.records(1_024).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]), "version 0, commit");
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 9][..]), "version 0, epoch of the coordinator");
}

#[tokio::test]
async fn what_is_pending_and_what_was_decided_survives_a_new_shard() {
    let log = MemoryLog::new();
    let unstable = ErrorCode::UnstableOffsetCommit;
    shard(&log).call(commit(vec![offset(0, 5), offset(1, 6)])).await.unwrap();
    assert_eq!(found(&log).await, [(-1, unstable), (-1, unstable)]);
    shard(&log).call(end(true)).await.unwrap();
    assert_eq!(found(&log).await, [(5, ErrorCode::None), (6, ErrorCode::None)]);
    shard(&log).call(commit(vec![offset(0, 50)])).await.unwrap();
    assert_eq!(found(&log).await, [(-1, unstable), (6, ErrorCode::None)]);
    shard(&log).call(end(false)).await.unwrap();
    assert_eq!(found(&log).await, [(5, ErrorCode::None), (6, ErrorCode::None)]);
}

#[tokio::test]
async fn marker_whose_record_compaction_removed_says_nothing() {
    let log = MemoryLog::new();
    let mut empty = of_producer(PRODUCER).with_control();
    empty.end_at_delta(0);
    shard(&log).call(commit(vec![offset(0, 5)])).await.unwrap();
    log.append(empty.build().unwrap()).unwrap();
    assert_eq!(found(&log).await[0].1, ErrorCode::UnstableOffsetCommit);
}

/// `__consumer_offsets` as Apache Kafka 4.3.1 wrote it, for group `fixture` and topic `orders`: 10 of partition 0 committed,
/// 99 aborted; 5 of partition 1 committed by a transaction that ended after a plain commit of 6; 7 of partition 2 open.
const KAFKA_LOG: &[u8] = include_bytes!("kafka-4.3.1.log");

#[tokio::test]
async fn transactions_in_a_log_of_apache_kafka_are_loaded_as_it_would() {
    let log = MemoryLog::new();
    for batch in twinstream_protocol::batch::batches(KAFKA_LOG) {
        log.append(batch.unwrap().bytes().to_vec()).unwrap();
    }
    let shard = shard(&log);
    let partitions = (0..3).map(PartitionIndex).collect();
    let answer = shard.call(fetch("fixture", partitions)).await;
    let Ok(Answer::FetchOffsets(answer)) = answer else { panic!("{answer:?}") };
    let found: Vec<_> = answer.topics[0]
        .1
        .iter()
        .map(|found| (found.offset.0, &*found.metadata, found.leader_epoch.0, found.error))
        .collect();
    let unstable = ErrorCode::UnstableOffsetCommit;
    assert_eq!(
        found,
        [(10, "committed", 3, ErrorCode::None), (6, "plain", 3, ErrorCode::None), (-1, "", -1, unstable)]
    );
    let producer = Producer { id: ProducerId(2), epoch: ProducerEpoch(1) };
    let version = TransactionVersion::V2;
    let end = Request::EndTransaction(EndTransaction { producer, commit: true, coordinator_epoch: 0, version });
    assert_eq!(shard.call(end).await, Ok(Answer::EndTransaction(ErrorCode::None)));
    let Ok(Answer::FetchOffsets(answer)) = shard.call(fetch("fixture", vec![PartitionIndex(2)])).await else {
        panic!()
    };
    assert_eq!((answer.topics[0].1[0].offset, &*answer.topics[0].1[0].metadata), (Offset(7), "open"));
}
