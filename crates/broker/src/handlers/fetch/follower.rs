//! A follower's fetch: what it asks for tells this leader what it has.
//!
//! Picture: the positions that the request names are taken in first, which may commit records and wake their
//! producers. Then passes look at all partitions of the session, cheaply where nothing happened, until there is
//! something to send or the wait is over. Now and then a request speaks for every partition of its session, when it comes
//! and again while it waits, so that a follower of quiet partitions does not count as silent. What waits counts for life
//! only: meanwhile the follower may have asked for something else on another connection.
//!
//! Records that are not in memory, or not checked yet, are brought in while the request waits like any other (`cold`).
//!
//! An answer names the partitions of which there is something to tell: records, an error, a fork, a high watermark or
//! log start that the follower does not know (KIP-1166). The first answer of a session names all.
//!
//! Served from version 15 on, which says under which registration the follower fetches (KIP-903); without that it could
//! not count as in sync.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use twinstream_log::{FileSlice, ReadError, ReadResult};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use twinstream_protocol::batch::whole_batches;
use twinstream_protocol::fetch::{EpochEnd, FetchAnswer, PartitionAnswer};
use twinstream_replication::leader::ReplicaFetch;

use super::cold::{self, Brought, Errand};
use super::read::read_failed;
use super::{FileRecords, push, size, wait_of};
use crate::context::{Broker, RequestContext};
use crate::handlers::log_wire::partition_here;
use crate::partitions::{
    FollowerListener, Intake, Partition, ReplicaKey, ReplicaPosition, ReplicaRefused, ReplicaSession, Slot, TopicKey,
};

/// The version from which on followers say their broker epoch.
pub(super) const SINCE: i16 = 15;
/// How often all positions are taken in, whatever happens: several times within the silence that a leader suffers.
const REVIEW_INTERVAL: Duration = Duration::from_millis(250);

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Follower {
    pub(super) node: NodeId,
    pub(super) broker_epoch: i64,
}

/// What a request allows.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes_min: usize,
    bytes_max: usize,
    wait: Duration,
}

/// What a pass found, by the places of the partitions in the session.
#[derive(Default)]
struct Pass {
    answers: Vec<(usize, PartitionAnswer<FileRecords>)>,
    bytes: usize,
    /// The last partition with records.
    served: Option<usize>,
    is_urgent: bool,
    /// Bytes that count for the throttle.
    rationed: usize,
    /// When a throttle lets more through.
    opens_at: Option<Instant>,
    /// Records that are not ready to be sent.
    errands: Vec<Errand>,
}

pub(super) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: FetchRequest,
    follower: Follower,
) -> FetchAnswer<FileRecords> {
    let sessions = &broker.partitions.replica_sessions;
    let taken = sessions.take(follower.node, request.session_id, request.session_epoch, Instant::now());
    let mut session = match taken {
        Ok(session) => session,
        Err(code) => {
            ctx.count_error(code);
            return FetchAnswer::failed(code);
        }
    };
    take_positions(broker, &mut session, &request);
    sessions.decline_if_too_large(&mut session);
    let limits = Limits {
        bytes_min: size(request.min_bytes),
        bytes_max: size(request.max_bytes).min(broker.settings.network.fetch_bytes_max),
        wait: wait_of(broker, &request),
    };
    drop(request);
    let pass = read_enough(broker, ctx, follower, &mut session, limits).await;
    let answer = to_answer(broker, ctx, follower, &mut session, pass);
    sessions.put_back(session);
    answer
}

/// Brings the session up to date with the lists of the request.
fn take_positions(broker: &Broker, session: &mut ReplicaSession, request: &FetchRequest) {
    let image = broker.image.load();
    for topic in &request.topics {
        let topic_id = TopicId(topic.topic_id);
        for partition in &topic.partitions {
            let key = (topic_id, PartitionIndex(partition.partition));
            session.set(key, position(partition), || find(broker, &image, key));
        }
    }
    for topic in &request.forgotten_topics_data {
        topic.partitions.iter().for_each(|index| session.forget(&(TopicId(topic.topic_id), PartitionIndex(*index))));
    }
}

fn position(partition: &FetchPartition) -> ReplicaPosition {
    ReplicaPosition {
        leader_epoch: LeaderEpoch(partition.current_leader_epoch),
        fetch_offset: Offset(partition.fetch_offset),
        last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
        log_start: Offset(partition.log_start_offset),
        high_watermark: Offset(partition.high_watermark),
        bytes_max: size(partition.partition_max_bytes),
    }
}

fn find(broker: &Broker, image: &Image, (topic, partition): ReplicaKey) -> Result<Arc<Partition>, ErrorCode> {
    let name = image.topic_by_id(topic).map(|topic| topic.name.clone()).ok_or(ErrorCode::UnknownTopicId)?;
    partition_here(broker, image, &name, partition)
}

/// Passes until there is enough to send, the wait is over, the follower has gone or the broker stops.
async fn read_enough(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    follower: Follower,
    session: &mut ReplicaSession,
    limits: Limits,
) -> Pass {
    let deadline = Instant::now() + limits.wait;
    let (shutdown, replaced) = (broker.shutdown.clone(), session.replaced());
    let mut pass = look(broker, follower, session, Intake::Asks, limits, &Brought::default());
    let mut bringing = Bringing::default();
    bringing.begin(broker, &mut pass, limits);
    if pass.is_enough(limits) || (limits.wait.is_zero() && !bringing.is_under_way()) {
        return pass;
    }
    let listener: Option<FollowerListener> = broker.partitions.follower_bells.listen(follower.node);
    loop {
        let rung = async {
            match &listener {
                Some(listener) => listener.rung().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(rung);
        // Hung up before the next look, so that nothing between the two is missed.
        let is_rung = futures::poll!(rung.as_mut()).is_ready();
        pass = look(broker, follower, session, Intake::Waits, limits, &bringing.take());
        bringing.begin(broker, &mut pass, limits);
        let now = Instant::now();
        // Who stands in line for the disk stays there: whoever comes anew is the last.
        let deadline = if bringing.is_under_way() { deadline.max(now + REVIEW_INTERVAL) } else { deadline };
        if pass.is_enough(limits) || now >= deadline {
            return pass;
        }
        if is_rung {
            continue;
        }
        let until = pass.opens_at.map_or(deadline, |opens| opens.min(deadline)).min(now + REVIEW_INTERVAL);
        tokio::select! {
            () = rung => {}
            () = bringing.done() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            () = shutdown.cancelled() => return pass,
            () = replaced.cancelled() => return pass,
            () = ctx.departed.cancelled() => return pass,
        }
    }
}

/// Records that are being brought for a request that waits.
#[derive(Default)]
struct Bringing {
    under_way: Option<Pin<Box<dyn Future<Output = Brought> + Send>>>,
    brought: Brought,
}

impl Bringing {
    /// Lets what the pass found to be cold be brought, for this answer or, if there is enough for it, for the next one.
    fn begin(&mut self, broker: &Arc<Broker>, pass: &mut Pass, limits: Limits) {
        let errands = std::mem::take(&mut pass.errands);
        if errands.is_empty() || self.is_under_way() {
            return;
        }
        if pass.is_enough(limits) {
            // The follower comes again at once; if there is no room now, it will stand in line then.
            cold::fetch_aside(broker, errands).ok();
            return;
        }
        let broker = Arc::clone(broker);
        self.under_way = Some(Box::pin(async move { cold::fetch(&broker, errands).await }));
    }

    fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Resolves when what is under way has come.
    async fn done(&mut self) {
        match &mut self.under_way {
            Some(under_way) => self.brought = under_way.await,
            None => std::future::pending().await,
        }
        self.under_way = None;
    }

    /// What has come since the last call.
    fn take(&mut self) -> Brought {
        std::mem::take(&mut self.brought)
    }
}

/// One pass over the session.
fn look(
    broker: &Broker,
    follower: Follower,
    session: &mut ReplicaSession,
    intake: Intake,
    limits: Limits,
    brought: &Brought,
) -> Pass {
    let now = Instant::now();
    let last = match intake {
        Intake::Asks => session.spoke,
        Intake::Waits => session.reviewed,
    };
    let is_review = last.is_none_or(|last| now.saturating_duration_since(last) >= REVIEW_INTERVAL);
    if is_review {
        session.reviewed = Some(now);
        if intake == Intake::Asks {
            session.spoke = Some(now);
        }
        find_again(broker, session);
    }
    let mut pass = Pass::default();
    for place in session.order() {
        let slot = &mut session.slots_mut()[place];
        let is_new = std::mem::take(&mut slot.is_new);
        let intake = (is_new || is_review).then_some(intake);
        let at = Place { place, slot, brought };
        if let Some(answer) = look_at(broker, follower, &at, intake, limits, &mut pass) {
            if answer.records.is_some() {
                pass.served = Some(place);
            }
            pass.answers.push((place, answer));
        }
    }
    pass
}

/// Partitions that were not here, or not yet, are looked up again.
fn find_again(broker: &Broker, session: &mut ReplicaSession) {
    let image = broker.image.load();
    for slot in session.slots_mut() {
        if slot.partition.as_ref().map_or(true, |partition| partition.is_retired()) {
            slot.partition = find(broker, &image, slot.key);
        }
    }
}

/// A partition that is looked at.
struct Place<'a> {
    place: usize,
    slot: &'a Slot,
    brought: &'a Brought,
}

/// What there is to tell about one partition; `None` if nothing.
fn look_at(
    broker: &Broker,
    follower: Follower,
    at: &Place<'_>,
    intake: Option<Intake>,
    limits: Limits,
    pass: &mut Pass,
) -> Option<PartitionAnswer<FileRecords>> {
    let slot = at.slot;
    let told = match &slot.partition {
        Ok(partition) if intake.is_some() || partition.has_news_for(&slot.position) => {
            read(broker, follower, at, partition, intake, limits, pass)
        }
        Ok(_) => return None,
        Err(code) => Err(*code),
    };
    match told {
        Ok(told) => told,
        Err(code) => {
            pass.is_urgent = true;
            Some(PartitionAnswer::failed(slot.key.1, code))
        }
    }
}

fn read(
    broker: &Broker,
    follower: Follower,
    at: &Place<'_>,
    partition: &Arc<Partition>,
    intake: Option<Intake>,
    limits: Limits,
    pass: &mut Pass,
) -> Result<Option<PartitionAnswer<FileRecords>>, ErrorCode> {
    let slot = at.slot;
    let position = slot.position;
    let now = Instant::now();
    let is_in_sync = match intake {
        Some(intake) => match partition.fetched(&replica_fetch(follower, position), intake, now) {
            Ok(is_in_sync) => is_in_sync,
            Err(ReplicaRefused::Code(code)) => return Err(code),
            Err(ReplicaRefused::Diverging { epoch, end }) => {
                pass.is_urgent = true;
                return Ok(Some(fork(slot, partition, epoch, end)));
            }
        },
        None => {
            partition.check_leader(position.leader_epoch)?;
            partition.has_in_sync(follower.node)
        }
    };
    let mut bytes_max = position.bytes_max.min(limits.bytes_max.saturating_sub(pass.bytes));
    let mut at_least_one = pass.bytes == 0;
    let throttle = &broker.replication.throttles.leader;
    let mut is_rationed = false;
    if !is_in_sync
        && throttle.holds(partition.id())
        && let Some(allowance) = throttle.allowance(now)
    {
        // One ration for the whole answer: many partitions would else take several seconds' worth at once.
        let left = allowance.saturating_sub(pass.rationed);
        bytes_max = bytes_max.min(left);
        at_least_one &= left > 0;
        is_rationed = true;
        pass.opens_at = pass.opens_at.or_else(|| Some(now + throttle.opens_in(now)?));
    }
    let found = at.read(partition, bytes_max, at_least_one);
    // What was read is this leadership's only if it lasted: another leader's high watermark says nothing about records
    // of this one that its follower has.
    partition.check_leader(position.leader_epoch)?;
    match partition.check_uncut_for(&replica_fetch(follower, position)) {
        Ok(()) => {}
        Err(ReplicaRefused::Code(code)) => return Err(code),
        Err(ReplicaRefused::Diverging { epoch, end }) => {
            pass.is_urgent = true;
            return Ok(Some(fork(slot, partition, epoch, end)));
        }
    }
    let (found, is_cold) = found.map_err(|error| read_failed(partition, &error))?;
    if is_cold && (bytes_max > 0 || at_least_one) {
        at.brought.failure(at.place).map_or(Ok(()), Err)?;
        let (partition, from) = (Arc::clone(partition), position.fetch_offset);
        pass.errands.push(Errand { place: at.place, partition, from, bytes_max });
    }
    let slice = if is_rationed { found.slice.and_then(whole) } else { found.slice };
    let knows_too_little = position.knows_less_than(found.high_watermark, found.log_start_offset);
    let bytes = slice.as_ref().map_or(0, |slice| slice.len);
    pass.bytes += bytes;
    pass.rationed += if is_rationed { bytes } else { 0 };
    pass.is_urgent |= knows_too_little;
    let has_news = knows_too_little || slice.is_some();
    Ok(has_news.then(|| PartitionAnswer {
        high_watermark: found.high_watermark,
        log_start_offset: found.log_start_offset,
        records: slice.map(FileRecords),
        ..quiet(slot, partition)
    }))
}

impl Place<'_> {
    /// Reads all that is there and ready. True if there is something that is not.
    fn read(
        &self,
        partition: &Partition,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<(ReadResult, bool), ReadError> {
        let (log, from) = (partition.log(), self.slot.position.fetch_offset);
        // What was brought is in memory; should it be gone again already, waiting is better than bringing it for ever.
        let found = match self.brought.has(self.place) {
            true => Some(partition.read_all(from, bytes_max, at_least_one)?),
            false => log.read_at_once(from, bytes_max, at_least_one, log.log_end_offset())?,
        };
        let is_found = found.is_some();
        let mut found = found.unwrap_or_else(|| log.read_nothing());
        let slice = found.slice.take();
        let had = slice.is_some();
        found.slice = slice.and_then(|slice| self.brought.ready_part(self.place, slice));
        let is_cold = !is_found || (had && found.slice.is_none());
        Ok((found, is_cold))
    }
}

fn replica_fetch(follower: Follower, position: ReplicaPosition) -> ReplicaFetch {
    ReplicaFetch {
        follower: follower.node,
        broker_epoch: follower.broker_epoch,
        leader_epoch: position.leader_epoch,
        offset: position.fetch_offset,
        last_epoch: position.last_fetched_epoch,
        log_start: position.log_start,
    }
}

/// A ration without the batch at its end that is cut off: it would be paid for twice. Rations are small, so looking
/// into one costs little.
fn whole(mut slice: FileSlice) -> Option<FileSlice> {
    let bytes = slice.read().ok()?;
    slice.len = whole_batches(&bytes).ok()?.len();
    (slice.len > 0).then_some(slice)
}

fn fork(slot: &Slot, partition: &Partition, epoch: LeaderEpoch, end: Offset) -> PartitionAnswer<FileRecords> {
    PartitionAnswer { diverging: Some(EpochEnd { epoch, end_offset: end }), ..quiet(slot, partition) }
}

/// An answer with nothing but where the log stands.
fn quiet(slot: &Slot, partition: &Partition) -> PartitionAnswer<FileRecords> {
    PartitionAnswer {
        high_watermark: partition.high_watermark(),
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: partition.log().log_start_offset(),
        ..PartitionAnswer::failed(slot.key.1, ErrorCode::None)
    }
}

impl Pass {
    fn is_enough(&self, limits: Limits) -> bool {
        self.is_urgent || (self.bytes > 0 && self.bytes >= limits.bytes_min)
    }
}

fn to_answer(
    broker: &Broker,
    ctx: &RequestContext,
    follower: Follower,
    session: &mut ReplicaSession,
    pass: Pass,
) -> FetchAnswer<FileRecords> {
    let mut answers = pass.answers;
    if session.is_first_answer {
        add_quiet(session, &mut answers);
    }
    if let Some(last) = pass.served {
        session.served(last);
    }
    let mut answer = FetchAnswer { session_id: session.id(), ..FetchAnswer::failed(ErrorCode::None) };
    for (place, partition) in answers {
        ctx.count_error(partition.error);
        let slot = &session.slots()[place];
        count(broker, follower, slot, &partition);
        push(&mut answer.topics, &(TopicKey::Id(slot.key.0), slot.key.1), None, partition);
    }
    answer
}

/// Partitions of which there is nothing to tell, for the first answer of a session.
fn add_quiet(session: &ReplicaSession, answers: &mut Vec<(usize, PartitionAnswer<FileRecords>)>) {
    let mut is_named = vec![false; session.slots().len()];
    answers.iter().for_each(|(place, _)| is_named[*place] = true);
    for (place, slot) in session.slots().iter().enumerate().filter(|(place, _)| !is_named[*place]) {
        if let Ok(partition) = &slot.partition {
            answers.push((place, quiet(slot, partition)));
        }
    }
}

/// What followers fetch is no traffic of clients. It counts for the throttle if it could have been held back.
fn count(broker: &Broker, follower: Follower, slot: &Slot, answer: &PartitionAnswer<FileRecords>) {
    let (Some(records), Ok(partition)) = (&answer.records, &slot.partition) else { return };
    broker.metrics.replication.bytes_out.inc_by(records.0.len as u64);
    let throttle = &broker.replication.throttles.leader;
    if throttle.holds(partition.id()) && !partition.has_in_sync(follower.node) {
        throttle.spend(records.0.len, Instant::now());
    }
}
