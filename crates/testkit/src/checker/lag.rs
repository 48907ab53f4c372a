//! How late readers are: what Jepsen calls realtime lag, told and never judged, since nobody promises a time.
//!
//! Counted is what became due while its reader was there. What was due before is a backlog, and says how fast a reader
//! reads; and a transaction polls when it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::places::Places;
use crate::history::{Event, What, Worker};

/// The longest time from when a value was due (acknowledged, or its transaction committed, as far as its producer knows) to
/// when a reader of committed records polled it.
pub(super) fn longest(events: &[Event], places: &Places) -> Duration {
    let writers: BTreeSet<Worker> = places.transactions.all().map(|transaction| transaction.worker).collect();
    let mut assigned: BTreeMap<Worker, u64> = BTreeMap::new();
    let mut longest_us = 0;
    for event in events.iter().filter(|event| !writers.contains(&event.worker)) {
        match &event.what {
            What::Assigned { .. } => _ = assigned.insert(event.worker, event.at_us),
            What::Polled { records, .. } if places.reads_committed(event.worker) => {
                let Some(since_us) = assigned.get(&event.worker) else { continue };
                let due = records.iter().filter_map(|(_, value)| places.due(*value)).map(|(_, due_us)| due_us);
                let oldest = due.filter(|due_us| due_us >= since_us).min();
                longest_us = longest_us.max(oldest.map_or(0, |due_us| event.at_us.saturating_sub(due_us)));
            }
            _ => {}
        }
    }
    Duration::from_micros(longest_us)
}
