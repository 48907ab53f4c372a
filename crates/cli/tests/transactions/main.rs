//! Transactions of clients as they are, while brokers are killed: readers of committed records see all of a transaction or
//! nothing, once.
//!
//! librdkafka speaks the first protocol of transactions, Java's producer the second one (KIP-890) where the cluster has
//! `transaction.version=2`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};
use std::time::Duration;

use twinstream_client::{Admin, NewTopic};
use twinstream_model::NodeId;
use twinstream_testkit::ledger::{Side, transactions};
use twinstream_testkit::peer::{self, Kafka};
use twinstream_testkit::records::{client_settings, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, SETTLES_WITHIN, wait_until};

const SCRIPT: &str = include_str!("../judges/transactions.py");
const PARTITIONS: i32 = 3;
/// How long brokers are killed under a mixed load, at least; `cargo xtask judge transactions` has more time, and Kafka's
/// copiers in it.
const KILLS_FOR: Duration = Duration::from_secs(12);
const KILL_EVERY: Duration = Duration::from_secs(4);
/// What the copier copies.
const MESSAGES: &str = "8000";
/// How often one of the copiers is killed, and after how many of its transactions.
const COPIER_KILLS: usize = 2;
const TRANSACTIONS_TO_KILL: usize = 20;
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

struct Bench {
    cluster: Cluster,
    bootstrap: String,
    admin: Admin,
}

impl Bench {
    async fn start() -> Bench {
        let options = ClusterOptions::replicated()
            .set("transaction.state.log.num.partitions", "6")
            .set("transaction.state.log.replication.factor", "3")
            .set("transaction.state.log.min.isr", "2");
        let cluster = Cluster::start_with(3, options).await;
        let bootstrap = cluster.bootstrap();
        let admin = Admin::connect(&client_settings(&bootstrap, &[])).await.expect("an admin client");
        Bench { cluster, bootstrap, admin }
    }

    async fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic_name(topic), partitions, 3);
        self.admin.create_topic(&topic).await.expect("a topic with three replicas");
    }

    /// Kills one broker after the other and starts it again, until the condition holds.
    async fn kill_until(&mut self, mut done: impl FnMut() -> bool) {
        let mut pace = tokio::time::interval(KILL_EVERY);
        pace.tick().await; // at once
        for kill in 0.. {
            pace.tick().await;
            if done() {
                return;
            }
            self.until_in_sync().await;
            let id = kill % self.cluster.size() + 1;
            eprintln!("killing broker {id}");
            self.cluster.broker(id).kill();
            self.until_without(id).await;
            self.cluster.broker(id).start().await;
        }
    }

    /// Waits until the others have taken over, and go on without the one that was killed.
    async fn until_without(&self, id: usize) {
        let id = NodeId(i32::try_from(id).expect("a node id"));
        wait_until("the others have taken over", SETTLES_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && !partition.isr.contains(&id))
        })
        .await;
    }

    async fn until_in_sync(&self) {
        wait_until("everything is in sync", SETTLES_WITHIN, || async {
            let Ok(topics) = self.admin.topics().await else { return false };
            let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
            partitions.all(|partition| partition.leader.is_some() && partition.isr.len() == partition.replicas.len())
        })
        .await;
    }
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// No broker leads a partition with a transaction that its coordinator does not know.
fn assert_none_hangs(kafka: &Kafka, bootstrap: &str) {
    for broker in ["1", "2", "3"] {
        let arguments = ["--bootstrap-server", bootstrap, "find-hanging", "--broker-id", broker];
        let found = kafka.text(TRANSACTIONS, &[&arguments[..], &["--max-transaction-timeout", "1"]].concat());
        assert_eq!(found.lines().filter(|line| !line.trim().is_empty()).count(), 1, "only the header:\n{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_both_protocols_are_whole_whatever_is_killed() {
    let options = transactions::Options { time: KILLS_FOR, with_copiers: false };
    let report = transactions::judge(Side::Ours, &options).await;
    assert!(report.is_good(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_aborts_a_transaction_that_its_producer_left() {
    let (python, kafka) = (peer::python(), peer::kafka());
    let bench = Bench::start().await;
    bench.create("ledger", PARTITIONS).await;
    python.text(SCRIPT, &["abandon", &bench.bootstrap, "ledger", "writer"]);
    let transactions = |command: &str, arguments: &[&str]| {
        kafka.text(TRANSACTIONS, &[&["--bootstrap-server", &bench.bootstrap, command], arguments].concat())
    };
    let described = transactions("describe-producers", &["--topic", "ledger", "--partition", "0"]);
    let row = described.lines().last().expect("a row").to_owned();
    assert_eq!(row.split_whitespace().last(), Some("0"), "the transaction began at offset 0:\n{described}");
    let listed = transactions("list", &[]);
    assert!(listed.lines().any(|line| line.starts_with("writer") && line.contains("Ongoing")), "{listed}");
    // Of a transaction that is its coordinator's no partition is left alone.
    assert_none_hangs(&kafka, &bench.bootstrap);
    for partition in ["0", "1", "2"] {
        transactions("abort", &["--topic", "ledger", "--partition", partition, "--start-offset", "0"]);
    }
    assert_eq!(python.text(SCRIPT, &["read", &bench.bootstrap, "ledger"]), "", "readers pass what was aborted");
    let described = transactions("describe-producers", &["--topic", "ledger", "--partition", "2"]);
    assert!(described.lines().last().is_some_and(|row| row.trim_end().ends_with("None")), "{described}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_copier_copies_every_message_once_whatever_is_killed() {
    let kafka = peer::kafka();
    let mut bench = Bench::start().await;
    bench.create("in", 2).await;
    bench.create("out", 2).await;
    // By keys: a producer without any may send all of them to one partition, if it is quick.
    let keys = ["--repeating-keys", "100"];
    let produce = ["--bootstrap-server", &bench.bootstrap, "--topic", "in", "--max-messages", MESSAGES];
    kafka.text("org.apache.kafka.tools.VerifiableProducer", &[&produce[..], &keys].concat());
    let copiers: Vec<_> = [("0", 0), ("1", COPIER_KILLS)]
        .map(|(partition, kills)| {
            let (kafka, bootstrap) = (kafka.clone(), bench.bootstrap.clone());
            tokio::task::spawn_blocking(move || copy(&kafka, &bootstrap, partition, kills))
        })
        .into();
    bench.kill_until(|| copiers.iter().all(|copier| copier.is_finished())).await;
    for copier in copiers {
        copier.await.expect("a copier");
    }
    bench.until_in_sync().await;
    let (from, to) = (read_committed(&kafka, &bench.bootstrap, "in"), read_committed(&kafka, &bench.bootstrap, "out"));
    assert_eq!(from.values().map(Vec::len).sum::<usize>().to_string(), MESSAGES);
    assert_eq!(from, to, "each partition is copied once, in order");
    assert_none_hangs(&kafka, &bench.bootstrap);
}

/// Copies a partition to its end with a copier that is killed so often; its successor takes over.
fn copy(kafka: &Kafka, bootstrap: &str, partition: &str, kills: usize) {
    let id = format!("copier-{partition}");
    let from = ["--input-topic", "in", "--input-partition", partition, "--output-topic", "out"];
    let by = ["--transactional-id", &id, "--consumer-group", "copiers", "--transaction-size", "50"];
    let how = ["--broker-list", bootstrap, "--enable-random-aborts", "--transaction-timeout", "20000"];
    let arguments = [&from[..], &by[..], &how[..]].concat();
    for _ in 0..kills {
        let mut command = kafka.command(COPIER, &arguments);
        let mut copier = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a copier");
        let mut lines = BufReader::new(copier.stdout.take().expect("its output")).lines();
        // A line for each transaction: it is killed in the middle of its work.
        let begun =
            lines.by_ref().map_while(Result::ok).filter(|line| line.contains("ProcessLoop")).nth(TRANSACTIONS_TO_KILL);
        assert!(begun.is_some(), "the copier ended too early");
        copier.kill().expect("a copier that runs");
        copier.wait().expect("its end");
    }
    let output = kafka.run(COPIER, &arguments);
    let (out, log) = text(&output);
    assert!(output.status.success(), "a copier failed:\n{log}\n{}", out.lines().last().unwrap_or(""));
}

/// The values of each partition in their order, as Kafka's consumer sees them.
fn read_committed(kafka: &Kafka, bootstrap: &str, topic: &str) -> BTreeMap<String, Vec<String>> {
    let read = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--timeout-ms", "10000"];
    let committed = ["--isolation-level", "read_committed", "--formatter-property", "print.partition=true"];
    let text = kafka.text("org.apache.kafka.tools.consumer.ConsoleConsumer", &[&read[..], &committed].concat());
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((partition, value)) = line.split_once('\t') else { continue };
        found.entry(partition.to_owned()).or_default().push(value.to_owned());
    }
    found
}
