//! The table of links: its rows, and for each number what is good enough.

use crate::targets::{Goal, Heading, Metric, Unit, metric};

/// A worker of ours under full load stays below this.
const MEMORY_MB: f64 = 200.0;

const RECORDS: &[Metric] = &[
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeast(5.0)),
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(1.0 / 8.0)),
    metric("records", Unit::PerSecond, Goal::None),
    metric("peak", Unit::Megabytes, Goal::AtMost(MEMORY_MB)),
    metric("copy / source", Unit::Factor, Goal::None),
    // The same number once more, because an eighth of a slow rival is no small cost.
    metric("cpu, as it is", Unit::CpuSecondsPerGb, Goal::AtMost(2.2)),
];
const JSON: &[Metric] = &[
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeast(8.0)),
    metric("cpu", Unit::CpuSecondsPerGb, Goal::RatioAtMost(1.0 / 15.0)),
    metric("records", Unit::PerSecond, Goal::None),
    metric("peak", Unit::Megabytes, Goal::AtMost(MEMORY_MB)),
    metric("copy / source", Unit::Factor, Goal::AtMost(1.0)),
];
const SINGLE: &[Metric] = &[
    metric("rate", Unit::MegabytesPerSecond, Goal::RatioAtLeast(1.0)),
    metric("cpu", Unit::CpuSecondsPerGb, Goal::None),
    metric("records", Unit::PerSecond, Goal::None),
    metric("peak", Unit::Megabytes, Goal::AtMost(MEMORY_MB)),
    metric("copy / source", Unit::Factor, Goal::None),
];
const ALIGNED: &[Metric] = &[
    metric("rate", Unit::MegabytesPerSecond, Goal::AtLeast(400.0)),
    metric("cpu", Unit::CpuSecondsPerGb, Goal::AtMost(1.2)),
    metric("records", Unit::PerSecond, Goal::None),
    metric("peak", Unit::Megabytes, Goal::AtMost(MEMORY_MB)),
    metric("copy / source", Unit::Factor, Goal::None),
];
const LATENCY: &[Metric] = &[
    metric("p50", Unit::Milliseconds, Goal::AtMost(5.0)),
    metric("p99", Unit::Milliseconds, Goal::AtMost(20.0)),
    metric("p99.9", Unit::Milliseconds, Goal::None),
    metric("cpu", Unit::Processors, Goal::None),
];
const MANY: &[Metric] = &[
    metric("first copies", Unit::Milliseconds, Goal::None),
    metric("cpu at rest", Unit::Processors, Goal::AtMost(0.2)),
    metric("new topic", Unit::Milliseconds, Goal::AtMost(5_000.0)),
    metric("p99 meanwhile", Unit::Milliseconds, Goal::None),
    metric("resident", Unit::Megabytes, Goal::None),
];

/// A row of the table, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Records,
    Json,
    FewJson,
    Single,
    Latency,
    Aligned,
    Many,
}

impl Row {
    pub const ALL: [Self; 7] =
        [Self::Records, Self::Json, Self::FewJson, Self::Single, Self::Latency, Self::Aligned, Self::Many];

    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Json => "lz4-json",
            Self::FewJson => "lz4-few",
            Self::Single => "one-record",
            Self::Latency => "latency",
            Self::Aligned => "aligned",
            Self::Many => "partitions",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    pub fn what(self) -> &'static str {
        match self {
            Self::Records => "1 KiB records of noise in batches of 16 KiB, between two clusters of Apache Kafka",
            Self::Json => "JSON of about 270 bytes, lz4, batches of 16 KiB, between two clusters of Apache Kafka",
            Self::FewJson => "the same JSON, lz4, three records a batch, between two clusters of Apache Kafka",
            Self::Single => "1 KiB records, each a batch of its own, between two clusters of Apache Kafka",
            Self::Latency => {
                "1,000 records a second between two clusters of Apache Kafka, from acknowledged there to consumed here"
            }
            Self::Aligned => "1 KiB records at the same offsets, between two clusters of ours",
            Self::Many => {
                "1,000 topics of 10 partitions and 200 groups between two clusters of ours: at rest, and when one more comes"
            }
        }
    }

    /// Whether MirrorMaker runs it too.
    pub fn is_compared(self) -> bool {
        !matches!(self, Self::Aligned | Self::Many)
    }

    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Records => RECORDS,
            Self::Json | Self::FewJson => JSON,
            Self::Single => SINGLE,
            Self::Latency => LATENCY,
            Self::Aligned => ALIGNED,
            Self::Many => MANY,
        }
    }
}

impl From<Row> for Heading {
    fn from(row: Row) -> Self {
        Self { name: row.name(), what: row.what(), metrics: row.metrics() }
    }
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn rows_are_found_by_their_names_and_a_ratio_is_only_asked_where_mirror_maker_runs() {
        for row in Row::ALL {
            assert_eq!(Row::by_name(row.name()), Some(row));
            let asks = row.metrics().iter().any(|metric| metric.goal.is_ratio());
            assert!(row.is_compared() || !asks, "{}", row.name());
        }
        assert_eq!(Row::by_name("nothing"), None);
    }
}
