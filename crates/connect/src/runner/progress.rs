//! Which source offsets may be stored: those of the acknowledged prefix of each source partition.
//!
//! Picture: everything sent gets a ticket in the order of sending. Acknowledgements come in any order; an offset becomes
//! storable when its ticket and all earlier ones of the same source partition are acknowledged. Pure: no I/O, no clock.

use std::collections::{BTreeMap, VecDeque};

use twinstream_connect_api::OffsetMap;

use crate::state::offsets::canonical;

/// Names one thing sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    partition: usize,
    number: u64,
}

#[derive(Default)]
pub(super) struct Progress {
    by_name: BTreeMap<String, usize>,
    partitions: Vec<Partition>,
}

struct Partition {
    source: OffsetMap,
    /// Sent and not yet part of the acknowledged prefix, in order.
    open: VecDeque<Sent>,
    /// Number of the first entry of `open`.
    first: u64,
    /// Acknowledged but not yet stored.
    storable: Option<OffsetMap>,
}

struct Sent {
    offset: OffsetMap,
    acknowledged: bool,
}

impl Progress {
    pub(super) fn sent(&mut self, source: &OffsetMap, offset: OffsetMap) -> Ticket {
        let index = match self.by_name.get(&canonical(source)) {
            Some(index) => *index,
            None => {
                let open = VecDeque::new();
                self.partitions.push(Partition { source: source.clone(), open, first: 0, storable: None });
                self.by_name.insert(canonical(source), self.partitions.len() - 1);
                self.partitions.len() - 1
            }
        };
        let partition = &mut self.partitions[index];
        partition.open.push_back(Sent { offset, acknowledged: false });
        Ticket { partition: index, number: partition.first + partition.open.len() as u64 - 1 }
    }

    pub(super) fn acknowledged(&mut self, ticket: Ticket) {
        let partition = &mut self.partitions[ticket.partition];
        let at = usize::try_from(ticket.number - partition.first).unwrap_or(usize::MAX);
        if let Some(sent) = partition.open.get_mut(at) {
            sent.acknowledged = true;
        }
        while partition.open.front().is_some_and(|sent| sent.acknowledged) {
            partition.storable = partition.open.pop_front().map(|sent| sent.offset);
            partition.first += 1;
        }
    }

    /// What may be stored now; each offset is given out once.
    pub(super) fn take_storable(&mut self) -> Vec<(OffsetMap, OffsetMap)> {
        let take = |p: &mut Partition| Some((p.source.clone(), p.storable.take()?));
        self.partitions.iter_mut().filter_map(take).collect()
    }

    /// Puts back what could not be stored, unless something newer became storable meanwhile.
    pub(super) fn put_back(&mut self, offsets: Vec<(OffsetMap, OffsetMap)>) {
        for (source, offset) in offsets {
            if let Some(index) = self.by_name.get(&canonical(&source)) {
                self.partitions[*index].storable.get_or_insert(offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(key: &str, value: i64) -> OffsetMap {
        json!({ key: value }).as_object().unwrap().clone()
    }

    fn storable(progress: &mut Progress) -> Vec<(i64, i64)> {
        let number = |map: &OffsetMap| map.values().next().and_then(|v| v.as_i64()).unwrap();
        progress.take_storable().iter().map(|(p, o)| (number(p), number(o))).collect()
    }

    #[test]
    fn only_the_contiguous_prefix_is_storable() {
        let mut progress = Progress::default();
        let tickets: Vec<Ticket> = (0..3).map(|i| progress.sent(&map("p", 1), map("o", i))).collect();
        progress.acknowledged(tickets[2]);
        assert!(storable(&mut progress).is_empty());
        progress.acknowledged(tickets[0]);
        assert_eq!(storable(&mut progress), [(1, 0)]);
        progress.acknowledged(tickets[1]);
        assert_eq!(storable(&mut progress), [(1, 2)]);
        assert!(storable(&mut progress).is_empty());
    }

    #[test]
    fn partitions_do_not_hold_each_other_back() {
        let mut progress = Progress::default();
        let _stuck = progress.sent(&map("p", 1), map("o", 1));
        let done = progress.sent(&map("p", 2), map("o", 9));
        progress.acknowledged(done);
        assert_eq!(storable(&mut progress), [(2, 9)]);
    }

    #[test]
    fn a_failed_store_is_put_back_unless_outdated() {
        let mut progress = Progress::default();
        let first = progress.sent(&map("p", 1), map("o", 1));
        let second = progress.sent(&map("p", 1), map("o", 2));
        progress.acknowledged(first);
        let taken = progress.take_storable();
        progress.put_back(taken.clone());
        assert_eq!(storable(&mut progress), [(1, 1)]);
        progress.acknowledged(second);
        progress.put_back(taken);
        assert_eq!(storable(&mut progress), [(1, 2)]);
    }
}
