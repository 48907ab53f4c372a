//! Random histories of consumer groups: members come, go, fall silent, change their mind and miss answers; topics come,
//! grow and go; appends fail; the coordinator is loaded anew at any moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use twinstream_model::{ErrorCode, Offset, PartitionIndex, TopicId};

use super::super::*;
use super::consumer_context::{Client, TestCluster, settle};
use super::context::{TestContext, now};
use crate::{Engine, Shard};

const CLIENTS: usize = 5;
const TOPICS: [&str; 3] = ["orders", "payments", "returns"];

#[derive(Clone, Debug)]
enum Step {
    Beat(usize),
    /// The answer does not arrive.
    BeatInVain(usize),
    Leave(usize),
    GoAway(usize),
    Crash(usize),
    Subscribe(usize, usize),
    Advance(u64),
    Create(usize),
    Grow(usize, usize),
    Delete(usize),
    Restart,
    FailingBeat(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let topic = 0..TOPICS.len();
    let step = prop_oneof![
        12 => client.clone().prop_map(Step::Beat),
        2 => client.clone().prop_map(Step::BeatInVain),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::GoAway),
        1 => client.clone().prop_map(Step::Crash),
        1 => (client.clone(), 1..8usize).prop_map(|(client, topics)| Step::Subscribe(client, topics)),
        4 => prop_oneof![1..2_000u64, Just(5_000), Just(46_000)].prop_map(Step::Advance),
        1 => topic.clone().prop_map(Step::Create),
        1 => (topic.clone(), 1..9usize).prop_map(|(topic, partitions)| Step::Grow(topic, partitions)),
        1 => topic.prop_map(Step::Delete),
        1 => Just(Step::Restart),
        1 => client.prop_map(Step::FailingBeat),
    ];
    prop::collection::vec(step, 1..120)
}

/// The topics of a subscription that is a set of bits; the last bit is an expression that matches two of them.
fn subscribe(client: &mut Client, bits: usize) {
    client.tells_all = true;
    client.topics = TOPICS.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, t)| (*t).into()).collect();
}

struct History {
    context: TestContext,
    cluster: TestCluster,
    clients: Vec<Client>,
    /// When each was last answered; later than a session ago it may not know that it is out.
    heard_ms: Vec<u64>,
    crashes: usize,
}

impl History {
    fn new() -> History {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|i| Client::new(&format!("m{i}"), &TOPICS)).collect();
        clients[0].instance = Some("static".into());
        clients[1].regex = Some("(orders|returns)".into());
        clients[2].assignor = Some("range".into());
        History {
            context: TestContext::new(GroupConfig::default()),
            cluster: TestCluster::of(&[("orders", 3), ("payments", 2)]),
            clients,
            heard_ms: vec![0; CLIENTS],
            crashes: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Beat(i) => self.beat(i),
            Step::BeatInVain(i) => {
                let heartbeat = self.clients[i].heartbeat(&self.cluster);
                self.context.consumer_heartbeat(heartbeat);
                self.clients[i].tells_all = true;
            }
            Step::Leave(i) => {
                self.clients[i].leave(&mut self.context, &self.cluster, Epoch::LEAVING);
            }
            Step::GoAway(i) if self.clients[i].instance.is_some() => {
                self.clients[i].leave(&mut self.context, &self.cluster, Epoch::AWAY);
            }
            Step::GoAway(_) => (),
            Step::Crash(i) => {
                self.crashes += 1;
                let client = &mut self.clients[i];
                client.id = format!("m{i}-{}", self.crashes).into();
                client.epoch = Epoch::JOINING;
                client.owned.clear();
                client.tells_all = true;
            }
            Step::Subscribe(i, topics) => subscribe(&mut self.clients[i], topics),
            Step::Advance(ms) => self.context.advance(ms),
            Step::Create(t) if self.cluster.id(TOPICS[t]).is_none() => self.cluster.create(TOPICS[t], 2),
            Step::Create(_) => (),
            Step::Grow(t, partitions) => self.cluster.grow(TOPICS[t], partitions),
            Step::Delete(t) => self.cluster.delete(TOPICS[t]),
            Step::Restart => self.context.restart(),
            Step::FailingBeat(i) => {
                self.context.append_error = Some(ErrorCode::NotEnoughReplicas);
                let heartbeat = self.clients[i].heartbeat(&self.cluster);
                let answer = self.context.consumer_heartbeat(heartbeat);
                self.context.append_error = None;
                self.clients[i].obey(&answer);
            }
        }
        self.check();
    }

    fn beat(&mut self, i: usize) {
        let before = self.clients[i].epoch;
        let error = self.clients[i].beat(&mut self.context, &self.cluster);
        self.heard_ms[i] = self.context.now_ms;
        let after = self.clients[i].epoch;
        assert!(error != ErrorCode::None || after >= before, "member epoch went back from {before} to {after}");
    }

    /// No two clients that may rightly think that they are in own the same partition.
    fn check(&self) {
        let mut owners: BTreeMap<(TopicId, PartitionIndex), &MemberId> = BTreeMap::new();
        for (i, client) in self.clients.iter().enumerate() {
            if self.context.now_ms.saturating_sub(self.heard_ms[i]) >= 45_000 {
                continue;
            }
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    let other = owners.insert((*topic, *partition), &client.id);
                    assert_eq!(other, None, "{topic}-{} has two owners, one is {}", partition.0, client.id);
                }
            }
        }
    }

    /// Everybody is there and nothing changes any more.
    fn converge(&mut self) {
        // Sessions of members that crashed end.
        for _ in 0..12 {
            self.context.advance(5_000);
            (0..CLIENTS).for_each(|i| self.beat(i));
        }
        settle(&mut self.context, &self.cluster, &mut self.clients);
        let description = self.context.describe_consumers();
        assert_eq!(description.state, ConsumerGroupState::Stable, "{description:?}");
        assert_eq!(description.members.len(), CLIENTS);
        let mut wanted = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for client in &self.clients {
            assert_eq!(client.epoch, description.epoch, "{}", client.id);
            let topics: Vec<&str> = match &client.regex {
                Some(_) => vec!["orders", "returns"],
                None => client.topics.iter().map(|topic| &**topic).collect(),
            };
            wanted.extend(flat(&self.cluster.partitions_of(topics)));
            for partition in flat(&client.owned) {
                assert!(owned.insert(partition), "{partition:?} has two owners");
            }
        }
        assert_eq!(owned, wanted);
    }
}

fn flat(partitions: &Partitions) -> Vec<(TopicId, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p))).collect()
}

/// Loads each beginning of the log: wherever a coordinator dies, the next one finds books that add up.
fn check_every_beginning(log: &[(BatchKind, Encoded)]) {
    for end in 0..=log.len() {
        let mut shard = GroupShard::new(GroupConfig::default());
        for (at, (_, record)) in log[..end].iter().enumerate() {
            let record = decode(Some(&record.key), record.value.as_deref()).expect("decode our own record");
            shard.replay(Offset(at as i64), &record);
        }
        let mut engine: Engine<GroupShard> = Engine::new(shard, u64::MAX);
        engine.handle_loaded(now(0), Offset(end as i64), Offset(end as i64));
        engine.shard().check_invariants();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_history_gives_a_partition_two_owners_and_every_history_converges(steps in steps()) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
        }
        history.converge();
    }

    #[test]
    fn every_beginning_of_a_log_is_a_sound_group(steps in prop::collection::vec(0..CLIENTS, 1..30), restarts in 0..3usize) {
        let mut history = History::new();
        for (at, client) in steps.iter().enumerate() {
            match at % 7 {
                5 => history.take(&Step::Leave(*client)),
                6 => history.take(&Step::Advance(1_000)),
                _ => history.take(&Step::Beat(*client)),
            }
            if restarts > 0 && at % (restarts * 5) == 4 {
                history.take(&Step::Restart);
            }
        }
        check_every_beginning(&history.context.log);
    }
}
