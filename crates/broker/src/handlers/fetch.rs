//! Fetch (key 1), versions 4-18.
//!
//! v5 log start offset; v7 sessions (KIP-227); v9 leader epochs (KIP-320); v10 zstd; v11 rack (KIP-392); v12
//! flexible, divergence (KIP-595); v13 topic ids; v15 replica state; v16 hints where the leader is (KIP-951);
//! v17 directory ids, v18 the follower's high watermark (KIP-1166; both for followers only).
//!
//! Consumers read up to the high watermark, from the leader or, if their version knows racks (11), from any replica; a
//! leader sends them to a follower in their rack if `replica.selector.class` says so. Followers read up to the log end;
//! they have a file of their own (`follower`).
//!
//! A fetch answers at once when it has `min_bytes`, an error or a divergence to tell; else it waits for records
//! until `max_wait_ms` is over. The first batch of an answer comes whole even if it is larger than every limit, so
//! that a consumer always gets on. Record bytes go from the segment files to the socket, see `protocol::fetch`.
//!
//! A follower is answered early also when it does not know the newest high watermark or log start, so that a record is
//! readable on followers, and safe from a new leader's ignorance, one round trip after it is committed.
//!
//! A poll that waits holds nothing of the request's frame, finds room for its partitions (`room`), and ends when its client
//! has gone.
//!
//! What is sent has been checked by this process and is in memory: `sendfile` on the runtime's threads waits for no disk
//! and passes no damage on. Other records are brought in first (`cold`).
//!
//! A session that has no partitions any more ends, and its answer says so.
//!
//! Deviations: a partition that a request without a session names twice is read twice; tools that ask as the debugging consumer (-2) see what a consumer sees.

mod cold; // records that are not ready to be sent
mod follower; // a replica of the cluster asks
mod preferred; // the replica that a consumer should read
mod read; // one pass of a consumer over the partitions
mod reader; // who asks
mod room; // for long polls of many partitions

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::HeaderVersion;
use tokio::time::Instant;
use twinstream_log::FileSlice;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName};
use twinstream_protocol::fetch::{
    FetchAnswer, LeaderEndpoint, Part, PartitionAnswer, RecordData, TopicAnswer, VERSION_MAX, VERSION_MIN,
};

use self::cold::Brought;
use self::read::{Limits, Pass, Round, Target};
use self::reader::Reader;
pub(crate) use self::room::WaitRoom;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::metrics::Counted;
use crate::partitions::{Ask, Key, Plan, Position, Told, TopicKey, Wait, now_ms};
use crate::server::response::{FileRange, IntoResponse, Response, ResponsePart};

const ZSTD_SINCE: i16 = 10;
const BY_ID_SINCE: i16 = 13;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;
/// A range of a segment file as the record bytes of an answer.
#[derive(Clone, Debug)]
pub(crate) struct FileRecords(FileSlice);

impl RecordData for FileRecords {
    fn len(&self) -> usize {
        self.0.len
    }
}

/// An answer on its way to the socket.
pub(crate) struct Fetched(FetchAnswer<FileRecords>);

impl IntoResponse for Fetched {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&ctx.api_version) {
            return Err(format!("fetch version {} cannot be encoded", ctx.api_version));
        }
        let parts = self.0.encode(ctx.api_version).into_iter().map(|part| match part {
            Part::Bytes(bytes) => ResponsePart::Bytes(bytes),
            Part::Records(FileRecords(FileSlice { file, position, len, .. })) => {
                ResponsePart::File(FileRange { file, position, length: len })
            }
        });
        Ok(Response::Body { header_version: FetchResponse::header_version(ctx.api_version), parts: parts.collect() })
    }
}

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: FetchRequest) -> Fetched {
    let consumer = match Reader::of(ctx, &request) {
        Reader::Consumer(consumer) => consumer,
        Reader::Follower(_) if ctx.api_version < follower::SINCE => {
            return error_response(ctx, request, ErrorCode::UnsupportedVersion);
        }
        Reader::Follower(_) if !broker.authorize(ctx, Operation::ClusterAction, Resource::Cluster) => {
            return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
        }
        Reader::Follower(follower) => return Fetched(follower::handle(broker, ctx, request, follower).await),
    };
    if !(READ_UNCOMMITTED..=READ_COMMITTED).contains(&request.isolation_level) {
        // Kafka's word for a level that it does not know.
        return error_response(ctx, request, ErrorCode::UnknownServerError);
    }
    let ask = ask_of(ctx, &request);
    let plan = match broker.fetch_sessions.plan(ask, now_ms()) {
        Ok(plan) => plan,
        Err(code) => {
            ctx.count_error(code);
            return Fetched(FetchAnswer::failed(code));
        }
    };
    let limits = Limits {
        bytes_max: size(request.max_bytes).min(broker.settings.network.fetch_bytes_max),
        read_committed: request.isolation_level == READ_COMMITTED,
        takes_zstd: ctx.api_version >= ZSTD_SINCE,
    };
    let round = Round { broker, ctx, consumer, limits };
    let (wait, min_bytes) = (wait_of(broker, &request), size(request.min_bytes));
    drop(request);
    let targets = read::targets(broker, ctx, &plan.partitions);
    let pass = read_enough(round, &targets, min_bytes, wait).await;
    Fetched(to_answer(broker, ctx, &plan, targets, pass))
}

pub(crate) fn error_response(ctx: &RequestContext, request: FetchRequest, code: ErrorCode) -> Fetched {
    ctx.count_error(code);
    let mut answer = FetchAnswer::failed(code);
    // Before sessions there was no code for the whole, and before ids clients look at their partitions.
    if ctx.api_version < BY_ID_SINCE {
        for (key, _) in ask_of(ctx, &request).partitions {
            push(&mut answer.topics, &key, None, PartitionAnswer::unread(key.1, code));
        }
    }
    Fetched(answer)
}

/// How long a request waits for records: not longer than an idle connection is kept, because a client that vanished
/// without a close is not noticed before its answer is sent.
fn wait_of(broker: &Broker, request: &FetchRequest) -> Duration {
    let wanted = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    wanted.min(broker.settings.network.connections_idle_max)
}

fn size(wire: i32) -> usize {
    usize::try_from(wire).unwrap_or(0)
}

/// The request in the words of the session cache.
fn ask_of(ctx: &RequestContext, request: &FetchRequest) -> Ask {
    let by_id = ctx.api_version >= BY_ID_SINCE;
    let key = |name: &str, id: uuid::Uuid| match by_id {
        true => TopicKey::Id(TopicId(id)),
        false => TopicName::parse(name).map_or_else(|_| TopicKey::Invalid(name.to_owned()), TopicKey::Name),
    };
    let mut ask = Ask { session_id: request.session_id, epoch: request.session_epoch, by_id, ..Ask::default() };
    for topic in &request.topics {
        let topic_key = key(topic.topic.as_str(), topic.topic_id);
        for partition in &topic.partitions {
            let position = Position {
                fetch_offset: Offset(partition.fetch_offset),
                bytes_max: size(partition.partition_max_bytes),
                current_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            };
            ask.partitions.push(((topic_key.clone(), PartitionIndex(partition.partition)), position));
        }
    }
    for topic in &request.forgotten_topics_data {
        let topic_key = key(topic.topic.as_str(), topic.topic_id);
        ask.forgotten.extend(topic.partitions.iter().map(|index| (topic_key.clone(), PartitionIndex(*index))));
    }
    ask
}

/// Passes over the partitions until there is enough to answer, the wait is over, the client has gone or the broker stops.
async fn read_enough<'a>(round: Round<'a>, targets: &'a [Target], min_bytes: usize, wait: Duration) -> Pass {
    let pass = read_once(&round, targets, min_bytes).await;
    if wait.is_zero() || targets.is_empty() || pass.is_enough(min_bytes) {
        return pass;
    }
    let Some(_room) = round.broker.fetch_room.enter(targets.len()) else { return pass };
    let _counted = Counted::among(&round.broker.metrics.waiting.fetches);
    let deadline = Instant::now() + wait;
    let shutdown = round.broker.shutdown.clone();
    let bell = Wait::on(targets.iter().filter_map(|target| target.watched()));
    loop {
        // Again, because records may have come before the bell was hung up.
        let pass = read_once(&round, targets, min_bytes).await;
        if pass.is_enough(min_bytes) {
            return pass;
        }
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep_until(deadline) => return read_once(&round, targets, min_bytes).await,
            () = shutdown.cancelled() => return pass,
            () = round.ctx.departed.cancelled() => return pass,
        }
    }
}

/// One pass, and another if the first one does not find enough and there is something on the disk.
async fn read_once(round: &Round<'_>, targets: &[Target], min_bytes: usize) -> Pass {
    let mut pass = round.pass(targets, &Brought::default());
    if pass.errands.is_empty() {
        return pass;
    }
    let errands = std::mem::take(&mut pass.errands);
    let errands = match pass.is_enough(min_bytes.max(1)) {
        true => cold::fetch_aside(round.broker, errands),
        false => Err(errands),
    };
    match errands {
        Ok(()) => pass,
        Err(errands) => round.pass(targets, &cold::fetch(round.broker, errands).await),
    }
}

fn to_answer(
    broker: &Broker,
    ctx: &RequestContext,
    plan: &Plan,
    targets: Vec<Target>,
    pass: Pass,
) -> FetchAnswer<FileRecords> {
    let told: Vec<(Key, Told, bool)> =
        targets.iter().zip(&pass.answers).map(|(target, answer)| told_of(target, answer)).collect();
    let named = match plan.session_id {
        0 => vec![true; told.len()],
        session => broker.fetch_sessions.settle(session, &told),
    };
    let mut answer = FetchAnswer { session_id: plan.session_id, ..FetchAnswer::failed(ErrorCode::None) };
    answer.endpoints = endpoints(&pass);
    for ((target, partition), named) in targets.into_iter().zip(pass.answers).zip(named) {
        ctx.count_error(partition.error);
        count(broker, &target, &partition);
        if named || !plan.incremental {
            push(&mut answer.topics, &target.key, target.name, partition);
        }
    }
    answer
}

/// Counts the traffic of partitions that are here; names that clients make up get no series.
fn count(broker: &Broker, target: &Target, answer: &PartitionAnswer<FileRecords>) {
    let (Some(name), Ok(_)) = (&target.name, &target.partition) else { return };
    let traffic = &broker.metrics.topics;
    match answer.error {
        ErrorCode::None => traffic.fetched(name.as_str(), answer.records.as_ref().map_or(0, |r| r.0.len) as u64),
        _ => traffic.fetch_failed(name.as_str()),
    }
}

fn told_of(target: &Target, answer: &PartitionAnswer<FileRecords>) -> (Key, Told, bool) {
    let told = Told {
        high_watermark: answer.high_watermark,
        log_start: answer.log_start_offset,
        was_error: answer.error.is_error()
            || answer.diverging.is_some()
            || answer.preferred_read_replica != NodeId::NONE,
    };
    (target.key.clone(), told, answer.records.is_some())
}

fn endpoints(pass: &Pass) -> Vec<LeaderEndpoint> {
    let mut hints: Vec<_> = pass.hints.iter().collect();
    hints.sort_by_key(|hint| hint.node);
    hints.dedup_by_key(|hint| hint.node);
    let endpoint = |hint: &&super::log_wire::LeaderHint| LeaderEndpoint {
        node: hint.node,
        host: hint.host.clone(),
        port: hint.port,
        rack: hint.rack.clone(),
    };
    hints.iter().map(endpoint).collect()
}

/// Adds a partition to the last topic of an answer, or to a new one if it belongs to another.
fn push(
    topics: &mut Vec<TopicAnswer<FileRecords>>,
    key: &Key,
    name: Option<TopicName>,
    partition: PartitionAnswer<FileRecords>,
) {
    let (name, id) = match &key.0 {
        TopicKey::Name(name) => (name.as_str().to_owned(), TopicId::NONE),
        TopicKey::Id(id) => (name.map_or(String::new(), |name| name.as_str().to_owned()), *id),
        TopicKey::Invalid(text) => (text.clone(), TopicId::NONE),
    };
    match topics.last_mut() {
        Some(last) if last.name == name && last.id == id => last.partitions.push(partition),
        _ => topics.push(TopicAnswer { name, id, partitions: vec![partition] }),
    }
}

#[cfg(test)]
mod tests;
