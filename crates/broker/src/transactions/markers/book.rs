//! Which markers are where: to be sent, under way, waiting, written.
//!
//! Picture: a ledger without any clock or socket. Each transaction has a set of partitions that are *left*; they stand in
//! the lane of the broker that leads them, fly in a batch, or wait for another try. When none of a transaction's partitions
//! is in a lane or in flight, its shard is told what was written since the last report.
//!
//! Invariants: a partition that is left is in exactly one place; a transaction that was replaced or whose shard has moved
//! away leaves no trace but batches in flight, whose outcome is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::{debug, warn};
use twinstream_coordinator::transaction::{Producer, WriteMarkers};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, TopicPartition, TransactionalId};

use super::wire::Codes;

/// Requests to one broker at a time. One that waits for replicas should not hold up all others; more of them would
/// only be smaller.
pub(super) const REQUESTS_MAX: usize = 4;

/// Transactions in one request, so that its answer does not wait for too many partitions.
const BATCH_TRANSACTIONS_MAX: usize = 500;

/// After this time an operator wants to know that a transaction waits, and again each time it has passed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose transaction it is.
pub(super) trait Origin: Clone {
    /// Whether it does not coordinate any more.
    fn is_gone(&self) -> bool;

    fn epoch(&self) -> LeaderEpoch;
}

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(NodeId),
    /// Nobody leads it now.
    Unknown,
    /// It was deleted, so that nobody needs its marker.
    Gone,
}

/// Partitions of one transaction that go to one broker.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    job: u64,
    /// As the shard wanted it, but for the partitions.
    pub(super) markers: WriteMarkers,
    pub(super) coordinator_epoch: LeaderEpoch,
    pub(super) partitions: Vec<TopicPartition>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) node: NodeId,
    pub(super) parcels: Vec<Parcel>,
}

impl Batch {
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.parcels.iter().flat_map(|parcel| &parcel.partitions)
    }
}

/// What a shard is to be told.
pub(super) struct Report<O> {
    pub(super) site: O,
    pub(super) transactional_id: TransactionalId,
    pub(super) producer: Producer,
    pub(super) partitions: BTreeSet<TopicPartition>,
}

/// The ledger.
pub(super) struct Book<O> {
    jobs: BTreeMap<u64, Job<O>>,
    by_id: BTreeMap<TransactionalId, u64>,
    next_job: u64,
    lanes: BTreeMap<NodeId, Lane>,
    /// Partitions that wait for another try, by transaction.
    waiting: BTreeMap<u64, Vec<TopicPartition>>,
    reports: Vec<Report<O>>,
    /// When somebody last looked for what is overdue.
    looked: Option<Instant>,
}

impl<O> Default for Book<O> {
    fn default() -> Self {
        Book {
            jobs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_job: 0,
            lanes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            reports: Vec::new(),
            looked: None,
        }
    }
}

struct Job<O> {
    site: O,
    /// As the shard wanted it; the partitions are those that are left.
    markers: WriteMarkers,
    /// Written, and the shard was not told yet.
    written: BTreeSet<TopicPartition>,
    /// Parcels in lanes and in flight.
    parcels: usize,
    since: Instant,
}

/// What goes to one broker.
#[derive(Default)]
struct Lane {
    parcels: Vec<Parcel>,
    in_flight: usize,
}

impl<O: Origin> Book<O> {
    /// Takes a transaction in. It replaces an earlier one of its id.
    pub(super) fn add(
        &mut self,
        site: O,
        markers: WriteMarkers,
        now: Instant,
        place: impl Fn(&TopicPartition) -> Place,
    ) {
        let number = self.next_job;
        self.next_job += 1;
        if let Some(old) = self.by_id.insert(markers.transactional_id.clone(), number) {
            self.jobs.remove(&old);
            self.waiting.remove(&old);
        }
        let partitions: Vec<_> = markers.partitions.iter().cloned().collect();
        self.jobs.insert(number, Job { site, markers, written: BTreeSet::new(), parcels: 0, since: now });
        self.sort(number, partitions, place);
    }

    /// Sorts what waits anew, and forgets what is the business of other coordinators by now.
    pub(super) fn try_again(&mut self, place: impl Fn(&TopicPartition) -> Place) {
        let gone = self.jobs.iter().filter(|(_, job)| job.site.is_gone());
        for number in gone.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget(number);
        }
        for (number, partitions) in std::mem::take(&mut self.waiting) {
            self.sort(number, partitions, &place);
        }
    }

    /// The next request that may be sent.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        for (node, lane) in &mut self.lanes {
            if lane.in_flight >= REQUESTS_MAX {
                continue;
            }
            lane.parcels.retain(|parcel| self.jobs.contains_key(&parcel.job));
            if !lane.parcels.is_empty() {
                let len = lane.parcels.len().min(BATCH_TRANSACTIONS_MAX);
                lane.in_flight += 1;
                return Some(Batch { node: *node, parcels: lane.parcels.drain(..len).collect() });
            }
        }
        None
    }

    /// A batch has come to an end, with a code per partition or without an answer.
    pub(super) fn settle(&mut self, batch: Batch, codes: Option<&Codes>) {
        if let Some(lane) = self.lanes.get_mut(&batch.node) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        self.lanes.retain(|_, lane| lane.in_flight > 0 || !lane.parcels.is_empty());
        for parcel in batch.parcels {
            self.settle_parcel(parcel, codes);
        }
    }

    fn settle_parcel(&mut self, parcel: Parcel, codes: Option<&Codes>) {
        let Some(job) = self.jobs.get_mut(&parcel.job) else { return };
        if job.site.is_gone() {
            self.forget(parcel.job);
            return;
        }
        job.parcels -= 1;
        let producer = job.markers.producer.id;
        let mut again = Vec::new();
        for partition in parcel.partitions {
            let key = (producer, partition);
            let code = codes.and_then(|codes| codes.get(&key)).copied();
            let (_, partition) = key;
            match code.map_or(Outcome::Again, |code| outcome(code, &job.markers, &partition)) {
                Outcome::Written => job.done(partition),
                Outcome::Again => again.push(partition),
                Outcome::Superseded => {
                    self.forget(parcel.job);
                    return;
                }
            }
        }
        if !again.is_empty() {
            self.waiting.entry(parcel.job).or_default().extend(again);
        }
        self.report_if_quiet(parcel.job);
    }

    /// Puts partitions of a transaction into the lanes of their leaders.
    fn sort(&mut self, number: u64, partitions: Vec<TopicPartition>, place: impl Fn(&TopicPartition) -> Place) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let mut by_node: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            match place(&partition) {
                Place::At(node) => by_node.entry(node).or_default().push(partition),
                Place::Unknown => self.waiting.entry(number).or_default().push(partition),
                Place::Gone => job.done(partition),
            }
        }
        job.parcels += by_node.len();
        for (node, partitions) in by_node {
            let markers = WriteMarkers { partitions: BTreeSet::new(), ..job.markers.clone() };
            let parcel = Parcel { job: number, markers, coordinator_epoch: job.site.epoch(), partitions };
            self.lanes.entry(node).or_default().parcels.push(parcel);
        }
        self.report_if_quiet(number);
    }

    fn report_if_quiet(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.parcels > 0 {
            return;
        }
        if !job.written.is_empty() {
            self.reports.push(Report {
                site: job.site.clone(),
                transactional_id: job.markers.transactional_id.clone(),
                producer: job.markers.producer,
                partitions: std::mem::take(&mut job.written),
            });
        }
        if job.markers.partitions.is_empty() {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        self.waiting.remove(&number);
        if let Some(job) = self.jobs.remove(&number)
            && self.by_id.get(&job.markers.transactional_id) == Some(&number)
        {
            self.by_id.remove(&job.markers.transactional_id);
        }
    }

    /// What shards are to be told now.
    pub(super) fn take_reports(&mut self) -> Vec<Report<O>> {
        std::mem::take(&mut self.reports)
    }

    /// Partitions that wait for another try.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Transactions that are not in all of their partitions yet.
    pub(super) fn transactions(&self) -> usize {
        self.jobs.len()
    }

    /// Names what has been here for long, each once in a while.
    pub(super) fn overdue(&mut self, now: Instant, mut name: impl FnMut(&TransactionalId, &BTreeSet<TopicPartition>)) {
        let looked = *self.looked.get_or_insert(now);
        if now.duration_since(looked) < PATIENCE {
            return;
        }
        self.looked = Some(now);
        for job in self.jobs.values().filter(|job| now.duration_since(job.since) >= PATIENCE && !job.site.is_gone()) {
            name(&job.markers.transactional_id, &job.markers.partitions);
        }
    }
}

impl<O> Job<O> {
    fn done(&mut self, partition: TopicPartition) {
        self.markers.partitions.remove(&partition);
        self.written.insert(partition);
    }
}

enum Outcome {
    Written,
    Again,
    /// Another coordinator ends the transaction.
    Superseded,
}

fn outcome(code: ErrorCode, markers: &WriteMarkers, partition: &TopicPartition) -> Outcome {
    let id = &markers.transactional_id;
    match code {
        ErrorCode::None => Outcome::Written,
        ErrorCode::TransactionCoordinatorFenced => {
            warn!(transactional_id = %id, %partition, "another coordinator ends the transaction, leaving it to that one");
            Outcome::Superseded
        }
        // Its producer has a newer epoch there, so the transaction is over in that partition.
        ErrorCode::InvalidProducerEpoch => {
            warn!(transactional_id = %id, %partition, "the transaction has ended in the partition by other means");
            Outcome::Written
        }
        // What it wrote there comes from another cluster by now, and so does how it ends.
        ErrorCode::PolicyViolation => {
            warn!(transactional_id = %id, %partition, "the topic has become a mirror, so its source says how the transaction ends there");
            Outcome::Written
        }
        // The producer cannot have written there either.
        ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => Outcome::Written,
        code => {
            debug!(transactional_id = %id, %partition, error = code.name(), "marker was not taken, trying again");
            Outcome::Again
        }
    }
}

#[cfg(test)]
mod tests;
