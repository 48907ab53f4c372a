//! Order: in the log, and of what each producer sent.

use std::collections::{BTreeMap, BTreeSet};

use super::places::Places;
use super::{Findings, Kind};
use crate::history::{Event, Value, What, Worker};

pub(super) fn inconsistent_offsets(places: &Places, found: &mut Findings) {
    for (partition, log) in &places.log {
        for (offset, values) in log.iter().filter(|(_, values)| values.len() > 1) {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            found.add(Kind::InconsistentOffsets, *partition, format!("offset {offset} holds {}", values.join(" and ")));
        }
    }
}

/// What one producer sent to one partition stands there in the order of sending; the first copy of a duplicate counts.
pub(super) fn log_order(places: &Places, found: &mut Findings) {
    for (partition, log) in &places.last_log {
        let mut last: BTreeMap<Worker, (u64, i64)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (offset, values) in log {
            for value in values {
                if !seen.insert(*value) {
                    continue;
                }
                let (number, before) = last.get(&value.worker).copied().unwrap_or((0, -1));
                if before >= 0 && number > value.number {
                    let detail =
                        format!("{value} at offset {offset} stands behind {}.{number} at {before}", value.worker.0);
                    found.add(Kind::Reordered, *partition, detail);
                } else {
                    last.insert(value.worker, (value.number, *offset));
                }
            }
        }
    }
}

/// Between the first and the last record of the last reading there is no hole. Markers of transactions would be one.
pub(super) fn gaps(places: &Places, found: &mut Findings) {
    if !places.transactions.is_empty() {
        return;
    }
    for (partition, log) in places.last_reading.iter().filter(|(partition, _)| places.last_end.contains_key(partition))
    {
        let mut expected = None;
        for offset in log.keys() {
            if let Some(from) = expected.filter(|expected| expected < offset) {
                found.add(Kind::OffsetGap, *partition, format!("nothing at {from}..{offset}"));
            }
            expected = Some(offset + 1);
        }
    }
}

/// Offsets of a producer's batches ascend in the order of sending, and so do the records within each. That something
/// stands between two batches of one transaction is as it should be: writers are not isolated from each other.
pub(super) fn sends(events: &[Event], places: &Places, found: &mut Findings) {
    let mut last: BTreeMap<(Worker, i32), (Value, i64)> = BTreeMap::new();
    for event in events {
        let What::Send { partition, values } = &event.what else { continue };
        within_batch(*partition, values, places, found);
        let offset_of = |value: &Value| places.sends.get(value).and_then(|send| send.acknowledged);
        let (Some(first), Some(end)) = (values.first(), values.last()) else { continue };
        let (Some((from, _)), Some((to, _))) = (offset_of(first), offset_of(end)) else { continue };
        if from < 0 {
            continue; // only the log tells where it is
        }
        if let Some((before, at)) = last.get(&(event.worker, *partition)).filter(|(_, at)| *at >= from) {
            let detail = format!("{first} was sent after {before}, and got {from} after {at}");
            let within_transaction = places.transactions.are_of_one(*before, *first);
            let kind = if within_transaction { Kind::IntNonmonotonicSend } else { Kind::NonmonotonicSend };
            found.add(kind, *partition, detail);
        }
        last.insert((event.worker, *partition), (*end, to));
    }
}

/// The records of one batch stand side by side; where they stand is what readers saw.
fn within_batch(partition: i32, values: &[Value], places: &Places, found: &mut Findings) {
    let place = |value: &Value| {
        let at = places.places.get(value)?.iter().find(|(of, _)| *of == partition)?;
        Some(at.1)
    };
    for pair in values.windows(2) {
        let (Some(first), Some(second)) = (place(&pair[0]), place(&pair[1])) else { continue };
        let told = format!("{} at {first}, then {} at {second} in one batch", pair[0], pair[1]);
        if second <= first {
            found.add(Kind::IntNonmonotonicSend, partition, told);
        } else if let Some((offset, between)) = places.between(partition, first, second) {
            found.add(Kind::IntSendSkip, partition, format!("{told}; {between} at {offset} stands between"));
        }
    }
}
