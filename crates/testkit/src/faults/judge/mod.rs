//! The judge of fail-over: measures what the scenarios only bound, ours and Apache Kafka's by the same script.
//!
//! Four parts, each with its own rows in the report:
//! - [`Part::Kills`]: the leader of a partition is killed again and again; how long does a producer wait?
//! - [`Part::Hung`]: it is stopped with SIGSTOP instead.
//! - [`Part::Restart`]: all brokers are killed at once; how long until each of 1,000 partitions is writable?
//! - [`Part::Throttle`]: does a throttled movement keep to its rate?
//!
//! Every row is judged by the checker as well, and has a limit where the project promises one. Kafka's rows have none:
//! they are there to be compared with.

mod hung; // SIGSTOP
mod kills; // SIGKILL of leaders
mod restart; // SIGKILL of all
mod throttle; // rates of movements

use std::fmt;
use std::time::Duration;

use crate::cluster::{Cluster, ClusterOptions};
use crate::faults::Subject;
use crate::peer;

/// The same for both: acknowledged means in the page cache of all in-sync replicas, and the kernel writes it back. Only a
/// loss of power on several brokers at once can lose it. Metadata is flushed before it counts.
const DURABILITY: &str = "acks=all, min.insync.replicas=2 of 3, page cache (no flush per write), both";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Kills,
    Hung,
    Restart,
    Throttle,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Kills, Self::Hung, Self::Restart, Self::Throttle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::Hung => "hung",
            Self::Restart => "restart",
            Self::Throttle => "throttle",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub parts: Vec<Part>,
    /// Of the leader, one after the other.
    pub kills: usize,
    /// Of all brokers.
    pub restarts: usize,
    pub with_ours: bool,
    pub with_kafka: bool,
}

/// One line of the report.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub subject: &'static str,
    pub what: String,
    pub times: Vec<Duration>,
    /// What else there is to say.
    pub note: String,
    pub verdict: String,
    pub clean: bool,
    /// Median and maximum that were promised.
    pub limit: Option<(Duration, Duration)>,
}

impl Row {
    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    fn max(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or_default()
    }

    fn is_good(&self) -> bool {
        let kept = self.limit.is_none_or(|(median, max)| self.median() <= median && self.max() <= max);
        self.clean && kept && !self.times.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let limit = self.limit.map_or_else(
            || "-".to_owned(),
            |(median, max)| format!("{} / {}", seconds(median), seconds(max)), //
        );
        let mark = if self.is_good() { "ok" } else { "FAILED" };
        write!(
            f,
            "{:<18} {:<44} {:>3} x  median {:>8}  max {:>8}  limit {limit:<15} {mark:<6} {} {}",
            self.subject,
            self.what,
            self.times.len(),
            seconds(self.median()),
            seconds(self.max()),
            self.note,
            self.verdict
        )
    }
}

/// Runs the parts and prints the rows; whether ours are all good.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for part in &options.parts {
        match part {
            Part::Kills => rows.extend(kills::run(options).await),
            Part::Hung => rows.extend(hung::run(options).await),
            Part::Restart => rows.extend(restart::run(options).await),
            Part::Throttle => rows.extend(throttle::run(options).await),
        }
    }
    assert!(!rows.is_empty(), "nothing of what was asked for is measured of these brokers");
    eprintln!("\nfail-over; {DURABILITY}");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().filter(|row| row.subject == Subject::OURS).all(Row::is_good)
}

/// Three brokers of ours, then three of Kafka's, as the options want it.
async fn subjects(options: &Options) -> Vec<Start> {
    let mut starts = Vec::new();
    if options.with_ours {
        starts.push(Start::Ours);
    }
    if options.with_kafka {
        starts.push(Start::Kafka);
    }
    starts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Ours,
    Kafka,
}

impl Start {
    /// Both with their defaults.
    async fn cluster(self) -> Subject {
        match self {
            Self::Ours => Subject::Ours(Cluster::start_with(3, ClusterOptions::replicated()).await),
            Self::Kafka => Subject::Kafka(peer::kafka().cluster(3, &[]).await),
        }
    }

    /// What was promised is promised of ours.
    fn limit(self, median: Duration, max: Duration) -> Option<(Duration, Duration)> {
        (self == Self::Ours).then_some((median, max))
    }
}
