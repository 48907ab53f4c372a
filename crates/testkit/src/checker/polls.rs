//! What one reader saw, one after the other.
//!
//! A reader's position in a partition is remembered from poll to poll and forgotten when it is assigned anew. A jump
//! counts only when something is known to stand in between that this reader must see. Polls of one transaction count as
//! one.

use std::collections::BTreeMap;

use super::places::Places;
use super::{Findings, Kind};
use crate::history::{Event, Value, What, Worker};

/// Where each reader is: the offset that it polled last, and in which of its transactions.
struct Position {
    offset: i64,
    value: Option<Value>,
    transaction: Option<usize>,
}

pub(super) fn polls(events: &[Event], places: &Places, found: &mut Findings) {
    let mut positions: BTreeMap<(Worker, i32), Position> = BTreeMap::new();
    let mut open: BTreeMap<Worker, usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        match &event.what {
            What::Begin => _ = open.insert(event.worker, index),
            What::Ended { .. } => _ = open.remove(&event.worker),
            What::Assigned { partitions } => {
                positions.retain(|(worker, _), _| *worker != event.worker);
                for (partition, start) in partitions.iter().filter(|(_, start)| *start >= 0) {
                    let position = Position { offset: start - 1, value: None, transaction: None };
                    positions.insert((event.worker, *partition), position);
                }
            }
            What::Polled { partition, records } => {
                let mut position = positions.remove(&(event.worker, *partition));
                let transaction = open.get(&event.worker).copied();
                for (index, (offset, value)) in records.iter().enumerate() {
                    if let Some(position) = &position {
                        let within = index > 0 || (transaction.is_some() && position.transaction == transaction);
                        step(event.worker, *partition, position, (*offset, *value), within, places, found);
                    }
                    position = Some(Position { offset: *offset, value: Some(*value), transaction });
                }
                if let Some(position) = position {
                    positions.insert((event.worker, *partition), position);
                }
            }
            _ => {}
        }
    }
}

fn step(
    reader: Worker,
    partition: i32,
    from: &Position,
    (offset, value): (i64, Value),
    within_poll: bool,
    places: &Places,
    found: &mut Findings,
) {
    let before = from.value.map_or_else(|| "its start".to_owned(), |value| value.to_string());
    let told = format!("worker {} went from {before} at {} to {value} at {offset}", reader.0, from.offset);
    if offset <= from.offset {
        let kind = if within_poll { Kind::IntNonmonotonicPoll } else { Kind::NonmonotonicPoll };
        found.add(kind, partition, told);
    } else if let Some((offset, skipped)) = places.between_for(reader, partition, from.offset, offset) {
        let kind = if within_poll { Kind::IntPollSkip } else { Kind::PollSkip };
        found.add(kind, partition, format!("{told} over {skipped} at {offset}"));
    }
}
