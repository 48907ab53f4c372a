//! The operator's view of a cluster, ours or Kafka's, while parts of it are broken.
//!
//! Picture: every question goes to every broker at once, with a short patience, and the newest answer counts: the one with
//! the highest epoch, and among those the leader's own. So a broker that hangs, or that was cut off and does not know it,
//! neither delays nor misleads. Commands go to one broker after the other until one takes them.

mod transactions; // what is open of them

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;
use twinstream_client::protocol::shape::Shaped;
use twinstream_client::raw::kafka_protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use twinstream_client::raw::kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use twinstream_client::raw::kafka_protocol::messages::describe_quorum_request::{
    DescribeQuorumRequest, PartitionData, TopicData,
};
use twinstream_client::raw::kafka_protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use twinstream_client::raw::kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use twinstream_client::raw::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponseTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    AddRaftVoterRequest, BrokerId, ListPartitionReassignmentsRequest, RemoveRaftVoterRequest, TopicName,
};
use twinstream_client::raw::kafka_protocol::protocol::{Request, StrBytes};
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, Offset, PartitionIndex, TopicPartition};
use uuid::Uuid;

use crate::records::client_settings;
use crate::wait::{wait_until, wait_until_some};

/// What a healthy broker answers in, many times over, also in a debug build.
const PATIENCE_MS: &str = "1500";
/// Once one broker has answered, the others get so long: those that hang must not hold up the question.
const STRAGGLERS: Duration = Duration::from_millis(250);
/// For what must come true once nothing is broken any more.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// Kafka's numbers of config resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
/// Kafka's numbers of elections.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// One partition as the newest answer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub leader: Option<usize>,
    pub leader_epoch: i32,
    pub replicas: Vec<usize>,
    pub isr: Vec<usize>,
}

impl PartitionState {
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.isr.len() == self.replicas.len()
    }

    pub fn followers(&self) -> Vec<usize> {
        self.replicas.iter().copied().filter(|id| Some(*id) != self.leader).collect()
    }
}

/// What a broker says of the metadata quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumState {
    pub leader: Option<usize>,
    pub epoch: i32,
    pub high_watermark: i64,
    /// Log ends by node.
    pub voters: BTreeMap<usize, i64>,
    pub observers: BTreeMap<usize, i64>,
    /// Ids of the directories that voters vote with.
    pub directories: BTreeMap<usize, Uuid>,
}

/// All that a broker tells clients of the cluster, in one order; who leads the quorum is not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterMetadata {
    brokers: Vec<MetadataResponseBroker>,
    topics: Vec<MetadataResponseTopic>,
}

impl ClusterMetadata {
    pub fn topic_names(&self) -> BTreeSet<String> {
        self.topics.iter().filter_map(|topic| Some(topic.name.as_ref()?.to_string())).collect()
    }
}

/// Asks and commands.
#[derive(Clone)]
pub struct Operator {
    client: RawClient,
    nodes: Vec<NodeId>,
}

impl Operator {
    /// For a cluster with the nodes 1 to N, of which one must be there now.
    pub async fn connect(bootstrap: &str, nodes: usize) -> Self {
        let settings = [("request.timeout.ms", PATIENCE_MS), ("default.api.timeout.ms", "10000")];
        let settings = client_settings(bootstrap, &settings);
        let client = wait_until_some("a broker answers", SETTLES_WITHIN, || async {
            RawClient::connect(&settings).await.ok() //
        });
        let nodes = (1..=nodes).map(|id| NodeId(i32::try_from(id).expect("few nodes"))).collect();
        Self { client: client.await, nodes }
    }

    /// Makes a topic, and waits until all its replicas are in sync.
    pub async fn create_topic(&self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
        self.make_topic(name, partitions, replicas, configs).await;
        self.wait_whole(name, partitions).await;
    }

    /// Makes a topic: this is acknowledged, and that is all.
    pub async fn make_topic(&self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let what = format!("create topic {name}");
        self.command(&what, &request, |answer| {
            answer.topics.first().map_or(0, |topic| {
                // A first try may have got through though its answer did not.
                if topic.error_code == ErrorCode::TopicAlreadyExists.code() { 0 } else { topic.error_code }
            })
        })
        .await;
    }

    /// The partitions of a topic, each by the newest answer; empty while nobody answers.
    pub async fn partitions(&self, name: &str) -> BTreeMap<i32, PartitionState> {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
        let mut newest: BTreeMap<i32, (bool, PartitionState)> = BTreeMap::new();
        for (node, answer) in self.ask_all(&request).await {
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let leader = usize::try_from(partition.leader_id.0).ok();
                let state = PartitionState {
                    leader,
                    leader_epoch: partition.leader_epoch,
                    replicas: ids(&partition.replica_nodes),
                    isr: ids(&partition.isr_nodes),
                };
                let own = leader == Some(node);
                let known = newest.entry(partition.partition_index).or_default();
                if known.1.replicas.is_empty() || (state.leader_epoch, own) > (known.1.leader_epoch, known.0) {
                    *known = (own, state);
                }
            }
        }
        newest.into_iter().map(|(index, (_, state))| (index, state)).collect()
    }

    pub async fn partition(&self, topic: &str, partition: i32) -> PartitionState {
        self.partitions(topic).await.remove(&partition).unwrap_or_default()
    }

    /// Waits for a leader of a partition; its node id.
    pub async fn leader(&self, topic: &str, partition: i32) -> usize {
        let what = format!("{topic}-{partition} has a leader");
        wait_until_some(&what, SETTLES_WITHIN, || async { self.partition(topic, partition).await.leader }).await
    }

    /// Waits until all replicas of all partitions are in sync.
    pub async fn wait_whole(&self, topic: &str, partitions: i32) {
        let what = format!("all replicas of {topic} are in sync");
        wait_until(&what, SETTLES_WITHIN, || async {
            let states = self.partitions(topic).await;
            states.len() == usize::try_from(partitions).unwrap_or(0) && states.values().all(PartitionState::is_whole)
        })
        .await;
    }

    /// What each broker says of the quorum; those that do not answer are left out.
    pub async fn quorum_by_broker(&self) -> BTreeMap<usize, QuorumState> {
        let partition = PartitionData::default().with_partition_index(0);
        let log = TopicData::default().with_topic_name(topic("__cluster_metadata")).with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![log]);
        let mut states = BTreeMap::new();
        for (node, answer) in self.ask_all(&request).await {
            let Some(data) = answer.topics.first().and_then(|topic| topic.partitions.first()) else { continue };
            if answer.error_code != 0 || data.error_code != 0 {
                continue;
            }
            let ends = |replicas: &[_]| {
                let end = |replica: &twinstream_client::raw::kafka_protocol::messages::describe_quorum_response::ReplicaState| {
                    Some((usize::try_from(replica.replica_id.0).ok()?, replica.log_end_offset))
                };
                replicas.iter().filter_map(end).collect()
            };
            let directories = data.current_voters.iter();
            let directories = directories
                .filter_map(|voter| Some((usize::try_from(voter.replica_id.0).ok()?, voter.replica_directory_id)));
            let state = QuorumState {
                leader: usize::try_from(data.leader_id.0).ok(),
                epoch: data.leader_epoch,
                high_watermark: data.high_watermark,
                voters: ends(&data.current_voters),
                observers: ends(&data.observers),
                directories: directories.collect(),
            };
            states.insert(node, state);
        }
        states
    }

    /// The newest answer about the quorum.
    pub async fn quorum(&self) -> Option<QuorumState> {
        self.quorum_by_broker().await.into_values().max_by_key(|state| (state.epoch, state.high_watermark))
    }

    /// Waits for a leader of the quorum; its node id.
    pub async fn controller(&self) -> usize {
        wait_until_some("the quorum has a leader", SETTLES_WITHIN, || async { self.quorum().await?.leader }).await
    }

    /// Gives a node a vote in the quorum.
    pub async fn add_voter(&self, node: usize, directory: Uuid) {
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_timeout_ms(10_000)
            .with_voter_id(i32::try_from(node).expect("a node"))
            .with_voter_directory_id(directory);
        self.command(&format!("add voter {node}"), &request, |answer| {
            // A first try may have got through though its answer did not, or the node got it by itself.
            if answer.error_code == ErrorCode::DuplicateVoter.code() { 0 } else { answer.error_code }
        })
        .await;
    }

    /// Takes a node's vote.
    pub async fn remove_voter(&self, node: usize, directory: Uuid) {
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(i32::try_from(node).expect("a node"))
            .with_voter_directory_id(directory);
        self.command(&format!("remove voter {node}"), &request, |answer| {
            // A first try may have got through though its answer did not.
            if answer.error_code == ErrorCode::VoterNotFound.code() { 0 } else { answer.error_code }
        })
        .await;
    }

    /// What each broker tells clients; those that do not answer are left out.
    pub async fn metadata_by_broker(&self) -> BTreeMap<usize, ClusterMetadata> {
        let request = MetadataRequest::default().with_topics(None);
        let answers = self.ask_all(&request).await.into_iter().map(|(node, answer)| {
            let (mut brokers, mut topics) = (answer.brokers, answer.topics);
            brokers.sort_by_key(|broker| broker.node_id);
            topics.sort_by(|one, other| one.name.cmp(&other.name));
            for topic in &mut topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
            (node, ClusterMetadata { brokers, topics })
        });
        answers.collect()
    }

    /// Whether a partition has a record with a timestamp from this time on, since 1970.
    pub async fn has_record_after(&self, topic: &str, partition: i32, time: Duration) -> bool {
        let topic = twinstream_model::TopicName::parse(topic).expect("a topic name");
        let partition = TopicPartition::new(topic, PartitionIndex(partition));
        let at = OffsetAt::Time(i64::try_from(time.as_millis()).expect("a time"));
        let found = self.client.list_offsets(std::slice::from_ref(&partition), at).await;
        let found = found.ok().and_then(|mut offsets| offsets.remove(&partition)?.ok());
        found.is_some_and(|offset| offset != Offset::NONE)
    }

    /// Gives a partition to the first of its replicas.
    pub async fn elect_preferred(&self, name: &str, partition: i32) {
        self.elect(name, partition, PREFERRED).await;
    }

    /// Gives a partition without a leader to any replica that is up, whatever that one lacks.
    pub async fn elect_unclean(&self, name: &str, partition: i32) {
        self.elect(name, partition, UNCLEAN).await;
    }

    async fn elect(&self, name: &str, partition: i32, kind: i8) {
        let wanted = TopicPartitions::default().with_topic(topic(name)).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_topic_partitions(Some(vec![wanted]))
            .with_timeout_ms(10_000);
        self.command(&format!("elect a leader of {name}-{partition}"), &request, |answer| {
            let result = answer.replica_election_results.first().and_then(|topic| topic.partition_result.first());
            let code = result.map_or(answer.error_code, |result| result.error_code);
            if code == ErrorCode::ElectionNotNeeded.code() { 0 } else { code }
        })
        .await;
    }

    /// Moves a partition to these replicas, or cancels a movement that is under way.
    pub async fn reassign(&self, name: &str, partition: i32, replicas: Option<&[usize]>) {
        let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(i32::try_from(*id).expect("a node"))).collect());
        let cancel = replicas.is_none();
        let wanted = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        let wanted = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
        self.command(&format!("reassign {name}-{partition}"), &request, |answer| {
            let result = answer.responses.first().and_then(|topic| topic.partitions.first());
            let code = result.map_or(answer.error_code, |result| result.error_code);
            if cancel && code == ErrorCode::NoReassignmentInProgress.code() { 0 } else { code }
        })
        .await;
    }

    /// Whether any partition is on its way to other replicas; `None` while nobody answers.
    pub async fn is_reassigning(&self) -> Option<bool> {
        let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(10_000);
        let answers = self.ask_all(&request).await;
        let good = answers.iter().find(|(_, answer)| answer.error_code == 0);
        good.map(|(_, answer)| answer.topics.iter().any(|topic| !topic.partitions.is_empty()))
    }

    /// Makes a broker the leader of a partition that it has a replica of.
    pub async fn lead_by(&self, name: &str, partition: i32, broker: usize) {
        let mut replicas = self.partition(name, partition).await.replicas;
        replicas.retain(|id| *id != broker);
        replicas.insert(0, broker);
        self.reassign(name, partition, Some(&replicas)).await;
        let what = format!("broker {broker} leads {name}-{partition}");
        wait_until(&what, SETTLES_WITHIN, || async {
            if self.partition(name, partition).await.leader == Some(broker) {
                return true;
            }
            if self.partition(name, partition).await.replicas.first() == Some(&broker) {
                self.elect_preferred(name, partition).await;
            }
            false
        })
        .await;
    }

    pub async fn set_topic_config(&self, topic: &str, name: &str, value: &str) {
        self.set_config(&self.nodes, TOPIC, topic, name, value).await;
    }

    /// Only that broker takes it.
    pub async fn set_broker_config(&self, broker: usize, name: &str, value: &str) {
        let node = NodeId(i32::try_from(broker).expect("few nodes"));
        self.set_config(&[node], BROKER, &broker.to_string(), name, value).await;
    }

    async fn set_config(&self, by: &[NodeId], kind: i8, of: &str, name: &str, value: &str) {
        let config =
            AlterableConfig::default().with_name(text(name)).with_config_operation(SET).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(of))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        self.command_of(by, &format!("set {name}={value} of {of}"), &request, |answer| {
            answer.responses.first().map_or(0, |response| response.error_code)
        })
        .await;
    }

    /// Asks all brokers at the same time; answers by node.
    async fn ask_all<R>(&self, request: &R) -> Vec<(usize, R::Response)>
    where
        R: Request + Clone + Send + Sync + 'static,
        R::Response: Shaped + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for node in self.nodes.iter().copied() {
            let (client, request) = (self.client.clone(), request.clone());
            asked.spawn(async move {
                let answer = client.request(Node::Id(node), &request).await;
                Some((usize::try_from(node.0).ok()?, answer.ok()?))
            });
        }
        let mut answers = Vec::new();
        let mut patience = Duration::from_millis(PATIENCE_MS.parse().expect("a number"));
        while let Ok(Some(answer)) = tokio::time::timeout(patience, asked.join_next()).await {
            if let Ok(Some(answer)) = answer {
                answers.push(answer);
                patience = STRAGGLERS;
            }
        }
        answers
    }

    /// Tries brokers and errors that pass until one broker has done it; panics with the last reason.
    async fn command<R: Request<Response: Shaped>>(&self, what: &str, request: &R, code: impl Fn(&R::Response) -> i16) {
        self.command_of(&self.nodes, what, request, code).await;
    }

    async fn command_of<R: Request<Response: Shaped>>(
        &self,
        nodes: &[NodeId],
        what: &str,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) {
        let deadline = tokio::time::Instant::now() + SETTLES_WITHIN;
        for node in nodes.iter().cycle() {
            let last = match self.client.request(Node::Id(*node), request).await.map(|answer| code(&answer)) {
                Ok(0) => return,
                Ok(code) => {
                    let code = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
                    let error = ClientError::broker(what, code);
                    assert!(error.is_retriable(), "{error}");
                    error.to_string()
                }
                Err(error) => error.to_string(),
            };
            assert!(tokio::time::Instant::now() < deadline, "{what}: not within {SETTLES_WITHIN:?}; {last}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn ids(nodes: &[BrokerId]) -> Vec<usize> {
    nodes.iter().filter_map(|id| usize::try_from(id.0).ok()).collect()
}

fn topic(name: &str) -> TopicName {
    text(name).into()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
