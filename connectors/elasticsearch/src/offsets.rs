//! Which offsets may be committed: per partition, everything before the oldest record that is not finished. Pure.
//!
//! A partition has an *incarnation*, counted up whenever it is closed, so that a late answer about a record of before
//! is not taken for one of after.

use std::collections::{BTreeMap, HashMap};

use twinstream_model::{Offset, TopicPartition};

/// A record's place, as lanes carry it along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub partition: TopicPartition,
    pub offset: i64,
    incarnation: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Offsets {
    unfinished: HashMap<TopicPartition, BTreeMap<i64, u32>>,
    incarnations: HashMap<TopicPartition, u64>,
}

impl Offsets {
    /// A record is on its way. The same offset may be on its way twice, after a rewind.
    pub(crate) fn begin(&mut self, partition: &TopicPartition, offset: i64) -> Ticket {
        *self.unfinished.entry(partition.clone()).or_default().entry(offset).or_default() += 1;
        Ticket { partition: partition.clone(), offset, incarnation: self.incarnation(partition) }
    }

    pub(crate) fn finish(&mut self, ticket: &Ticket) {
        if !self.is_current(ticket) {
            return;
        }
        if let Some(open) = self.unfinished.get_mut(&ticket.partition)
            && let Some(n) = open.get_mut(&ticket.offset)
        {
            *n -= 1;
            if *n == 0 {
                open.remove(&ticket.offset);
            }
        }
    }

    /// Whether the ticket's partition was not closed since.
    pub(crate) fn is_current(&self, ticket: &Ticket) -> bool {
        ticket.incarnation == self.incarnation(&ticket.partition)
    }

    pub(crate) fn close(&mut self, partition: &TopicPartition) {
        self.unfinished.remove(partition);
        *self.incarnations.entry(partition.clone()).or_default() += 1;
    }

    /// For each delivered partition the next offset to read after a restart.
    pub(crate) fn committable(&self, delivered: &BTreeMap<TopicPartition, Offset>) -> BTreeMap<TopicPartition, Offset> {
        let safe = |(partition, end): (&TopicPartition, &Offset)| {
            let oldest = self.unfinished.get(partition).and_then(|open| open.keys().next().copied());
            (partition.clone(), oldest.map_or(*end, |oldest| Offset(oldest.min(end.0))))
        };
        delivered.iter().map(safe).collect()
    }

    fn incarnation(&self, partition: &TopicPartition) -> u64 {
        self.incarnations.get(partition).copied().unwrap_or(0)
    }
}
