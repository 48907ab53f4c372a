//! Fills a disk: large batches, one at a time, and what becomes of each.

use std::collections::BTreeMap;

use bytes::Bytes;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, TopicPartition};

use crate::records::{client_settings, topic_name};

/// How long a request is repeated that says nothing for sure.
const PATIENCE_MS: &str = "5000";

/// A producer without retries, which tells what the broker said.
pub struct Filler {
    client: RawClient,
}

impl Filler {
    pub async fn connect(bootstrap: &str) -> Self {
        let settings = [("request.timeout.ms", PATIENCE_MS), ("default.api.timeout.ms", PATIENCE_MS)];
        let client = RawClient::connect(&client_settings(bootstrap, &settings)).await;
        Self { client: client.unwrap_or_else(|error| panic!("connect to {bootstrap}: {error}")) }
    }

    /// Appends one record of this many bytes to partition 0; the broker's word if it refuses.
    pub async fn send(&self, topic: &str, key: &str, bytes: usize) -> Result<(), ErrorCode> {
        let mut builder = BatchBuilder::new();
        builder.append(super::now_ms(), Some(key.as_bytes()), Some(&vec![b'x'; bytes]), []);
        let batch: Bytes = builder.build().expect("a batch").into();
        let sent = self.client.produce_batch(&first(topic), batch).await;
        sent.map(|_| ()).map_err(|error| code(&format!("produce to {topic}"), &error))
    }

    /// Commits an offset of partition 0 for a group.
    pub async fn commit(&self, group: &str, topic: &str) -> Result<(), ErrorCode> {
        let offsets = BTreeMap::from([(first(topic), CommitOffset::from(Offset(1)))]);
        let committed = self.client.commit_offsets(&GroupId::from(group), &offsets).await;
        committed.map_err(|error| code("commit", &error))
    }

    pub async fn delete_topic(&self, topic: &str) {
        let deleted = self.client.delete_topics(&[topic_name(topic)]).await;
        let mut deleted = deleted.unwrap_or_else(|error| panic!("delete topic {topic}: {error}"));
        deleted.remove(&topic_name(topic)).expect("an answer").unwrap_or_else(|error| panic!("delete topic: {error}"));
    }
}

fn first(topic: &str) -> TopicPartition {
    TopicPartition::new(topic_name(topic), PartitionIndex(0))
}

fn code(what: &str, error: &ClientError) -> ErrorCode {
    error.code().unwrap_or_else(|| panic!("{what}: {error}"))
}
