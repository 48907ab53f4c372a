//! A cluster for this crate's tests: librdkafka's mock brokers inside the test process, or, when
//! `TWINSTREAM_TEST_BOOTSTRAP` names one, a real cluster, which must answer just the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use twinstream_model::{TopicName, TopicPartition};

use crate::{Admin, ClientSettings, Consumer, ConsumerEvent, NewTopic, Producer, ProducerRecord};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) enum TestCluster {
    Mock(MockCluster<'static, DefaultProducerContext>),
    Real(String),
}

impl TestCluster {
    pub(crate) fn start() -> Self {
        match std::env::var("TWINSTREAM_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Self::Real(bootstrap),
            Err(_) => Self::Mock(MockCluster::new(3).unwrap()),
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        match self {
            Self::Mock(mock) => mock.bootstrap_servers(),
            Self::Real(bootstrap) => bootstrap.clone(),
        }
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        ClientSettings::new(&self.bootstrap()).unwrap()
    }

    /// A new topic whose name starts with `prefix`.
    pub(crate) async fn topic(&self, prefix: &str, partitions: i32) -> TopicName {
        let topic = TopicName::parse(&format!("{prefix}-{}", uuid::Uuid::new_v4())).unwrap();
        match self {
            Self::Mock(mock) => mock.create_topic(topic.as_str(), partitions, 1).unwrap(),
            Self::Real(_) => {
                let admin = Admin::connect(&self.settings()).await.unwrap();
                admin.create_topic(&NewTopic::new(topic.clone(), partitions, 1)).await.unwrap();
            }
        }
        topic
    }
}

pub(crate) fn partition(topic: &TopicName, index: i32) -> TopicPartition {
    TopicPartition::new(topic.clone(), index)
}

/// Produces `value-0`, `value-1`, ... into one partition and waits for all of them.
pub(crate) async fn fill(cluster: &TestCluster, to: &TopicPartition, count: usize) {
    let producer = Producer::connect(&cluster.settings()).await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..count {
        let value = Bytes::from(format!("value-{number}"));
        let mut record = ProducerRecord::new(to.topic.clone(), None, Some(value));
        record.partition = Some(to.partition);
        deliveries.push(producer.enqueue(&record).await.unwrap());
    }
    for delivery in deliveries {
        delivery.wait().await.unwrap();
    }
}

/// Receives this many record values, letting revocations go at once.
pub(crate) async fn values(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        match tokio::time::timeout(PATIENCE, consumer.next()).await {
            Ok(Some(ConsumerEvent::Record(record))) => {
                found.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
            Ok(Some(ConsumerEvent::Error { error, fatal: true })) => panic!("{error}"),
            Ok(Some(_)) => {}
            Ok(None) => panic!("consumer ended after {found:?}"),
            Err(_) => panic!("only {found:?} after {PATIENCE:?}"),
        }
    }
    found
}

pub(crate) fn commit_of(at: &TopicPartition, offset: i64, note: &str) -> BTreeMap<TopicPartition, crate::CommitOffset> {
    let commit = crate::CommitOffset { offset: twinstream_model::Offset(offset), metadata: note.to_owned() };
    BTreeMap::from([(at.clone(), commit)])
}
