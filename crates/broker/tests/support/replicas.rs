//! Three broker processes, topics whose replicas the test places, and a look at who is in sync.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, MetadataRequest};

use super::process::BrokerProcess;
use super::records::{fetch, fetch_request, list_offset, produce_request, records_of, text, topic_name, values};
use super::{Client, comes_true, free_port, wait_until};

/// A thousand new partitions are thousands of flushes on a disk that others use, too.
const CREATION_PATIENCE: Duration = Duration::from_secs(120);

/// Who leads a partition and who is in sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub leader: i32,
    pub isr: Vec<i32>,
}

/// Nodes 1, 2 and 3, of which 1 has the vote. Tests place leaders on the others, so that they can be killed.
pub struct Trio {
    nodes: Vec<BrokerProcess>,
    settings: Vec<Vec<(String, String)>>,
    dir: tempfile::TempDir,
}

impl Trio {
    pub async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_with(|_| more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).await
    }

    pub async fn start_with(settings: impl Fn(i32) -> Vec<(String, String)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        let settings: Vec<_> = (1..=3).map(settings).collect();
        let mut nodes = Vec::new();
        for node in 1..=3 {
            nodes.push(launch(dir.path(), node, ports[node as usize - 1], ports[0], &settings[node as usize - 1]));
        }
        for node in &mut nodes {
            node.wait_until_it_serves().await;
        }
        Self { nodes, settings, dir }
    }

    pub fn node(&mut self, node: i32) -> &mut BrokerProcess {
        &mut self.nodes[node as usize - 1]
    }

    /// Where the nodes have their files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub async fn client(&self, node: i32) -> Client {
        self.nodes[node as usize - 1].client().await
    }

    /// Starts a killed node again and waits until it serves.
    pub async fn restart(&mut self, node: i32) {
        let at = node as usize - 1;
        let (port, voter) = (self.nodes[at].port, self.nodes[0].port);
        self.nodes[at] = launch(self.dir.path(), node, port, voter, &self.settings[at]);
        self.nodes[at].wait_until_it_serves().await;
    }

    /// Creates a topic with one partition for each list of replicas, and waits until all of them are in sync.
    pub async fn create(&self, topic: &str, partitions: &[&[i32]], configs: &[(&str, &str)]) {
        let assignments = partitions.iter().enumerate().map(|(index, replicas)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(index as i32)
                .with_broker_ids(replicas.iter().map(|node| BrokerId(*node)).collect())
        });
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
        let wanted = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = self.client(1).await.call(request, 7).await;
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
        wait_until("the topic is led", async || self.states(topic).await.iter().all(|state| state.leader > 0)).await;
        for (index, replicas) in partitions.iter().enumerate() {
            let mut client = self.client(replicas[0]).await;
            let is_led = async || list_offset(&mut client, topic, index as i32, -1).await.error_code == 0;
            assert!(comes_true(CREATION_PATIENCE, is_led).await, "partition {index} of the new topic is not led");
        }
        // Every replica knows its role when a record has gone all the way.
        let mut client = self.client(partitions[0][0]).await;
        let arrives = async || produce_with(&mut client, topic, 0, -1, 2_000, values(&["first"])).await.error_code == 0;
        assert!(comes_true(CREATION_PATIENCE, arrives).await, "no record got all the way through the new topic");
    }

    /// What the controller knows of each partition.
    pub async fn states(&self, topic: &str) -> Vec<State> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let answer = self.client(1).await.call(request, 9).await;
        let mut partitions = answer.topics[0].partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        let state = |partition: &kafka_protocol::messages::metadata_response::MetadataResponsePartition| {
            let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|node| node.0).collect();
            isr.sort_unstable();
            State { leader: partition.leader_id.0, isr }
        };
        partitions.iter().map(state).collect()
    }

    pub async fn wait_for_isr(&self, topic: &str, isr: &[i32]) {
        wait_until(&format!("{isr:?} is in sync"), async || self.states(topic).await[0].isr == isr).await;
    }

    pub async fn wait_for_leader(&self, topic: &str, leaders: &[i32]) -> i32 {
        wait_until(&format!("one of {leaders:?} leads"), async || {
            leaders.contains(&self.states(topic).await[0].leader)
        })
        .await;
        self.states(topic).await[0].leader
    }

    /// Values that a consumer of this node sees, waiting until there are so many.
    pub async fn read(&self, node: i32, topic: &str, count: usize) -> Vec<String> {
        let mut client = self.client(node).await;
        let mut seen = Vec::new();
        wait_until(&format!("{count} records on node {node}"), async || {
            seen = read_all(&mut client, topic).await;
            seen.len() >= count
        })
        .await;
        seen
    }
}

fn launch(dir: &Path, node: i32, port: u16, voter_port: u16, settings: &[(String, String)]) -> BrokerProcess {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    BrokerProcess::launch(dir, node, port, voter_port, &settings)
}

/// Values in the order of their offsets, without the one that `create` wrote.
pub async fn read_all(client: &mut Client, topic: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut offset = 0;
    loop {
        let data = fetch(client, topic, 0, offset).await;
        let found = records_of(&data);
        let Some((last, _)) = found.last() else { break };
        offset = last + 1;
        seen.extend(found.into_iter().map(|(_, value)| value));
    }
    seen.retain(|value| value != "first");
    seen
}

pub async fn produce_with(
    client: &mut Client,
    topic: &str,
    partition: i32,
    acks: i16,
    timeout_ms: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    let request = produce_request(topic, partition, acks, records).with_timeout_ms(timeout_ms);
    client.call(request, 9).await.responses.remove(0).partition_responses.remove(0)
}

/// A fetch of a consumer that says its rack.
pub async fn fetch_in_rack(client: &mut Client, topic: &str, offset: i64, rack: &str) -> PartitionData {
    let request = fetch_request(topic, 0, offset).with_rack_id(text(rack));
    client.call(request, 11).await.responses.remove(0).partitions.remove(0)
}
