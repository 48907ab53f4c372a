//! Topics in full, page by page (DescribeTopicPartitions, KIP-966): their ids, and per partition who leads and who might.
//!
//! For checks before something is judged, not for the hot path: the answer is the broker's at this moment and does not go
//! into the client's map. Brokers before Apache Kafka 3.8 do not serve it; [`RawClient::refresh`] knows ids and leaders of
//! those as well.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest};
use twinstream_model::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use super::batches::wire_topic;
use super::{Node, RawClient};
use crate::error::ClientError;

/// Partitions of one page; the most that Kafka gives (`max.request.partition.size.limit`).
const PAGE: i32 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    pub id: TopicId,
    pub internal: bool,
    pub partitions: BTreeMap<PartitionIndex, DescribedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedPartition {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    /// Replicas out of the ISR that have everything all the same and may lead without loss.
    pub eligible: Vec<NodeId>,
    /// The last replicas known to have had everything, when none is left that may lead.
    pub last_eligible: Vec<NodeId>,
    pub offline: Vec<NodeId>,
}

type Described = BTreeMap<TopicName, Result<DescribedTopic, ClientError>>;

impl RawClient {
    /// Describes topics; each has its own result.
    pub async fn describe_topics(&self, topics: &[TopicName]) -> Result<Described, ClientError> {
        let mut described = Described::new();
        if topics.is_empty() {
            return Ok(described); // an empty list would ask for all
        }
        let mut request = DescribeTopicPartitionsRequest::default()
            .with_topics(topics.iter().map(|topic| TopicRequest::default().with_name(wire_topic(topic))).collect())
            .with_response_partition_limit(PAGE);
        let mut last: Option<(String, i32)> = None;
        loop {
            let answer = self.request(Node::Any, &request).await?;
            answer.topics.iter().for_each(|topic| take_in(&mut described, topic));
            let Some(next) = answer.next_cursor else { return Ok(described) };
            let place = (next.topic_name.to_string(), next.partition_index);
            if last.as_ref().is_some_and(|last| place <= *last) {
                return Err(ClientError::Malformed {
                    address: "a broker of the cluster".to_owned(),
                    api: "DescribeTopicPartitions".to_owned(),
                    reason: format!("the page behind {last:?} begins at {place:?}"),
                });
            }
            let cursor = Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
            request = request.with_cursor(Some(cursor));
            last = Some(place);
        }
    }
}

/// A topic may go on from the page before.
fn take_in(described: &mut Described, topic: &DescribeTopicPartitionsResponseTopic) {
    let Some(name) = topic.name.as_ref().and_then(|name| TopicName::parse(name).ok()) else { return };
    if let Err(error) = ClientError::check(|| format!("describe topic {name}"), topic.error_code, None) {
        described.insert(name, Err(error));
        return;
    }
    let fresh = DescribedTopic {
        id: TopicId(topic.topic_id),
        internal: topic.is_internal,
        partitions: topic.partitions.iter().map(partition).collect(),
    };
    match described.get_mut(&name) {
        Some(Ok(known)) if known.id == fresh.id => known.partitions.extend(fresh.partitions),
        _ => _ = described.insert(name, Ok(fresh)),
    }
}

fn partition(answer: &DescribeTopicPartitionsResponsePartition) -> (PartitionIndex, DescribedPartition) {
    let nodes = |ids: &[BrokerId]| ids.iter().map(|id| NodeId(id.0)).collect();
    let described = DescribedPartition {
        leader: Some(NodeId(answer.leader_id.0)).filter(|id| id.0 >= 0),
        leader_epoch: LeaderEpoch(answer.leader_epoch),
        replicas: nodes(&answer.replica_nodes),
        isr: nodes(&answer.isr_nodes),
        eligible: nodes(answer.eligible_leader_replicas.as_deref().unwrap_or_default()),
        last_eligible: nodes(answer.last_known_elr.as_deref().unwrap_or_default()),
        offline: nodes(&answer.offline_replicas),
    };
    (PartitionIndex(answer.partition_index), described)
}
