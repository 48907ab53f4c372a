//! One pass of a consumer's fetch over its partitions: what each has to answer right now.

use std::sync::Arc;

use twinstream_log::{AbortedTransaction as Aborted, ReadError, ReadResult};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicName};
use twinstream_protocol::compression::Compression;
use twinstream_protocol::fetch::{AbortedTransaction, CurrentLeader, EpochEnd, PartitionAnswer};

use super::cold::{Brought, Errand};
use super::reader::Consumer;
use super::{FileRecords, preferred};
use crate::context::{Broker, Operation, RequestContext};
use crate::handlers::log_wire::{LeaderHint, authorize_topic, leader_hint, partition_here};
use crate::partitions::{Interest, Key, Partition, Position, TopicKey, read_code};

/// A partition of the request, looked up.
pub(super) struct Target {
    pub(super) key: Key,
    pub(super) name: Option<TopicName>,
    pub(super) position: Position,
    pub(super) partition: Result<Arc<Partition>, ErrorCode>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes_max: usize,
    pub(super) read_committed: bool,
    /// Whether the client's version may get batches packed with zstd.
    pub(super) takes_zstd: bool,
}

/// What a pass found, in the order of the targets.
#[derive(Default)]
pub(super) struct Pass {
    pub(super) answers: Vec<PartitionAnswer<FileRecords>>,
    pub(super) hints: Vec<LeaderHint>,
    /// Records that are not ready to be sent.
    pub(super) errands: Vec<Errand>,
    bytes: usize,
    /// Whether something was found that the client must hear without delay.
    urgent: bool,
}

impl Pass {
    pub(super) fn is_enough(&self, min_bytes: usize) -> bool {
        self.urgent || self.bytes >= min_bytes
    }
}

pub(super) fn targets(broker: &Broker, ctx: &RequestContext, wanted: &[(Key, Position)]) -> Vec<Target> {
    let image = broker.image.load();
    wanted.iter().map(|(key, position)| target(broker, ctx, &image, key, *position)).collect()
}

fn target(broker: &Broker, ctx: &RequestContext, image: &Image, key: &Key, position: Position) -> Target {
    let (topic, index) = key;
    let name = match topic {
        TopicKey::Name(name) => Ok(name.clone()),
        TopicKey::Invalid(_) => Err(ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => image.topic_by_id(*id).map(|topic| topic.name.clone()).ok_or(ErrorCode::UnknownTopicId),
    };
    let partition = name.as_ref().map_err(|code| *code).and_then(|name| {
        authorize_topic(broker, ctx, Operation::Read, name)?;
        partition_here(broker, image, name, *index)
    });
    Target { key: key.clone(), name: name.ok(), position, partition }
}

impl Target {
    /// What a consumer waits for here.
    pub(super) fn watched(&self) -> Option<(Arc<Partition>, Interest)> {
        let partition = self.partition.as_ref().ok()?;
        Some((Arc::clone(partition), Interest::committed(self.position.fetch_offset.next())))
    }
}

/// A request on its way through the partitions, perhaps several times.
pub(super) struct Round<'a> {
    pub(super) broker: &'a Broker,
    pub(super) ctx: &'a RequestContext,
    pub(super) consumer: Consumer,
    pub(super) limits: Limits,
}

impl Round<'_> {
    /// Reads all targets once, within the limits of the whole answer. Waits for no disk but for what was brought.
    pub(super) fn pass(&self, targets: &[Target], brought: &Brought) -> Pass {
        let mut pass = Pass::default();
        for (place, target) in targets.iter().enumerate() {
            let answer =
                self.answer(place, target, brought, &mut pass).unwrap_or_else(|code| failed_answer(target.key.1, code));
            pass.bytes += answer.records.as_ref().map_or(0, |records| records.0.len);
            pass.urgent |= answer.error.is_error() || answer.diverging.is_some();
            pass.answers.push(answer);
        }
        if pass.answers.iter().any(|answer| answer.error.is_error()) {
            add_hints(self.broker, self.ctx, targets, &mut pass);
        }
        pass
    }

    fn answer(
        &self,
        place: usize,
        target: &Target,
        brought: &Brought,
        pass: &mut Pass,
    ) -> Result<PartitionAnswer<FileRecords>, ErrorCode> {
        let partition = target.partition.as_ref().map_err(|code| *code)?;
        let position = target.position;
        partition.check_reader(position.current_epoch, self.consumer.served)?;
        if !self.limits.takes_zstd && stores_zstd(partition) {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        let diverging = divergence(partition, position)?;
        let rack = self.consumer.rack.as_deref();
        let preferred = rack.and_then(|rack| preferred::replica(self.broker, partition, rack, position.fetch_offset));
        let bytes_max = position.bytes_max.min(self.limits.bytes_max.saturating_sub(pass.bytes));
        let reading = Reading { partition, from: position.fetch_offset, bytes_max, at_least_one: pass.bytes == 0 };
        // Where the logs part is told even to a reader that stands behind the end of this one.
        let mut found = match diverging {
            Some(_) => Found { is_cold: false, ..reading.cold() },
            None => self.read(&reading, place, brought).map_err(|error| read_failed(partition, &error))?,
        };
        if found.is_cold {
            // `brought` tells only now of an errand that failed: what became ready by itself is better than an error.
            brought.failure(place).map_or(Ok(()), Err)?;
            let (partition, from) = (Arc::clone(partition), position.fetch_offset);
            pass.errands.push(Errand { place, partition, from, bytes_max });
        }
        if preferred.is_some() {
            // It will read there; what it finds is not sent twice.
            found.read.slice = None;
            pass.urgent = true;
        }
        let mut answer = found_answer(target, partition, found, diverging, self.limits.read_committed);
        answer.preferred_read_replica = preferred.unwrap_or(NodeId::NONE);
        Ok(answer)
    }

    fn read(&self, reading: &Reading<'_>, place: usize, brought: &Brought) -> Result<Found, ReadError> {
        let committed = self.limits.read_committed;
        // What was brought is in memory; should it be gone again already, waiting is better than bringing it for ever.
        let found = match brought.has(place) {
            true => Some(reading.read(committed)?),
            false => reading.read_at_once(committed)?,
        };
        let Some(mut found) = found else { return Ok(reading.cold()) };
        if let Some(slice) = found.read.slice.take() {
            found.read.slice = brought.ready_part(place, slice);
            found.is_cold = found.read.slice.is_none();
        }
        Ok(found)
    }
}

/// What is to be read of one partition.
struct Reading<'a> {
    partition: &'a Partition,
    from: Offset,
    bytes_max: usize,
    at_least_one: bool,
}

/// What was found there.
struct Found {
    read: ReadResult,
    aborted: Vec<Aborted>,
    /// There is something, which is not ready.
    is_cold: bool,
}

impl Reading<'_> {
    fn read(&self, committed: bool) -> Result<Found, ReadError> {
        let Reading { partition, from, bytes_max, at_least_one } = *self;
        let (read, aborted) = match committed {
            true => partition.log().read_committed(from, bytes_max, at_least_one)?,
            false => (partition.read(from, bytes_max, at_least_one)?, Vec::new()),
        };
        Ok(Found { read, aborted, is_cold: false })
    }

    /// `None` if finding it would mean to wait for the disk.
    fn read_at_once(&self, committed: bool) -> Result<Option<Found>, ReadError> {
        let Reading { partition, from, bytes_max, at_least_one } = *self;
        let log = partition.log();
        let found = match committed {
            true => log.read_committed_at_once(from, bytes_max, at_least_one)?,
            false => {
                let read = log.read_at_once(from, bytes_max, at_least_one, log.high_watermark())?;
                read.map(|read| (read, Vec::new()))
            }
        };
        Ok(found.map(|(read, aborted)| Found { read, aborted, is_cold: false }))
    }

    fn cold(&self) -> Found {
        Found { read: self.partition.log().read_nothing(), aborted: Vec::new(), is_cold: true }
    }
}

pub(super) fn read_failed(partition: &Partition, error: &ReadError) -> ErrorCode {
    let code = read_code(error);
    // Damage was reported when it was found.
    if !matches!(error, ReadError::OutOfRange { .. } | ReadError::Damaged { .. }) {
        tracing::error!(partition = %partition.id(), %error, "cannot read the log");
    }
    code
}

/// A partition that there is not, or that nobody may know of, looks a little otherwise than one that cannot be read.
fn failed_answer(index: PartitionIndex, code: ErrorCode) -> PartitionAnswer<FileRecords> {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::TopicAuthorizationFailed => {
            PartitionAnswer::unread(index, code)
        }
        _ => PartitionAnswer::failed(index, code),
    }
}

fn found_answer(
    target: &Target,
    partition: &Partition,
    found: Found,
    diverging: Option<EpochEnd>,
    read_committed: bool,
) -> PartitionAnswer<FileRecords> {
    let Found { read, aborted, .. } = found;
    let told = |aborted: Aborted| {
        let Aborted { producer_id, first_offset } = aborted;
        AbortedTransaction { producer_id, first_offset }
    };
    PartitionAnswer {
        high_watermark: read.high_watermark,
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: read.log_start_offset,
        // A reader of uncommitted records is not told of any.
        aborted: read_committed.then(|| aborted.into_iter().map(told).collect()),
        records: read.slice.map(FileRecords),
        diverging,
        ..PartitionAnswer::failed(target.key.1, ErrorCode::None)
    }
}

/// Whether the topic packs everything with zstd. What producers chose by themselves is not looked at, as in Kafka.
fn stores_zstd(partition: &Partition) -> bool {
    partition.log().config().compression.is_some_and(|spec| spec.codec == Compression::Zstd)
}

/// Whether the fetcher has records of an epoch that this log never had (KIP-595).
fn divergence(partition: &Partition, position: Position) -> Result<Option<EpochEnd>, ErrorCode> {
    if position.last_fetched_epoch == LeaderEpoch::NONE {
        return Ok(None);
    }
    let end = partition.end_of_epoch(position.last_fetched_epoch);
    let (epoch, end_offset) = end.ok_or(ErrorCode::OffsetOutOfRange)?;
    if position.fetch_offset < partition.log().log_start_offset() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let diverged = epoch < position.last_fetched_epoch || end_offset < position.fetch_offset;
    Ok(diverged.then_some(EpochEnd { epoch, end_offset }))
}

fn add_hints(broker: &Broker, ctx: &RequestContext, targets: &[Target], pass: &mut Pass) {
    let image = broker.image.load();
    for (target, answer) in targets.iter().zip(&mut pass.answers) {
        let Some(name) = &target.name else { continue };
        if let Some(hint) = leader_hint(broker, ctx, &image, name, target.key.1, answer.error) {
            answer.current_leader = Some(CurrentLeader { leader: hint.node, epoch: hint.epoch });
            pass.hints.push(hint);
        }
    }
}
