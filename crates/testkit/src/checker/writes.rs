//! What became of each value: lost, unseen, doubled, or read where it must not be.

use std::collections::{BTreeMap, BTreeSet};

use super::places::Places;
use super::{Findings, Kind};
use crate::history::{Event, Outcome, Value, What};

/// With a last reading up to the end, whatever is missing in it is lost. Without one, only what lies before the furthest
/// poll is; the rest is unseen. A transaction of which one value was read has been committed, whatever its producer knows:
/// what is missing of it is lost as well.
pub(super) fn lost_and_unseen(places: &Places, found: &mut Findings) {
    let at_last = places.found_at_last();
    for (value, send) in &places.sends {
        let Some((offset, due_us)) = places.due(*value) else { continue };
        let partition = send.partition;
        let how = places.transactions.of(*value).map_or_else(|| "acknowledged".to_owned(), |of| of.how_committed());
        let told = format!("{value} was {how}, at offset {offset} ({})", seconds(due_us));
        match places.last_end.get(&partition) {
            Some(_) if at_last.contains(value) => {}
            Some(end) => {
                let instead = places.last_reading.get(&partition).and_then(|log| log.get(&offset));
                let instead = match instead.and_then(BTreeSet::first) {
                    Some(other) => format!("there is {other}"),
                    None if offset >= *end => format!("the partition ends at {end}"),
                    None => "there is nothing".to_owned(),
                };
                found.add(Kind::LostWrite, partition, format!("{told}; in the end {instead}"));
            }
            None if places.was_read(*value) => {}
            None => match places.furthest.get(&partition) {
                Some(furthest) if offset >= 0 && *furthest > offset => {
                    found.add(Kind::LostWrite, partition, format!("{told}; readers passed it up to {furthest}"));
                }
                _ => found.add(Kind::Unseen, partition, format!("{told}; no reader came that far")),
            },
        }
    }
}

pub(super) fn duplicates(places: &Places, found: &mut Findings) {
    for (value, at) in places.places.iter().filter(|(_, at)| at.len() > 1) {
        let partition = at.first().map_or(-1, |(partition, _)| *partition);
        let at: Vec<String> = at.iter().map(|(partition, offset)| format!("{partition}@{offset}")).collect();
        found.add(Kind::Duplicate, partition, format!("{value} is at {}", at.join(" and ")));
    }
}

/// Reads of what failed, of what nobody sent, and of what was never committed.
pub(super) fn forbidden_reads(events: &[Event], places: &Places, found: &mut Findings) {
    for event in events {
        if let What::Garbage { partition, offset, text } = &event.what {
            found.add(Kind::GarbageRead, *partition, format!("`{text}` at offset {offset} is no value of ours"));
        }
    }
    for (value, at_us) in &places.polled {
        let (partition, offset) = first_place(places, *value);
        let told = format!("{value} was polled at offset {offset} ({})", seconds(*at_us));
        match places.sends.get(value) {
            None => found.add(Kind::GarbageRead, partition, format!("{told}, and nobody sent it")),
            Some(send) if send.failed => found.add(Kind::AbortedRead, partition, format!("{told}, its send failed")),
            Some(send) if send.sent_us > *at_us => {
                found.add(Kind::GarbageRead, partition, format!("{told}, before it was sent"));
            }
            Some(_) => {}
        }
    }
}

/// What readers of committed records saw although it was not committed: not yet, or never.
pub(super) fn uncommitted_reads(places: &Places, found: &mut Findings) {
    let at_last = places.found_at_last();
    for (value, at_us) in &places.read {
        let (partition, offset) = first_place(places, *value);
        let told = format!("{value} was read as committed at offset {offset} ({})", seconds(*at_us));
        let Some(transaction) = places.transactions.of(*value) else {
            let was_acknowledged =
                places.sends.get(value).is_none_or(|send| send.acknowledged.is_some() || send.failed);
            if !was_acknowledged && places.last_end.contains_key(&partition) && !at_last.contains(value) {
                found.add(Kind::VanishedRead, partition, format!("{told}, and is gone in the end"));
            }
            continue;
        };
        if transaction.fate() == Outcome::Aborted {
            found.add(Kind::AbortedRead, partition, format!("{told}, its transaction {}", transaction.how_aborted()));
        } else if let Some(asked_us) = transaction.commit_us.filter(|asked_us| at_us < asked_us) {
            let asked = seconds(asked_us);
            found.add(Kind::PrecommittedRead, partition, format!("{told}, its commit was asked for later ({asked})"));
        }
    }
}

fn first_place(places: &Places, value: Value) -> (i32, i64) {
    places.places.get(&value).and_then(BTreeSet::first).copied().unwrap_or((-1, -1))
}

/// A reader that asks after all was healed is told of an end behind everything that was acknowledged before it asked.
/// While something is broken, Kafka makes no such promise: a leader that was cut off does not know it yet.
pub(super) fn stale_reads(events: &[Event], places: &Places, found: &mut Findings) {
    let at_last = places.found_at_last();
    let mut acknowledged: BTreeMap<i32, Vec<(u64, i64, Value)>> = BTreeMap::new();
    for (value, send) in places.sends.iter().filter(|(value, _)| at_last.contains(*value)) {
        let Some((offset, at_us)) = places.due(*value) else { continue };
        // That a transaction was committed may be known only from what was read of it later.
        if places.transactions.of(*value).is_some_and(|transaction| transaction.told() != Outcome::Committed) {
            continue;
        }
        acknowledged.entry(send.partition).or_default().push((at_us, offset, *value));
    }
    let mut healed_us = None;
    for event in events {
        match &event.what {
            What::Healed => healed_us = Some(event.at_us),
            What::Fault { .. } => healed_us = None,
            What::End { partition, offset: end, asked_us } if healed_us.is_some_and(|healed| *asked_us >= healed) => {
                let before = acknowledged.get(partition).into_iter().flatten();
                let missed =
                    before.filter(|(at_us, offset, _)| at_us < asked_us && offset >= end).max_by_key(|it| it.1);
                if let Some((at_us, offset, value)) = missed {
                    let detail = format!(
                        "worker {} asked at {} and was told that the partition ends at {end}; {value} had been \
                         acknowledged at offset {offset} ({})",
                        event.worker.0,
                        seconds(*asked_us),
                        seconds(*at_us)
                    );
                    found.add(Kind::StaleRead, *partition, detail);
                }
            }
            _ => {}
        }
    }
}

fn seconds(at_us: u64) -> String {
    format!("{:.3} s", at_us as f64 / 1e6)
}
