//! Which source offsets may be stored: those of the acknowledged prefix of each source partition.
//!
//! Picture: everything sent gets a ticket in the order of sending. Acknowledgements come in any order; an offset becomes
//! storable when its ticket and all earlier ones of the same source partition are acknowledged, and at that moment the
//! observer of raw batches is told. Pure: no I/O, no clock.
//!
//! Cost: a single record names its source partition by a JSON map, which is compared as text. A raw batch names it by its
//! lane, which is known by its address: no text, no map, no allocation for a batch.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use twinstream_connect_api::{OffsetMap, RawLane};
use twinstream_model::Offset;

use crate::state::offsets::canonical;

/// Places that the queue of a partition keeps when it is empty. A burst of small batches needs thousands, and ten thousand
/// partitions must not keep theirs for good.
const KEPT: usize = 16;

/// Names one thing sent. As a number: the source partition in the upper half, and its place in the order of that
/// partition in the lower half, which wraps around; far fewer than 2^32 are under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    fn new(partition: usize, number: u32) -> Self {
        Self(((partition as u64) << 32) | u64::from(number))
    }

    fn partition(self) -> usize {
        (self.0 >> 32) as usize
    }

    fn number(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }

    pub(super) fn to_number(self) -> u64 {
        self.0
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// What a thing sent weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) records: u32,
    pub(super) bytes: usize,
}

/// A raw batch that joined the acknowledged prefix of its source partition.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) lane: Arc<RawLane>,
    pub(super) next: i64,
    pub(super) base_offset: Offset,
}

/// An offset to be stored.
#[derive(Clone, Debug)]
pub(super) struct Storable {
    partition: usize,
    pub(super) source: OffsetMap,
    pub(super) offset: OffsetMap,
}

#[derive(Default)]
pub(super) struct Progress {
    by_name: BTreeMap<String, usize>,
    /// By the address of the lane, which is kept here so that no other one takes its address.
    by_lane: HashMap<usize, Lane>,
    partitions: Vec<Partition>,
}

struct Lane {
    lane: Arc<RawLane>,
    partition: usize,
    /// The target refused something of it: nothing more goes through.
    closed: bool,
}

struct Partition {
    source: OffsetMap,
    /// Sent and not yet part of the acknowledged prefix, in order.
    open: VecDeque<Sent>,
    /// Number of the first entry of `open`.
    first: u32,
    /// Acknowledged but not yet stored.
    storable: Option<Position>,
}

struct Sent {
    position: Position,
    size: Size,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Where it ended up. Single records are not asked for it.
    Arrived(Offset),
    /// Given up together with its lane: no offset follows from it.
    Dropped,
}

enum Position {
    Map(OffsetMap),
    Raw { lane: Arc<RawLane>, next: i64 },
}

impl Position {
    fn into_map(self) -> OffsetMap {
        match self {
            Self::Map(map) => map,
            Self::Raw { lane, next } => (lane.source_offset)(next),
        }
    }
}

impl Progress {
    /// A single record goes out.
    pub(super) fn sent(&mut self, source: &OffsetMap, offset: OffsetMap, size: Size) -> Ticket {
        let index = self.named(source);
        self.push(index, Position::Map(offset), size)
    }

    /// A raw batch goes out; `None` if its lane is closed, and the batch is to be dropped.
    pub(super) fn sent_raw(&mut self, lane: &Arc<RawLane>, next: i64, size: Size) -> Option<Ticket> {
        let address = Arc::as_ptr(lane).addr();
        let index = match self.by_lane.get(&address) {
            Some(known) if known.closed => return None,
            Some(known) => known.partition,
            None => {
                let partition = self.named(&lane.source_partition);
                self.by_lane.insert(address, Lane { lane: Arc::clone(lane), partition, closed: false });
                partition
            }
        };
        Some(self.push(index, Position::Raw { lane: Arc::clone(lane), next }, size))
    }

    fn named(&mut self, source: &OffsetMap) -> usize {
        let name = canonical(source);
        if let Some(index) = self.by_name.get(&name) {
            return *index;
        }
        self.partitions.push(Partition { source: source.clone(), open: VecDeque::new(), first: 0, storable: None });
        self.by_name.insert(name, self.partitions.len() - 1);
        self.partitions.len() - 1
    }

    fn push(&mut self, index: usize, position: Position, size: Size) -> Ticket {
        let partition = &mut self.partitions[index];
        let number = partition.first.wrapping_add(partition.open.len() as u32);
        partition.open.push_back(Sent { position, size, outcome: None });
        Ticket::new(index, number)
    }

    /// Takes in that something arrived at `base_offset` of its target, and appends the raw batches that joined the
    /// acknowledged prefix by it to `deliveries`. The answer is what it weighed; a ticket counts once.
    pub(super) fn acknowledged(&mut self, ticket: Ticket, base_offset: Offset, deliveries: &mut Vec<Delivery>) -> Size {
        self.resolve(ticket, Outcome::Arrived(base_offset), deliveries)
    }

    /// The lane of something under way, and whether it is closed already.
    pub(super) fn lane_of(&self, ticket: Ticket) -> Option<(Arc<RawLane>, bool)> {
        let partition = self.partitions.get(ticket.partition())?;
        let sent = partition.open.get(ticket.number().wrapping_sub(partition.first) as usize)?;
        let Position::Raw { lane, .. } = &sent.position else { return None };
        let closed = self.by_lane.get(&Arc::as_ptr(lane).addr()).is_some_and(|known| known.closed);
        Some((Arc::clone(lane), closed))
    }

    /// Lets a lane take nothing more.
    pub(super) fn close(&mut self, lane: &Arc<RawLane>) {
        if let Some(known) = self.by_lane.get_mut(&Arc::as_ptr(lane).addr()) {
            known.closed = true;
        }
    }

    /// Gives up something of a closed lane: no offset follows from it.
    pub(super) fn dropped(&mut self, ticket: Ticket, deliveries: &mut Vec<Delivery>) -> Size {
        self.resolve(ticket, Outcome::Dropped, deliveries)
    }

    fn resolve(&mut self, ticket: Ticket, outcome: Outcome, deliveries: &mut Vec<Delivery>) -> Size {
        let Some(partition) = self.partitions.get_mut(ticket.partition()) else { return Size::default() };
        let at = ticket.number().wrapping_sub(partition.first) as usize;
        let size = match partition.open.get_mut(at) {
            Some(sent) if sent.outcome.is_none() => {
                sent.outcome = Some(outcome);
                sent.size
            }
            _ => return Size::default(),
        };
        while let Some(outcome) = partition.open.front().and_then(|sent| sent.outcome) {
            let Some(sent) = partition.open.pop_front() else { break };
            partition.first = partition.first.wrapping_add(1);
            let Outcome::Arrived(base_offset) = outcome else { continue };
            if let Position::Raw { lane, next } = &sent.position {
                deliveries.push(Delivery { lane: Arc::clone(lane), next: *next, base_offset });
            }
            partition.storable = Some(sent.position);
        }
        size
    }

    /// What may be stored now; each offset is given out once.
    pub(super) fn take_storable(&mut self) -> Vec<Storable> {
        let take = |(partition, p): (usize, &mut Partition)| {
            if p.open.capacity() > (2 * p.open.len()).max(KEPT) {
                p.open.shrink_to(KEPT);
            }
            let offset = p.storable.take()?.into_map();
            Some(Storable { partition, source: p.source.clone(), offset })
        };
        let storable = self.partitions.iter_mut().enumerate().filter_map(take).collect();
        // A lane that nobody but this map knows any more will not send again.
        self.by_lane.retain(|_, known| Arc::strong_count(&known.lane) > 1);
        storable
    }

    /// Puts back what could not be stored, unless something newer became storable meanwhile.
    pub(super) fn put_back(&mut self, offsets: Vec<Storable>) {
        for Storable { partition, offset, .. } in offsets {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.storable.get_or_insert(Position::Map(offset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

    use super::*;

    const ANYWHERE: Offset = Offset(0);

    fn map(key: &str, value: i64) -> OffsetMap {
        json!({ key: value }).as_object().unwrap().clone()
    }

    fn send(progress: &mut Progress, partition: i64, offset: i64) -> Ticket {
        progress.sent(&map("p", partition), map("o", offset), Size { records: 1, bytes: 10 })
    }

    fn arrive(progress: &mut Progress, ticket: Ticket) -> Size {
        progress.acknowledged(ticket, ANYWHERE, &mut Vec::new())
    }

    fn storable(progress: &mut Progress) -> Vec<(i64, i64)> {
        let number = |map: &OffsetMap| map.values().next().and_then(|v| v.as_i64()).unwrap();
        progress.take_storable().iter().map(|one| (number(&one.source), number(&one.offset))).collect()
    }

    fn lane(partition: i32) -> Arc<RawLane> {
        let target = TopicPartition::new(TopicName::parse("copy").unwrap(), PartitionIndex(partition));
        let source_partition = map("p", i64::from(partition));
        Arc::new(RawLane { target, source_partition, source_offset: |next| map("o", next - 1) })
    }

    #[test]
    fn only_the_contiguous_prefix_is_storable() {
        let mut progress = Progress::default();
        let tickets: Vec<Ticket> = (0..3).map(|i| send(&mut progress, 1, i)).collect();
        arrive(&mut progress, tickets[2]);
        assert!(storable(&mut progress).is_empty());
        arrive(&mut progress, tickets[0]);
        assert_eq!(storable(&mut progress), [(1, 0)]);
        arrive(&mut progress, tickets[1]);
        assert_eq!(storable(&mut progress), [(1, 2)]);
        assert!(storable(&mut progress).is_empty());
    }

    #[test]
    fn partitions_do_not_hold_each_other_back() {
        let mut progress = Progress::default();
        let _stuck = send(&mut progress, 1, 1);
        let done = send(&mut progress, 2, 9);
        arrive(&mut progress, done);
        assert_eq!(storable(&mut progress), [(2, 9)]);
    }

    #[test]
    fn a_failed_store_is_put_back_unless_outdated() {
        let mut progress = Progress::default();
        let (first, second) = (send(&mut progress, 1, 1), send(&mut progress, 1, 2));
        arrive(&mut progress, first);
        let taken = progress.take_storable();
        progress.put_back(taken.clone());
        assert_eq!(storable(&mut progress), [(1, 1)]);
        arrive(&mut progress, second);
        progress.put_back(taken);
        assert_eq!(storable(&mut progress), [(1, 2)]);
    }

    #[test]
    fn what_arrived_weighs_once() {
        let mut progress = Progress::default();
        let tickets = [send(&mut progress, 1, 1), send(&mut progress, 1, 2)];
        assert_eq!(arrive(&mut progress, tickets[1]), Size { records: 1, bytes: 10 });
        assert_eq!(arrive(&mut progress, tickets[1]), Size::default());
        assert_eq!(arrive(&mut progress, tickets[0]), Size { records: 1, bytes: 10 });
        assert_eq!(arrive(&mut progress, tickets[0]), Size::default());
        assert_eq!(arrive(&mut progress, Ticket::new(9, 0)), Size::default());
    }

    #[test]
    fn raw_batches_are_told_in_the_order_of_sending() {
        let mut progress = Progress::default();
        let lane = lane(1);
        let tickets: Vec<Ticket> = (1..4).map(|n| progress.sent_raw(&lane, n * 10, Size::default()).unwrap()).collect();
        let mut told = Vec::new();
        progress.acknowledged(tickets[1], Offset(110), &mut told);
        assert!(told.is_empty(), "the first one is still under way");
        progress.acknowledged(tickets[0], Offset(100), &mut told);
        progress.acknowledged(tickets[2], Offset(120), &mut told);
        let told: Vec<(i64, i64)> = told.iter().map(|one| (one.next, one.base_offset.0)).collect();
        assert_eq!(told, [(10, 100), (20, 110), (30, 120)]);
        assert_eq!(storable(&mut progress), [(1, 29)], "stored is what the lane makes of the position");
    }

    #[test]
    fn lanes_and_single_records_of_one_source_partition_share_one_order() {
        let mut progress = Progress::default();
        let (old, new) = (lane(1), lane(1));
        let record = send(&mut progress, 1, 4);
        let first = progress.sent_raw(&old, 6, Size::default()).unwrap();
        let second = progress.sent_raw(&new, 8, Size::default()).unwrap();
        arrive(&mut progress, second);
        arrive(&mut progress, first);
        assert!(storable(&mut progress).is_empty());
        arrive(&mut progress, record);
        assert_eq!(storable(&mut progress), [(1, 7)]);
    }

    #[test]
    fn a_closed_lane_takes_nothing_and_a_new_one_goes_on_behind_the_last_delivery() {
        let mut progress = Progress::default();
        let (old, mut told) = (lane(1), Vec::new());
        let size = Size { records: 2, bytes: 10 };
        let sent: Vec<Ticket> = (1..5).map(|n| progress.sent_raw(&old, n * 2, size).unwrap()).collect();
        progress.acknowledged(sent[0], ANYWHERE, &mut told);
        assert_eq!(progress.lane_of(sent[1]).map(|(_, closed)| closed), Some(false));
        progress.close(&old);
        assert_eq!(progress.dropped(sent[1], &mut told), size);
        assert!(progress.sent_raw(&old, 10, size).is_none(), "what the task had read ahead must leave no gap");
        assert_eq!(progress.lane_of(sent[2]).map(|(_, closed)| closed), Some(true));
        // The task goes on before the rest of the old lane has come back.
        let new = lane(1);
        let again = progress.sent_raw(&new, 4, size).unwrap();
        progress.acknowledged(again, ANYWHERE, &mut told);
        assert_eq!(storable(&mut progress), [(1, 1)], "nothing of what was refused counts");
        sent[2..].iter().for_each(|ticket| assert_eq!(progress.dropped(*ticket, &mut told), size));
        assert_eq!(told.iter().map(|one| one.next).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(storable(&mut progress), [(1, 3)]);
    }

    #[test]
    fn lanes_that_are_given_up_are_forgotten() {
        let mut progress = Progress::default();
        let (kept, given_up) = (lane(1), lane(2));
        let _open = progress.sent_raw(&kept, 1, Size::default());
        let ticket = progress.sent_raw(&given_up, 1, Size::default()).unwrap();
        drop(given_up);
        assert!(progress.take_storable().is_empty());
        assert_eq!(progress.by_lane.len(), 2, "a lane with a batch under way is known");
        arrive(&mut progress, ticket);
        assert_eq!(storable(&mut progress), [(2, 0)]);
        assert_eq!(progress.by_lane.len(), 1);
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut progress = Progress::default();
        let lane = lane(1);
        let burst: Vec<Ticket> = (0..5000).map(|n| progress.sent_raw(&lane, n, Size::default()).unwrap()).collect();
        progress.take_storable();
        assert!(progress.partitions[0].open.capacity() >= 5000);
        burst.into_iter().for_each(|ticket| _ = arrive(&mut progress, ticket));
        assert_eq!(storable(&mut progress), [(1, 4998)]);
        assert!(progress.partitions[0].open.capacity() <= 2 * KEPT);
    }

    #[test]
    fn numbers_of_tickets_may_wrap_around() {
        let mut progress = Progress::default();
        let before = send(&mut progress, 1, 1);
        arrive(&mut progress, before);
        progress.partitions[0].first = u32::MAX;
        let tickets: Vec<Ticket> = (0..3).map(|i| send(&mut progress, 1, i)).collect();
        let again = |ticket: &Ticket| Ticket::from_number(ticket.to_number());
        tickets.iter().rev().for_each(|ticket| _ = arrive(&mut progress, again(ticket)));
        assert_eq!(storable(&mut progress), [(1, 2)]);
    }
}
