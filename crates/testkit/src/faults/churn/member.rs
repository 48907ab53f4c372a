//! One member of a group as a process of its own, so that it can die without a goodbye.
//!
//! It writes down what it is given, what it gives back and what it reads in a file, each line before anything else happens,
//! and commits what it has read after it has written that down. SIGTERM lets it leave.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use twinstream_client::{CommitOffset, Consumer, ConsumerEvent};
use twinstream_model::{Offset, TopicPartition};

use crate::process::Process;
use crate::program::Program;
use crate::records::client_settings;

/// How long a member waits for records before it looks whether it should go.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Says to a program that can be a member that it is one now; its value says which.
const VARIABLE: &str = "TWINSTREAM_MEMBER";

/// How members talk to their coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic,
    Consumer,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        if self == Self::Classic { "classic" } else { "consumer" }
    }
}

/// What a member is told.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub bootstrap: String,
    pub group: String,
    pub topic: String,
    pub protocol: Protocol,
    /// Of a static member.
    pub instance: Option<String>,
    pub session: Duration,
}

impl Order {
    /// Starts a member that keeps this book.
    pub(super) fn start(&self, program: &Program, name: &str, book: &Path) -> Process {
        let instance = self.instance.as_deref().unwrap_or("");
        let (session, book_path) = (self.session.as_millis().to_string(), book.display().to_string());
        let words = [&self.bootstrap, &self.group, &self.topic, self.protocol.name(), instance, &session, &book_path]
            .join("\n");
        program.start(name, (VARIABLE, &words), &book.with_extension("log"))
    }
}

/// Lives and ends as a member if [`VARIABLE`] says so; whether it did.
pub async fn be_member_if_told() -> bool {
    let Ok(words) = std::env::var(VARIABLE) else { return false };
    let words: Vec<&str> = words.split('\n').collect();
    let [bootstrap, group, topic, protocol, instance, session, book] = words[..] else {
        panic!("{VARIABLE} has {} words", words.len());
    };
    let book = OpenOptions::new().create(true).append(true).open(book);
    let book = Book(book.unwrap_or_else(|error| panic!("open a member's book: {error}")));
    let mut settings = vec![
        ("group.id", group),
        ("group.protocol", protocol),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    if protocol == Protocol::Classic.name() {
        // librdkafka's cooperative-sticky gives members data of its own with their partitions now and then. A group in which
        // it has done so cannot be migrated, to our brokers nor to Kafka's, until it assigns anew.
        settings.push(("partition.assignment.strategy", "range"));
        settings.push(("session.timeout.ms", session));
        settings.push(("heartbeat.interval.ms", "300"));
    }
    if !instance.is_empty() {
        settings.push(("group.instance.id", instance));
    }
    let consumer = Consumer::connect(&client_settings(bootstrap, &settings)).await.expect("a consumer");
    consumer.subscribe(&[topic.to_owned()]).await.expect("a subscription");
    live(consumer, book).await;
    true
}

async fn live(mut consumer: Consumer, mut book: Book) {
    let mut leave = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    let mut positions = BTreeMap::new();
    loop {
        let events = tokio::select! {
            biased;
            _ = leave.recv() => break,
            events = consumer.next_batch(LOOK_EVERY) => events,
        };
        for event in events {
            match event {
                ConsumerEvent::Record(record) => {
                    let partition = record.topic_partition();
                    book.line(&format!("read {} {}", partition.partition.0, record.offset.0));
                    positions.insert(partition, CommitOffset::from(Offset(record.offset.0 + 1)));
                }
                ConsumerEvent::Assigned(partitions) => book.partitions("assigned", &partitions),
                ConsumerEvent::Revoked(revocation) => {
                    let mut gone = BTreeMap::new();
                    for partition in &revocation.partitions {
                        gone.extend(positions.remove_entry(partition));
                    }
                    if !revocation.lost {
                        commit(&consumer, &mut book, &mut gone).await;
                    }
                    book.partitions(if revocation.lost { "lost" } else { "revoked" }, &revocation.partitions);
                }
                ConsumerEvent::Error { error, fatal: true } => panic!("{error}"),
                ConsumerEvent::Error { error, .. } => eprintln!("{error}"),
                _ => {}
            }
        }
        commit(&consumer, &mut book, &mut positions).await;
    }
    book.line("leaves");
    consumer.close().await.expect("a clean leave");
}

/// Commits what has not been committed. In a group that is moving on that is refused: what is still owned afterwards is
/// tried again, the rest is read again by whoever is next.
async fn commit(consumer: &Consumer, book: &mut Book, positions: &mut BTreeMap<TopicPartition, CommitOffset>) {
    if positions.is_empty() {
        return;
    }
    let asked = now_us();
    match consumer.commit(positions).await {
        Ok(()) => {
            for (partition, commit) in std::mem::take(positions) {
                book.line(&format!("committed {} {} {asked}", partition.partition.0, commit.offset.0));
            }
        }
        Err(error) => eprintln!("a commit was refused: {error}"),
    }
}

/// Lines in a file. A line is written whole by one call, and is in the page cache when that returns.
struct Book(File);

impl Book {
    fn line(&mut self, text: &str) {
        let line = format!("{} {text}\n", now_us());
        self.0.write_all(line.as_bytes()).expect("write a member's book");
    }

    fn partitions(&mut self, what: &str, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.line(&format!("{what} {}", partition.partition.0));
        }
    }
}

/// The same clock for all processes of the machine.
pub(super) fn now_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}
