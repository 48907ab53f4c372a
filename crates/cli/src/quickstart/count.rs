//! Reading back: the distinct keys of a topic, the documents of an index.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use twinstream_client::{Admin, ClientError, ClientSettings, Consumer, ConsumerEvent, StartAt};
use twinstream_model::{TopicName, TopicPartition};

use crate::http::{Http, HttpError};

/// A consumer that gets nothing for this long is not going to.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The distinct keys of all records that a topic holds now.
pub(super) async fn keys(bootstrap: &str, topic: &TopicName) -> Result<HashSet<Bytes>, ClientError> {
    // An empty answer is what tells the end, so nobody shall wait for it.
    let settings = ClientSettings::from_map([
        ("bootstrap.servers", bootstrap),
        ("fetch.max.wait.ms", "10"),
        ("librdkafka.enable.partition.eof", "true"),
    ])?;
    let partitions = partitions(&Admin::connect(&settings).await?, topic).await?;
    let mut consumer = Consumer::new(&settings)?;
    let starts: Vec<_> = partitions.iter().map(|partition| (partition.clone(), StartAt::Beginning)).collect();
    consumer.assign(&starts).await?;
    let mut open: BTreeSet<TopicPartition> = partitions.into_iter().collect();
    let mut keys = HashSet::new();
    while !open.is_empty() {
        match tokio::time::timeout(SILENCE_MAX, consumer.next()).await {
            Ok(Some(ConsumerEvent::Record(record))) => keys.extend(record.key),
            Ok(Some(ConsumerEvent::EndOfPartition(partition))) => _ = open.remove(&partition),
            Ok(Some(ConsumerEvent::Error { error, fatal: true })) => return Err(error),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(ClientError::Timeout {
                    what: format!("read topic {topic} to its end"),
                    after: SILENCE_MAX,
                });
            }
        }
    }
    consumer.close().await?;
    Ok(keys)
}

/// The sum of the ends of all partitions; `None` while the topic does not exist.
pub(super) async fn end(admin: &Admin, topic: &TopicName) -> Result<Option<i64>, ClientError> {
    let partitions = partitions(admin, topic).await?;
    if partitions.is_empty() {
        return Ok(None);
    }
    let ends = admin.end_offsets(&partitions).await?;
    Ok(Some(ends.values().map(|offset| offset.0).sum()))
}

async fn partitions(admin: &Admin, topic: &TopicName) -> Result<Vec<TopicPartition>, ClientError> {
    let info = admin.topic(topic).await?;
    let indexes = info.into_iter().flat_map(|info| info.partitions.into_keys());
    Ok(indexes.map(|index| TopicPartition::new(topic.clone(), index)).collect())
}

/// The index's own count; 0 while there is no index.
pub(super) async fn documents(http: &Http, index: &str) -> Result<u64, HttpError> {
    let counted = async {
        http.post(&format!("{index}/_refresh"), None).await?;
        http.get(&format!("{index}/_count")).await
    };
    match counted.await {
        Ok(answer) => Ok(answer.get("count").and_then(Value::as_u64).unwrap_or(0)),
        Err(error) if error.status == Some(404) => Ok(0),
        Err(error) => Err(error),
    }
}
