//! Two clusters, a worker at the second one, and the three connectors of a link.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use twinstream_client::raw::OffsetAt;
use twinstream_client::{CommitOffset, ProducerRecord, RawClient};
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::{Cluster, ClusterOptions, Folder, Worker, WorkerOptions, records, wait_until};

/// Two seconds where the machine has nothing else to do.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 2;

pub(crate) type Offsets = BTreeMap<i32, i64>;

pub(crate) fn offsets(list: &[(i32, i64)]) -> Offsets {
    list.iter().copied().collect()
}

pub(crate) struct Bench {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
    pub(crate) worker: Worker,
    clients: [RawClient; 2],
    produced: AtomicI64,
    rounds: AtomicI64,
    _folder: Folder,
}

impl Bench {
    /// A link that copies as any producer would, with `generic`, or at the source's offsets, with `aligned`.
    pub(crate) async fn start(mode: &str) -> Self {
        Self::start_from(Cluster::start(1).await, mode).await
    }

    /// Two brokers, each of which has groups of its own that nobody takes over.
    pub(crate) async fn start_with_two_coordinators() -> Self {
        let options = ClusterOptions::default().voters(1).set("offsets.topic.replication.factor", "1");
        Self::start_from(Cluster::start_with(2, options).await, "generic").await
    }

    async fn start_from(source: Cluster, mode: &str) -> Self {
        let folder = Folder::new();
        let target = Cluster::start(1).await;
        records::create_topic(&source.bootstrap(), "orders", PARTITIONS).await;
        // As the opposite flow of a pair of sites would.
        records::create_topic(&source.bootstrap(), "heartbeats", 1).await;
        let options = WorkerOptions::default().set("offset.flush.interval.ms", "1000");
        let worker = Worker::start(&folder, &target.bootstrap(), options).await;
        for part in ["Source", "Checkpoint", "Heartbeat"] {
            let config = json!({
                "connector.class": format!("org.apache.kafka.connect.mirror.Mirror{part}Connector"),
                "tasks.max": "2",
                "source.cluster.alias": "src",
                "target.cluster.alias": "dst",
                "source.cluster.bootstrap.servers": source.bootstrap(),
                "target.cluster.bootstrap.servers": target.bootstrap(),
                "replication.factor": "1",
                "topics": "orders",
                "twinstream.link.mode": mode,
                "refresh.groups.interval.seconds": "1",
                "emit.checkpoints.interval.seconds": "1",
            });
            worker.rest.put(&format!("/connectors/{part}/config"), &config).await.good();
        }
        let client = async |bootstrap: String| {
            RawClient::connect(&records::client_settings(&bootstrap, &[])).await.expect("a client")
        };
        let clients = [client(source.bootstrap()).await, client(target.bootstrap()).await];
        let (produced, rounds) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { source, target, worker, clients, produced, rounds, _folder: folder }
    }

    /// Waits until a part of a connector, as `/connector` or `/tasks/0`, is in that state.
    pub(crate) async fn wait_state(&self, connector: &str, part: &str, state: &str) {
        wait_until(&format!("{connector}{part} is {state}"), FOLLOWS_WITHIN, || async {
            let status = self.worker.rest.get(&format!("/connectors/{connector}/status")).await.good();
            status.pointer(&format!("{part}/state")).is_some_and(|found| found == state)
        })
        .await;
    }

    /// Produces so many records more, evenly over the partitions; each holds its number.
    pub(crate) async fn produce(&self, count: i64) {
        let first = self.produced.fetch_add(count, Ordering::Relaxed);
        let record = |number: i64| {
            let mut record = ProducerRecord::new(records::topic_name("orders"), None, Some(number.to_string().into()));
            record.partition = Some(PartitionIndex((number % i64::from(PARTITIONS)) as i32));
            record
        };
        let batch: Vec<ProducerRecord> = (first..first + count).map(record).collect();
        records::produce(&self.source.bootstrap(), &[], &batch).await;
    }

    /// A group of that name that this broker of the source coordinates.
    pub(crate) async fn group_of(&self, broker: i32, name: &str) -> String {
        for number in 0.. {
            let group = format!("{name}-{number}");
            let at = self.clients[0].find_coordinator(&GroupId::from(group.as_str())).await.expect("a coordinator");
            if at.0 == broker {
                return group;
            }
        }
        unreachable!("groups are dealt out by their names")
    }

    /// Where a partition ends, at the source and on the target.
    pub(crate) async fn ends(&self, partition: i32) -> [i64; 2] {
        let end = async |client: &RawClient, topic: &str| {
            let partition = TopicPartition::new(records::topic_name(topic), PartitionIndex(partition));
            let ends = client.list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await.expect("ends");
            ends[&partition].as_ref().expect("an end").0
        };
        [end(&self.clients[0], "orders").await, end(&self.clients[1], "src.orders").await]
    }

    /// Waits until each of the first records is on the target.
    pub(crate) async fn wait_copied(&self, count: usize) {
        wait_until("all records are on the target", FOLLOWS_WITHIN, || async {
            let copied = records::read_all(&self.target.bootstrap(), "src.orders").await;
            copied.into_iter().filter_map(|record| record.value).collect::<std::collections::BTreeSet<_>>().len()
                == count
        })
        .await;
    }

    pub(crate) async fn commit(&self, group: &str, list: &[(i32, i64)]) {
        commit(&self.clients[0], group, "orders", list).await;
    }

    pub(crate) async fn commit_on_target(&self, group: &str, list: &[(i32, i64)]) {
        commit(&self.clients[1], group, "src.orders", list).await;
    }

    pub(crate) async fn on_target(&self, group: &str) -> Offsets {
        match self.clients[1].committed_offsets(&GroupId::from(group)).await {
            Ok(found) => found.into_iter().map(|(at, commit)| (at.partition.0, commit.offset.0)).collect(),
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Offsets::new(),
            Err(error) => panic!("offsets of {group}: {error}"),
        }
    }

    /// Waits until these offsets are the group's on the target, whatever its others are.
    pub(crate) async fn wait_followed(&self, group: &str, list: &[(i32, i64)]) {
        wait_until(&format!("{group} stands at {list:?} on the target"), FOLLOWS_WITHIN, || async {
            let found = self.on_target(group).await;
            list.iter().all(|(partition, offset)| found.get(partition) == Some(offset))
        })
        .await;
    }

    /// Waits until the link has looked at all groups once more: two others that came in turn have followed.
    pub(crate) async fn wait_round(&self, why: &str) {
        for _ in 0..2 {
            let group = format!("round-{}", self.rounds.fetch_add(1, Ordering::Relaxed));
            self.commit(&group, &[(0, 1)]).await;
            self.wait_followed(&group, &[(0, 1)]).await;
        }
        eprintln!("a round is over, {why}");
    }

    /// Where on the target the last copies of the records of these offsets of the source are.
    pub(crate) async fn same_records(&self, list: &[(i32, i64)]) -> Vec<(i32, i64)> {
        let upstream = records::read_all(&self.source.bootstrap(), "orders").await;
        let copies = records::read_all(&self.target.bootstrap(), "src.orders").await;
        let place = |(partition, offset): &(i32, i64)| {
            let at = |record: &&twinstream_client::ConsumerRecord| record.partition.0 == *partition;
            let record = upstream.iter().filter(at).find(|record| record.offset.0 == *offset).expect("a record");
            let copy = copies.iter().filter(at).rev().find(|copy| copy.value == record.value).expect("its copy");
            (*partition, copy.offset.0)
        };
        list.iter().map(place).collect()
    }
}

async fn commit(client: &RawClient, group: &str, topic: &str, list: &[(i32, i64)]) {
    let place = |(partition, offset): &(i32, i64)| {
        let partition = TopicPartition::new(records::topic_name(topic), PartitionIndex(*partition));
        (partition, CommitOffset::from(Offset(*offset)))
    };
    let offsets = list.iter().map(place).collect();
    client.commit_offsets(&GroupId::from(group), &offsets).await.unwrap_or_else(|error| panic!("{group}: {error}"));
}
