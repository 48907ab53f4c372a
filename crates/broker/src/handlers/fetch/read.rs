//! One pass of a fetch over its partitions: what each has to answer right now.

use std::sync::Arc;
use std::time::Instant;

use twinstream_log::{FileSlice, ReadError, ReadResult};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicName};
use twinstream_protocol::batch::whole_batches;
use twinstream_protocol::compression::Compression;
use twinstream_protocol::fetch::{CurrentLeader, EpochEnd, PartitionAnswer};
use twinstream_replication::leader::ReplicaFetch;

use super::reader::{Follower, Reader};
use super::{FileRecords, preferred};
use crate::context::{Broker, Operation, RequestContext};
use crate::handlers::log_wire::{LeaderHint, authorize_topic, leader_hint, partition_here};
use crate::partitions::{Interest, Key, Partition, Position, ReplicaRefused, Served, TopicKey, read_code};

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
    bytes: usize,
    /// Whether something was found that the client must hear without delay.
    urgent: bool,
    /// When a throttle lets more through.
    pub(super) opens_at: Option<Instant>,
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
        let partition = partition_here(broker, image, name, *index)?;
        match topic {
            // The image has a newer topic of this name than the log here.
            TopicKey::Id(id) if partition.topic_id() != *id => Err(ErrorCode::InconsistentTopicId),
            _ => Ok(partition),
        }
    });
    Target { key: key.clone(), name: name.ok(), position, partition }
}

impl Target {
    /// What the reader waits for here.
    pub(super) fn watched(&self, reader: &Reader) -> Option<(Arc<Partition>, Interest)> {
        let partition = self.partition.as_ref().ok()?;
        let interest = match reader {
            Reader::Consumer { .. } => Interest::committed(self.position.fetch_offset.next()),
            Reader::Follower(_) => Interest::of_follower(self.position.known_high_watermark),
        };
        Some((Arc::clone(partition), interest))
    }
}

/// A request on its way through the partitions, perhaps several times.
pub(super) struct Round<'a> {
    pub(super) broker: &'a Broker,
    pub(super) ctx: &'a RequestContext,
    pub(super) reader: Reader,
    pub(super) limits: Limits,
    /// Whether what a follower says about itself was taken in; it says it once.
    pub(super) took_note: bool,
}

impl Round<'_> {
    /// Reads all targets once, within the limits of the whole answer.
    pub(super) fn pass(&mut self, targets: &[Target]) -> Pass {
        let mut pass = Pass::default();
        for target in targets {
            let answer = self.answer(target, &mut pass);
            pass.bytes += answer.records.as_ref().map_or(0, |records| records.0.len);
            pass.urgent |= answer.error.is_error() || answer.diverging.is_some();
            pass.answers.push(answer);
        }
        self.took_note = true;
        if pass.answers.iter().any(|answer| answer.error.is_error()) {
            add_hints(self.broker, self.ctx, targets, &mut pass);
        }
        pass
    }

    fn answer(&self, target: &Target, pass: &mut Pass) -> PartitionAnswer<FileRecords> {
        let failed = |code| PartitionAnswer::failed(target.key.1, code);
        let partition = match &target.partition {
            Ok(partition) => partition,
            Err(code) => return failed(*code),
        };
        if !self.limits.takes_zstd && stores_zstd(partition) {
            return failed(ErrorCode::UnsupportedCompressionType);
        }
        match &self.reader {
            Reader::Consumer { rack, served } => self.for_consumer(target, partition, rack.as_deref(), *served, pass),
            Reader::Follower(follower) => self.for_follower(target, partition, *follower, pass),
        }
        .unwrap_or_else(failed)
    }

    fn for_consumer(
        &self,
        target: &Target,
        partition: &Partition,
        rack: Option<&str>,
        served: Served,
        pass: &mut Pass,
    ) -> Result<PartitionAnswer<FileRecords>, ErrorCode> {
        let position = target.position;
        partition.check_reader(position.current_epoch, served)?;
        let diverging = divergence(partition, position)?;
        let preferred = rack.and_then(|rack| preferred::replica(self.broker, partition, rack, position.fetch_offset));
        let bytes_max = position.bytes_max.min(self.limits.bytes_max.saturating_sub(pass.bytes));
        let found = partition.read(position.fetch_offset, bytes_max, pass.bytes == 0);
        let mut found = found.map_err(|error| read_failed(partition, &error))?;
        if preferred.is_some() {
            // It will read there; what it finds is not sent twice.
            found.slice = None;
            pass.urgent = true;
        }
        let mut answer = found_answer(target, partition, found, diverging, self.limits.read_committed);
        answer.preferred_read_replica = preferred.unwrap_or(NodeId::NONE);
        Ok(answer)
    }

    fn for_follower(
        &self,
        target: &Target,
        partition: &Partition,
        follower: Follower,
        pass: &mut Pass,
    ) -> Result<PartitionAnswer<FileRecords>, ErrorCode> {
        let position = target.position;
        let now = Instant::now();
        let is_in_sync = match self.took_note {
            false => match partition.fetched(&replica_fetch(follower, position), now) {
                Ok(is_in_sync) => is_in_sync,
                Err(ReplicaRefused::Code(code)) => return Err(code),
                Err(ReplicaRefused::Diverging { epoch, end }) => return Ok(fork(target, partition, epoch, end)),
            },
            true => {
                partition.check_leader(position.current_epoch)?;
                partition.has_in_sync(follower.node)
            }
        };
        let mut bytes_max = position.bytes_max.min(self.limits.bytes_max.saturating_sub(pass.bytes));
        let mut at_least_one = pass.bytes == 0;
        let throttle = &self.broker.replication.throttles.leader;
        let mut is_rationed = false;
        if !is_in_sync
            && throttle.holds(partition.id())
            && let Some(allowance) = throttle.allowance(now)
        {
            bytes_max = bytes_max.min(allowance);
            at_least_one &= allowance > 0;
            is_rationed = true;
            pass.opens_at = pass.opens_at.or_else(|| Some(now + throttle.opens_in(now)?));
        }
        let found = partition.read_all(position.fetch_offset, bytes_max, at_least_one);
        let mut found = found.map_err(|error| read_failed(partition, &error))?;
        if is_rationed {
            found.slice = found.slice.and_then(whole);
        }
        pass.urgent |= knows_too_little(position, &found);
        Ok(found_answer(target, partition, found, None, false))
    }
}

fn replica_fetch(follower: Follower, position: Position) -> ReplicaFetch {
    ReplicaFetch {
        follower: follower.node,
        broker_epoch: follower.broker_epoch,
        leader_epoch: position.current_epoch,
        offset: position.fetch_offset,
        last_epoch: position.last_fetched_epoch,
        log_start: position.log_start,
    }
}

/// Whether a follower could move its high watermark or the start of its log by this answer alone.
fn knows_too_little(position: Position, found: &ReadResult) -> bool {
    let has = position.fetch_offset;
    position.known_high_watermark < found.high_watermark.min(has)
        || (position.log_start < found.log_start_offset && found.log_start_offset <= has)
}

/// A ration without the batch at its end that is cut off: it would be paid for twice. Rations are small, so looking
/// into one costs little.
fn whole(mut slice: FileSlice) -> Option<FileSlice> {
    let bytes = slice.read().ok()?;
    slice.len = whole_batches(&bytes).ok()?.len();
    (slice.len > 0).then_some(slice)
}

fn fork(target: &Target, partition: &Partition, epoch: LeaderEpoch, end: Offset) -> PartitionAnswer<FileRecords> {
    let log = partition.log();
    PartitionAnswer {
        high_watermark: log.high_watermark(),
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: log.log_start_offset(),
        diverging: Some(EpochEnd { epoch, end_offset: end }),
        ..PartitionAnswer::failed(target.key.1, ErrorCode::None)
    }
}

fn read_failed(partition: &Partition, error: &ReadError) -> ErrorCode {
    let code = read_code(error);
    if code != ErrorCode::OffsetOutOfRange {
        tracing::error!(partition = %partition.id(), %error, "cannot read the log");
    }
    code
}

fn found_answer(
    target: &Target,
    partition: &Partition,
    found: ReadResult,
    diverging: Option<EpochEnd>,
    read_committed: bool,
) -> PartitionAnswer<FileRecords> {
    PartitionAnswer {
        high_watermark: found.high_watermark,
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: found.log_start_offset,
        // No transactions, none aborted; a reader of uncommitted records is not told of any.
        aborted: read_committed.then(Vec::new),
        records: found.slice.filter(|_| diverging.is_none()).map(FileRecords),
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
    let end = partition.log().end_offset_for_epoch(position.last_fetched_epoch);
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
