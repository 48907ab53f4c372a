//! The judge of transactions: a mixed load in both versions of the protocol while the brokers that matter are killed.
//!
//! Picture: writers of librdkafka (the first protocol) and of Java (the second one, KIP-890) fill a topic by transactions
//! of which every fifth is aborted. Two applications, one of librdkafka in a classic group and one of Java in a group of
//! the consumer protocol, copy what is committed, with their offsets in the transactions; in the long version Kafka's
//! TransactionalMessageCopier copies another topic and aborts at random. Readers of both isolation levels follow. Beside
//! them runs the transactional load of our own harness, which keeps a whole history. Killed are coordinators of
//! transactions and of groups and leaders of partitions, in turn; every second one is back before anybody has missed it. At
//! the end a writer dies in the middle of a transaction.
//!
//! Judged: every committed record is there once and no aborted one; readers agree on every offset; each copy has what was
//! committed, once and in order; Kafka's copiers copied among the kills and not only after them; no partition of any topic
//! keeps an open transaction (last stable offset = high watermark) for longer than the longest timeout and ten seconds;
//! Kafka's tool finds no hanging transaction, and none is listed that has not ended; and the checker finds the history
//! clean.

mod copiers; // Kafka's own application of transactions

use std::time::{Duration, Instant};

use copiers::Copiers;

use super::books::{Outcome, Reading, Told, faults_between, faults_of_copy};
use super::clients::{By, Client, Clients, Stop};
use super::mixed::Mixed;
use super::scene::{Return, Scene, Victim};
use super::{Report, Side, apart, conclude};
use crate::peer::Kafka;
use crate::wait::wait_until;

const LEDGER: &str = "ledger";
const PARTITIONS: i32 = 3;
const BY_LIBRDKAFKA: &str = "by-librdkafka";
const BY_JAVA: &str = "by-java";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
/// Load between the return of one broker and the end of the next.
const CALM: Duration = Duration::from_secs(3);
const BEGINS_WITHIN: Duration = Duration::from_secs(120);
/// The timeout of the transaction that is left behind; that of all others is 20 seconds.
const ABANDONED_FOR_S: &str = "3";
const TIMEOUT_S: u64 = 20;
/// Fault 22: the last stable offset moves again within the timeout and ten seconds.
const SETTLES_AFTER_S: u64 = TIMEOUT_S + 10;

#[derive(Clone, Debug)]
pub struct Options {
    /// How long brokers are killed.
    pub time: Duration,
    /// Kafka's copiers run as well.
    pub with_copiers: bool,
}

/// Both sides one after the other, with their figures; whether ours are clean.
pub async fn run(sides: &[Side], options: &Options) -> bool {
    let mut reports = Vec::new();
    for side in sides {
        let (side, options) = (*side, options.clone());
        reports.push((side, apart(side, async move { judge(side, &options).await }).await));
    }
    conclude("transactions of both protocols while brokers are killed", &reports)
}

/// One run against three brokers.
pub async fn judge(side: Side, options: &Options) -> Report {
    let clients = Clients::new();
    let mut scene = Scene::start(side).await;
    let mut report = Report { subject: scene.subject.name(), ..Report::default() };
    for topic in [LEDGER, BY_LIBRDKAFKA, BY_JAVA] {
        scene.create(topic, PARTITIONS).await;
    }
    let copiers = if options.with_copiers { Some(Copiers::start(&scene, &clients).await) } else { None };
    let mixed = Mixed::start(&scene, Duration::from_secs(TIMEOUT_S)).await;
    let mut load = Load::start(&scene, &clients).await;

    let began = Instant::now();
    load.kill_brokers(&mut scene, &mixed, options.time).await;
    let kills = began..Instant::now();
    report.tell(format!("{} kills in {:.0} s", scene.kills, began.elapsed().as_secs_f64()));
    scene.until_in_sync().await;

    mixed.end(&scene, Duration::from_secs(SETTLES_AFTER_S), &mut report).await;
    let told = load.end_writers(&scene, &clients, &mut report).await;
    let readings = load.end_readers(&mut report).await;
    if let Some(copiers) = copiers {
        copiers.end(&scene, &clients, &kills, &mut report).await;
    }
    settle(&scene, &clients, &[], &mut report).await;
    judge_readings(&scene, &clients, &told, &readings, &mut report).await;
    judge_leftovers(&clients.kafka, &scene.bootstrap, &mut report);
    if !report.is_good() {
        scene.subject.folder().keep();
    }
    report
}

/// Everything but the copiers.
struct Load {
    writers: Vec<Client>,
    transformers: Vec<Client>,
    readers: Vec<Client>,
    stop_writers: Stop,
    stop_readers: Stop,
}

impl Load {
    async fn start(scene: &Scene, clients: &Clients) -> Self {
        let (stop_writers, stop_readers) = (Stop::new(scene, "writers"), Stop::new(scene, "readers"));
        let (librdkafka, java) = (By::Librdkafka, By::Java);
        let write = |name: &str, by, ids: [&str; 2]| {
            clients.start(scene, name, by, "write", &[&[LEDGER, stop_writers.path()], &ids[..]].concat())
        };
        let transform = |name: &str, by, to: &str, group: &str, protocol: &str, ids: [&str; 2]| {
            let how = [LEDGER, to, stop_readers.path(), group, protocol];
            clients.start(scene, name, by, "transform", &[&how[..], &ids].concat())
        };
        let read = |name: &str, by, isolation: &str| {
            clients.start(scene, name, by, "read", &[LEDGER, isolation, stop_readers.path()])
        };
        let writers =
            vec![write("writers-librdkafka", librdkafka, ["c-0", "c-1"]), write("writers-java", java, ["j-0", "j-1"])];
        let transformers = vec![
            transform(
                "transform-librdkafka",
                librdkafka,
                BY_LIBRDKAFKA,
                "c-group",
                "classic",
                ["c-copy-0", "c-copy-1"],
            ),
            transform("transform-java", java, BY_JAVA, "j-group", "consumer", ["j-copy-0", "j-copy-1"]),
        ];
        let readers = vec![
            read("reader-committed", librdkafka, "read_committed"),
            read("reader-uncommitted", java, "read_uncommitted"),
        ];
        let mut load = Self { writers, transformers, readers, stop_writers, stop_readers };
        load.until_all_have_begun().await;
        load
    }

    /// Readers have records of every writer.
    async fn until_all_have_begun(&mut self) {
        wait_until("every reader has something of every writer", BEGINS_WITHIN, || {
            let running = self.clients().all(Client::is_running);
            assert!(running, "a client ended while it began");
            let texts: Vec<String> = self.readers.iter().map(Client::text).collect();
            let whole = texts.iter().all(|text| ["c-0:", "c-1:", "j-0:", "j-1:"].iter().all(|id| text.contains(id)));
            async move { whole }
        })
        .await;
    }

    fn clients(&mut self) -> impl Iterator<Item = &mut Client> {
        self.writers.iter_mut().chain(&mut self.transformers).chain(&mut self.readers)
    }

    async fn kill_brokers(&self, scene: &mut Scene, mixed: &Mixed, time: Duration) {
        let until = Instant::now() + time;
        let victims = [
            Victim::TransactionCoordinator("c-0".to_owned()),
            Victim::GroupCoordinator("j-group".to_owned()),
            Victim::Leader(LEDGER.to_owned(), 0),
            Victim::TransactionCoordinator("j-0".to_owned()),
            Victim::GroupCoordinator("c-group".to_owned()),
            Victim::TransactionCoordinator("j-copy-0".to_owned()),
            Victim::Leader(BY_JAVA.to_owned(), 1),
        ];
        let (others, ways) = (Mixed::victims(), [Return::WhenMissed, Return::AtOnce]);
        // An odd number, so that everybody comes back in both ways.
        let victims = victims.iter().chain(&others);
        for (victim, back) in victims.cycle().zip(ways.into_iter().cycle()) {
            if Instant::now() >= until {
                return;
            }
            mixed.note(victim);
            scene.kill(victim, back).await;
            tokio::time::sleep(CALM).await;
        }
    }

    /// Lets writers end, and one of them die in a transaction; what they were told.
    async fn end_writers(&mut self, scene: &Scene, clients: &Clients, report: &mut Report) -> Told {
        self.stop_writers.give();
        let mut told = Told::default();
        for writer in &mut self.writers {
            report.faults.extend(writer.ended().await);
            told.add(&writer.text());
        }
        let arguments = [LEDGER, "abandoned", ABANDONED_FOR_S];
        let mut abandoned = clients.start(scene, "abandoned", By::Librdkafka, "abandon", &arguments);
        report.faults.extend(abandoned.ended().await);
        told.add(&abandoned.text());
        let [committed, aborted, unknown] =
            [Outcome::Committed, Outcome::Aborted, Outcome::Unknown].map(|outcome| told.count(outcome));
        report.tell(format!("transactions: {committed} committed, {aborted} aborted, {unknown} without an answer"));
        if committed < 20 || aborted < 5 {
            report.faults.push("too few transactions for a verdict".to_owned());
        }
        settle(scene, clients, &[LEDGER], report).await;
        told
    }

    /// Lets everybody else read to the end; what the readers got.
    async fn end_readers(&mut self, report: &mut Report) -> Vec<Reading> {
        self.stop_readers.give();
        let mut readings = Vec::new();
        for reader in &mut self.readers {
            report.faults.extend(reader.ended().await);
            readings.push(Reading::of(&reader.name, &reader.text()));
        }
        let (mut hung, mut anew) = (0, 0);
        for transformer in &mut self.transformers {
            report.faults.extend(transformer.ended().await);
            let text = transformer.text();
            let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
            hung += count("hung ");
            anew += count("anew ");
        }
        // librdkafka waits for a coordinator without a limit in there; what is open then ends by its timeout.
        report.tell(format!("calls of clients that outlasted their own time limits: {hung}"));
        report.tell(format!("questions for offsets that another client asked, for librdkafka's _DESTROY: {anew}"));
        readings
    }
}

/// Waits until no transaction is open in these topics, or in any.
async fn settle(scene: &Scene, clients: &Clients, topics: &[&str], report: &mut Report) {
    let what = if topics.is_empty() { "all topics".to_owned() } else { topics.join(", ") };
    let limit = SETTLES_AFTER_S.to_string();
    let arguments = [&[limit.as_str()][..], topics].concat();
    let mut program = clients.start(scene, &format!("settle-{}", topics.len()), By::Java, "settle", &arguments);
    report.faults.extend(program.ended().await);
    let text = program.text();
    let took = text.lines().find_map(|line| line.strip_prefix("settled ")?.parse::<u64>().ok());
    match took {
        Some(ms) => report.tell(format!("{what}: last stable offset = high watermark after {:.1} s", ms as f64 / 1e3)),
        None => {
            let open = text.lines().filter(|line| line.starts_with("open ") || line.starts_with('#'));
            let open: Vec<&str> = open.collect();
            report.faults.push(format!("{what}: transactions stay open for {limit} s: {}", open.join("; ")));
        }
    }
}

/// A reading from the first offset on, now that nothing is broken.
async fn read_again(scene: &Scene, clients: &Clients, topic: &str, isolation: &str, report: &mut Report) -> Reading {
    let name = format!("last-{topic}-{isolation}");
    let stop = Stop::new(scene, "at-once");
    stop.give();
    let mut reader = clients.start(scene, &name, By::Librdkafka, "read", &[topic, isolation, stop.path()]);
    report.faults.extend(reader.ended().await);
    Reading::of(&name, &reader.text())
}

async fn judge_readings(scene: &Scene, clients: &Clients, told: &Told, readings: &[Reading], report: &mut Report) {
    let last = read_again(scene, clients, LEDGER, "read_committed", report).await;
    let [committed, uncommitted] = readings else { panic!("two readers") };
    report.tell(format!("records: {} committed, {} with aborted ones", last.entries.len(), uncommitted.entries.len()));
    for reading in [committed, &last] {
        report.faults.extend(told.faults(reading));
    }
    report.faults.extend(faults_between(uncommitted, &[committed, &last]));
    for topic in [BY_LIBRDKAFKA, BY_JAVA] {
        let copy = read_again(scene, clients, topic, "read_committed", report).await;
        report.tell(format!("{topic}: {} of {} records", copy.entries.len(), last.entries.len()));
        report.faults.extend(faults_of_copy(&last, &copy));
    }
}

/// Kafka's tool finds no transaction that hangs, and lists none that has not ended.
fn judge_leftovers(kafka: &Kafka, bootstrap: &str, report: &mut Report) {
    let mut tools = kafka.tools();
    let mut rows = |arguments: &[&str]| -> Vec<String> {
        let printed = tools.run(TRANSACTIONS, &[&["--bootstrap-server", bootstrap], arguments].concat());
        let lines = printed.text.lines().filter(|line| !line.trim().is_empty());
        if printed.code == 0 { lines.skip(1).map(str::to_owned).collect() } else { vec![printed.text] }
    };
    let mut hanging = Vec::new();
    for broker in ["1", "2", "3"] {
        hanging.extend(rows(&["find-hanging", "--broker-id", broker, "--max-transaction-timeout", "1"]));
    }
    let listed = rows(&["list"]);
    let open: Vec<&String> = listed
        .iter()
        .filter(|row| !["CompleteCommit", "CompleteAbort", "Empty"].iter().any(|state| row.contains(state)))
        .collect();
    report.tell(format!(
        "hanging transactions: {}; listed: {}, not ended: {}",
        hanging.len(),
        listed.len(),
        open.len()
    ));
    report.faults.extend(hanging.iter().map(|row| format!("hanging transaction: {row}")));
    report.faults.extend(open.iter().map(|row| format!("transaction has not ended: {row}")));
    if listed.is_empty() {
        report.faults.push("no transaction is listed".to_owned());
    }
}
