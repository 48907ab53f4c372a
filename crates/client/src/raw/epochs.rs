//! Where epochs end in a leader's log (OffsetForLeaderEpoch, KIP-279 and KIP-320): how a reader finds out that what it read
//! is not in the log any more, and from where on.
//!
//! Picture: a reader that stands at an offset behind a record of epoch E asks for the end of E. An answer with a smaller epoch,
//! or an end before the reader's offset, means that the log was cut there and went on differently.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::batches::wire_topic;
use super::{Node, RawClient};
use crate::error::ClientError;

/// Which epoch's end is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochQuestion {
    pub partition: TopicPartition,
    pub epoch: LeaderEpoch,
    /// Lets the leader refuse who has an outdated map; [`LeaderEpoch::NONE`] does not ask.
    pub leader_epoch: LeaderEpoch,
}

impl EpochQuestion {
    pub fn new(partition: TopicPartition, epoch: LeaderEpoch) -> Self {
        Self { partition, epoch, leader_epoch: LeaderEpoch::NONE }
    }
}

/// The largest epoch of the log that is not above the one asked for, and the offset behind its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

impl EpochEnd {
    /// Where a reader that stands at `offset`, behind a record of `epoch`, has to go back to; `None` if all that it read is
    /// in the log.
    pub fn parted(&self, epoch: LeaderEpoch, offset: Offset) -> Option<Offset> {
        (self.epoch < epoch || self.end < offset).then_some(self.end.min(offset))
    }
}

type Ends = BTreeMap<TopicPartition, Result<Option<EpochEnd>, ClientError>>;

impl RawClient {
    /// Ends of epochs, asked from the partitions' leaders once. `None` where the log has no epoch that is not above the one
    /// asked for. Errors of single partitions are in the answer; a leader that does not answer is an error of all that were
    /// to be asked there.
    pub async fn epoch_ends(&self, questions: &[EpochQuestion]) -> Result<Ends, ClientError> {
        let by_partition: BTreeMap<_, _> = questions.iter().map(|question| (&question.partition, question)).collect();
        let (led, leaderless) = self.by_leader(by_partition.keys().copied()).await?;
        let view = self.view();
        let mut ends = Ends::new();
        for partition in leaderless {
            let code = match view.topic_error(&partition.topic) {
                ErrorCode::None => ErrorCode::LeaderNotAvailable,
                code => code,
            };
            let error = ClientError::broker(format!("ask for the end of an epoch of {partition}"), code);
            ends.insert(partition, Err(error));
        }
        for (leader, partitions) in led {
            let questions = partitions.iter().filter_map(|partition| by_partition.get(partition).copied());
            let answered = self.epoch_ends_of(leader, questions).await;
            for partition in partitions {
                let end = match &answered {
                    Ok(answered) => answered.get(&partition).cloned().unwrap_or_else(|| Err(unanswered(leader))),
                    Err(error) => Err(error.clone()),
                };
                ends.insert(partition, end);
            }
        }
        Ok(ends)
    }

    async fn epoch_ends_of<'a>(
        &self,
        leader: NodeId,
        questions: impl Iterator<Item = &'a EpochQuestion>,
    ) -> Result<Ends, ClientError> {
        let mut topics: BTreeMap<&TopicName, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        for question in questions {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(question.partition.partition.0)
                .with_current_leader_epoch(question.leader_epoch.0)
                .with_leader_epoch(question.epoch.0);
            topics.entry(&question.partition.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetForLeaderTopic::default().with_topic(wire_topic(topic)).with_partitions(partitions)
        });
        let request =
            OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
        let answer = self.request(Node::Id(leader), &request).await?;
        let mut ends = Ends::new();
        for topic in &answer.topics {
            let Ok(name) = TopicName::parse(&topic.topic) else { continue };
            for found in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), PartitionIndex(found.partition));
                let what = || format!("ask for the end of an epoch of {partition}");
                let result = ClientError::check(what, found.error_code, None);
                if let Err(ClientError::Broker { code, .. }) = &result {
                    self.note_error(&partition, *code);
                }
                let end = EpochEnd { epoch: LeaderEpoch(found.leader_epoch), end: Offset(found.end_offset) };
                let known = end.epoch >= LeaderEpoch(0) && end.end >= Offset(0);
                ends.insert(partition, result.map(|()| known.then_some(end)));
            }
        }
        Ok(ends)
    }
}

fn unanswered(leader: NodeId) -> ClientError {
    ClientError::Malformed {
        address: format!("broker {leader}"),
        api: "OffsetForLeaderEpoch".to_owned(),
        reason: "a partition is missing".to_owned(),
    }
}
