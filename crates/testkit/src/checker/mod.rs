//! Judges a whole history: was anything lost, doubled, reordered, or shown that must not be seen?
//!
//! Picture: first every known place of every value is put together from acknowledgements and polls ([`places::Places`]):
//! which value is at which offset, and what the final reading found. Then each rule looks for its own kind of anomaly.
//! Names and meanings are those of Jepsen's Kafka workload (`jepsen/src/jepsen/tests/kafka.clj`):
//!
//! | name | what was seen |
//! |---|---|
//! | `lost-write` | acknowledged, and not in the log where a reader passed; or missing in a transaction that was committed |
//! | `unseen` | acknowledged (and committed), and no reader came that far |
//! | `duplicate` | one value at two places |
//! | `inconsistent-offsets` | two values at one offset, also when the offset was given away again after a loss |
//! | `aborted-read` | polled, though its send surely failed or its transaction was aborted (G1a) |
//! | `precommitted-read` | polled as committed before its commit was asked for (Jepsen's: by the transaction that sent it) |
//! | `vanished-read` | polled, never acknowledged, of no transaction, and gone in the end (ours) |
//! | `garbage-read` | polled, and nobody sent it |
//! | `stale-read` | all was healed, yet a reader was told of an end before an acknowledged record |
//! | `poll-skip`, `int-poll-skip` | a reader jumped over a known record, between polls or within one |
//! | `group-skip` | due, before what a group has committed, and polled by no member of it (ours) |
//! | `nonmonotonic-poll`, `int-nonmonotonic-poll` | a reader went back, between polls or within one |
//! | `nonmonotonic-send`, `int-nonmonotonic-send` | acknowledged offsets contradict the order of sending, between or within transactions |
//! | `int-send-skip` | something stands between two records of one batch |
//! | `G1c` | transactions that read from each other in a circle, by edges from writers to readers alone (Jepsen's wr) |
//! | `G0` | transactions that stand before each other in a circle; *allowed*, since writers are not isolated: told, never judged |
//! | `reordered` | the log contradicts the order in which one producer sent, and with it the order of each key (ours) |
//! | `offset-gap` | an offset that nobody has, in a log that is neither compacted nor transactional (ours) |
//!
//! Aborted and precommitted reads of transactions, skips over what was aborted, and whatever is lost or unseen go by
//! readers of committed records; all others only tell where values are. Jepsen allows skips and steps back to members of
//! groups, since it does not see rebalances; our readers note them, so all readers are judged alike. Circles of reads that
//! need an edge from writer to writer are everyday life as well, and not told. Cycles with the order of time, and those with
//! anti-dependencies, are not looked for. How far readers are behind (Jepsen's realtime lag) is told and not judged.
//!
//! Invariants: pure; the verdict depends on the events only. Every producer keeps its order (idempotent, or one request
//! in flight), so order is judged for all of them. A history without [`What::Healed`] has no final reading: then only what
//! lies before the furthest poll can be called lost.

mod cycles; // of transactions
mod groups; // what was committed over
mod lag; // how late readers are
mod order; // of sends and in the log
mod places; // what is where
mod polls; // what one reader saw, one after the other
mod transactions; // what became of each
mod writes; // what became of each value

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Event, Outcome, What};
use places::Places;

/// Examples that a verdict prints of each kind.
const EXAMPLES: usize = 3;

/// Kinds of anomalies, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    LostWrite,
    Duplicate,
    InconsistentOffsets,
    Reordered,
    AbortedRead,
    PrecommittedRead,
    VanishedRead,
    GarbageRead,
    StaleRead,
    Unseen,
    OffsetGap,
    PollSkip,
    IntPollSkip,
    GroupSkip,
    NonmonotonicPoll,
    IntNonmonotonicPoll,
    NonmonotonicSend,
    IntNonmonotonicSend,
    IntSendSkip,
    CircularRead,
    CircularWrite,
}

impl Kind {
    /// Jepsen's name where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::Duplicate => "duplicate",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Reordered => "reordered",
            Self::AbortedRead => "aborted-read",
            Self::PrecommittedRead => "precommitted-read",
            Self::VanishedRead => "vanished-read",
            Self::GarbageRead => "garbage-read",
            Self::StaleRead => "stale-read",
            Self::Unseen => "unseen",
            Self::OffsetGap => "offset-gap",
            Self::PollSkip => "poll-skip",
            Self::IntPollSkip => "int-poll-skip",
            Self::GroupSkip => "group-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::IntSendSkip => "int-send-skip",
            Self::CircularRead => "G1c",
            Self::CircularWrite => "G0",
        }
    }

    /// Kafka promises nothing about it.
    pub fn is_allowed(self) -> bool {
        self == Self::CircularWrite
    }
}

/// One thing that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    pub kind: Kind,
    pub partition: i32,
    /// Values, offsets and times, so that it can be found in the file.
    pub detail: String,
}

/// How many values there were, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: usize,
    pub acknowledged: usize,
    pub failed: usize,
    /// The producer never learned.
    pub unknown: usize,
    /// Of those, how many turned up.
    pub unknown_found: usize,
    /// Different values that any reader saw.
    pub read: usize,
    /// Transactions by what their producers were told; no other counts of a history without any.
    pub committed: usize,
    pub aborted: usize,
    pub in_doubt: usize,
    /// Commits of groups.
    pub group_commits: usize,
}

/// What the checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub anomalies: Vec<Anomaly>,
    pub counts: Counts,
    /// The longest time from when a value was due to when a reader that was there polled it.
    pub lag_max: Duration,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.anomalies.iter().all(|anomaly| anomaly.kind.is_allowed())
    }

    /// How many anomalies of this kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count()
    }

    /// The kinds that were found, each once.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.anomalies.iter().map(|anomaly| anomaly.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.fmt(f, self.lag_max)?;
        let (allowed, forbidden): (Vec<Kind>, Vec<Kind>) = self.kinds().into_iter().partition(|kind| kind.is_allowed());
        let forbidden_count: usize = forbidden.iter().map(|kind| self.count(*kind)).sum();
        match forbidden_count {
            0 => write!(f, ": no anomaly")?,
            count => write!(f, ": {count} anomalies")?,
        }
        for kind in allowed {
            write!(f, ", {} x {}, which is allowed", self.count(kind), kind.name())?;
        }
        for kind in forbidden {
            write!(f, "\n  {} x {}", self.count(kind), kind.name())?;
            for anomaly in self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).take(EXAMPLES) {
                write!(f, "\n      partition {}: {}", anomaly.partition, anomaly.detail)?;
            }
        }
        Ok(())
    }
}

impl Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>, lag_max: Duration) -> fmt::Result {
        let Self { sent, acknowledged, failed, unknown, unknown_found, read, .. } = self;
        let Self { committed, aborted, in_doubt, group_commits, .. } = self;
        write!(
            f,
            "{sent} sent, {acknowledged} acknowledged, {failed} failed, {unknown} in doubt ({unknown_found} of them \
             arrived), {read} read, at most {:.2} s late",
            lag_max.as_secs_f64()
        )?;
        if *group_commits > 0 {
            write!(f, "; groups: {group_commits} commits")?;
        }
        if committed + aborted + in_doubt > 0 {
            write!(f, "; transactions: {committed} committed, {aborted} aborted, {in_doubt} in doubt")?;
        }
        Ok(())
    }
}

/// Judges a history; events in the order in which they were recorded.
pub fn judge(events: &[Event]) -> Verdict {
    let places = Places::of(events);
    let mut found = Findings::default();
    writes::lost_and_unseen(&places, &mut found);
    writes::duplicates(&places, &mut found);
    writes::forbidden_reads(events, &places, &mut found);
    writes::uncommitted_reads(&places, &mut found);
    writes::stale_reads(events, &places, &mut found);
    order::inconsistent_offsets(&places, &mut found);
    order::log_order(&places, &mut found);
    order::gaps(&places, &mut found);
    order::sends(events, &places, &mut found);
    polls::polls(events, &places, &mut found);
    groups::skips(events, &places, &mut found);
    cycles::cycles(&places, &mut found);
    let mut anomalies = found.anomalies;
    anomalies.sort_by_key(|anomaly| (anomaly.kind, anomaly.partition));
    Verdict { anomalies, counts: counts(events, &places), lag_max: lag::longest(events, &places) }
}

#[derive(Default)]
struct Findings {
    anomalies: Vec<Anomaly>,
}

impl Findings {
    fn add(&mut self, kind: Kind, partition: i32, detail: impl Into<String>) {
        self.anomalies.push(Anomaly { kind, partition, detail: detail.into() });
    }
}

fn counts(events: &[Event], places: &Places) -> Counts {
    let values = |pick: fn(&What) -> Option<&Vec<crate::history::Value>>| -> usize {
        events.iter().filter_map(|event| pick(&event.what)).map(Vec::len).sum()
    };
    let sent = values(|what| if let What::Send { values, .. } = what { Some(values) } else { None });
    let acknowledged = values(|what| if let What::Sent { values, .. } = what { Some(values) } else { None });
    let failed = values(|what| if let What::Failed { values, .. } = what { Some(values) } else { None });
    let in_doubt = places.sends.iter().filter(|(_, send)| send.in_doubt());
    let unknown_found = in_doubt.filter(|(value, _)| places.polled.contains_key(value)).count();
    let ended =
        |outcome: Outcome| places.transactions.all().filter(|transaction| transaction.told() == outcome).count();
    Counts {
        sent,
        acknowledged,
        failed,
        unknown: sent - acknowledged - failed,
        unknown_found,
        read: places.polled.len(),
        committed: ended(Outcome::Committed),
        aborted: ended(Outcome::Aborted),
        in_doubt: ended(Outcome::Unknown),
        group_commits: events.iter().filter(|event| matches!(event.what, What::Committed { .. })).count(),
    }
}

/// The values of a map by partition and offset, for those that think partition by partition.
type Log<T> = BTreeMap<i32, BTreeMap<i64, T>>;

#[cfg(test)]
mod tests;
