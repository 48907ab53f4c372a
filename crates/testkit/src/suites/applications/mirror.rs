//! MirrorMaker 2 in dedicated mode, exactly once, from one cluster to another: topics with their configs and partitions,
//! records, committed offsets, heartbeats.
//!
//! What it promises is read back with Kafka's own formatters where the topic is its own, and with readers of committed
//! records where it is a copy. A group that has read everything at the source goes on at the target with what is new, and
//! with nothing else.

use std::collections::BTreeSet;

use bytes::Bytes;
use twinstream_client::{ConsumerRecord, Header};
use twinstream_model::{GroupId, PartitionIndex};

use super::follower::Follower;
use super::input::Input;
use super::program::Program;
use super::site::{Side, Site};
use super::{Effort, WORKS_WITHIN};
use crate::folder::Folder;
use crate::peer::{self, Kafka, KafkaTools};
use crate::records;
use crate::wait::wait_until;

const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorMaker";
const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TOPIC: &str = "orders";
const COPY: &str = "A.orders";
const GROUP: &str = "shoppers";
const PARTITIONS: i32 = 3;
/// Records between two kills.
const BETWEEN_KILLS: usize = 300;
/// Of the topics of MirrorMaker: where it writes them, who can read them, and what must be in them.
const OWN: [(End, &str, &str, &str); 4] = [
    (End::Source, "mm2-offset-syncs.B.internal", "OffsetSyncFormatter", "topicPartition=orders-"),
    (End::Source, "heartbeats", "HeartbeatFormatter", "sourceClusterAlias=B, targetClusterAlias=A"),
    (End::Target, "A.heartbeats", "HeartbeatFormatter", "sourceClusterAlias=B, targetClusterAlias=A"),
    (
        End::Target,
        "A.checkpoints.internal",
        "CheckpointFormatter",
        "consumerGroupId=shoppers, topicPartition=A.orders-",
    ),
];

/// How a line begins that is a record.
const RECORDS: [&str; 5] = ["order ", "late ", "OffsetSync{", "Heartbeat{", "Checkpoint{"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Target,
}

struct Bench {
    source: Site,
    target: Site,
    tools: KafkaTools,
    mirror: Program,
}

pub(super) async fn run(side: Side, effort: Effort) -> String {
    let (kafka, folder) = (peer::kafka(), Folder::new());
    let (source, target) = tokio::join!(Site::start(side, effort.brokers), Site::start(side, effort.brokers));
    let mirror = mirror(&kafka, &folder, &source, &target);
    let mut bench = Bench { source, target, tools: kafka.tools(), mirror };
    bench.copies_topics_as_they_change().await;

    let input = Input::start(&bench.source.bootstrap, TOPIC, |number| format!("order {number}"));
    let follower = Follower::start(&bench.target.bootstrap, COPY, PARTITIONS).await;
    follower.until_more(BETWEEN_KILLS).await;
    for kill in 0..effort.kills {
        let site = if kill % 2 == 0 { &mut bench.target } else { &mut bench.source };
        site.lose_a_broker().await;
        follower.until_more(BETWEEN_KILLS).await;
        bench.mirror.kill();
        bench.mirror.start();
        follower.until_more(BETWEEN_KILLS).await;
    }
    let mut orders = input.stop().await.len();
    wait_until("every record is copied", WORKS_WITHIN, || async { follower.records() >= orders }).await;
    let pause = follower.longest_pause().as_secs_f64();
    bench.assert_copied(orders).await;

    orders += bench.group_goes_on_at_the_target(orders, &follower).await;
    bench.assert_copied(orders).await;
    bench.assert_own_topics_are_read_by_kafka().await;
    bench.mirror.stop().await;
    bench.target.assert_no_transaction_hangs(&mut bench.tools);
    format!("{orders} records, each copied once and in order; longest time without a record {pause:.1} s")
}

/// With what a user would change who wants it exactly once, and soon.
fn mirror(kafka: &Kafka, folder: &Folder, source: &Site, target: &Site) -> Program {
    let replicas = source.replicas().to_string();
    let settings = [
        ("clusters", "A, B"),
        ("A.bootstrap.servers", source.bootstrap.as_str()),
        ("B.bootstrap.servers", target.bootstrap.as_str()),
        ("A->B.enabled", "true"),
        ("A->B.topics", TOPIC),
        ("A->B.groups", GROUP),
        // The heartbeats of A come through the herder that would mirror to it.
        ("B->A.enabled", "false"),
        ("B.exactly.once.source.support", "enabled"),
        // Zombies of a killed process are fenced through it.
        ("dedicated.mode.enable.internal.rest", "true"),
        ("listeners", "http://127.0.0.1:0"),
        ("plugin.discovery", "service_load"),
        ("tasks.max", "2"),
        ("replication.factor", &replicas),
        ("offset-syncs.topic.replication.factor", &replicas),
        ("checkpoints.topic.replication.factor", &replicas),
        ("heartbeats.topic.replication.factor", &replicas),
        ("config.storage.replication.factor", &replicas),
        ("offset.storage.replication.factor", &replicas),
        ("status.storage.replication.factor", &replicas),
        ("sync.group.offsets.enabled", "true"),
        ("sync.group.offsets.interval.seconds", "1"),
        ("emit.checkpoints.interval.seconds", "1"),
        ("emit.heartbeats.interval.seconds", "1"),
        ("refresh.topics.interval.seconds", "1"),
        ("refresh.groups.interval.seconds", "1"),
        ("sync.topic.configs.interval.seconds", "1"),
        ("offset.lag.max", "0"),
        // After SIGKILL it waits at its next start until the transactions of its former life have timed out, a minute by
        // default: it reads its offsets as committed, up to an end that counts what is not.
        ("A->B.producer.override.transaction.timeout.ms", "10000"),
        ("B.session.timeout.ms", "6000"),
        ("B.heartbeat.interval.ms", "1000"),
        ("B.scheduled.rebalance.max.delay.ms", "0"),
        ("B.metadata.max.age.ms", "2000"),
    ];
    Program::new(kafka, folder, "mirror-maker", CLASS, &settings)
}

impl Bench {
    /// The copy of a topic follows its configs and its partitions.
    async fn copies_topics_as_they_change(&mut self) {
        self.source
            .create_topic(TOPIC, PARTITIONS - 1, &[("retention.ms", "7200000"), ("segment.ms", "3600000")])
            .await;
        self.mirror.start();
        self.until_copy_has(&["PartitionCount: 2\t", "retention.ms=7200000", "segment.ms=3600000"]).await;
        self.source.add_partitions(&mut self.tools, TOPIC, PARTITIONS);
        self.source.set_topic_config(TOPIC, "retention.ms", "7300000").await;
        self.until_copy_has(&["PartitionCount: 3\t", "retention.ms=7300000", "segment.ms=3600000"]).await;
    }

    async fn until_copy_has(&mut self, parts: &[&str]) {
        let (target, tools) = (&self.target, &mut self.tools);
        wait_until(&format!("{COPY} has {parts:?}"), WORKS_WITHIN, || {
            let text = target.described(tools, COPY);
            async move { parts.iter().all(|part| text.contains(part)) }
        })
        .await;
    }

    /// Partition by partition the copy is what the source is.
    async fn assert_copied(&self, orders: usize) {
        let sent = content(&records::read_committed(&self.source.bootstrap, TOPIC).await);
        let copied = content(&records::read_committed(&self.target.bootstrap, COPY).await);
        assert_eq!(sent.len(), orders, "every record was written once");
        let different = sent.iter().zip(&copied).find(|(one, other)| one != other);
        assert_eq!(different, None, "the first record that is not as it was");
        assert_eq!(copied.len(), sent.len(), "records at the target");
    }

    /// A group that has read everything at the source goes on at the target; how many records were new.
    async fn group_goes_on_at_the_target(&mut self, orders: usize, follower: &Follower) -> usize {
        let all = orders.to_string();
        let bootstrap = self.source.bootstrap.clone();
        let read = self.console(&bootstrap, TOPIC, &["--group", GROUP, "--from-beginning", "--max-messages", &all]);
        assert_eq!(read.len(), orders);
        self.until_group_is_at_the_end_of_the_copy().await;
        let more = Input::start(&self.source.bootstrap, TOPIC, |number| format!("late {number}"));
        follower.until_more(1).await;
        let more = more.stop().await;
        follower.until(orders + more.len()).await;
        let (count, bootstrap) = (more.len().to_string(), self.target.bootstrap.clone());
        let read = self.console(&bootstrap, COPY, &["--group", GROUP, "--max-messages", &count]);
        let (read, wanted): (BTreeSet<String>, BTreeSet<String>) =
            (read.into_iter().collect(), more.iter().cloned().collect());
        assert_eq!(read, wanted, "the group reads at the target what it had not read at the source");
        more.len()
    }

    async fn until_group_is_at_the_end_of_the_copy(&self) {
        let group = GroupId::from(GROUP.to_owned());
        let copied = records::read_committed(&self.target.bootstrap, COPY).await;
        let end = |index: i32| {
            let of_partition = copied.iter().filter(|record| record.partition == PartitionIndex(index));
            of_partition.map(|record| record.offset.0 + 1).max()
        };
        let ends: Vec<(i32, i64)> = (0..PARTITIONS).filter_map(|index| Some((index, end(index)?))).collect();
        wait_until("the offsets of the group are at the target", WORKS_WITHIN, || async {
            let Ok(lag) = self.target.admin.group_lag(&group).await else { return false };
            let committed = |index| lag.get(&super::site::partition(COPY, index)).map(|lag| lag.committed.offset.0);
            ends.iter().all(|(index, end)| committed(*index) == Some(*end))
        })
        .await;
    }

    async fn assert_own_topics_are_read_by_kafka(&mut self) {
        for (end, topic, formatter, wanted) in OWN {
            let bootstrap = match end {
                End::Source => self.source.bootstrap.clone(),
                End::Target => self.target.bootstrap.clone(),
            };
            let class = format!("org.apache.kafka.connect.mirror.formatters.{formatter}");
            // Some of them never end.
            let count = records::read_committed(&bootstrap, topic).await.len().to_string();
            let all = ["--formatter", &class, "--from-beginning", "--max-messages", &count];
            let rows = self.console(&bootstrap, topic, &all);
            assert!(
                rows.iter().any(|row| row.contains(wanted)),
                "{topic} has no row with `{wanted}`: {} rows",
                rows.len()
            );
        }
    }

    /// What the console consumer prints of records, a line each.
    fn console(&mut self, bootstrap: &str, topic: &str, more: &[&str]) -> Vec<String> {
        let committed = ["--isolation-level", "read_committed", "--timeout-ms", "30000"];
        let arguments = [&["--bootstrap-server", bootstrap, "--topic", topic], &committed[..], more].concat();
        let printed = self.tools.run(CONSOLE, &arguments);
        assert_eq!(printed.code, 0, "{topic}: {}", printed.text);
        // It says other things as well, and a client that looks for another broker may have warnings.
        let is_record = |line: &&str| RECORDS.iter().any(|start| line.starts_with(start));
        printed.text.lines().filter(is_record).map(str::to_owned).collect()
    }
}

type Content = (PartitionIndex, Option<Bytes>, Option<Bytes>, Vec<Header>, Option<i64>);

fn content(records: &[ConsumerRecord]) -> Vec<Content> {
    let content = |r: &ConsumerRecord| (r.partition, r.key.clone(), r.value.clone(), r.headers.clone(), r.timestamp);
    records.iter().map(content).collect()
}
