//! The table of targets: for each row its metrics, and for each metric what is good enough.
//!
//! Picture: a row is one kind of load; it yields metrics for either broker. A [`Goal`] turns the metrics of all pairs into
//! a [`Verdict`]. Nothing is measured here.

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// Two runs of the same broker on a quiet machine differ by this much; a parity that is missed by less is met.
pub const NOISE: f64 = 0.03;
/// A client whose busiest thread has this share of a processor waits for nobody but itself. Where it waits for its own locks
/// even when nobody holds it up, it is this share of what the thread has against a broker that does nothing.
pub const BUSY_THREAD: f64 = 0.9;
/// A thread with less than this share there is no client's bottleneck.
pub const BUSY_THREAD_AT_CEILING: f64 = 0.8;
/// A rate this close to what the same client reaches against a broker that does nothing cannot be raised by the broker.
pub const NEAR_CEILING: f64 = 0.9;

/// What is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Our value over the rival's in the same pair.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// As above, but a client that is shown to be the limit excuses.
    RatioAtLeastOrClientLimit(f64),
    /// Our value alone.
    AtMost(f64),
    AtLeast(f64),
    /// Only told.
    None,
}

impl Goal {
    pub fn is_ratio(self) -> bool {
        matches!(self, Self::RatioAtMost(_) | Self::RatioAtLeast(_) | Self::RatioAtLeastOrClientLimit(_))
    }
}

/// One number of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    CpuSecondsPerGb,
    CpuSecondsPerMillion,
    CpuSecondsPerThousandTransactions,
    MegabytesPerSecond,
    PerSecond,
    Microseconds,
    Milliseconds,
    Megabytes,
    Kilobytes,
    Count,
    Factor,
    Processors,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuSecondsPerGb => "CPU s/GB",
            Self::CpuSecondsPerMillion => "CPU s/million",
            Self::CpuSecondsPerThousandTransactions => "CPU s/1,000 transactions",
            Self::MegabytesPerSecond => "MB/s",
            Self::PerSecond => "/s",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
            Self::Kilobytes => "kB",
            Self::Count => "",
            Self::Factor => "x",
            Self::Processors => "processors",
        }
    }
}

/// A metric of a row, with its goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metric {
    pub name: &'static str,
    pub unit: Unit,
    pub goal: Goal,
}

pub(crate) const fn metric(name: &'static str, unit: Unit, goal: Goal) -> Metric {
    Metric { name, unit, goal }
}

const PRODUCE: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(0.35)),
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeastOrClientLimit(1.6)),
];
const SMALL: &[Metric] =
    &[metric("cpu", Unit::CpuSecondsPerMillion, Goal::RatioAtMost(0.5)), metric("rate", Unit::PerSecond, Goal::None)];
const REQUESTS: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerMillion, Goal::RatioAtMost(0.5)),
    metric("rate", Unit::PerSecond, Goal::RatioAtLeastOrClientLimit(2.0)),
    metric("p99", Unit::Microseconds, Goal::None),
];
const COMMITS: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerMillion, Goal::None),
    metric("rate", Unit::PerSecond, Goal::RatioAtLeastOrClientLimit(1.5)),
    metric("p99", Unit::Microseconds, Goal::None),
];
const TRANSACTIONS: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerThousandTransactions, Goal::None),
    metric("rate", Unit::PerSecond, Goal::RatioAtLeastOrClientLimit(1.5)),
    metric("p99", Unit::Microseconds, Goal::None),
];
const TRANSACTIONAL: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerThousandTransactions, Goal::None),
    metric("records", Unit::PerSecond, Goal::RatioAtLeastOrClientLimit(1.5)),
    metric("transactions", Unit::PerSecond, Goal::None),
    metric("p99", Unit::Microseconds, Goal::None),
];
const FETCH: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(1.0)),
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeast(1.0)),
];
const LZ4: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(0.6)),
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeastOrClientLimit(1.1)),
];
const LATENCY: &[Metric] = &[
    metric("p50", Unit::Microseconds, Goal::None),
    metric("p99", Unit::Microseconds, Goal::RatioAtMost(0.5)),
    metric("p99.9", Unit::Microseconds, Goal::RatioAtMost(0.5)),
    metric("p99.9 timer", Unit::Microseconds, Goal::None),
];
const COLD: &[Metric] = &[
    metric("p99 alone", Unit::Microseconds, Goal::None),
    metric("p99 beside", Unit::Microseconds, Goal::None),
    metric("p99 beside cached", Unit::Microseconds, Goal::None),
    metric("beside / alone", Unit::Factor, Goal::AtMost(2.0)),
    metric("rate", Unit::MegabytesPerSecond, Goal::None),
];
const RF3: &[Metric] = &[
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(0.4)),
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeast(1.6)),
];
const MEMORY: &[Metric] = &[
    metric("idle", Unit::Megabytes, Goal::AtMost(25.0)),
    metric("loaded", Unit::Megabytes, Goal::AtMost(150.0)),
    metric("idle connection", Unit::Kilobytes, Goal::AtMost(20.0)),
];
const START: &[Metric] = &[metric("first ack", Unit::Milliseconds, Goal::AtMost(150.0))];
const KILL: &[Metric] = &[metric("all acked", Unit::Milliseconds, Goal::AtMost(1_000.0))];
const PARTITIONS: &[Metric] = &[
    metric("create and write", Unit::Milliseconds, Goal::None),
    metric("resident", Unit::Megabytes, Goal::AtMost(400.0)),
    metric("open files", Unit::Count, Goal::AtMost(8_000.0)),
    metric("start", Unit::Milliseconds, Goal::AtMost(5_000.0)),
    metric("resident after", Unit::Megabytes, Goal::AtMost(400.0)),
    metric("open files after", Unit::Count, Goal::AtMost(8_000.0)),
];

const GROUPS: &[Metric] = &[
    metric("list", Unit::Milliseconds, Goal::None),
    metric("describe", Unit::Milliseconds, Goal::None),
    metric("list and describe", Unit::Milliseconds, Goal::AtMost(1_000.0)),
];

/// What any table says of a row, and by which numbers it judges it.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    pub name: &'static str,
    pub what: &'static str,
    pub metrics: &'static [Metric],
}

impl From<Row> for Heading {
    fn from(row: Row) -> Self {
        Self { name: row.name(), what: row.what(), metrics: row.metrics() }
    }
}

/// A row of the table of brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Row {
    Produce1,
    Produce3,
    Small,
    Requests,
    Commits,
    Transactions,
    Transactional,
    Fetch,
    Lz4,
    Latency,
    Cold,
    Rf3,
    Memory,
    Start,
    Kill,
    Partitions,
    Groups,
}

impl Row {
    /// In the order in which they run.
    pub const ALL: [Self; 17] = [
        Self::Produce1,
        Self::Produce3,
        Self::Small,
        Self::Requests,
        Self::Commits,
        Self::Transactions,
        Self::Transactional,
        Self::Fetch,
        Self::Lz4,
        Self::Latency,
        Self::Cold,
        Self::Rf3,
        Self::Memory,
        Self::Start,
        Self::Kill,
        Self::Partitions,
        Self::Groups,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Produce1 => "produce-1",
            Self::Produce3 => "produce-3",
            Self::Small => "small-records",
            Self::Requests => "small-requests",
            Self::Commits => "offset-commits",
            Self::Transactions => "transactions",
            Self::Transactional => "transactions-v1",
            Self::Fetch => "fetch",
            Self::Lz4 => "lz4",
            Self::Latency => "latency",
            Self::Cold => "cold-reader",
            Self::Rf3 => "rf3",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Kill => "kill",
            Self::Partitions => "partitions",
            Self::Groups => "groups",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    pub fn what(self) -> &'static str {
        match self {
            Self::Produce1 => "1 KiB records that do not compress, one client, acks=1, 6 partitions",
            Self::Produce3 => "the same from three clients",
            Self::Small => "100-byte records, one client",
            Self::Requests => "requests of one 100-byte record, one in flight on each of 32 connections",
            Self::Commits => "commits of one offset, one in flight on each of 64 connections, each of its own group",
            Self::Transactions => "transactions of 100 records of 100 bytes in one partition, of 10 producers",
            Self::Transactional => {
                "transactions of 100 records of 1 KiB over 6 partitions, librdkafka, first protocol, 10 producers"
            }
            Self::Fetch => "one consumer reads 1 KiB records that are in the page cache",
            Self::Lz4 => "1 KiB records of text with lz4 and idempotence, one client",
            Self::Latency => {
                "1,000 records of 100 bytes a second, acks=all, from when each was due to when it was consumed"
            }
            Self::Cold => "the same acks=all producer alone, and beside a consumer of data that left the page cache",
            Self::Rf3 => "1 KiB records to three replicas, acks=all, all three brokers on this machine",
            Self::Memory => {
                "resident memory: idle, at most under produce, fetch and small requests, of each of 5,000 connections"
            }
            Self::Start => "start of a formatted broker until its first acknowledged record",
            Self::Kill => "start after SIGKILL until every partition has acknowledged a record",
            Self::Partitions => "10,000 partitions on one broker",
            Self::Groups => "15,000 groups with an offset each: all of them listed, and each described",
        }
    }

    /// Whether Apache Kafka runs it too.
    pub fn is_compared(self) -> bool {
        self != Self::Partitions
    }

    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Produce1 | Self::Produce3 => PRODUCE,
            Self::Small => SMALL,
            Self::Requests => REQUESTS,
            Self::Commits => COMMITS,
            Self::Transactions => TRANSACTIONS,
            Self::Transactional => TRANSACTIONAL,
            Self::Fetch => FETCH,
            Self::Lz4 => LZ4,
            Self::Latency => LATENCY,
            Self::Cold => COLD,
            Self::Rf3 => RF3,
            Self::Memory => MEMORY,
            Self::Start => START,
            Self::Kill => KILL,
            Self::Partitions => PARTITIONS,
            Self::Groups => GROUPS,
        }
    }
}

/// How close the client came to be the limit, in our runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientLimit {
    /// Share of a processor that its busiest thread had; the median of all runs.
    pub busiest_share: f64,
    /// The same against a broker that does nothing.
    pub busiest_at_ceiling: Option<f64>,
    /// Our rate over that of the same client against a broker that does nothing; the median.
    pub of_ceiling: Option<f64>,
}

impl ClientLimit {
    pub fn holds(self) -> bool {
        let most = self.busiest_at_ceiling.filter(|share| *share >= BUSY_THREAD_AT_CEILING).unwrap_or(1.0);
        self.busiest_share >= BUSY_THREAD * most || self.of_ceiling.is_some_and(|share| share >= NEAR_CEILING)
    }
}

/// What a metric came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Met,
    /// The goal was not reached, but the client could not go faster.
    ClientIsTheLimit,
    Missed,
    /// A goal that is a ratio to the rival's value, which was not measured.
    NotCompared,
    /// There is no goal.
    Told,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::ClientIsTheLimit => "client is the limit",
            Self::Missed => "MISSED",
            Self::NotCompared => "not compared",
            Self::Told => "",
        }
    }
}

/// Medians decide.
pub fn judge(goal: Goal, ours: Spread, ratio: Option<Spread>, limit: ClientLimit) -> Verdict {
    let of_ratio = |good: fn(f64, f64) -> bool, wanted: f64, excuse: bool| match ratio {
        None => Verdict::NotCompared,
        Some(ratio) if good(ratio.median, wanted) => Verdict::Met,
        // A client that reached more on the rival was not at its limit.
        Some(ratio) if excuse && ratio.median >= 1.0 - NOISE => Verdict::ClientIsTheLimit,
        Some(_) => Verdict::Missed,
    };
    // Where even is the goal, noise decides about the last percents.
    let slack = |wanted: f64| if wanted == 1.0 { NOISE } else { 0.0 };
    match goal {
        Goal::RatioAtMost(wanted) => of_ratio(|ratio, wanted| ratio <= wanted, wanted + slack(wanted), false),
        Goal::RatioAtLeast(wanted) => of_ratio(|ratio, wanted| ratio >= wanted, wanted - slack(wanted), false),
        Goal::RatioAtLeastOrClientLimit(wanted) => of_ratio(|ratio, wanted| ratio >= wanted, wanted, limit.holds()),
        Goal::AtMost(wanted) if ours.median <= wanted => Verdict::Met,
        Goal::AtLeast(wanted) if ours.median >= wanted => Verdict::Met,
        Goal::AtMost(_) | Goal::AtLeast(_) => Verdict::Missed,
        Goal::None => Verdict::Told,
    }
}

#[cfg(test)]
mod tests;
