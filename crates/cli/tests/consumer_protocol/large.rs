//! A large group: 500 members on 1,000 partitions. Its members are nothing but heartbeats over one connection.
//!
//! A round is one heartbeat of every member, which is what a heartbeat interval is. The clock is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use twinstream_client::RawClient;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use twinstream_client::raw::kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId as WireGroupId, TopicName as WireTopicName,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, GroupId, TopicId};
use twinstream_testkit::records::{client_settings, create_topic};
use twinstream_testkit::{Cluster, ClusterOptions, wait_until_some};

use crate::SETTLED_WITHIN;

const GROUP: &str = "crowd";
const MEMBERS: usize = 500;
const TOPICS: usize = 10;
const PARTITIONS: i32 = 100;
/// To form a group of this size, with all members at the door at once.
const ROUNDS_MAX: usize = 20;
/// What is promised when one member goes.
const ROUNDS_AFTER_REMOVAL: usize = 2;

type Owned = BTreeMap<TopicId, BTreeSet<i32>>;

struct Member {
    id: String,
    epoch: i32,
    owned: Owned,
    /// What it owns changed, and the coordinator has not heard of it.
    has_news: bool,
}

struct Crowd {
    client: RawClient,
    coordinator: Node,
    members: Vec<Member>,
}

impl Crowd {
    async fn at(bootstrap: &str) -> Crowd {
        let client = RawClient::connect(&client_settings(bootstrap, &[])).await.expect("a client");
        let coordinator = client.find_coordinator(&GroupId::from(GROUP)).await.expect("a coordinator");
        let member =
            |number: usize| Member { id: format!("member-{number:03}"), epoch: 0, owned: Owned::new(), has_news: true };
        Crowd { client, coordinator: Node::Id(coordinator), members: (0..MEMBERS).map(member).collect() }
    }

    async fn ask(&self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        let answer = wait_until_some("the coordinator has loaded its groups", SETTLED_WITHIN, || async {
            let answer = self.client.request(self.coordinator, request).await.expect("an answer");
            (answer.error_code != loading).then_some(answer)
        })
        .await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        answer
    }

    /// One heartbeat of everybody.
    async fn round(&mut self) {
        let started = Instant::now();
        for at in 0..self.members.len() {
            let answer = {
                let heartbeat = self.members[at].heartbeat();
                self.ask(&heartbeat).await
            };
            self.members[at].follow(&answer);
        }
        eprintln!("a round of {} heartbeats took {:?}", self.members.len(), started.elapsed());
    }

    async fn remove(&mut self, at: usize) {
        let gone = self.members.remove(at);
        self.ask(&request(&gone.id, -1)).await;
    }

    /// Everybody has reached the same epoch, and all partitions are shared evenly. Panics if one has two owners.
    fn is_settled(&self) -> bool {
        let mut all = BTreeSet::new();
        for member in &self.members {
            for (topic, partitions) in &member.owned {
                for partition in partitions {
                    assert!(all.insert((topic, partition)), "{topic}-{partition} has two owners");
                }
            }
        }
        let epochs: BTreeSet<i32> = self.members.iter().map(|member| member.epoch).collect();
        let (least, most) = self.loads();
        epochs.len() == 1 && all.len() == TOPICS * PARTITIONS as usize && most - least <= 1
    }

    /// How many partitions the members with least and with most have.
    fn loads(&self) -> (usize, usize) {
        let loads = || self.members.iter().map(|member| member.owned.values().map(BTreeSet::len).sum());
        (loads().min().unwrap_or(0), loads().max().unwrap_or(0))
    }

    async fn rounds_until_settled(&mut self, at_most: usize) -> usize {
        for rounds in 1..=at_most {
            self.round().await;
            if self.is_settled() {
                return rounds;
            }
        }
        panic!("{} members have not settled after {at_most} rounds", self.members.len());
    }
}

fn request(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(WireGroupId(StrBytes::from_static_str(GROUP)))
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
}

impl Member {
    fn heartbeat(&mut self) -> ConsumerGroupHeartbeatRequest {
        let mut heartbeat = request(&self.id, self.epoch);
        if self.epoch == 0 {
            let topics = (0..TOPICS).map(|number| WireTopicName(StrBytes::from_string(format!("crowded-{number}"))));
            heartbeat = heartbeat.with_rebalance_timeout_ms(60_000).with_subscribed_topic_names(Some(topics.collect()));
        }
        if std::mem::take(&mut self.has_news) {
            let owned = self.owned.iter().map(|(topic, partitions)| {
                let partitions = partitions.iter().copied().collect();
                TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions)
            });
            heartbeat = heartbeat.with_topic_partitions(Some(owned.collect()));
        }
        heartbeat
    }

    /// Does at once what it is told.
    fn follow(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let owned = assignment.topic_partitions.iter();
            let owned = owned.map(|topic| (TopicId(topic.topic_id), topic.partitions.iter().copied().collect()));
            self.owned = owned.collect();
            self.has_news = true;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_members_settle_within_two_heartbeats_of_a_removal() {
    // Rounds follow each other without a pause, so changes are not collected either; and no member is missed while
    // hundreds of others are asked.
    let options = ClusterOptions::default()
        .set("group.consumer.assignment.interval.ms", "0")
        .set("group.consumer.max.session.timeout.ms", "600000")
        .set("group.consumer.session.timeout.ms", "600000");
    let cluster = Cluster::start_with(1, options).await;
    let bootstrap = cluster.bootstrap();
    for number in 0..TOPICS {
        create_topic(&bootstrap, &format!("crowded-{number}"), PARTITIONS).await;
    }
    let mut crowd = Crowd::at(&bootstrap).await;
    let rounds = crowd.rounds_until_settled(ROUNDS_MAX).await;
    eprintln!("{MEMBERS} members settled after {rounds} rounds");
    assert_eq!(crowd.loads(), (2, 2));

    crowd.remove(MEMBERS / 2).await;
    let rounds = crowd.rounds_until_settled(ROUNDS_AFTER_REMOVAL).await;
    eprintln!("{} members settled after {rounds} rounds", crowd.members.len());
    assert_eq!(crowd.loads(), (2, 3));
}
