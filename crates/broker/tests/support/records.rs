//! Produce and fetch in one line each.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, ProducerStamp, batches};

use super::{Client, wait_until};

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Creates a topic and waits until its partitions are led.
pub async fn create_topic(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    let partitions = answer.topics[0].num_partitions;
    wait_until("all partitions answer", async || {
        for partition in 0..partitions {
            if list_offset(client, name, partition, -1).await.error_code != 0 {
                return false;
            }
        }
        true
    })
    .await;
}

/// An uncompressed batch of records with these values, one millisecond apart from `timestamp` on.
pub fn batch(timestamp: i64, records: &[(Option<&str>, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (index, (key, value)) in records.iter().enumerate() {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        builder.append(timestamp + index as i64, key, value, []);
    }
    builder.build().unwrap().into()
}

pub fn values(values: &[&str]) -> Bytes {
    let records: Vec<_> = values.iter().map(|value| (None, Some(*value))).collect();
    batch(1_700_000_000_000, &records)
}

/// A batch of an idempotent producer.
pub fn idempotent(id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence: sequence };
    let mut builder = BatchBuilder::new().with_producer(stamp);
    for _ in 0..count {
        builder.append(1_700_000_000_000, None, Some(b"v"), []);
    }
    builder.build().unwrap().into()
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

pub async fn produce(client: &mut Client, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
    let mut answer = client.call(produce_request(topic, partition, -1, records), 9).await;
    answer.responses.remove(0).partition_responses.remove(0)
}

pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub async fn fetch(client: &mut Client, topic: &str, partition: i32, offset: i64) -> PartitionData {
    let mut answer = client.call(fetch_request(topic, partition, offset), 11).await;
    answer.responses.remove(0).partitions.remove(0)
}

/// Offsets and values of everything in fetched bytes, torn tails left out as clients do.
pub fn records_of(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut found = Vec::new();
    for batch in batches(&bytes) {
        let Ok(batch) = batch else { break };
        batch.check_crc().unwrap();
        for record in &batch.records(1 << 24).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            found.push((record.offset.0, value));
        }
    }
    found
}

pub async fn list_offset(client: &mut Client, topic: &str, partition: i32, at: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(at);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let mut answer = client.call(request, 7).await;
    answer.topics.remove(0).partitions.remove(0)
}
