//! Produce (key 0), versions 3-13; advertised from 0.
//!
//! v3 record format 2; v5 log start offset; v7 zstd; v8 errors of single records (KIP-467); v9 flexible;
//! v10 hints where the leader is (KIP-951); v11 TRANSACTION_ABORTABLE (KIP-890); v12 transactions without
//! AddPartitionsToTxn; v13 topic ids.
//!
//! librdkafka switches compression off unless versions from 0 on are advertised (KAFKA-18659); a request of
//! version 0 to 2 cannot be decoded and closes its connection, as with Kafka.
//!
//! acks=1 is answered when the leader has the records. acks=all asks for `min.insync.replicas` before it appends, and is
//! answered when the high watermark has passed the records (see `commit`), with
//! NOT_ENOUGH_REPLICAS_AFTER_APPEND if the in-sync replicas have become too few by then, and with REQUEST_TIMED_OUT after
//! the request's time limit; all partitions of a request wait together, and the answer is a promise meanwhile, so that the
//! connection reads on and the next batches are written while followers fetch these. With acks=0 there is no answer, and a failure
//! closes the connection, because the client can learn of it in no other way.
//!
//! Partitions are appended one after the other, in the order of the request. Between them others have their turn now and
//! then ([`Turn`]); no partition is bound to its neighbours, as in Kafka, so nothing is half done meanwhile.
//!
//! The first batch of a transaction in a partition is appended when its coordinator says that the partition belongs to the
//! transaction (see `transactional`); the connection waits for that, so that the batches of a producer stay in their order.
//!
//! Beside an error stands the start of the log where Kafka knows it by then, and the offset where the records were appended and
//! not committed. A topic that the request names several times is answered once, with all its partitions.
//!
//! A request of a link into our own brokers goes a way of its own (see `aligned`).
//!
//! Deviations: a partition that the request names twice is appended to twice, where Kafka drops the first records and acknowledges
//! them; a gap in a producer's sequence that may close by itself is to be sent again (NOT_LEADER_OR_FOLLOWER), where Kafka says
//! OUT_OF_ORDER_SEQUENCE_NUMBER at once (see `partition::gaps`); records are not unpacked unless the topic asks for it, so that
//! the batch header is believed about the largest timestamp.

mod aligned; // records of another cluster at the offsets that they have there
pub(super) mod commit; // waiting for the high watermark
mod transactional; // transactions are looked up first

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use twinstream_log::{AppendError, Appended, Origin};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicName, TopicPartition};
use twinstream_protocol::batch::{BatchError, BatchHeader};
use twinstream_protocol::compression::Compression;
use twinstream_protocol::mirror;

use self::commit::Pending;
use self::transactional::Admissions;
use super::log_wire::{LeaderHint, authorize_topic, blocking, leader_hint, partition_here, resolve};
use super::newly_led::wait_until_led;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::partitions::{AppendRefused, Led, Partition, append_code, now_ms};
use crate::server::response::{Promise, Reply};

/// acks=all on the wire.
const ALL: i16 = -1;
const BY_ID_SINCE: i16 = 13;
const ZSTD_SINCE: i16 = 7;
const NO_OFFSET: i64 = -1;
const NO_TIMESTAMP: i64 = -1;
/// Who may write to internal topics: Kafka's tools say that they are this client when they have to.
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// After so much appended in place other tasks have their turn: a frame may hold a hundred megabytes for many partitions.
const TURN_BYTES: usize = 1 << 20;
/// What a partition counts at least: an append of few bytes takes as long as copying so many.
const PARTITION_COSTS: usize = 16 << 10;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ProduceRequest,
) -> Reply<ProduceResponse> {
    let acks = request.acks;
    if let Err(code) = check_request(broker, ctx, &request) {
        return reply(acks, every_partition(ctx, request, code));
    }
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let image = broker.image.load_full();
    match mirror::link_of(&request) {
        Ok(None) => {}
        Ok(Some(link)) => return aligned::handle(broker, ctx, &image, request, link, limit).await,
        Err(_) => return reply(acks, every_partition(ctx, request, ErrorCode::InvalidRequest)),
    }
    // Before admission, which looks at the partitions, too.
    wait_until_led(broker, &image, named(ctx, &image, &request)).await;
    let mut admissions = match transactional::admit(broker, ctx, &image, &request).await {
        Ok(admissions) => admissions,
        Err(code) => return reply(acks, every_partition(ctx, request, code)),
    };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut turn = Turn::default();
    for (place, topic) in request.topic_data.into_iter().enumerate() {
        let admissions = Admitted { all: &mut admissions, topic: place };
        topics.push(append_topic(broker, ctx, &image, topic, acks, admissions, &mut turn).await);
    }
    settle(broker, ctx, topics, acks, limit)
}

/// Answers when what was appended is committed, if that is asked for.
fn settle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut topics: Vec<Produced>,
    acks: i16,
    limit: Duration,
) -> Reply<ProduceResponse> {
    if commit::are_settled(&pending_of(&mut topics)) {
        return reply(acks, answer(broker, ctx, topics));
    }
    // The connection asks for the answers one after the other, but all of them wait from the start.
    let deadline = Instant::now() + limit;
    topics.iter_mut().for_each(Produced::let_go);
    let (broker, ctx) = (Arc::clone(broker), ctx.clone());
    Reply::Later(Promise::new(async move {
        commit::settle(&broker, &mut pending_of(&mut topics), deadline).await;
        Ok(reply(acks, answer(&broker, &ctx, topics)))
    }))
}

fn named(ctx: &RequestContext, image: &Image, request: &ProduceRequest) -> impl Iterator<Item = TopicPartition> {
    let by_id = ctx.api_version >= BY_ID_SINCE;
    let topics = request.topic_data.iter();
    let topics =
        topics.filter_map(move |topic| Some((resolve(image, &topic.name, topic.topic_id, by_id).ok()?, topic)));
    topics.flat_map(|(name, topic)| {
        let indexes = topic.partition_data.iter().map(|data| PartitionIndex(data.index));
        indexes.map(move |index| TopicPartition::new(name.clone(), index))
    })
}

fn answer(broker: &Broker, ctx: &RequestContext, topics: Vec<Produced>) -> ProduceResponse {
    // The newest image: leadership may have moved while the request waited, and hints should say where.
    let image = broker.image.load();
    let mut answer = Answer::default();
    let responses = topics.into_iter().map(|topic| answer.topic(broker, ctx, &image, topic)).collect();
    answer.response.responses = merged(responses);
    answer.response.node_endpoints = answer.endpoints();
    answer.response
}

/// Each topic once.
fn merged(responses: Vec<TopicProduceResponse>) -> Vec<TopicProduceResponse> {
    if responses.len() < 2 {
        return responses;
    }
    let mut places = HashMap::with_capacity(responses.len());
    let mut merged: Vec<TopicProduceResponse> = Vec::with_capacity(responses.len());
    for response in responses {
        match places.entry((response.name.clone(), response.topic_id)) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(response);
            }
            Entry::Occupied(place) => merged[*place.get()].partition_responses.extend(response.partition_responses),
        }
    }
    merged
}

pub(crate) fn error_response(ctx: &RequestContext, request: ProduceRequest, code: ErrorCode) -> Reply<ProduceResponse> {
    let acks = request.acks;
    reply(acks, every_partition(ctx, request, code))
}

fn check_request(broker: &Broker, ctx: &RequestContext, request: &ProduceRequest) -> Result<(), ErrorCode> {
    if !matches!(request.acks, -1..=1) {
        return Err(ErrorCode::InvalidRequiredAcks);
    }
    match &request.transactional_id {
        Some(id) if !broker.authorize(ctx, Operation::Write, Resource::TransactionalId(id.as_str())) => {
            Err(ErrorCode::TransactionalIdAuthorizationFailed)
        }
        _ => Ok(()),
    }
}

fn reply(acks: i16, response: ProduceResponse) -> Reply<ProduceResponse> {
    if acks != 0 {
        return Reply::Send(response);
    }
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.all(|partition| partition.error_code == ErrorCode::None.code()) {
        true => Reply::Silent,
        false => Reply::Close,
    }
}

/// The response as it grows, with the leaders that it points to.
#[derive(Default)]
struct Answer {
    response: ProduceResponse,
    hints: Vec<LeaderHint>,
}

impl Answer {
    fn endpoints(&self) -> Vec<NodeEndpoint> {
        let mut hints: Vec<&LeaderHint> = self.hints.iter().collect();
        hints.sort_by_key(|hint| hint.node);
        hints.dedup_by_key(|hint| hint.node);
        let endpoint = |hint: &&LeaderHint| {
            NodeEndpoint::default()
                .with_node_id(BrokerId(hint.node.0))
                .with_host(StrBytes::from_string(hint.host.clone()))
                .with_port(i32::from(hint.port))
                .with_rack(hint.rack.clone().map(StrBytes::from_string))
        };
        hints.iter().map(endpoint).collect()
    }
}

/// What a request appended since other tasks had their turn.
#[derive(Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    async fn took(&mut self, bytes: usize) {
        self.bytes += bytes.max(PARTITION_COSTS);
        if self.bytes >= TURN_BYTES {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// A topic of the request after its appends.
struct Produced {
    name: WireTopicName,
    id: uuid::Uuid,
    resolved: Option<TopicName>,
    partitions: Vec<(PartitionIndex, Result<Outcome, Failure>)>,
}

impl Produced {
    /// Copies the name, which is a piece of the request's frame: a promise must not hold the records in memory, whose
    /// share is given back by then.
    fn let_go(&mut self) {
        self.name = WireTopicName(StrBytes::from_string(self.name.to_string()));
    }
}

/// Appended, and with acks=all on the way to being committed.
struct Outcome {
    told: Told,
    bytes: u64,
    records: u64,
    pending: Option<Pending>,
}

/// What is on its way to being committed.
fn pending_of(topics: &mut [Produced]) -> Vec<&mut Pending> {
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    partitions.filter_map(|(_, produced)| produced.as_mut().ok()?.pending.as_mut()).collect()
}

async fn append_topic(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    image: &Image,
    topic: TopicProduceData,
    acks: i16,
    mut admitted: Admitted<'_>,
    turn: &mut Turn,
) -> Produced {
    let resolved = resolve(image, &topic.name, topic.topic_id, ctx.api_version >= BY_ID_SINCE)
        .and_then(|name| authorize_topic(broker, ctx, Operation::Write, &name).map(|()| name))
        .and_then(|name| may_write(ctx, &name).map(|()| name));
    let mut partitions = Vec::with_capacity(topic.partition_data.len());
    for (place, data) in topic.partition_data.into_iter().enumerate() {
        let index = PartitionIndex(data.index);
        let bytes = data.records.as_ref().map_or(0, Bytes::len);
        let produced = match &resolved {
            Ok(name) => {
                let produced = match admitted.take(place) {
                    Ok(origin) => append_partition(broker, ctx, image, name, data, origin, acks).await,
                    Err(refused) => Err(refused),
                };
                count(broker, image, name, bytes, &produced);
                produced
            }
            Err(code) => Err(Failure::of(*code)),
        };
        partitions.push((index, produced));
        turn.took(bytes).await;
    }
    Produced { name: topic.name, id: topic.topic_id, resolved: resolved.ok(), partitions }
}

/// What was decided about the partitions of one topic.
struct Admitted<'a> {
    all: &'a mut Admissions,
    topic: usize,
}

impl Admitted<'_> {
    fn take(&mut self, partition: usize) -> Result<Origin, Failure> {
        self.all.take((self.topic, partition))
    }
}

/// What coordinators write is not for clients to add to, as in Kafka: one batch that they cannot read keeps the groups of its
/// partition from coming back.
fn may_write(ctx: &RequestContext, name: &TopicName) -> Result<(), ErrorCode> {
    match name.is_internal() && ctx.client_id.as_deref() != Some(ADMIN_CLIENT_ID) {
        true => Err(ErrorCode::InvalidTopicException),
        false => Ok(()),
    }
}

impl Answer {
    fn topic(&mut self, broker: &Broker, ctx: &RequestContext, image: &Image, topic: Produced) -> TopicProduceResponse {
        let mut responses = Vec::with_capacity(topic.partitions.len());
        for (index, produced) in topic.partitions {
            let mut response = to_response(ctx, index, produced.and_then(Outcome::committed));
            if let (Some(name), Some(code)) = (&topic.resolved, ErrorCode::from_code(response.error_code))
                && let Some(hint) = leader_hint(broker, ctx, image, name, index, code)
            {
                let leader = LeaderIdAndEpoch::default();
                response.current_leader = leader.with_leader_id(BrokerId(hint.node.0)).with_leader_epoch(hint.epoch.0);
                self.hints.push(hint);
            }
            responses.push(response);
        }
        TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.id)
            .with_partition_responses(responses)
    }
}

impl Outcome {
    fn committed(self) -> Result<Told, Failure> {
        match self.pending.and_then(|pending| pending.outcome) {
            None | Some(ErrorCode::None) => Ok(self.told),
            Some(code) => Err(Failure { told: Some(self.told), ..Failure::of(code) }),
        }
    }
}

/// Why nothing was appended or committed, as the client hears it.
struct Failure {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<BatchIndexAndErrorMessage>,
    /// What is known of the log nevertheless.
    told: Option<Told>,
}

/// Where records are in a log, as far as there are any.
struct Told {
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
    /// Links hear it.
    log_end: Option<Offset>,
}

impl From<Appended> for Told {
    fn from(appended: Appended) -> Told {
        Told {
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.unwrap_or(NO_TIMESTAMP),
            log_start_offset: appended.log_start_offset.0,
            log_end: None,
        }
    }
}

impl Told {
    const NOTHING: Told =
        Told { base_offset: NO_OFFSET, log_append_time_ms: NO_TIMESTAMP, log_start_offset: NO_OFFSET, log_end: None };
}

impl Failure {
    fn of(code: ErrorCode) -> Failure {
        Failure { code, message: None, records: Vec::new(), told: None }
    }
}

impl Failure {
    fn refused(refused: AppendRefused, partition: &Partition) -> Failure {
        let records = match &refused {
            AppendRefused::Log(AppendError::InvalidRecords { faults, .. }) => faults
                .iter()
                .map(|fault| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(fault.batch_index as i32)
                        .with_batch_index_error_message(Some(StrBytes::from_static_str(fault.message)))
                })
                .collect(),
            _ => Vec::new(),
        };
        let message = match &refused {
            AppendRefused::NotLeader(_) => None,
            refused => Some(refused.to_string()),
        };
        let log_start_offset = partition.log().log_start_offset().0;
        let told = knows_log_start(&refused).then_some(Told { log_start_offset, ..Told::NOTHING });
        Failure { code: append_code(&refused), message, records, told }
    }
}

/// Whether Kafka says where the log starts beside this error. It does so where it had gone on to look into the log.
fn knows_log_start(refused: &AppendRefused) -> bool {
    let AppendRefused::Log(error) = refused else { return matches!(refused, AppendRefused::NotEnoughReplicas(_)) };
    match error {
        AppendError::Empty
        | AppendError::SeveralBatches
        | AppendError::TooLarge { .. }
        | AppendError::LargerThanSegment { .. }
        | AppendError::Storage(_) => false,
        AppendError::Batch(error) => matches!(
            error,
            BatchError::MalformedRecord { .. } | BatchError::RecordOffset { .. } | BatchError::RecordCount { .. }
        ),
        _ => true,
    }
}

async fn append_partition(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    image: &Image,
    topic: &TopicName,
    data: PartitionProduceData,
    origin: Origin,
    acks: i16,
) -> Result<Outcome, Failure> {
    let partition = partition_here(broker, image, topic, PartitionIndex(data.index)).map_err(Failure::of)?;
    let records = data.records.unwrap_or_default();
    if ctx.api_version < ZSTD_SINCE && is_zstd(&records) {
        return Err(Failure::of(ErrorCode::UnsupportedCompressionType));
    }
    let led = append(Arc::clone(&partition), records, origin, acks == ALL).await;
    let Led { appended, epoch } = led.map_err(|refused| Failure::refused(refused, &partition))?;
    let pending = (acks == ALL).then(|| Pending::new(partition, epoch, appended.last_offset));
    let (bytes, records) = (appended.bytes as u64, appended.records.unsigned_abs());
    Ok(Outcome { told: appended.into(), bytes, records, pending })
}

/// Counts the traffic of topics that exist; names that clients make up get no series.
fn count(broker: &Broker, image: &Image, topic: &TopicName, bytes: usize, produced: &Result<Outcome, Failure>) {
    if image.topic(topic).is_none() {
        return;
    }
    let traffic = &broker.metrics.topics;
    match produced {
        Ok(Outcome { bytes, records, .. }) => traffic.produced(topic.as_str(), *records, *bytes),
        Err(failure) => {
            traffic.produce_failed(topic.as_str());
            if matches!(failure.code, ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge) {
                traffic.rejected(topic.as_str(), bytes as u64);
            }
        }
    }
}

fn is_zstd(records: &[u8]) -> bool {
    BatchHeader::parse(records).is_ok_and(|header| header.attributes.compression() == Some(Compression::Zstd))
}

/// Appends in place, because a write to the page cache is shorter than a change of threads; only what may take long
/// (the topic waits for the disk or wants a look into compressed records, or there are many bytes) is done elsewhere.
async fn append(
    partition: Arc<Partition>,
    records: Bytes,
    origin: Origin,
    need_isr: bool,
) -> Result<Led, AppendRefused> {
    let now = now_ms();
    let takes_long = partition.log().append_takes_long(&records, now);
    let append = move || partition.append(&records, origin, LeaderEpoch::NONE, need_isr, now);
    if takes_long { blocking(append).await } else { append() }
}

fn to_response(
    ctx: &RequestContext,
    index: PartitionIndex,
    produced: Result<Told, Failure>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index.0);
    let (told, response) = match produced {
        Ok(told) => (told, response),
        Err(failure) => {
            ctx.count_error(failure.code);
            let response = response
                .with_error_code(failure.code.code())
                .with_record_errors(failure.records)
                .with_error_message(failure.message.map(StrBytes::from_string));
            (failure.told.unwrap_or(Told::NOTHING), response)
        }
    };
    let mut response = response
        .with_base_offset(told.base_offset)
        .with_log_append_time_ms(told.log_append_time_ms)
        .with_log_start_offset(told.log_start_offset);
    if let Some(log_end) = told.log_end {
        mirror::tell_log_end(&mut response, log_end);
    }
    response
}

fn every_partition(ctx: &RequestContext, request: ProduceRequest, code: ErrorCode) -> ProduceResponse {
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        let partitions =
            partitions.map(|data| to_response(ctx, PartitionIndex(data.index), Err(Failure::of(code)))).collect();
        TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions)
    });
    ProduceResponse::default().with_responses(merged(topics.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_holds_nothing_of_the_frame() {
        let frame = Bytes::from(b"topic and a megabyte of records".to_vec());
        let name = WireTopicName(StrBytes::try_from(frame.slice(..5)).unwrap());
        let mut produced = Produced { name, id: uuid::Uuid::nil(), resolved: None, partitions: Vec::new() };
        assert!(!frame.is_unique());
        produced.let_go();
        assert!(frame.is_unique());
        assert_eq!(produced.name.as_str(), "topic");
    }
}
