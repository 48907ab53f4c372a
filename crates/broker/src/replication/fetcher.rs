//! One task that fetches from one leader.
//!
//! Picture: rounds. Each round asks the leader, in one request, for everything that this task follows there, and hands
//! each partition its part of the answer. With nothing new the leader holds the request for a while
//! (`replica.fetch.wait.max.ms`), so a quiet cluster costs two requests a second and a busy one no waiting at all.
//!
//! ```text
//!   take mail ─▶ plan ─▶ connect ─▶ ask ──────────────▶ hand out ─▶ repair ─╮
//!      ▲                             │ mail: the waiting                    │
//!      ╰─────────────────────────────┴─ request is given up ◀───────────────╯
//! ```
//! Invariants: a partition that the leader refuses is left out for a short, growing pause, and the others do not wait
//! for it; a partition that this broker begins to follow does not wait for a request that the leader holds; an
//! unreachable leader is tried with a growing pause and reported once per outage; at most one answer is in memory.
//!
//! Not here: rules (`twinstream_replication::follower`), who follows whom (`fetchers`).

mod plan; // what the next request asks for
mod repair; // logs that must be cut or begun anew

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use twinstream_protocol::batch::whole_batches;
use twinstream_protocol::fetch::VERSION_MAX;
use twinstream_replication::follower::{Ask, Heard, Step};

use super::connection::{Connection, FetchError, Limits};
use super::fetchers::{Change, FetcherId, Mailbox};
use super::session::{Key, Session};
use crate::context::Broker;
use crate::partitions::{Followed, Partition, now_ms};

/// The newest version: it names topics by id (13), replicas by epoch (15) and known high watermarks (18, KIP-1166).
const FETCH_VERSION: i16 = VERSION_MAX;
/// Pause before a leader that cannot be reached is tried again.
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// First pause of a partition that the leader refuses: mostly its image is a moment behind ours.
const REFUSED_PAUSE_MIN: Duration = Duration::from_millis(5);
/// How often a starting broker looks whether its image has its registration.
const REGISTRATION_PAUSE: Duration = Duration::from_millis(5);
/// How often the lag is worked out for the metrics.
const LAG_INTERVAL: Duration = Duration::from_millis(500);
/// How long all partitions of a round wait for flushes: a disk that hangs must not hold up those of others.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);
/// How long a partition with a slow disk is left out then.
const FLUSH_PAUSE: Duration = Duration::from_millis(20);
/// Pause after an answer that fails as a whole.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// After appending so much, of one partition or several, a task lets others have the thread: an answer may bring many
/// milliseconds' work. As for sending.
const TURN_BYTES: usize = 256 << 10;
/// A waiting request is given up for new partitions at most this often, and the less often the more partitions there
/// are: each time costs a connection and a request that names all of them.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(20);
const INTERRUPT_INTERVAL_PER_PARTITION: Duration = Duration::from_micros(250);

/// A partition that this task follows.
struct Tracked {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    /// The question that the session asks.
    asked: Option<Ask>,
    /// Held back by a throttle if it is not in sync.
    in_sync: bool,
    /// The last pause after a refusal.
    pause: Duration,
    lag: i64,
}

pub(super) struct Fetcher {
    broker: Arc<Broker>,
    id: FetcherId,
    mailbox: Arc<Mailbox>,
    tracked: HashMap<Key, Tracked>,
    /// Those that are to be asked where they stand.
    fresh: HashSet<Key>,
    /// Those that are left out, and until when.
    resting: HashMap<Key, Instant>,
    /// Those that a throttle holds back.
    held: HashSet<Key>,
    throttle_generation: u64,
    session: Session,
    connection: Option<Connection>,
    reconnect_pause: Duration,
    /// The leader could not be reached, which was said.
    is_out: bool,
    interrupted: Option<Instant>,
    lag_reported: Option<Instant>,
}

/// What an answer leaves to do.
#[derive(Default)]
struct Leftovers {
    repairs: Vec<(Key, Arc<Partition>, Ask, Step)>,
    bounds: Vec<(Key, Arc<Partition>, Ask)>,
}

impl Fetcher {
    pub(super) fn new(broker: Arc<Broker>, id: FetcherId, mailbox: Arc<Mailbox>) -> Fetcher {
        Fetcher {
            broker,
            id,
            mailbox,
            tracked: HashMap::new(),
            fresh: HashSet::new(),
            resting: HashMap::new(),
            held: HashSet::new(),
            throttle_generation: 0,
            lag_reported: None,
            session: Session::default(),
            connection: None,
            reconnect_pause: RECONNECT_PAUSE_MIN,
            is_out: false,
            interrupted: None,
        }
    }

    /// Runs until the broker stops.
    pub(super) async fn run(mut self) {
        let shutdown = self.broker.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        loop {
            self.take_mail();
            if !self.tracked.is_empty() && !self.broker.replication.throttles.are_settled() {
                // The image is old: what it says of leaders, and does not say of throttles, may be over.
                self.rest(Some(Instant::now() + REGISTRATION_PAUSE)).await;
                continue;
            }
            self.flush_first().await;
            let next = self.plan(Instant::now());
            if self.session.is_empty() {
                self.rest(next).await;
            } else if self.connection.is_some() || self.connect().await {
                self.round(next).await;
            }
        }
    }

    fn take_mail(&mut self) {
        for (key, change) in self.mailbox.take() {
            match change {
                Change::Fetch { partition, epoch } => drop(self.tracked.insert(key, Tracked::new(partition, epoch))),
                Change::Leave => drop(self.tracked.remove(&key)),
            }
            self.resting.remove(&key);
            self.held.remove(&key);
            self.fresh.insert(key);
        }
        if self.tracked.is_empty() {
            // What happens to the leader is nobody's concern any more.
            self.connection = None;
            self.session.reset();
            self.is_out = false;
            self.reconnect_pause = RECONNECT_PAUSE_MIN;
            // What it was behind by is not its lag any more.
            self.broker.replication.fetchers.report_lag(self.id, 0, &self.broker.metrics.replication.max_lag);
        }
    }

    /// What this broker asks for says what it has. Where only what is on the disk counts (`twinstream.flush=ack`), the logs
    /// that got records are flushed first, all together; one whose disk is slow is left out meanwhile (`plan` sees to that).
    async fn flush_first(&mut self) {
        let asks = self.fresh.iter().chain(&self.held);
        let owing = asks.filter_map(|key| Some((*key, Arc::clone(&self.tracked.get(key)?.partition))));
        let owing: Vec<(Key, Arc<Partition>)> = owing.filter(|(_, partition)| partition.owes_flush()).collect();
        if owing.is_empty() {
            return;
        }
        owing.iter().for_each(|(_, partition)| partition.request_flush());
        let all = async {
            for (_, partition) in &owing {
                partition.until_flushed().await;
            }
        };
        // What is not flushed by then is left out.
        tokio::time::timeout(FLUSH_PATIENCE, all).await.ok();
    }

    /// Waits for mail, or until a partition has rested.
    async fn rest(&self, until: Option<Instant>) {
        let rested = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.mailbox.rung() => {}
            () = rested => {}
        }
    }

    async fn connect(&mut self) -> bool {
        let replication = &self.broker.settings.replication;
        let response_max = usize::try_from(replication.response_bytes_max).unwrap_or(0);
        let limits = Limits {
            silence_max: replication.socket_silence_max,
            // A single batch may be larger than the bound of a response; no batch is larger than a request.
            answer_bytes_max: response_max.saturating_add(self.broker.settings.network.request_bytes_max),
        };
        let client_id = format!("broker-{}-fetcher-{}", self.broker.settings.node.id, self.id.index);
        let opened = match self.address() {
            Some(address) => Connection::open(&address, client_id, limits).await,
            None => Err(FetchError::NoAddress),
        };
        match opened {
            Ok(connection) => {
                self.broker.controller.suspects().clear(self.id.leader);
                self.connection = Some(connection);
                true
            }
            Err(error) => {
                self.outage(&error).await;
                false
            }
        }
    }

    fn address(&self) -> Option<String> {
        let image = self.broker.image.load();
        let leader = image.broker(self.id.leader)?;
        let endpoint = leader.endpoint(&self.broker.settings.network.inter_broker_listener)?;
        let host = &endpoint.host;
        Some(if host.contains(':') {
            format!("[{host}]:{}", endpoint.port)
        } else {
            format!("{host}:{}", endpoint.port)
        })
    }

    /// The leader cannot be reached: says so once, and waits.
    async fn outage(&mut self, error: &FetchError) {
        self.broker.controller.suspects().add(self.id.leader);
        self.connection = None;
        self.session.reset();
        let leader = self.id.leader.0;
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.as_deref();
        match std::mem::replace(&mut self.is_out, true) {
            false => tracing::warn!(leader, %error, cause, "cannot fetch from the leader, trying on"),
            true => tracing::debug!(leader, %error, cause, "still cannot fetch from the leader"),
        }
        self.rest(Some(Instant::now() + self.reconnect_pause)).await;
        self.reconnect_pause = (self.reconnect_pause * 2).min(RECONNECT_PAUSE_MAX);
    }

    /// Asks once and hands out the answer.
    async fn round(&mut self, next: Option<Instant>) {
        let Some(mut connection) = self.connection.take() else { return };
        let request = self.request(next);
        let answer = tokio::select! {
            answer = connection.ask(&request, FETCH_VERSION) => answer,
            () = self.interruption() => {
                // The connection goes with its waiting request.
                self.interrupted = Some(Instant::now());
                self.session.reset();
                return;
            }
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.outage(&error).await,
        };
        self.connection = Some(connection);
        self.reconnect_pause = RECONNECT_PAUSE_MIN;
        if std::mem::replace(&mut self.is_out, false) {
            tracing::info!(
                leader = self.id.leader.0,
                partitions = self.tracked.len(),
                "fetching from the leader again"
            );
        }
        self.take_in(response).await;
    }

    /// Resolves when partitions came that should not wait.
    async fn interruption(&self) {
        self.mailbox.rung().await;
        if let Some(last) = self.interrupted {
            let partitions = u32::try_from(self.tracked.len()).unwrap_or(u32::MAX);
            let interval = INTERRUPT_INTERVAL.max(INTERRUPT_INTERVAL_PER_PARTITION * partitions);
            tokio::time::sleep_until((last + interval).into()).await;
        }
    }

    fn request(&mut self, next: Option<Instant>) -> FetchRequest {
        let lists = self.session.lists();
        let replica = ReplicaState::default()
            .with_replica_id(BrokerId(self.broker.settings.node.id.0))
            .with_replica_epoch(self.broker.controller.broker_epoch().unwrap_or(-1));
        plan::bounded(&self.broker.settings.replication, next, Instant::now())
            .with_replica_state(replica)
            .with_session_id(lists.session_id)
            .with_session_epoch(lists.session_epoch)
            .with_topics(lists.topics)
            .with_forgotten_topics_data(lists.forgotten)
    }

    async fn take_in(&mut self, response: FetchResponse) {
        let error = ErrorCode::from_code(response.error_code).unwrap_or(ErrorCode::UnknownServerError);
        if !self.session.answered(error, response.session_id) {
            tracing::debug!(leader = self.id.leader.0, code = error.name(), "fetch failed as a whole");
            if !is_about_session(error) {
                self.rest(Some(Instant::now() + FAILED_PAUSE)).await;
            }
            return;
        }
        let mut left = Leftovers::default();
        let mut appended = 0;
        for topic in &response.responses {
            let topic_id = TopicId(topic.topic_id);
            for data in &topic.partitions {
                self.hand_out((topic_id, PartitionIndex(data.partition_index)), data, &mut left);
                appended += data.records.as_ref().map_or(0, Bytes::len);
                if appended >= TURN_BYTES {
                    appended = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        drop(response);
        self.report_lag();
        self.ask_bounds(&mut left).await;
        self.repair(left.repairs).await;
    }

    /// Gives a partition its part of the answer.
    fn hand_out(&mut self, key: Key, data: &PartitionData, left: &mut Leftovers) {
        let Some(tracked) = self.tracked.get_mut(&key) else { return };
        let Some(ask) = tracked.asked.take() else { return };
        self.fresh.insert(key);
        let heard = heard(data);
        let records = data.records.as_deref().unwrap_or_default();
        let followed = tracked.partition.heard(&ask, heard, records, now_ms());
        if let (Followed::Goes, Heard::Records { high_watermark, .. }) = (followed, heard) {
            tracked.lag = (high_watermark.0 - tracked.partition.log().log_end_offset().0).max(0);
            count(&self.broker, tracked, records);
        }
        let partition = Arc::clone(&tracked.partition);
        match followed {
            Followed::Repair(step) => left.repairs.push((key, partition, ask, step)),
            Followed::AskBounds => left.bounds.push((key, partition, ask)),
            followed => self.settle(key, followed),
        }
    }

    /// What an outcome means for the next rounds.
    fn settle(&mut self, key: Key, followed: Followed) {
        let pause_max = self.broker.settings.replication.backoff_max;
        let Some(tracked) = self.tracked.get_mut(&key) else { return };
        match followed {
            Followed::Pause => {
                tracked.pause = (tracked.pause * 2).max(REFUSED_PAUSE_MIN).min(pause_max.max(REFUSED_PAUSE_MIN));
                self.resting.insert(key, Instant::now() + tracked.pause);
            }
            // Should the image bring nothing, asking now and then is cheap.
            Followed::WaitForImage => drop(self.resting.insert(key, Instant::now() + pause_max.max(FAILED_PAUSE))),
            Followed::Failed => {
                self.tracked.remove(&key);
                self.broker.metrics.replication.failed_partitions.inc();
            }
            _ => tracked.pause = Duration::ZERO,
        }
        self.fresh.insert(key);
    }

    fn report_lag(&mut self) {
        let now = Instant::now();
        if self.lag_reported.is_some_and(|last| now.saturating_duration_since(last) < LAG_INTERVAL) {
            return;
        }
        self.lag_reported = Some(now);
        let lag = self.tracked.values().map(|tracked| tracked.lag).max().unwrap_or(0);
        self.broker.replication.fetchers.report_lag(self.id, lag, &self.broker.metrics.replication.max_lag);
    }
}

impl Tracked {
    fn new(partition: Arc<Partition>, epoch: LeaderEpoch) -> Tracked {
        Tracked { partition, epoch, asked: None, in_sync: false, pause: Duration::ZERO, lag: 0 }
    }
}

/// The answer for one partition in the words of the rules.
fn heard(data: &PartitionData) -> Heard {
    let code = ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError);
    let diverging = &data.diverging_epoch;
    match code {
        ErrorCode::None if diverging.epoch >= 0 || diverging.end_offset >= 0 => {
            let log_start = Offset(data.log_start_offset);
            Heard::Diverging { epoch: LeaderEpoch(diverging.epoch), end: Offset(diverging.end_offset), log_start }
        }
        ErrorCode::None => {
            Heard::Records { high_watermark: Offset(data.high_watermark), log_start: Offset(data.log_start_offset) }
        }
        ErrorCode::OffsetOutOfRange => Heard::OutOfRange,
        ErrorCode::FencedLeaderEpoch => Heard::Fenced,
        _ => Heard::NotReady,
    }
}

fn is_about_session(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError
    )
}

/// Counts what came. A batch that was cut off comes again, so the throttle does not count it twice.
fn count(broker: &Broker, tracked: &Tracked, records: &[u8]) {
    if records.is_empty() {
        return;
    }
    broker.metrics.replication.bytes_in.inc_by(records.len() as u64);
    let throttle = &broker.replication.throttles.follower;
    if !tracked.in_sync && throttle.holds(tracked.partition.id()) {
        throttle.spend(whole_batches(records).map_or(0, <[u8]>::len), Instant::now());
    }
}
