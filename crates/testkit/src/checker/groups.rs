//! What groups skip: an offset that a member commits says that the group has read everything before it.
//!
//! Members come and go, and each begins where the group is, so what one of them jumps over at its beginning is for others to
//! have read. Only the group as a whole can be judged: what lies before its furthest commit and was polled by none of its
//! members, at any time, is lost to the application. What was polled more than once is as it should be (at least once).

use std::collections::{BTreeMap, BTreeSet};

use super::places::Places;
use super::{Findings, Kind};
use crate::history::{Event, Value, What, Worker};

/// What is known of one group.
#[derive(Default)]
struct Group {
    polled: BTreeSet<Value>,
    /// The furthest commit of each partition, and whose it was.
    committed: BTreeMap<i32, (i64, Worker)>,
}

pub(super) fn skips(events: &[Event], places: &Places, found: &mut Findings) {
    for (name, group) in groups(events) {
        for (partition, (end, by)) in &group.committed {
            let skipped = places.to_be_read_before(*partition, *end).filter(|(_, value)| !group.polled.contains(value));
            for (offset, value) in skipped {
                let told = format!("{value} at {offset} was polled by no member of {name}");
                found.add(Kind::GroupSkip, *partition, format!("{told}, of which worker {} committed {end}", by.0));
            }
        }
    }
}

fn groups(events: &[Event]) -> BTreeMap<&str, Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    let mut members: BTreeMap<Worker, &str> = BTreeMap::new();
    for event in events {
        if let What::Member { group } = &event.what {
            members.insert(event.worker, group);
        }
        let Some(name) = members.get(&event.worker) else { continue };
        let group = groups.entry(name).or_default();
        match &event.what {
            What::Polled { records, .. } => group.polled.extend(records.iter().map(|(_, value)| *value)),
            What::Committed { partitions } => {
                for (partition, offset) in partitions {
                    let furthest = group.committed.entry(*partition).or_insert((*offset, event.worker));
                    *furthest = (*furthest).max((*offset, event.worker));
                }
            }
            _ => {}
        }
    }
    groups
}
