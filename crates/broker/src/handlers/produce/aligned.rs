//! Records of a link: batches of another cluster's log at the offsets that they have there (docs/008-aligned-links.md).
//!
//! Picture: the same request and the same answer as a producer's, with tagged fields that say where the records come from and
//! how far the log goes now. Whoever knows the link of a mirror may append to it; there are no sequences to check and no
//! transactions to look up, because the source did both.
//!
//! A batch with an epoch above the leader's is answered UNKNOWN_LEADER_EPOCH, after the controller was asked, once for all such
//! partitions of the request, to raise theirs. The link sends again, and finds it raised or somebody else leading.
//!
//! Invariants: every answer but that of another leader tells the log end. A request without records changes at most the log start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::ProduceResponse;
use twinstream_log::{AppendError, Checkpoint};
use twinstream_metadata::Image;
use twinstream_metadata::controller::{EpochRaise, MIRROR_EPOCH_MAX};
use twinstream_model::{ErrorCode, Offset, PartitionIndex, TopicName};
use twinstream_protocol::mirror::{self, SourceRange};
use uuid::Uuid;

use super::commit::Pending;
use super::{ALL, BY_ID_SINCE, Failure, Outcome, Produced, Told, Turn, count, every_partition, named, reply, settle};
use crate::context::{Broker, Operation, RequestContext};
use crate::handlers::log_wire::{authorize_topic, blocking, partition_here, resolve};
use crate::handlers::newly_led::wait_until_led;
use crate::partitions::{AppendRefused, LedMirror, Partition, now_ms};
use crate::server::response::Reply;

/// Serves a request of this link.
pub(super) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    image: &Image,
    request: ProduceRequest,
    link: Uuid,
    limit: Duration,
) -> Reply<ProduceResponse> {
    let acks = request.acks;
    if request.transactional_id.is_some() {
        return reply(acks, every_partition(ctx, request, ErrorCode::InvalidRequest));
    }
    wait_until_led(broker, image, named(ctx, image, &request)).await;
    let mut appends = Appends { broker, ctx, image, link, acks, turn: Turn::default(), raises: Vec::new() };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        topics.push(appends.topic(topic).await);
    }
    raise(broker, appends.raises).await;
    settle(broker, ctx, topics, acks, limit)
}

/// A request under way.
struct Appends<'a> {
    broker: &'a Arc<Broker>,
    ctx: &'a RequestContext,
    image: &'a Image,
    link: Uuid,
    acks: i16,
    turn: Turn,
    /// One for a partition at most, and so bounded by the request.
    raises: Vec<EpochRaise>,
}

impl Appends<'_> {
    async fn topic(&mut self, topic: TopicProduceData) -> Produced {
        let by_id = self.ctx.api_version >= BY_ID_SINCE;
        let resolved = resolve(self.image, &topic.name, topic.topic_id, by_id)
            .and_then(|name| authorize_topic(self.broker, self.ctx, Operation::Write, &name).map(|()| name));
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = PartitionIndex(data.index);
            let bytes = data.records.as_ref().map_or(0, Bytes::len);
            let produced = match &resolved {
                Ok(name) => {
                    let produced = self.partition(name, data).await;
                    count(self.broker, self.image, name, bytes, &produced);
                    produced
                }
                Err(code) => Err(Failure::of(*code)),
            };
            partitions.push((index, produced));
            self.turn.took(bytes).await;
        }
        Produced { name: topic.name, id: topic.topic_id, resolved: resolved.ok(), partitions }
    }

    async fn partition(&mut self, topic: &TopicName, data: PartitionProduceData) -> Result<Outcome, Failure> {
        let range = mirror::range_of(&data)
            .map_err(|error| Failure { message: Some(error.to_string()), ..Failure::of(ErrorCode::InvalidRequest) })?;
        let partition =
            partition_here(self.broker, self.image, topic, PartitionIndex(data.index)).map_err(Failure::of)?;
        let records = data.records.unwrap_or_default();
        check(&range, &records)?;
        let is_question = records.is_empty();
        if range.cut {
            let cut = cut(self.broker, Arc::clone(&partition), self.link, range).await;
            return cut
                .map(|led| outcome(Arc::clone(&partition), &led, range, false))
                .map_err(|refused| self.refused(refused, &partition));
        }
        match append(Arc::clone(&partition), records, self.link, range, self.acks == ALL).await {
            Ok(led) => Ok(outcome(partition, &led, range, self.acks == ALL && !is_question)),
            Err(refused) => Err(self.refused(refused, &partition)),
        }
    }

    fn refused(&mut self, refused: AppendRefused, partition: &Partition) -> Failure {
        if let AppendRefused::Log(AppendError::EpochAhead { theirs, ours }) = refused {
            if theirs > MIRROR_EPOCH_MAX {
                let message =
                    format!("epoch {theirs} of the source is above {MIRROR_EPOCH_MAX}, which no mirror follows");
                return Failure { message: Some(message), ..Failure::of(ErrorCode::InvalidRecord) };
            }
            let (topic_id, index) = (partition.topic_id(), partition.id().partition);
            self.raises.push(EpochRaise { topic_id, partition: index, leader_epoch: ours, to: theirs });
        }
        let is_here = !matches!(refused, AppendRefused::NotLeader(_));
        let failure = Failure::refused(refused, partition);
        let told = failure.told.unwrap_or(Told::NOTHING);
        let log_end = is_here.then(|| partition.log().log_end_offset());
        Failure { told: Some(Told { log_end, ..told }), ..failure }
    }
}

/// What no source says of itself.
fn check(range: &SourceRange, records: &[u8]) -> Result<(), Failure> {
    let what = if range.log_start > range.high_watermark.max(range.from) {
        format!(
            "the source's log cannot begin at {}, behind its high watermark {}",
            range.log_start, range.high_watermark
        )
    } else if range.leader_epoch > MIRROR_EPOCH_MAX {
        format!("epoch {} of the source is above {MIRROR_EPOCH_MAX}, which no mirror follows", range.leader_epoch)
    } else if range.last_epoch > range.leader_epoch {
        format!("epoch {} cannot stand before records of epoch {}", range.last_epoch, range.leader_epoch)
    } else if range.cut && !records.is_empty() {
        "a cut comes without records".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure { message: Some(what), ..Failure::of(ErrorCode::InvalidRecord) })
}

/// Cuts the log, and writes down how far it reaches before anybody is told.
async fn cut(
    broker: &Arc<Broker>,
    partition: Arc<Partition>,
    link: Uuid,
    range: SourceRange,
) -> Result<LedMirror, AppendRefused> {
    let partitions = Arc::clone(&broker.partitions);
    let work = move || {
        let log = partition.log();
        if log.begins_earlier(range.from) {
            partitions.write_checkpoints(Checkpoint::RecoveryPoint);
            partitions.write_checkpoints(Checkpoint::LogStart);
        }
        let cut = partition.cut_mirrored(link, &range);
        log.cut_is_over();
        let (led, cut) = cut?;
        if cut.recovery_point_moved {
            partitions.write_checkpoints(Checkpoint::RecoveryPoint);
        }
        if cut.offsets > 0 {
            // Else a start after a crash would take for committed what only has the offsets of what was.
            partitions.write_checkpoints(Checkpoint::Replication);
        }
        Ok(led)
    };
    blocking(work).await
}

fn outcome(partition: Arc<Partition>, led: &LedMirror, range: SourceRange, is_awaited: bool) -> Outcome {
    let LedMirror { mirrored, epoch, log_start } = *led;
    let told = Told {
        base_offset: range.from.0,
        log_start_offset: log_start.0,
        log_end: Some(mirrored.log_end),
        ..Told::NOTHING
    };
    let last = Offset(mirrored.end.0 - 1);
    let pending = is_awaited.then(|| Pending::new(partition, epoch, last));
    Outcome { told, bytes: mirrored.bytes as u64, records: mirrored.records.unsigned_abs(), pending }
}

/// In place, unless it may take long.
async fn append(
    partition: Arc<Partition>,
    records: Bytes,
    link: Uuid,
    range: SourceRange,
    need_isr: bool,
) -> Result<LedMirror, AppendRefused> {
    let takes_long = partition.mirroring_takes_long(&records, &range);
    let append = move || partition.append_mirrored(&records, link, &range, need_isr, now_ms());
    if takes_long { blocking(append).await } else { append() }
}

/// What comes of it the link finds out when it sends again.
async fn raise(broker: &Broker, raises: Vec<EpochRaise>) {
    if raises.is_empty() {
        return;
    }
    let partitions = raises.len();
    match broker.controller.raise_epochs(raises).await {
        Ok(answers) => {
            let raised = answers.iter().filter(|answer| answer.is_ok()).count();
            tracing::info!(partitions, raised, "leader epochs of mirrors follow their source");
        }
        Err(error) => tracing::debug!(partitions, %error, "leader epochs of mirrors are not raised yet"),
    }
}
