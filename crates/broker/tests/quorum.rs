//! Metadata quorums of several voters, as processes that are killed, wiped and exchanged.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::PartitionData as Described;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AddRaftVoterRequest, CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, RemoveRaftVoterRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::process::BrokerProcess;
use support::{Client, free_port, holds_for, wait_until};
use tempfile::TempDir;
use uuid::Uuid;

const NONE: i16 = 0;
const REQUEST_TIMED_OUT: i16 = 7;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const NOT_CONTROLLER: i16 = 41;
const DUPLICATE_VOTER: i16 = 126;
const VOTER_NOT_FOUND: i16 = 127;

/// Nodes from 1 on; the first `voters` of them are named in `controller.quorum.voters`.
struct Cluster {
    folder: TempDir,
    ports: Vec<u16>,
    voters: usize,
    nodes: BTreeMap<i32, BrokerProcess>,
}

impl Cluster {
    fn new(voters: usize, nodes: usize) -> Self {
        let ports = (0..nodes).map(|_| free_port()).collect();
        Self { folder: tempfile::tempdir().unwrap(), ports, voters, nodes: BTreeMap::new() }
    }

    /// Starts all nodes and waits until they serve.
    async fn start(voters: usize, nodes: usize) -> Self {
        let mut cluster = Self::new(voters, nodes);
        for node in 1..=nodes as i32 {
            cluster.launch(node, &[]);
        }
        for node in cluster.nodes.values_mut() {
            node.wait_until_it_serves().await;
        }
        cluster
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn port(&self, node: i32) -> u16 {
        self.ports[node as usize - 1]
    }

    fn launch(&mut self, node: i32, more: &[(&str, &str)]) {
        let voters: Vec<String> =
            (1..=self.voters as i32).map(|voter| format!("{voter}@127.0.0.1:{}", self.port(voter))).collect();
        let voters = voters.join(",");
        let mut settings = vec![("controller.quorum.voters", voters.as_str())];
        settings.extend_from_slice(more);
        let process = BrokerProcess::launch(self.dir(), node, self.port(node), 0, &settings);
        self.nodes.insert(node, process);
    }

    /// Starts a node that knows nothing of the quorum but where these nodes listen.
    fn launch_with_bootstrap(&mut self, node: i32, roles: &str, servers: &[i32], more: &[(&str, &str)]) {
        let servers: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", self.port(*server))).collect();
        let servers = servers.join(",");
        let known = [
            ("controller.quorum.voters", ""),
            ("controller.quorum.bootstrap.servers", servers.as_str()),
            ("process.roles", roles),
        ];
        self.launch(node, &[&known[..], more].concat());
    }

    async fn restart(&mut self, node: i32) {
        self.launch(node, &[]);
        self.serving(node).await;
    }

    async fn serving(&mut self, node: i32) {
        self.nodes.get_mut(&node).unwrap().wait_until_it_serves().await;
    }

    fn kill(&mut self, node: i32) {
        self.nodes.get_mut(&node).unwrap().kill();
    }

    /// Removes everything that a node has on disk.
    fn wipe(&mut self, node: i32) {
        std::fs::remove_dir_all(self.dir().join(node.to_string())).unwrap();
    }

    async fn client(&self, node: i32) -> Client {
        self.nodes[&node].client().await
    }

    fn log(&self, node: i32) -> String {
        self.nodes[&node].log()
    }

    /// The quorum as a node that is asked tells it; `None` while there is no leader.
    async fn describe(&self, node: i32) -> Option<Described> {
        let partition = PartitionData::default().with_partition_index(0);
        let topic = TopicData::default().with_topic_name(name("__cluster_metadata")).with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let mut client = Client::try_connect(self.port(node)).await.ok()?;
        let mut answer = client.try_call(request, 2).await.ok()?;
        (answer.error_code == NONE).then(|| answer.topics.remove(0).partitions.remove(0))
    }

    /// Who leads, waiting for an election.
    async fn leader(&self, ask: i32) -> i32 {
        let mut leader = 0;
        wait_until("the quorum has a leader", async || match self.describe(ask).await {
            Some(described) => {
                leader = described.leader_id.0;
                true
            }
            None => false,
        })
        .await;
        leader
    }

    /// Node and directory of the voters.
    async fn voters(&self, ask: i32) -> BTreeMap<i32, Uuid> {
        let mut voters = BTreeMap::new();
        wait_until("the quorum answers", async || match self.describe(ask).await {
            Some(described) => {
                voters = members(&described.current_voters);
                true
            }
            None => false,
        })
        .await;
        voters
    }

    async fn until_voters(&self, ask: i32, wanted: &[i32]) {
        let wanted: BTreeSet<i32> = wanted.iter().copied().collect();
        let what = format!("the voters are {wanted:?}");
        wait_until(&what, async || self.voters(ask).await.into_keys().collect::<BTreeSet<_>>() == wanted).await;
    }
}

type States = Vec<kafka_protocol::messages::describe_quorum_response::ReplicaState>;

fn members(states: &States) -> BTreeMap<i32, Uuid> {
    states.iter().map(|state| (state.replica_id.0, state.replica_directory_id)).collect()
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// Creates a topic with one replica; the error code of the answer.
async fn create(client: &mut Client, topic: &str) -> i16 {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1);
    let answer = client.call(CreateTopicsRequest::default().with_topics(vec![topic]), 7).await;
    answer.topics[0].error_code
}

async fn knows(client: &mut Client, topic: &str) -> bool {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    client.call(request, 9).await.topics[0].error_code == NONE
}

#[tokio::test(flavor = "multi_thread")]
async fn three_voters_form_a_quorum_and_every_node_describes_it() {
    let cluster = Cluster::start(3, 4).await;
    let described = cluster.describe(4).await.expect("there is a leader");
    let voters = members(&described.current_voters);
    assert_eq!(voters.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(voters.values().collect::<BTreeSet<_>>().len(), 3, "directory ids differ");
    assert_eq!(members(&described.observers).into_keys().collect::<Vec<_>>(), [4]);
    wait_until("everybody has caught up", async || {
        let described = cluster.describe(1).await.expect("there is a leader");
        let all = described.current_voters.iter().chain(&described.observers);
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        described.high_watermark > 0
            && all.clone().all(|state| state.log_end_offset >= described.high_watermark)
            && all.clone().all(|state| (now_ms - state.last_caught_up_timestamp).abs() < 60_000)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_wait_for_each_other_and_say_for_whom() {
    let mut cluster = Cluster::new(3, 3);
    cluster.launch(1, &[]);
    cluster.launch(2, &[]);
    let missing = format!("node 3: cannot connect to 127.0.0.1:{}", cluster.port(3));
    wait_until("they say who is missing", async || cluster.log(1).contains(&missing)).await;
    cluster.launch(3, &[]);
    for node in 1..=3 {
        cluster.serving(node).await;
    }
    assert_eq!(cluster.voters(1).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_is_replaced_at_once() {
    // A session and an election timeout so much longer than this test is patient that only the closed connection can tell.
    let mut cluster = Cluster::new(3, 3);
    let slow = [("broker.session.timeout.ms", "600000"), ("controller.quorum.election.timeout.ms", "600000")];
    for node in 1..=3 {
        cluster.launch(node, if node == 1 { &slow[..1] } else { &slow });
    }
    for node in 1..=3 {
        cluster.serving(node).await;
    }
    let leader = cluster.leader(1).await;
    let survivor = if leader == 1 { 2 } else { 1 };
    let mut client = cluster.client(survivor).await;
    cluster.kill(leader);
    wait_until("the new controller decides", async || {
        let code = create(&mut client, "after").await;
        // One whose answer was lost with the old controller may be asked again.
        assert!([NONE, REQUEST_TIMED_OUT, TOPIC_ALREADY_EXISTS].contains(&code), "{code}");
        code != REQUEST_TIMED_OUT
    })
    .await;
    let fenced = format!("broker is gone, fenced node={leader}");
    let new_leader = cluster.leader(survivor).await;
    assert_ne!(new_leader, leader);
    wait_until("the dead one is fenced", async || cluster.log(new_leader).contains(&fenced)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_voter_follows_first_and_votes_when_it_has_caught_up() {
    let mut cluster = Cluster::start(3, 3).await;
    let before = cluster.voters(1).await;
    let victim = if cluster.leader(1).await == 3 { 2 } else { 3 };
    assert_eq!(create(&mut cluster.client(1).await, "kept").await, NONE);
    cluster.kill(victim);
    cluster.wipe(victim);
    cluster.restart(victim).await;
    wait_until("it votes with its new directory", async || {
        let voters = cluster.voters(1).await;
        voters.len() == 3 && voters.get(&victim) != before.get(&victim)
    })
    .await;
    assert!(cluster.log(victim).contains("this node follows without a vote"), "{}", cluster.log(victim));
    assert!(knows(&mut cluster.client(victim).await, "kept").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_with_a_wiped_and_a_dead_voter_waits_and_forgets_nothing() {
    let mut cluster = Cluster::start(3, 3).await;
    // Node 3 misses what is decided while it is down: it must never be able to elect itself with a node that has forgotten it.
    cluster.kill(3);
    assert_eq!(create(&mut cluster.client(1).await, "kept").await, NONE);
    cluster.kill(1);
    cluster.kill(2);
    cluster.wipe(1);
    cluster.launch(1, &[]);
    cluster.launch(3, &[]);
    wait_until("the wiped one knows that it is new", async || cluster.log(1).contains("follows without a vote")).await;
    // Several election timeouts of 500 to 1000 ms, during which two of three voters are up.
    let elected = |node: i32| cluster.log(node).matches("this node is the active controller").count();
    let before = [elected(1), elected(3)];
    let nobody_leads = async || [elected(1), elected(3)] == before;
    let holds = holds_for(Duration::from_secs(4), nobody_leads).await;
    assert!(holds, "somebody leads:\n{}\n{}", cluster.log(1), cluster.log(3));
    cluster.launch(2, &[]);
    for node in 1..=3 {
        cluster.serving(node).await;
        assert!(knows(&mut cluster.client(node).await, "kept").await, "node {node} has forgotten");
    }
    cluster.until_voters(2, &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sole_voter_that_lost_its_metadata_does_not_found_a_new_cluster_over_its_partitions() {
    let mut cluster = Cluster::start(1, 1).await;
    assert_eq!(create(&mut cluster.client(1).await, "kept").await, NONE);
    let partition = cluster.dir().join("1/kept-0");
    wait_until("the partition is on disk", async || partition.join("partition.metadata").exists()).await;
    cluster.kill(1);
    std::fs::remove_dir_all(cluster.dir().join("1/metadata-quorum")).unwrap();
    cluster.launch(1, &[]);
    assert_ne!(cluster.nodes.get_mut(&1).unwrap().outcome().await, Some(0));
    let log = cluster.log(1);
    assert!(log.contains("log.dirs hold partitions, but there is no metadata in"), "{log}");
    assert!(log.contains("point metadata.log.dir at it"), "it says what to do: {log}");
    assert!(partition.exists(), "nothing was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_come_and_go_while_the_quorum_runs() {
    let mut cluster = Cluster::start(3, 4).await;
    let observer = members(&cluster.describe(1).await.expect("there is a leader").observers)[&4];
    let mut client = cluster.client(4).await;
    let add = |directory: Uuid| {
        let request =
            AddRaftVoterRequest::default().with_cluster_id(None).with_voter_id(4).with_voter_directory_id(directory);
        request.with_timeout_ms(10_000)
    };
    let stranger = client.call(add(Uuid::from_u128(5)), 0).await;
    let text = stranger.error_message.unwrap_or_default();
    assert!(text.contains("node 4 has no controller role"), "it would not start with a vote: {text}");
    cluster.kill(4);
    cluster.launch(4, &[("process.roles", "broker,controller")]);
    cluster.serving(4).await;
    let mut client = cluster.client(4).await;
    let stranger = client.call(add(Uuid::from_u128(5)), 0).await;
    let text = stranger.error_message.unwrap_or_default();
    assert!(text.contains("node 4 has no directory with the id"), "{text}");
    wait_until("the observer has caught up", async || {
        let answer = client.call(add(observer), 0).await;
        [NONE, DUPLICATE_VOTER].contains(&answer.error_code)
    })
    .await;
    cluster.until_voters(1, &[1, 2, 3, 4]).await;
    assert_eq!(client.call(add(observer), 0).await.error_code, DUPLICATE_VOTER);

    // The leader hands over before it goes.
    let leader = cluster.leader(4).await;
    let directory = cluster.voters(4).await[&leader];
    let remove = RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(leader)
        .with_voter_directory_id(directory);
    wait_until("the leader is no voter any more", async || {
        let code = client.call(remove.clone(), 0).await.error_code;
        assert!([NONE, NOT_CONTROLLER].contains(&code) || code == VOTER_NOT_FOUND, "{code}");
        code != NOT_CONTROLLER
    })
    .await;
    assert!(!cluster.voters(4).await.contains_key(&leader));
    assert_ne!(cluster.leader(4).await, leader);
    assert_eq!(create(&mut cluster.client(leader).await, "after").await, NONE, "it goes on as a broker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_of_another_cluster_is_refused_with_the_reason() {
    let first = Cluster::start(3, 3).await;
    // A node with data of one cluster whose settings name the voters of another.
    let mut second = Cluster::start(1, 1).await;
    second.kill(1);
    let voters: Vec<String> = (1..=3).map(|node| format!("{node}@127.0.0.1:{}", first.port(node))).collect();
    let strayed = [("node.id", "9"), ("controller.quorum.voters", &*voters.join(","))];
    second.launch(1, &strayed);
    assert_ne!(second.nodes.get_mut(&1).unwrap().outcome().await, Some(0));
    let log = second.log(1);
    assert!(log.contains("belongs to node 1, this broker is node 9; check node.id and log.dirs"), "{log}");

    let mut third = Cluster::new(1, 9);
    third.launch(9, &[("controller.quorum.voters", &format!("9@127.0.0.1:{}", third.port(9)))]);
    third.serving(9).await;
    third.kill(9);
    third.launch(9, &[("controller.quorum.voters", &voters.join(","))]);
    assert_ne!(third.nodes.get_mut(&9).unwrap().outcome().await, Some(0));
    let log = third.log(9);
    assert!(log.contains("node 9 votes in a metadata quorum with the voters 9"), "{log}");
    assert_eq!(first.voters(1).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_voters_that_stops_as_one_waits_for_nobody() {
    let mut cluster = Cluster::start(3, 3).await;
    for node in cluster.nodes.values() {
        node.signal_to_stop();
    }
    for node in cluster.nodes.values_mut() {
        assert_eq!(node.outcome().await, Some(0), "{}", node.log());
        assert!(!node.log().contains("did not let this broker go in time"), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_knows_only_bootstrap_servers_joins_and_outlives_leaders_and_restarts() {
    let mut cluster = Cluster::new(3, 5);
    for node in 1..=3 {
        cluster.launch(node, &[]);
    }
    for node in 1..=3 {
        cluster.serving(node).await;
    }
    // One address where nobody is, and one of a voter that does not lead.
    let leader = cluster.leader(1).await;
    let follower = if leader == 1 { 2 } else { 1 };
    cluster.launch_with_bootstrap(4, "broker", &[5, follower], &[]);
    cluster.serving(4).await;
    let described = cluster.describe(4).await.expect("there is a leader");
    assert_eq!(members(&described.current_voters).into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(members(&described.observers).into_keys().collect::<Vec<_>>(), [4], "it follows without a vote");

    // A node without a vote knows as much.
    cluster.launch_with_bootstrap(5, "broker", &[4], &[]);
    cluster.serving(5).await;

    cluster.kill(leader);
    let mut client = cluster.client(4).await;
    wait_until("another voter leads and the broker asks it", async || {
        cluster.describe(4).await.is_some_and(|described| described.leader_id.0 != leader)
            && [NONE, TOPIC_ALREADY_EXISTS].contains(&create(&mut client, "after").await)
    })
    .await;

    // Its bootstrap server may be the one that died: the metadata on its disk says who the others are.
    cluster.kill(4);
    cluster.launch_with_bootstrap(4, "broker", &[leader], &[]);
    cluster.serving(4).await;
    assert!(knows(&mut cluster.client(4).await, "after").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_that_finds_the_quorum_by_bootstrap_servers_gets_a_vote_and_keeps_it() {
    let mut cluster = Cluster::new(1, 3);
    cluster.launch(1, &[]);
    cluster.serving(1).await;
    let joins = [("controller.quorum.auto.join.enable", "true")];
    for node in [2, 3] {
        cluster.launch_with_bootstrap(node, "broker,controller", &[1, 2, 3], &joins);
        cluster.serving(node).await;
    }
    cluster.until_voters(3, &[1, 2, 3]).await;
    // A majority that knows only addresses carries the cluster, after a restart, too.
    cluster.kill(1);
    cluster.kill(2);
    cluster.launch_with_bootstrap(2, "broker,controller", &[1, 2, 3], &joins);
    cluster.serving(2).await;
    assert_ne!(cluster.leader(3).await, 1);
    assert_eq!(create(&mut cluster.client(3).await, "after").await, NONE);

    // The settings of the founder say that it votes alone, and its disks are empty now.
    cluster.wipe(1);
    let other = format!("127.0.0.1:{}", cluster.port(2));
    cluster.launch(1, &[("controller.quorum.bootstrap.servers", &other)]);
    cluster.serving(1).await;
    assert!(knows(&mut cluster.client(1).await, "after").await, "it founded no cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn founder_with_empty_disks_founds_no_second_cluster_beside_its_own_that_has_grown() {
    let mut cluster = Cluster::new(0, 3);
    let joins = [("controller.quorum.auto.join.enable", "true")];
    for node in 1..=3 {
        cluster.launch_with_bootstrap(node, "broker,controller", &[1], &joins);
        cluster.serving(node).await;
    }
    cluster.until_voters(3, &[1, 2, 3]).await;
    cluster.kill(1);
    cluster.wipe(1);
    wait_until("the others go on", async || {
        [NONE, TOPIC_ALREADY_EXISTS].contains(&create(&mut cluster.client(2).await, "after").await)
    })
    .await;
    cluster.launch_with_bootstrap(1, "broker,controller", &[1], &joins);
    let reason = "takes this node for a member of its quorum";
    wait_until("it says why it founds nothing", async || cluster.log(1).contains(reason)).await;

    cluster.kill(1);
    cluster.launch_with_bootstrap(1, "broker,controller", &[1, 3], &joins);
    cluster.serving(1).await;
    assert!(knows(&mut cluster.client(1).await, "after").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_finds_a_quorum_that_moved_while_it_was_away() {
    let mut cluster = Cluster::new(1, 2);
    cluster.launch(1, &[]);
    cluster.serving(1).await;
    cluster.launch_with_bootstrap(2, "broker", &[1], &[]);
    cluster.serving(2).await;
    cluster.kill(2);
    cluster.kill(1);
    cluster.ports[0] = free_port();
    cluster.restart(1).await;
    assert_eq!(create(&mut cluster.client(1).await, "meanwhile").await, NONE);
    cluster.launch_with_bootstrap(2, "broker", &[1], &[]);
    cluster.serving(2).await;
    assert!(knows(&mut cluster.client(2).await, "meanwhile").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_founds_a_cluster_only_when_all_bootstrap_servers_are_itself() {
    let mut cluster = Cluster::new(0, 3);
    // The name leads to two addresses, and the node listens at one.
    let itself = format!("localhost:{}", cluster.port(1));
    cluster.launch_with_bootstrap(1, "broker,controller", &[1], &[("controller.quorum.bootstrap.servers", &itself)]);
    cluster.serving(1).await;
    assert_eq!(cluster.voters(1).await.into_keys().collect::<Vec<_>>(), [1]);
    cluster.kill(1);
    cluster.launch_with_bootstrap(1, "broker,controller", &[1], &[]);
    cluster.serving(1).await;

    for node in [2, 3] {
        cluster.launch_with_bootstrap(node, "broker,controller", &[2, 3], &[]);
    }
    let nobody = "node 3, which belongs to no quorum either";
    wait_until("they say that nobody founds a cluster", async || cluster.log(2).contains(nobody)).await;
    // Once one of them is told to, the other joins it.
    cluster.kill(3);
    let voters = format!("3@127.0.0.1:{}", cluster.port(3));
    cluster.launch(3, &[("controller.quorum.voters", &voters), ("process.roles", "broker,controller")]);
    for node in [2, 3] {
        cluster.serving(node).await;
    }
    assert_eq!(cluster.voters(2).await.into_keys().collect::<Vec<_>>(), [3]);

    // Who has a cluster and is sent to another one stays in neither.
    cluster.kill(1);
    cluster.launch_with_bootstrap(1, "broker,controller", &[3], &[]);
    wait_until("it ends", async || cluster.log(1).contains("names servers of another cluster")).await;
}
