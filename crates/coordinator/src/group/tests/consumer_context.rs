//! A cluster of topics, and clients of the newer protocol that behave as Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{ErrorCode, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use super::super::*;
use super::context::{TestContext, topic};

#[derive(Clone, Debug, Default)]
pub(super) struct TestCluster {
    version: u64,
    topics: BTreeMap<String, (TopicId, usize)>,
    made: u128,
}

impl TestCluster {
    pub(super) fn of(topics: &[(&str, usize)]) -> TestCluster {
        let mut cluster = TestCluster::default();
        topics.iter().for_each(|(name, partitions)| cluster.create(name, *partitions));
        cluster
    }

    pub(super) fn create(&mut self, name: &str, partitions: usize) {
        self.version += 1;
        self.made += 1;
        self.topics.insert(name.to_owned(), (TopicId(Uuid::from_u128(self.made)), partitions));
    }

    pub(super) fn grow(&mut self, name: &str, partitions: usize) {
        self.version += 1;
        if let Some((_, known)) = self.topics.get_mut(name) {
            *known = partitions.max(*known);
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    /// Every partition of these topics.
    pub(super) fn partitions_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Partitions {
        let known = names.into_iter().filter_map(|name| self.topics.get(name));
        known.map(|(id, count)| (*id, (0..*count as i32).map(PartitionIndex).collect())).collect()
    }
}

impl Topics for TestCluster {
    fn version(&self) -> u64 {
        self.version
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name).map(|(id, _)| *id)
    }

    fn topic(&self, name: &str) -> Option<TopicFacts> {
        let (id, partitions) = *self.topics.get(name)?;
        Some(TopicFacts { id, partitions, racks: Vec::new() })
    }

    fn name(&self, id: TopicId) -> Option<TopicName> {
        self.topics.iter().find(|(_, (known, _))| *known == id).map(|(name, _)| topic(name))
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(&TopicName)) {
        self.topics.keys().for_each(|name| visit(&topic(name)));
    }
}

/// One consumer: it does at once what it is told.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: MemberId,
    pub(super) instance: Option<InstanceId>,
    pub(super) epoch: Epoch,
    pub(super) topics: BTreeSet<Arc<str>>,
    pub(super) regex: Option<Arc<str>>,
    pub(super) assignor: Option<Arc<str>>,
    pub(super) owned: Partitions,
    /// Tells everything, as after an answer that did not come.
    pub(super) tells_all: bool,
}

impl Client {
    pub(super) fn new(name: &str, topics: &[&str]) -> Client {
        Client {
            id: name.into(),
            instance: None,
            epoch: Epoch::JOINING,
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
            regex: None,
            assignor: None,
            owned: Partitions::new(),
            tells_all: true,
        }
    }

    pub(super) fn heartbeat(&self, cluster: &TestCluster) -> ConsumerHeartbeat {
        let tells_all = self.tells_all || self.epoch == Epoch::JOINING;
        ConsumerHeartbeat {
            group: "g".into(),
            member: self.id.clone(),
            epoch: self.epoch,
            instance: self.instance.clone(),
            rack: None,
            rebalance_timeout_ms: tells_all.then_some(60_000),
            topics: (tells_all && self.regex.is_none()).then(|| self.topics.clone()),
            regex: self.regex.clone().filter(|_| tells_all),
            assignor: self.assignor.clone(),
            owned: Some(self.owned.clone()),
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            requires_member_id: true,
            fresh_id: Uuid::from_u128(7),
            cluster: Arc::new(cluster.clone()),
            overrides: GroupOverrides::default(),
        }
    }

    /// Sends a heartbeat and obeys the answer.
    pub(super) fn beat(&mut self, context: &mut TestContext, cluster: &TestCluster) -> ErrorCode {
        let answer = context.consumer_heartbeat(self.heartbeat(cluster));
        self.obey(&answer);
        answer.error
    }

    pub(super) fn obey(&mut self, answer: &ConsumerHeartbeatAnswer) {
        match answer.error {
            ErrorCode::None => {
                self.tells_all = false;
                self.epoch = answer.epoch;
                if let Some(assignment) = &answer.assignment {
                    self.owned = assignment.clone();
                }
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.epoch = Epoch::JOINING;
                self.owned.clear();
                self.tells_all = true;
            }
            _ => self.tells_all = true,
        }
    }

    pub(super) fn leave(&mut self, context: &mut TestContext, cluster: &TestCluster, epoch: Epoch) -> ErrorCode {
        let heartbeat = ConsumerHeartbeat { epoch, ..self.heartbeat(cluster) };
        let answer = context.consumer_heartbeat(heartbeat);
        self.epoch = Epoch::JOINING;
        self.owned.clear();
        self.tells_all = true;
        answer.error
    }
}

impl TestContext {
    pub(super) fn consumer_heartbeat(&mut self, heartbeat: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
        match self.ask(Request::ConsumerHeartbeat(Box::new(heartbeat))) {
            Answer::ConsumerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe_consumers(&mut self) -> ConsumerDescription {
        match self.ask(Request::ConsumerDescribe("g".into())) {
            Answer::ConsumerDescribe(description) => description.expect("the group exists"),
            other => panic!("{other:?}"),
        }
    }
}

/// Rounds of heartbeats until nothing moves any more.
pub(super) fn settle(context: &mut TestContext, cluster: &TestCluster, clients: &mut [Client]) {
    for _ in 0..12 {
        context.advance(1_000);
        for client in clients.iter_mut() {
            client.beat(context, cluster);
        }
    }
}

pub(super) fn count(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}
