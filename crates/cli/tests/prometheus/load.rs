//! What keeps the world busy: a producer, a group that reads and commits, and somebody who asks for schemas.
//!
//! Not here: what is counted. The load writes to `orders` and asks with GET; figures are of other topics and of POST.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::interval;
use twinstream_client::{CommitOffset, Consumer, ConsumerEvent, Producer, ProducerRecord};
use twinstream_model::TopicPartition;
use twinstream_testkit::Rest;
use twinstream_testkit::records::{client_settings, topic_name};

use crate::world::World;

/// Rates need two scrapes, groups a moment to be seen.
pub(crate) const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// Between two rounds of the load.
const PAUSE: Duration = Duration::from_millis(50);

/// Ends when it is dropped.
pub(crate) fn start(world: &World) -> JoinSet<()> {
    let mut load = JoinSet::new();
    load.spawn(write(world.west.bootstrap()));
    load.spawn(read(world.west.bootstrap()));
    load.spawn(ask(world.registry.rest.clone()));
    load
}

async fn write(bootstrap: String) {
    let producer = Producer::connect(&client_settings(&bootstrap, &[])).await.expect("a producer");
    let mut pace = interval(PAUSE);
    for number in 0_u64.. {
        let value = format!(r#"{{"number":{number}}}"#);
        let record = ProducerRecord::new(topic_name("orders"), Some(number.to_string().into()), Some(value.into()));
        producer.send(&record).await.expect("an acknowledgement");
        pace.tick().await;
    }
}

async fn read(bootstrap: String) {
    let settings = client_settings(&bootstrap, &[("group.id", "readers"), ("auto.offset.reset", "earliest")]);
    let mut consumer = Consumer::connect(&settings).await.expect("a consumer");
    consumer.subscribe(&["orders".to_owned()]).await.expect("a subscription");
    let mut pace = interval(PAUSE);
    loop {
        let mut read = BTreeMap::new();
        for event in consumer.next_batch(PAUSE).await {
            if let ConsumerEvent::Record(record) = event {
                let partition = TopicPartition::new(record.topic.clone(), record.partition);
                read.insert(partition, CommitOffset::from(record.offset.next()));
            }
        }
        if !read.is_empty() {
            // A rebalance may come between; the next commit has more.
            consumer.commit(&read).await.ok();
        }
        pace.tick().await;
    }
}

async fn ask(registry: Rest) {
    let mut pace = interval(PAUSE);
    loop {
        registry.get("/subjects").await.good();
        pace.tick().await;
    }
}
