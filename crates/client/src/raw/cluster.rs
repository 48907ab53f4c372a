//! The map of the cluster: who the brokers are and who leads what.
//!
//! Invariant: a reader's view never changes under it, so it sees one consistent answer. Entries of topics that a refresh did
//! not ask for are carried over; leader epochs never go back.
//! Cost: topics are shared between views, and a view that nobody holds is edited in place, so that ten thousand partitions
//! that lose their leader one by one cost ten thousand small steps, not ten thousand copies of the map.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::{Node, RawClient};
use crate::error::ClientError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

impl BrokerInfo {
    /// `host:port`, with brackets where the host is an IPv6 literal.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub offline: Vec<NodeId>,
    pub error: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    /// [`TopicId::NONE`] from brokers older than 2.8.
    pub id: TopicId,
    pub internal: bool,
    pub partitions: BTreeMap<PartitionIndex, PartitionInfo>,
}

/// What was last learned about a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    pub cluster_id: Option<String>,
    pub controller: Option<NodeId>,
    pub brokers: BTreeMap<NodeId, BrokerInfo>,
    pub topics: BTreeMap<TopicName, Arc<TopicInfo>>,
    /// Why topics that were asked for are not among them, where it is not that they do not exist.
    refused: BTreeMap<TopicName, ErrorCode>,
}

impl ClusterView {
    pub fn leader(&self, partition: &TopicPartition) -> Option<NodeId> {
        self.topics.get(&partition.topic)?.partitions.get(&partition.partition)?.leader
    }

    /// Why a topic is not in the view; [`ErrorCode::None`] if it is.
    pub fn topic_error(&self, topic: &TopicName) -> ErrorCode {
        match self.topics.contains_key(topic) {
            true => ErrorCode::None,
            false => self.refused.get(topic).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition),
        }
    }

    fn refuse(&mut self, topic: TopicName, code: i16) {
        self.topics.remove(&topic);
        match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::UnknownTopicOrPartition => _ = self.refused.remove(&topic),
            code => _ = self.refused.insert(topic, code),
        }
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionInfo> {
        let topic = self.topics.get_mut(&partition.topic)?;
        topic.partitions.contains_key(&partition.partition).then_some(())?; // before it is copied
        Arc::make_mut(topic).partitions.get_mut(&partition.partition)
    }
}

/// Which topics an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All that the cluster has: others are gone.
    All,
    Named,
}

#[derive(Default)]
pub(super) struct Cluster {
    view: Mutex<Arc<ClusterView>>,
}

impl Cluster {
    pub(super) fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.lock())
    }

    /// Takes in an answer; a topic that is gone is forgotten.
    pub(super) fn learn(&self, answer: &MetadataResponse, scope: Scope) -> Arc<ClusterView> {
        let mut current = self.view.lock();
        let view = Arc::make_mut(&mut current);
        if let Some(id) = &answer.cluster_id {
            view.cluster_id = Some(id.to_string());
        }
        view.controller = Some(NodeId(answer.controller_id.0)).filter(|id| id.0 >= 0);
        view.brokers = answer.brokers.iter().filter_map(broker).collect();
        let known = match scope {
            Scope::All => std::mem::take(&mut view.topics),
            Scope::Named => BTreeMap::new(),
        };
        for topic in &answer.topics {
            let Some(name) = topic.name.as_ref().and_then(|name| TopicName::parse(name).ok()) else { continue };
            let old = view.topics.get(&name).or_else(|| known.get(&name));
            match topic_info(&name, topic, old.map(Arc::as_ref)) {
                Some(info) => {
                    view.refused.remove(&name);
                    view.topics.insert(name, Arc::new(info));
                }
                None => view.refuse(name, topic.error_code),
            }
        }
        Arc::clone(&current)
    }

    /// Makes the next look-up of this leader ask the cluster.
    fn forget_leader(&self, partition: &TopicPartition) {
        let mut current = self.view.lock();
        if current.leader(partition).is_none() {
            return;
        }
        if let Some(found) = Arc::make_mut(&mut current).partition_mut(partition) {
            found.leader = None;
        }
    }

    /// Takes a broker's word for who leads a partition, if it is newer than what is known and that broker is known too.
    fn learn_leader(&self, partition: &TopicPartition, leader: NodeId, epoch: LeaderEpoch) {
        let mut current = self.view.lock();
        let topic = current.topics.get(&partition.topic);
        let is_newer = topic
            .and_then(|topic| topic.partitions.get(&partition.partition))
            .is_some_and(|known| epoch > known.leader_epoch || (epoch == known.leader_epoch && known.leader.is_none()));
        if !is_newer || !current.brokers.contains_key(&leader) {
            return;
        }
        if let Some(found) = Arc::make_mut(&mut current).partition_mut(partition) {
            found.leader = Some(leader);
            found.leader_epoch = epoch;
        }
    }

    /// Makes the next look-up of everything that this node led ask the cluster.
    pub(super) fn forget_node(&self, node: Node) {
        let mut current = self.view.lock();
        let gone = match node {
            Node::Any => return,
            Node::Controller => current.controller,
            Node::Id(id) => Some(id),
        };
        let Some(gone) = gone else { return };
        let view = Arc::make_mut(&mut current);
        view.controller = view.controller.filter(|controller| *controller != gone);
        for topic in view.topics.values_mut() {
            if !topic.partitions.values().any(|partition| partition.leader == Some(gone)) {
                continue; // stays shared
            }
            let led = Arc::make_mut(topic).partitions.values_mut();
            led.filter(|partition| partition.leader == Some(gone)).for_each(|partition| partition.leader = None);
        }
    }
}

fn broker(
    broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> Option<(NodeId, BrokerInfo)> {
    let id = NodeId(broker.node_id.0);
    let rack = broker.rack.as_ref().map(|rack| rack.to_string());
    Some((id, BrokerInfo { id, host: broker.host.to_string(), port: u16::try_from(broker.port).ok()?, rack }))
}

fn topic_info(name: &TopicName, topic: &MetadataResponseTopic, known: Option<&TopicInfo>) -> Option<TopicInfo> {
    if topic.error_code != 0 && topic.partitions.is_empty() {
        return None;
    }
    let id = TopicId(topic.topic_id);
    let known = known.filter(|known| known.id == id); // a topic made anew starts its epochs anew
    let partition = |answer: &MetadataResponsePartition| {
        let index = PartitionIndex(answer.partition_index);
        let nodes = |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| NodeId(id.0)).collect();
        let fresh = PartitionInfo {
            leader: Some(NodeId(answer.leader_id.0)).filter(|id| id.0 >= 0),
            leader_epoch: LeaderEpoch(answer.leader_epoch),
            replicas: nodes(&answer.replica_nodes),
            isr: nodes(&answer.isr_nodes),
            offline: nodes(&answer.offline_replicas),
            error: ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError),
        };
        let newer = known
            .and_then(|known| known.partitions.get(&index))
            .filter(|old| old.leader.is_some() && old.leader_epoch > fresh.leader_epoch && answer.leader_epoch >= 0);
        (index, newer.cloned().unwrap_or(fresh))
    };
    Some(TopicInfo {
        name: name.clone(),
        id,
        internal: topic.is_internal,
        partitions: topic.partitions.iter().map(partition).collect(),
    })
}

impl RawClient {
    /// What is known at the moment; empty of topics until they were asked for.
    pub fn view(&self) -> Arc<ClusterView> {
        self.shared.cluster.view()
    }

    /// Asks for these topics (none: for the brokers only) and never creates one.
    /// A topic that does not exist is missing from the view.
    pub async fn refresh(&self, topics: &[TopicName]) -> Result<Arc<ClusterView>, ClientError> {
        let wanted = topics.iter().map(|topic| {
            let name = StrBytes::from_string(topic.as_str().to_owned());
            MetadataRequestTopic::default().with_name(Some(name.into()))
        });
        self.ask(Some(wanted.collect()), Scope::Named).await
    }

    /// Asks for every topic of the cluster.
    pub async fn refresh_all(&self) -> Result<Arc<ClusterView>, ClientError> {
        self.ask(None, Scope::All).await
    }

    async fn ask(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
        scope: Scope,
    ) -> Result<Arc<ClusterView>, ClientError> {
        let request = MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        // Not through `connection(Node::Id)`: that one may need the answer to this question.
        let connection = self.any_connection().await?;
        let answer = connection.call(&request, i16::MAX, self.shared.request_timeout).await?;
        ClientError::check(|| "ask for metadata".to_owned(), answer.error_code, None)?;
        Ok(self.shared.cluster.learn(&answer, scope))
    }

    /// The leader of a partition, asked for if unknown.
    pub async fn leader(&self, partition: &TopicPartition) -> Result<NodeId, ClientError> {
        if let Some(leader) = self.view().leader(partition) {
            return Ok(leader);
        }
        let view = self.refresh(std::slice::from_ref(&partition.topic)).await?;
        let missing = |code| Err(ClientError::broker(format!("find the leader of {partition}"), code));
        let topic = view.topics.get(&partition.topic);
        match topic.and_then(|topic| topic.partitions.get(&partition.partition)) {
            None if topic.is_none() => missing(view.topic_error(&partition.topic)),
            None => missing(ErrorCode::UnknownTopicOrPartition),
            Some(found) => found.leader.map_or_else(|| missing(ErrorCode::LeaderNotAvailable), Ok),
        }
    }

    /// The partitions grouped by leader, and those that have none at the moment.
    pub async fn by_leader<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<(BTreeMap<NodeId, Vec<TopicPartition>>, Vec<TopicPartition>), ClientError> {
        let partitions: Vec<&TopicPartition> = partitions.into_iter().collect();
        let mut view = self.view();
        let mut stale: Vec<TopicName> =
            partitions.iter().filter(|p| view.leader(p).is_none()).map(|p| p.topic.clone()).collect();
        if !stale.is_empty() {
            stale.sort();
            stale.dedup();
            view = self.refresh(&stale).await?;
        }
        let mut led: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for partition in partitions {
            match view.leader(partition) {
                Some(leader) => led.entry(leader).or_default().push(partition.clone()),
                None => leaderless.push(partition.clone()),
            }
        }
        Ok((led, leaderless))
    }

    /// Notes that a broker refused to be the leader of this partition; the next look-up asks again.
    pub fn forget_leader(&self, partition: &TopicPartition) {
        self.shared.cluster.forget_leader(partition);
    }

    /// Notes an error of a partition, if it means that the map is out of date.
    pub(super) fn note_error(&self, partition: &TopicPartition, code: ErrorCode) {
        if matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::KafkaStorageError
                | ErrorCode::UnknownTopicId
                | ErrorCode::InconsistentTopicId
        ) {
            self.forget_leader(partition);
        }
    }

    /// Notes whom a broker that refused a partition named as its leader (KIP-951).
    pub(super) fn note_leader(&self, partition: &TopicPartition, leader: NodeId, epoch: LeaderEpoch) {
        self.shared.cluster.learn_leader(partition, leader, epoch);
    }
}

#[cfg(test)]
mod tests;
