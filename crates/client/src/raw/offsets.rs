//! Offsets of logs (first, next, by time) and offsets of groups (committed).

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    BrokerId, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::{Request as _, StrBytes};
use twinstream_model::{ErrorCode, GroupId, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::batches::wire_topic;
use super::{Node, RawClient};
use crate::consumer::CommitOffset;
use crate::error::ClientError;

/// The last version that names topics by name.
const OFFSET_VERSION_MAX: i16 = 9;
/// From this version on OffsetFetch asks for a list of groups.
const OFFSET_FETCH_MANY: i16 = 8;

/// Which offset of a log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is still there.
    Earliest,
    /// The next record to be written.
    Latest,
    /// The first record at or after this time (ms since 1970).
    Time(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// Where readers of committed records stop: the first record of a transaction that is open, else as [`Self::Latest`].
    LastStable,
}

impl OffsetAt {
    fn wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest | Self::LastStable => -1,
            Self::MaxTimestamp => -3,
            Self::Time(ms) => ms.max(0),
        }
    }
}

type Offsets = BTreeMap<TopicPartition, Result<Offset, ClientError>>;

impl RawClient {
    /// Offsets of many partitions, asked from their leaders, retried where the map was out of date.
    /// [`Offset::NONE`] stands for "no such record". Errors of single partitions are in the answer.
    pub async fn list_offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<Offsets, ClientError> {
        let mut found = Offsets::new();
        let mut missing: Vec<TopicPartition> = partitions.to_vec();
        let deadline = tokio::time::Instant::now() + self.shared.api_timeout;
        let mut backoff = super::Backoff::default();
        while !missing.is_empty() {
            self.list_offsets_once(&missing, at, &mut found).await?;
            missing.retain(|partition| !found.get(partition).is_some_and(is_settled));
            let pause = backoff.next_pause();
            if missing.is_empty() || tokio::time::Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Ok(found)
    }

    /// The same, but asked once: what a leader does not answer now is an error in the answer. For callers with pauses of
    /// their own, whom one partition without a leader must not keep waiting for all others.
    pub async fn list_offsets_now(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<Offsets, ClientError> {
        let mut found = Offsets::new();
        self.list_offsets_once(partitions, at, &mut found).await?;
        Ok(found)
    }

    async fn list_offsets_once(
        &self,
        partitions: &[TopicPartition],
        at: OffsetAt,
        found: &mut Offsets,
    ) -> Result<(), ClientError> {
        let (led, leaderless) = self.by_leader(partitions).await?;
        for partition in leaderless {
            let known = self.view().topics.contains_key(&partition.topic);
            let code = if known { ErrorCode::LeaderNotAvailable } else { ErrorCode::UnknownTopicOrPartition };
            let error = ClientError::broker(format!("list offsets of {partition}"), code);
            found.insert(partition, Err(error));
        }
        for (leader, partitions) in led {
            match self.list_offsets_of(leader, &partitions, at).await {
                Ok(offsets) => found.extend(offsets),
                Err(error) if error.is_retriable() => {
                    for partition in partitions {
                        self.forget_leader(&partition);
                        found.insert(partition, Err(error.clone()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn list_offsets_of(
        &self,
        leader: NodeId,
        partitions: &[TopicPartition],
        at: OffsetAt,
    ) -> Result<Offsets, ClientError> {
        let mut topics: BTreeMap<&TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in partitions {
            let wanted = ListOffsetsPartition::default()
                .with_partition_index(partition.partition.0)
                .with_current_leader_epoch(-1)
                .with_timestamp(at.wire());
            topics.entry(&partition.topic).or_default().push(wanted);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default().with_name(wire_topic(topic)).with_partitions(partitions)
        });
        let isolation = i8::from(at == OffsetAt::LastStable);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_isolation_level(isolation);
        let request = request.with_topics(topics.collect());
        let answer = self.request(Node::Id(leader), &request).await?;
        let mut found = Offsets::new();
        for topic in &answer.topics {
            let Ok(name) = TopicName::parse(&topic.name) else { continue };
            for response in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), PartitionIndex(response.partition_index));
                let what = || format!("list offsets of {partition}");
                let result = ClientError::check(what, response.error_code, None).map(|()| Offset(response.offset));
                if let Err(ClientError::Broker { code, .. }) = &result {
                    self.note_error(&partition, *code);
                }
                found.insert(partition, result);
            }
        }
        Ok(found)
    }

    /// Every committed offset of a group.
    pub async fn committed_offsets(
        &self,
        group: &GroupId,
    ) -> Result<BTreeMap<TopicPartition, CommitOffset>, ClientError> {
        self.retry(|| self.committed_once(group)).await
    }

    async fn committed_once(&self, group: &GroupId) -> Result<BTreeMap<TopicPartition, CommitOffset>, ClientError> {
        let coordinator = self.coordinator(group).await?;
        let node = Node::Id(coordinator);
        let served = self.versions(node, OffsetFetchRequest::KEY).await?;
        let many = served.is_some_and(|(_, max)| max >= OFFSET_FETCH_MANY);
        let wire_group = kafka_protocol::messages::GroupId(StrBytes::from_string(group.to_string()));
        let request = if many {
            let wanted = OffsetFetchRequestGroup::default()
                .with_group_id(wire_group)
                .with_topics(None::<Vec<OffsetFetchRequestTopics>>);
            OffsetFetchRequest::default().with_groups(vec![wanted])
        } else {
            OffsetFetchRequest::default().with_group_id(wire_group).with_topics(None::<Vec<OffsetFetchRequestTopic>>)
        };
        let answer = self.request_capped(node, &request, OFFSET_VERSION_MAX).await?;
        read_committed(group, &answer)
    }

    /// Commits offsets for a group without being one of its members; the coordinator allows that while the group is empty.
    pub async fn commit_offsets(
        &self,
        group: &GroupId,
        offsets: &BTreeMap<TopicPartition, CommitOffset>,
    ) -> Result<(), ClientError> {
        self.retry(|| self.commit_once(group, offsets)).await
    }

    async fn commit_once(
        &self,
        group: &GroupId,
        offsets: &BTreeMap<TopicPartition, CommitOffset>,
    ) -> Result<(), ClientError> {
        let coordinator = self.coordinator(group).await?;
        let mut topics: BTreeMap<&TopicName, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, commit) in offsets {
            let entry = OffsetCommitRequestPartition::default()
                .with_partition_index(partition.partition.0)
                .with_committed_offset(commit.offset.0)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::from_string(commit.metadata.clone())));
            topics.entry(&partition.topic).or_default().push(entry);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(wire_topic(topic)).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(kafka_protocol::messages::GroupId(StrBytes::from_string(group.to_string())))
            .with_generation_id_or_member_epoch(-1)
            .with_retention_time_ms(-1)
            .with_topics(topics.collect());
        let answer = self.request_capped(Node::Id(coordinator), &request, OFFSET_VERSION_MAX).await?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let what = || format!("commit {}-{} of group {group}", topic.name.as_str(), partition.partition_index);
                ClientError::check(what, partition.error_code, None)?;
            }
        }
        Ok(())
    }
}

fn is_settled(result: &Result<Offset, ClientError>) -> bool {
    result.as_ref().map_or_else(|error| !error.is_retriable(), |_| true)
}

fn read_committed(
    group: &GroupId,
    answer: &OffsetFetchResponse,
) -> Result<BTreeMap<TopicPartition, CommitOffset>, ClientError> {
    let what = || format!("read committed offsets of group {group}");
    ClientError::check(what, answer.error_code, None)?;
    let mut found = BTreeMap::new();
    let mut add = |topic: &str, index: i32, offset: i64, metadata: Option<&StrBytes>| {
        if let (Ok(topic), true) = (TopicName::parse(topic), offset >= 0) {
            let metadata = metadata.map(|text| text.to_string()).unwrap_or_default();
            let commit = CommitOffset { offset: Offset(offset), metadata };
            found.insert(TopicPartition::new(topic, PartitionIndex(index)), commit);
        }
    };
    for topic in &answer.topics {
        for p in &topic.partitions {
            ClientError::check(what, p.error_code, None)?;
            add(&topic.name, p.partition_index, p.committed_offset, p.metadata.as_ref());
        }
    }
    for answered in &answer.groups {
        ClientError::check(what, answered.error_code, None)?;
        for topic in &answered.topics {
            for p in &topic.partitions {
                ClientError::check(what, p.error_code, None)?;
                add(&topic.name, p.partition_index, p.committed_offset, p.metadata.as_ref());
            }
        }
    }
    Ok(found)
}
