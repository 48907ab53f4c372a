//! The one table of Kafka's client settings and what each means here.
//!
//! Names are those of Kafka's Java clients (4.3). A name that is not in this table is refused.
//! `librdkafka.<name>` hands `<name>` to librdkafka as it is; that door is for tuning and debugging.

/// Which clients a setting speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Common,
    Producer,
    Consumer,
    Admin,
}

/// What happens to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// librdkafka has the same name with the same meaning.
    Same,
    /// librdkafka calls it otherwise.
    Renamed(&'static str),
    /// This crate acts on it itself; the text says how.
    Ours(&'static str),
    /// Only means something inside a JVM or for another design: accepted, logged once, without effect.
    NoEffect(&'static str),
    /// Cannot be honoured, and ignoring it would change what the user gets.
    Refused(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub scope: Scope,
    pub fate: Fate,
}

use Fate::{NoEffect, Ours, Refused, Renamed, Same};
use Scope::{Admin, Common, Consumer, Producer};

const JVM: &str = "metrics of this client are exported by the process, not by JMX";
const NO_TLS: &str = "only read by TLS and SASL, which this release is built without";
const SERDE: &str = "keys and values are bytes here; converters do this work";
const PARTITIONER: &str = "librdkafka spreads keyless records evenly by itself";

const fn row(name: &'static str, scope: Scope, fate: Fate) -> Setting {
    Setting { name, scope, fate }
}

/// Every setting that is known, sorted by scope and then by name.
pub const TABLE: &[Setting] = &[
    row("auto.include.jmx.reporter", Common, NoEffect(JVM)),
    row("bootstrap.controllers", Common, Refused("clients talk to brokers; set bootstrap.servers")),
    row("bootstrap.servers", Common, Same),
    row("client.dns.lookup", Common, Same),
    row("client.id", Common, Same),
    row("client.rack", Common, Same),
    row(
        "config.providers",
        Common,
        Ours("refused unless empty: variables are resolved by the worker before they get here"),
    ),
    row("connections.max.idle.ms", Common, Same),
    row("default.api.timeout.ms", Common, Ours("bounds each admin call, commit and look-up")),
    row("enable.metrics.push", Common, Same),
    row("interceptor.classes", Common, Ours("refused unless empty: Java classes cannot be loaded")),
    row("metadata.max.age.ms", Common, Renamed("topic.metadata.refresh.interval.ms")),
    row("metadata.recovery.rebootstrap.trigger.ms", Common, Same),
    row("metadata.recovery.strategy", Common, Same),
    row("metric.reporters", Common, NoEffect(JVM)),
    row("metrics.num.samples", Common, NoEffect(JVM)),
    row("metrics.recording.level", Common, NoEffect(JVM)),
    row("metrics.sample.window.ms", Common, NoEffect(JVM)),
    row("receive.buffer.bytes", Common, Ours("socket.receive.buffer.bytes; -1 leaves it to the system")),
    row("reconnect.backoff.max.ms", Common, Same),
    row("reconnect.backoff.ms", Common, Same),
    row("request.timeout.ms", Common, Renamed("socket.timeout.ms")),
    row("retries", Common, Ours("retries of the producer; other calls retry until default.api.timeout.ms")),
    row("retry.backoff.max.ms", Common, Same),
    row("retry.backoff.ms", Common, Same),
    row("security.protocol", Common, Ours("PLAINTEXT only")),
    row("security.providers", Common, NoEffect(NO_TLS)),
    row("send.buffer.bytes", Common, Ours("socket.send.buffer.bytes; -1 leaves it to the system")),
    row(
        "socket.connection.setup.timeout.max.ms",
        Common,
        NoEffect("the first connection time-out is used for every attempt"),
    ),
    row("socket.connection.setup.timeout.ms", Common, Same),
    // producer
    row("acks", Producer, Same),
    row("batch.size", Producer, Same),
    row("buffer.memory", Producer, Ours("queue.buffering.max.kbytes, rounded up to KiB")),
    row("compression.gzip.level", Producer, Ours("compression.level when compression.type=gzip")),
    row("compression.lz4.level", Producer, Ours("compression.level when compression.type=lz4")),
    row("compression.type", Producer, Same),
    row("compression.zstd.level", Producer, Ours("compression.level when compression.type=zstd")),
    row("delivery.timeout.ms", Producer, Same),
    row("enable.idempotence", Producer, Same),
    row("key.serializer", Producer, NoEffect(SERDE)),
    row("linger.ms", Producer, Same),
    row("max.block.ms", Producer, Ours("how long a send waits for room in a full queue")),
    row("max.in.flight.requests.per.connection", Producer, Same),
    row("max.request.size", Producer, Renamed("message.max.bytes")),
    row("metadata.max.idle.ms", Producer, NoEffect("metadata of unused topics is dropped by librdkafka's own rules")),
    row("partitioner.adaptive.partitioning.enable", Producer, NoEffect(PARTITIONER)),
    row("partitioner.availability.timeout.ms", Producer, NoEffect(PARTITIONER)),
    row("partitioner.class", Producer, Ours("refused unless empty: Kafka's default (murmur2 of the key) is used")),
    row("partitioner.ignore.keys", Producer, Ours("false only")),
    row("transaction.timeout.ms", Producer, NoEffect("no transactions in this release")),
    row("transaction.two.phase.commit.enable", Producer, Refused("transactions come with a later release")),
    row("transactional.id", Producer, Refused("transactions come with a later release")),
    row("value.serializer", Producer, NoEffect(SERDE)),
    // consumer
    row("allow.auto.create.topics", Consumer, Same),
    row("auto.commit.interval.ms", Consumer, Same),
    row("auto.offset.reset", Consumer, Ours("earliest, latest or none")),
    row("check.crcs", Consumer, Same),
    row("enable.auto.commit", Consumer, Same),
    row(
        "exclude.internal.topics",
        Consumer,
        NoEffect("subscriptions name their topics; `^` patterns match internal ones too"),
    ),
    row("fetch.max.bytes", Consumer, Same),
    row("fetch.max.wait.ms", Consumer, Renamed("fetch.wait.max.ms")),
    row("fetch.min.bytes", Consumer, Same),
    row("group.id", Consumer, Same),
    row("group.instance.id", Consumer, Same),
    row("group.protocol", Consumer, Same),
    row("group.remote.assignor", Consumer, Same),
    row("heartbeat.interval.ms", Consumer, Same),
    row("isolation.level", Consumer, Same),
    row("key.deserializer", Consumer, NoEffect(SERDE)),
    row("max.partition.fetch.bytes", Consumer, Same),
    row("max.poll.interval.ms", Consumer, Same),
    row("max.poll.records", Consumer, Ours("upper bound of one batch of received records")),
    row(
        "partition.assignment.strategy",
        Consumer,
        Ours("Kafka's class names of the range, round-robin and cooperative-sticky assignors"),
    ),
    row("session.timeout.ms", Consumer, Same),
    row("share.acknowledgement.mode", Consumer, Refused("share groups are not supported")),
    row("share.acquire.mode", Consumer, Refused("share groups are not supported")),
    row("value.deserializer", Consumer, NoEffect(SERDE)),
    // admin
    row("bootstrap.admin.timeout.ms", Admin, NoEffect("default.api.timeout.ms bounds admin calls")),
];

/// Prefixes of settings that only TLS and SASL read.
pub const SECURITY_PREFIXES: [&str; 2] = ["ssl.", "sasl."];

/// Why settings with such a prefix have no effect.
pub const SECURITY_NOTE: &str = NO_TLS;

/// The row of `name`.
pub fn find(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|row| row.name == name)
}

/// The known name that is closest to `name`, when one is close enough to be a likely typo.
pub fn nearest(name: &str) -> Option<&'static str> {
    let close = |row: &Setting| (distance(name, row.name), row.name);
    let (steps, found) = TABLE.iter().map(close).min()?;
    (steps <= 2 + name.len() / 4).then_some(found)
}

/// Levenshtein distance over bytes; names are ASCII and short.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut current = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let swap = previous[j] + usize::from(a != *b);
            current.push(swap.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}
