//! Transactional batches, markers, and what readers of committed records see, in one line each.

use bytes::Bytes;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::PartitionResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, ProducerId as WireProducerId, TransactionalId, WriteTxnMarkersRequest,
};
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, ProducerStamp, batches};
use twinstream_protocol::marker;

use super::Client;
use super::records::{fetch_request, produce_request, text, topic_name};

/// A batch of a transaction with these values.
pub fn transactional(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence: sequence };
    let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional();
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), []);
    }
    builder.build().unwrap().into()
}

/// Produces a batch under a transactional id with the last version in which the producer adds its partitions by itself.
pub async fn produce_in(
    client: &mut Client,
    transactional_id: &str,
    topic: &str,
    partition: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    produce_with_version(client, 11, transactional_id, topic, partition, records).await
}

pub async fn produce_with_version(
    client: &mut Client,
    version: i16,
    transactional_id: &str,
    topic: &str,
    partition: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    let id = Some(TransactionalId(text(transactional_id)));
    let request = produce_request(topic, partition, -1, records).with_transactional_id(id);
    client.call(request, version).await.responses.remove(0).partition_responses.remove(0)
}

/// The end of a transaction of producer `id`.
#[derive(Clone, Copy)]
pub struct End {
    pub id: i64,
    pub epoch: i16,
    pub commit: bool,
    pub coordinator_epoch: i32,
    /// The transaction version.
    pub version: i8,
}

impl End {
    pub fn commit(id: i64, epoch: i16) -> End {
        End { id, epoch, commit: true, coordinator_epoch: 0, version: 0 }
    }

    pub fn abort(id: i64, epoch: i16) -> End {
        End { commit: false, ..End::commit(id, epoch) }
    }
}

pub fn marker_request(end: End, topic: &str, partitions: &[i32]) -> WriteTxnMarkersRequest {
    let topic =
        WritableTxnMarkerTopic::default().with_name(topic_name(topic)).with_partition_indexes(partitions.to_vec());
    let mut marker = WritableTxnMarker::default()
        .with_producer_id(WireProducerId(end.id))
        .with_producer_epoch(end.epoch)
        .with_transaction_result(end.commit)
        .with_coordinator_epoch(end.coordinator_epoch)
        .with_topics(vec![topic]);
    marker::tell_transaction_version(&mut marker, end.version);
    WriteTxnMarkersRequest::default().with_markers(vec![marker])
}

/// Writes a marker into one partition; the error code.
pub async fn end_transaction(client: &mut Client, end: End, topic: &str, partition: i32) -> i16 {
    let answer = client.call(marker_request(end, topic, &[partition]), 1).await;
    assert_eq!(answer.markers[0].producer_id.0, end.id);
    answer.markers[0].topics[0].partitions[0].error_code
}

/// What a reader of committed records finds: the last stable offset and the values, in which transactions that were aborted
/// are left out as clients do.
pub async fn read_committed(client: &mut Client, topic: &str, partition: i32) -> (i64, Vec<String>) {
    read_committed_from(client, topic, partition, 0).await
}

/// The same, in a log that does not begin at 0.
pub async fn read_committed_from(client: &mut Client, topic: &str, partition: i32, start: i64) -> (i64, Vec<String>) {
    let (mut next, mut seen, mut aborting) = (start, Vec::new(), Vec::new());
    loop {
        let request = fetch_request(topic, partition, next).with_isolation_level(1);
        let answer = client.call(request, 11).await.responses.remove(0).partitions.remove(0);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        let mut aborted: Vec<(i64, i64)> = answer
            .aborted_transactions
            .unwrap_or_default()
            .iter()
            .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
            .collect();
        aborted.sort_unstable();
        for batch in batches(&answer.records.unwrap_or_default()).map_while(Result::ok) {
            let header = batch.header();
            next = header.next_offset().0;
            while aborted.first().is_some_and(|(first, _)| *first <= header.last_offset().0) {
                aborting.push(aborted.remove(0).1);
            }
            if header.attributes.is_control() {
                aborting.retain(|id| *id != header.producer_id.0);
                continue;
            }
            if header.attributes.is_transactional() && aborting.contains(&header.producer_id.0) {
                continue;
            }
            for record in &batch.records(1 << 20).unwrap() {
                seen.push(String::from_utf8(record.unwrap().value.unwrap_or_default().to_vec()).unwrap());
            }
        }
        if next >= answer.last_stable_offset {
            return (answer.last_stable_offset, seen);
        }
    }
}

pub async fn describe_producers(client: &mut Client, topic: &str, partition: i32) -> PartitionResponse {
    let topic = TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition]);
    let answer = client.call(DescribeProducersRequest::default().with_topics(vec![topic]), 0).await;
    answer.topics[0].partitions[0].clone()
}
