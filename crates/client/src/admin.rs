//! Topics and groups as an operator sees them: one call each, every answer with the broker's own words.
//!
//! Built on the raw client: rdkafka's admin client lacks group descriptions and offsets, and drops the error texts that
//! brokers send along.

use std::collections::BTreeMap;

use twinstream_model::{ErrorCode, GroupId, Offset, TopicName, TopicPartition};

use crate::consumer::CommitOffset;
use crate::error::ClientError;
use crate::raw::{BrokerInfo, CreatedTopic, GroupDescription, GroupListing, NewTopic, OffsetAt, RawClient, TopicInfo};
use crate::settings::ClientSettings;

/// How far a group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub committed: CommitOffset,
    /// Unknown when the partition is gone or has no leader.
    pub end: Option<Offset>,
}

impl GroupLag {
    /// Records between the committed offset and the end.
    pub fn lag(&self) -> Option<i64> {
        self.end.map(|end| (end.0 - self.committed.offset.0).max(0))
    }
}

/// An admin client; clones share connections.
#[derive(Clone)]
pub struct Admin {
    raw: RawClient,
}

impl Admin {
    pub async fn connect(settings: &ClientSettings) -> Result<Self, ClientError> {
        Ok(Self { raw: RawClient::connect(settings).await? })
    }

    /// The raw client underneath, for whatever has no call here.
    pub fn raw(&self) -> &RawClient {
        &self.raw
    }

    pub fn cluster_id(&self) -> Option<String> {
        self.raw.cluster_id()
    }

    pub async fn brokers(&self) -> Result<Vec<BrokerInfo>, ClientError> {
        Ok(self.raw.refresh(&[]).await?.brokers.values().cloned().collect())
    }

    /// Creates one topic. TOPIC_ALREADY_EXISTS is an error; see [`Self::ensure_topic`].
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<CreatedTopic, ClientError> {
        let mut results = self.raw.create_topics(std::slice::from_ref(topic), false).await?;
        let what = || format!("create topic {}", topic.name);
        results.remove(&topic.name).unwrap_or_else(|| Err(ClientError::broker(what(), ErrorCode::UnknownServerError)))
    }

    /// Creates a topic unless it is there; `true` if it was created by this call.
    pub async fn ensure_topic(&self, topic: &NewTopic) -> Result<bool, ClientError> {
        match self.raw.retry(|| self.create_topic(topic)).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates many topics at once, each with its own result.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<TopicName, Result<CreatedTopic, ClientError>>, ClientError> {
        self.raw.create_topics(topics, validate_only).await
    }

    pub async fn delete_topics(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<(), ClientError>>, ClientError> {
        self.raw.delete_topics(topics).await
    }

    /// Every topic of the cluster.
    pub async fn topics(&self) -> Result<BTreeMap<TopicName, TopicInfo>, ClientError> {
        let view = self.raw.retry(|| self.raw.refresh_all()).await?;
        Ok(view.topics.iter().map(|(name, topic)| (name.clone(), TopicInfo::clone(topic))).collect())
    }

    /// One topic, `None` when it does not exist. Never creates it.
    pub async fn topic(&self, topic: &TopicName) -> Result<Option<TopicInfo>, ClientError> {
        let view = self.raw.retry(|| self.raw.refresh(std::slice::from_ref(topic))).await?;
        Ok(view.topics.get(topic).map(|topic| TopicInfo::clone(topic)))
    }

    pub async fn groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.raw.list_groups().await
    }

    pub async fn group(&self, group: &GroupId) -> Result<GroupDescription, ClientError> {
        self.raw.describe_group(group).await
    }

    /// The committed offsets of a group beside the ends of the partitions.
    pub async fn group_lag(&self, group: &GroupId) -> Result<BTreeMap<TopicPartition, GroupLag>, ClientError> {
        let committed = self.raw.committed_offsets(group).await?;
        let partitions: Vec<TopicPartition> = committed.keys().cloned().collect();
        let ends = self.end_offsets(&partitions).await?;
        let lag = |(partition, committed): (TopicPartition, CommitOffset)| {
            let end = ends.get(&partition).copied();
            (partition, GroupLag { committed, end })
        };
        Ok(committed.into_iter().map(lag).collect())
    }

    /// The next offset of each partition; those that cannot tell are left out.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let existing = self.existing(partitions).await?;
        let found = self.raw.list_offsets(&existing, OffsetAt::Latest).await?;
        Ok(found.into_iter().filter_map(|(partition, offset)| Some((partition, offset.ok()?))).collect())
    }

    /// Leaves out partitions of deleted topics, which a look-up of offsets would wait for.
    async fn existing(&self, partitions: &[TopicPartition]) -> Result<Vec<TopicPartition>, ClientError> {
        let mut topics: Vec<TopicName> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        let view = self.raw.retry(|| self.raw.refresh(&topics)).await?;
        let exists = |partition: &&TopicPartition| {
            view.topics.get(&partition.topic).is_some_and(|topic| topic.partitions.contains_key(&partition.partition))
        };
        Ok(partitions.iter().filter(exists).cloned().collect())
    }
}

#[cfg(test)]
mod tests;
