//! Records arrive in order and acknowledged; trouble is one clear error.

use std::time::{Duration, Instant};

use bytes::Bytes;
use twinstream_model::{Offset, PartitionIndex, TopicName};

use super::*;
use crate::test_support::TestCluster;

fn record(topic: &TopicName, value: &str) -> ProducerRecord {
    ProducerRecord::new(topic.clone(), None, Some(Bytes::copy_from_slice(value.as_bytes())))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_tell_partition_and_ascending_offsets() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("deliveries", 1).await;
    let producer = Producer::connect(&cluster.settings()).await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..100 {
        waiting.push(producer.enqueue(&record(&topic, &number.to_string())).await.unwrap());
    }
    producer.flush(Duration::from_secs(10)).await.unwrap();
    assert_eq!(producer.queued(), 0);
    for (number, delivery) in (0..).zip(waiting) {
        let delivered = delivery.wait().await.unwrap();
        assert_eq!(delivered, Delivery { partition: PartitionIndex(0), offset: Offset(number) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_cluster_is_one_error_that_names_every_server() {
    let settings = ClientSettings::new("127.0.0.1:1,127.0.0.1:2").unwrap();
    let started = Instant::now();
    let error = Producer::connect(&settings).await.err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1 (Connection refused") && text.contains("127.0.0.1:2 ("), "{text}");
    assert!(error.is_retriable());
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queue_holds_the_sender_back_until_max_block() {
    let settings = ClientSettings::from_map([
        ("bootstrap.servers", "127.0.0.1:1"),
        ("librdkafka.queue.buffering.max.messages", "3"),
        ("max.block.ms", "200"),
        ("delivery.timeout.ms", "1000"),
    ]);
    let producer = Producer::new(&settings.unwrap()).unwrap();
    let topic = TopicName::parse("nowhere").unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(producer.enqueue(&record(&topic, "x")).await.unwrap());
    }
    let started = Instant::now();
    let error = producer.enqueue(&record(&topic, "x")).await.err().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(error.is_retriable() && error.to_string().contains("queue stays full"), "{error}");
    for delivery in waiting {
        let error = delivery.wait().await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_record_is_refused_at_once() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("large", 1).await;
    let producer = Producer::connect(&cluster.settings()).await.unwrap();
    let error = producer.send(&record(&topic, &"x".repeat(2_000_000))).await.unwrap_err();
    assert!(!error.is_retriable(), "{error}");
    assert!(error.to_string().contains(topic.as_str()), "{error}");
}
