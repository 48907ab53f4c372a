//! Records in and out of a cluster, for tests that compare what went in with what came out.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::{
    Admin, ClientSettings, Consumer, ConsumerEvent, ConsumerRecord, NewTopic, Producer, ProducerRecord, RawClient,
    StartAt,
};
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

const READ_TIME_MAX: Duration = Duration::from_secs(60);

pub fn topic_name(name: &str) -> TopicName {
    TopicName::parse(name).unwrap_or_else(|error| panic!("{error}"))
}

pub fn client_settings(bootstrap: &str, more: &[(&str, &str)]) -> ClientSettings {
    let mut settings = ClientSettings::new(bootstrap).expect("a bootstrap list");
    for (name, value) in more {
        settings.set(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    settings
}

/// The first partition of a topic.
pub fn first_partition(topic: &str) -> TopicPartition {
    TopicPartition::new(topic_name(topic), 0)
}

/// Appends so many batches of one record each to the first partition of a topic.
pub async fn append_batches(client: &RawClient, topic: &str, count: usize) {
    for number in 0..count {
        let mut builder = BatchBuilder::new();
        builder.append(1_700_000_000_000, None, Some(format!("value {number}").as_bytes()), []);
        let batch = Bytes::from(builder.build().expect("a batch"));
        client.produce_batch(&first_partition(topic), batch).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Creates a topic with one replica and waits until every broker knows its leaders.
pub async fn create_topic(bootstrap: &str, name: &str, partitions: i32) {
    let admin = Admin::connect(&client_settings(bootstrap, &[])).await.expect("admin client");
    let topic = NewTopic::new(topic_name(name), partitions, 1);
    admin.create_topic(&topic).await.unwrap_or_else(|error| panic!("create topic {name}: {error}"));
}

/// Produces with acks=all; panics when one record fails.
pub async fn produce(bootstrap: &str, settings: &[(&str, &str)], records: &[ProducerRecord]) {
    let producer = Producer::connect(&client_settings(bootstrap, settings)).await.expect("producer");
    let mut deliveries = Vec::new();
    for record in records {
        deliveries.push(producer.enqueue(record).await.expect("room in the queue"));
    }
    for delivery in deliveries {
        delivery.wait().await.expect("an acknowledgement");
    }
}

/// All records that a topic holds now, by partition and offset. A topic that does not exist holds none.
pub async fn read_all(bootstrap: &str, topic: &str) -> Vec<ConsumerRecord> {
    read(bootstrap, topic, "read_uncommitted").await
}

/// The same without those of transactions that were aborted, up to the first one that is still open.
pub async fn read_committed(bootstrap: &str, topic: &str) -> Vec<ConsumerRecord> {
    read(bootstrap, topic, "read_committed").await
}

async fn read(bootstrap: &str, topic: &str, isolation_level: &str) -> Vec<ConsumerRecord> {
    let name = topic_name(topic);
    let settings = [
        ("librdkafka.enable.partition.eof", "true"),
        ("isolation.level", isolation_level),
        // Who reads may see a topic go, and makes none.
        ("allow.auto.create.topics", "false"),
    ];
    let settings = client_settings(bootstrap, &settings);
    let admin = Admin::connect(&settings).await.expect("admin client");
    let Some(info) = admin.topic(&name).await.expect("metadata") else { return Vec::new() };
    let count = i32::try_from(info.partitions.len()).expect("a partition count");
    let partitions = (0..count).map(|index| TopicPartition { topic: name.clone(), partition: PartitionIndex(index) });
    let start: Vec<_> = partitions.map(|partition| (partition, StartAt::Beginning)).collect();
    let mut open: BTreeSet<TopicPartition> = start.iter().map(|(partition, _)| partition.clone()).collect();
    let mut consumer = Consumer::connect(&settings).await.expect("consumer");
    consumer.assign(&start).await.expect("an assignment");
    let mut records = Vec::new();
    let reading = async {
        while !open.is_empty() {
            match consumer.next().await.expect("an open consumer") {
                ConsumerEvent::Record(record) => records.push(record),
                ConsumerEvent::EndOfPartition(partition) => {
                    open.remove(&partition);
                }
                ConsumerEvent::Error { error, fatal: true } => panic!("read {topic}: {error}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(READ_TIME_MAX, reading)
        .await
        .unwrap_or_else(|_| panic!("read {topic}: did not reach the end of every partition in {READ_TIME_MAX:?}"));
    consumer.close().await.expect("a clean close");
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// The different keys among records.
pub fn keys(records: &[ConsumerRecord]) -> BTreeSet<Bytes> {
    records.iter().filter_map(|record| record.key.clone()).collect()
}
