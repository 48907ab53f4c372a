//! The controller with its image: each verb is decided and replayed at once, as the quorum would, at a time that the test sets.

mod brokers;
mod configs;
mod disks;
mod elections;
mod features;
mod fencing;
mod holes;
mod isr_changes;
mod many;
mod min_isr;
mod mirrors;
mod model;
mod quotas;
mod reassignments;
mod scram;
mod topics;

use std::time::{Duration, Instant};

use twinstream_model::{ClusterId, ErrorCode, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicName};
use uuid::Uuid;

use super::*;
use crate::{
    configs::NoBrokerDefaults,
    image::{ConfigResource, PartitionImage},
    record::{Endpoint, decode_batch, encode_batch},
};

/// A controller whose decisions are committed at once.
struct Cluster {
    controller: Controller,
    now: Instant,
    next_id: u128,
}

struct AnyBrokerConfig;

impl BrokerConfigs for AnyBrokerConfig {
    fn check(&self, _resource: &ConfigResource, name: &str, value: &str) -> Result<String, String> {
        if name == "static.setting" { Err("static.setting needs a restart".to_owned()) } else { Ok(value.to_owned()) }
    }

    fn list_default(&self, name: &str) -> Option<String> {
        (name == "some.list").then(String::new)
    }
}

/// What a broker says that has caught up and goes on.
fn beat_of(node: i32, epoch: i64) -> Heartbeat {
    Heartbeat {
        node_id: NodeId(node),
        epoch,
        caught_up: true,
        wants_shutdown: false,
        takes_replicas: true,
        min_insync_replicas: None,
    }
}

impl Cluster {
    /// Brokers 1 to `count`, all serving.
    fn of(count: i32) -> Self {
        Self::with(count, ControllerSettings::default())
    }

    fn with(count: i32, settings: ControllerSettings) -> Self {
        let mut image = Image::default();
        image.apply(&Record::ClusterId { cluster_id: ClusterId::from("c1") }).expect("the first record");
        let now = Instant::now();
        let controller = Controller::new(image, settings, now);
        let mut cluster = Self { controller, now, next_id: 1 };
        for node in 1..=count {
            let epoch = cluster.register(node, node as u128).expect("a free node id");
            cluster.beat(node, epoch);
        }
        cluster
    }

    fn commit<T>(&mut self, decision: Decision<T>) -> T {
        let batch = encode_batch(&decision.records);
        assert!(batch.len() <= RECORD_BATCH_BYTES_MAX, "{} bytes", batch.len());
        let records = decode_batch(&batch).expect("our own bytes");
        self.controller.replay(&records).expect("records that fit");
        self.controller.image().check_invariants().expect("a sound image");
        decision.answer
    }

    fn register(&mut self, node: i32, incarnation: u128) -> Result<i64, BrokerError> {
        let registration = registration(node, incarnation);
        let decision = self.controller.register_broker(&registration, self.now);
        self.commit(decision).map(|registered| registered.epoch)
    }

    fn epoch_of(&self, node: i32) -> i64 {
        self.controller.image().broker(NodeId(node)).expect("registered").epoch
    }

    /// The process dies and its connection says so.
    fn kill(&mut self, node: i32) -> Effects {
        let decision = self.controller.broker_gone(NodeId(node));
        let effects = decision.effects.clone();
        self.commit(decision);
        effects
    }

    /// The process comes up again after a crash; what happened to its machine meanwhile is up to `change`.
    fn restart_after(&mut self, node: i32, change: impl FnOnce(&mut Registration)) -> Registered {
        self.next_id += 1;
        let mut registration = Registration { clean: false, ..registration(node, self.next_id + 1000) };
        change(&mut registration);
        let decision = self.controller.register_broker(&registration, self.now);
        let registered = self.commit(decision).expect("the old process is gone");
        self.beat(node, registered.epoch);
        registered
    }

    fn restart(&mut self, node: i32) -> Registered {
        self.restart_after(node, |_| ())
    }

    /// A topic with one partition on these nodes.
    fn create_on(&mut self, topic: &str, replicas: &[i32], min_isr: &str) {
        let configs = vec![("min.insync.replicas".to_owned(), Some(min_isr.to_owned()))];
        self.create_one(NewTopic { configs, ..assigned(topic, &[(0, replicas)]) }).expect("a good topic");
    }

    fn first(&self, topic: &str) -> PartitionImage {
        self.controller.image().partition(&name(topic), PartitionIndex(0)).expect("partition 0").clone()
    }

    /// Partition 0 in short: `isr 1 2 | elr 3 | leader 1`, with `last` while nobody leads.
    fn state(&self, topic: &str) -> String {
        let partition = self.first(topic);
        let list = |nodes: &[NodeId]| nodes.iter().map(|node| format!(" {node}")).collect::<String>();
        let leader = match (partition.leader, partition.last_known_leader) {
            (Some(leader), None) => format!("leader {leader}"),
            (None, Some(last)) => format!("last {last}"),
            (None, None) => "no last".to_owned(),
            (Some(_), Some(_)) => panic!("a leader and a last known one"),
        };
        format!("isr{} | elr{} | {leader}", list(&partition.isr), list(&partition.elr))
    }

    /// The leader of partition 0 asks for this ISR, as it sees things.
    fn propose(&mut self, topic: &str, isr: &[i32]) -> Result<PartitionImage, ErrorCode> {
        let leader = self.first(topic).leader.expect("a leader");
        let change = self.isr_change(topic, isr);
        let decision = self.controller.alter_partitions(leader, self.epoch_of(leader.0), &[change]);
        self.commit(decision).expect("a registered leader").remove(0)
    }

    fn isr_change(&self, topic: &str, isr: &[i32]) -> IsrChange {
        let partition = self.first(topic);
        IsrChange {
            topic_id: self.controller.image().topic(&name(topic)).expect("a known topic").id,
            partition: PartitionIndex(0),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.iter().map(|node| (NodeId(*node), self.epoch_of(*node))).collect(),
        }
    }

    fn set(&mut self, resource: ConfigResource, config: &str, value: &str) {
        self.alter(resource, &[(config, ConfigOperation::Set, Some(value))]).expect("a good value");
    }

    fn beat(&mut self, node: i32, epoch: i64) -> HeartbeatAnswer {
        self.heartbeat(beat_of(node, epoch)).expect("a registered broker")
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, BrokerError> {
        let decision = self.controller.heartbeat(&heartbeat, self.now);
        self.commit(decision)
    }

    fn create(&mut self, topics: &[NewTopic]) -> Vec<Result<CreatedTopic, TopicError>> {
        let first = self.next_id;
        self.next_id += topics.len() as u128;
        let mut next = first;
        let mut new_id = || {
            next += 1;
            TopicId(Uuid::from_u128(next - 1))
        };
        let decision = self.controller.create_topics(topics, Mode::Apply, &NoBrokerDefaults, &mut new_id);
        self.commit(decision)
    }

    fn create_one(&mut self, topic: NewTopic) -> Result<CreatedTopic, TopicError> {
        self.create(&[topic]).remove(0)
    }

    fn leaders(&self, topic: &str) -> Vec<Option<i32>> {
        let topic = self.controller.image().topic(&name(topic)).expect("a known topic");
        topic.partitions.iter().map(|partition| partition.leader.map(|node| node.0)).collect()
    }

    fn leader_epoch(&self, topic: &str) -> LeaderEpoch {
        self.controller.image().partition(&name(topic), PartitionIndex(0)).expect("partition 0").leader_epoch
    }

    fn alter(
        &mut self,
        resource: ConfigResource,
        settings: &[(&str, ConfigOperation, Option<&str>)],
    ) -> Result<(), AlterError> {
        let change = alteration(resource, settings);
        let decision = self.controller.alter_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
        self.commit(decision).remove(0)
    }

    fn config(&self, topic: &str, config: &str) -> Option<&str> {
        self.controller.image().config(&topic_resource(topic), config)
    }
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a legal name")
}

fn nodes(nodes: &[i32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(name(topic), partition)
}

fn topic_resource(topic: &str) -> ConfigResource {
    ConfigResource::Topic(name(topic))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: 1, ..NewTopic::default() }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    let assignments = assignments.iter().map(|(index, replicas)| (PartitionIndex(*index), nodes(replicas))).collect();
    NewTopic { name: name.into(), partitions: -1, replication_factor: -1, assignments, ..NewTopic::default() }
}

fn registration(node: i32, incarnation: u128) -> Registration {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, security_protocol: 0 };
    Registration {
        node_id: NodeId(node),
        incarnation: Uuid::from_u128(incarnation),
        cluster_id: None,
        endpoints: vec![endpoint],
        rack: None,
        controller: node == 1,
        directories: vec![Uuid::from_u128(node as u128)],
        offline_directories: 0,
        metadata_directory: None,
        boot_id: "boot-1".into(),
        clean: true,
    }
}

fn alteration(resource: ConfigResource, settings: &[(&str, ConfigOperation, Option<&str>)]) -> AlterResource {
    let setting = |(name, operation, value): &(&str, ConfigOperation, Option<&str>)| ConfigSetting {
        name: (*name).to_owned(),
        operation: *operation,
        value: value.map(str::to_owned),
    };
    AlterResource { resource, settings: settings.iter().map(setting).collect() }
}

fn code(answer: Result<CreatedTopic, TopicError>) -> ErrorCode {
    answer.map_or_else(|error| error.code(), |_| ErrorCode::None)
}
