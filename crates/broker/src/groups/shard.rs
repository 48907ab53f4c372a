//! One shard's task: a mailbox, the engine, the partition's log, and one sleep until the next deadline.
//!
//! Picture: the driver of [`twinstream_coordinator::Engine`]. It hands requests in, appends what the engine asks
//! for, and sends answers to whoever waits for them.
//!
//! Invariants: a shard serves only when everything that its log held is committed in its own leadership: the leader
//! before it may have answered from records that this broker's high watermark does not cover yet
//! (`coordinator/docs/002-a-new-coordinator.md`). Requests that are in the mailbox are served before deadlines that are due, so that a stall of this
//! process does not fail members whose heartbeats are already here. Every request is answered: by the shard, or
//! with NOT_COORDINATOR when the shard moves away. A shard that panics is logged as an error and loaded anew.
//!
//! Not here: which shards exist (`mod`), what a request means (`twinstream_coordinator::group`).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use twinstream_coordinator::group::{Answer, Event, GroupConfig, GroupShard, Record, Request, encode};
use twinstream_coordinator::{Engine, Now, Token};
use twinstream_model::{ErrorCode, Offset, TopicPartition};
use twinstream_protocol::batch::BatchBuilder;

use super::loader::{self, LoadError};
use super::log::ShardLog;
use super::metrics::{GroupMetrics, Share};

/// Requests that wait for one shard; a connection whose request finds the mailbox full waits with it.
const MAILBOX_REQUESTS_MAX: usize = 1_024;

/// How long a request waits for a shard that loads before its client is told to come back. Most shards load within
/// milliseconds, and clients come back after a tenth of a second at best.
pub(super) const LOAD_PATIENCE: Duration = Duration::from_millis(500);

/// How long a loaded shard waits in silence until its log is committed; followers need some fetches for it.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// How late a deadline may fire because requests come without a pause.
const DEADLINE_PATIENCE_MS: u64 = 500;

/// How long a change may wait until the metrics show it.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Pause before a shard that panicked is loaded again, so that a lasting cause does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A request on its way to a shard.
struct Letter {
    request: Request,
    reply: oneshot::Sender<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
    /// The log cannot be loaded; a human must act.
    Failed,
}

/// How shards behave and where they are counted.
#[derive(Clone, Debug)]
pub(super) struct ShardSettings {
    pub(super) group: GroupConfig,
    /// How long an answer waits for its commit.
    pub(super) commit_timeout: Duration,
    pub(super) metrics: GroupMetrics,
}

/// The service's end of a shard.
#[derive(Debug)]
pub(super) struct ShardHandle {
    mailbox: mpsc::Sender<Letter>,
    phase: watch::Receiver<Phase>,
    stop: CancellationToken,
}

impl ShardHandle {
    /// Starts the shard's task; loading begins at once.
    pub(super) fn start(partition: TopicPartition, log: Arc<dyn ShardLog>, settings: ShardSettings) -> ShardHandle {
        let (mailbox, letters) = mpsc::channel(MAILBOX_REQUESTS_MAX);
        let (entering, phase) = watch::channel(Phase::Loading);
        let stop = CancellationToken::new();
        let task = ShardTask { partition, log, settings, phase: entering, stop: stop.clone(), letters };
        tokio::spawn(task.run());
        ShardHandle { mailbox, phase, stop }
    }

    /// Asks the shard and waits for its answer, which for a join may take a whole rebalance. While the shard loads,
    /// waits for it a moment.
    pub(super) async fn call(&self, request: Request) -> Result<Answer, ErrorCode> {
        let mut phase = self.phase.clone();
        let loaded = phase.wait_for(|phase| *phase != Phase::Loading);
        let phase = match tokio::time::timeout(LOAD_PATIENCE, loaded).await {
            Ok(Ok(phase)) => *phase,
            Ok(Err(_)) => return Err(ErrorCode::NotCoordinator), // the shard is gone
            Err(_) => return Err(ErrorCode::CoordinatorLoadInProgress),
        };
        match phase {
            Phase::Failed => Err(ErrorCode::CoordinatorNotAvailable),
            Phase::Loading | Phase::Active => self.call_when_loaded(request).await,
        }
    }

    /// Like `call`, but waits while the shard loads.
    pub(super) async fn call_when_loaded(&self, request: Request) -> Result<Answer, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let sent = self.mailbox.send(Letter { request, reply }).await;
        sent.map_err(|_| ErrorCode::NotCoordinator)?;
        answer.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// Resigns: what is parked is answered with NOT_COORDINATOR.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct ShardTask {
    partition: TopicPartition,
    log: Arc<dyn ShardLog>,
    settings: ShardSettings,
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
    letters: mpsc::Receiver<Letter>,
}

impl ShardTask {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let lived = AssertUnwindSafe(self.live()).catch_unwind().await;
            match lived {
                Ok(Ok(())) => break,
                Ok(Err(error)) => {
                    self.set_phase(Phase::Failed);
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    error!(partition = %self.partition, %error, cause, "group coordinator cannot load its partition");
                    self.stop.cancelled().await;
                }
                Err(_) => {
                    self.set_phase(Phase::Loading);
                    error!(partition = %self.partition, "group coordinator shard panicked, loading it again");
                    tokio::select! {
                        () = tokio::time::sleep(RESTART_PAUSE) => (),
                        () = self.stop.cancelled() => (),
                    }
                }
            }
        }
        debug!(partition = %self.partition, "group coordinator shard resigned");
    }

    /// Loads and serves until told to stop.
    async fn live(&mut self) -> Result<(), LoadError> {
        let clock = Clock::start();
        let Some(engine) = self.load(clock).await? else { return Ok(()) };
        let mut driver = Driver {
            engine,
            log: self.log.clone(),
            clock,
            replies: HashMap::new(),
            next_token: 0,
            counted: self.settings.metrics.share(),
            count_at: None,
        };
        driver.drive();
        self.set_phase(Phase::Active);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                letter = self.letters.recv() => match letter {
                    Some(letter) => driver.serve(letter),
                    None => break, // nobody can ask any more
                },
                () = driver.something_committed() => driver.drive(),
                () = driver.next_deadline() => driver.fire_next(),
                () = driver.next_count() => driver.count(),
            }
        }
        driver.resign();
        self.letters.close();
        while let Some(letter) = self.letters.recv().await {
            drop(letter); // its sender hears NOT_COORDINATOR
        }
        Ok(())
    }

    /// Reads the whole log on a thread that may block, and waits until all of it is committed. `None` if stopped
    /// meanwhile.
    async fn load(&self, clock: Clock) -> Result<Option<Engine<GroupShard>>, LoadError> {
        let (log, partition, config) = (self.log.clone(), self.partition.clone(), self.settings.group.clone());
        let commit_timeout_ms = self.settings.commit_timeout.as_millis() as u64;
        let loading = tokio::task::spawn_blocking(move || {
            let mut engine = Engine::new(GroupShard::new(config), commit_timeout_ms);
            let (end, loaded) = loader::load(&mut engine, &*log, &partition)?;
            Ok((engine, end, loaded))
        });
        let loaded = tokio::select! {
            loaded = loading => loaded,
            () = self.stop.cancelled() => return Ok(None),
        };
        let (mut engine, end, loaded) = match loaded {
            Ok(loaded) => loaded?,
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Ok(None), // the runtime shuts down
            },
        };
        let read_ms = clock.now().monotonic_ms;
        tokio::select! {
            () = self.committed_up_to(end) => (),
            () = self.stop.cancelled() => return Ok(None),
        }
        engine.handle_loaded(clock.now(), end, self.log.committed());
        let (partition, records, bytes) = (&self.partition, loaded.records, loaded.bytes);
        if records > 0 {
            let elapsed_ms = clock.now().monotonic_ms;
            info!(%partition, records, bytes, read_ms, elapsed_ms, "loaded group coordinator shard");
        }
        Ok(Some(engine))
    }

    /// Waits until everything below `end` is committed. As the leader this broker never gives up a record of its own
    /// log, so it happens as soon as enough followers are there.
    async fn committed_up_to(&self, end: Offset) {
        let all = async {
            loop {
                let committed = self.log.committed();
                if committed >= end {
                    return;
                }
                self.log.committed_beyond(committed).await;
            }
        };
        tokio::pin!(all);
        if tokio::time::timeout(COMMIT_PATIENCE, &mut all).await.is_err() {
            let (partition, committed) = (&self.partition, self.log.committed());
            warn!(
                %partition, log_end = %end, high_watermark = %committed,
                "group coordinator waits until its log is committed: too few replicas are in sync, start their brokers"
            );
            all.await;
            info!(%partition, log_end = %end, "log of the group coordinator is committed now");
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

/// Both clocks of the engine; the monotonic one starts at 0 with the shard.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms: self.start.elapsed().as_millis() as u64, wall_ms: wall.as_millis() as i64 }
    }
}

struct Driver {
    engine: Engine<GroupShard>,
    log: Arc<dyn ShardLog>,
    clock: Clock,
    /// One per request that is not answered yet, so at most one per connection.
    replies: HashMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    counted: Share,
    /// When to count next, if something has happened since.
    count_at: Option<Instant>,
}

impl Driver {
    fn serve(&mut self, letter: Letter) {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.replies.insert(token, letter.reply);
        self.engine.handle_request(self.clock.now(), token, letter.request);
        self.drive();
        self.fire_if_long_overdue();
    }

    fn fire_if_long_overdue(&mut self) {
        let now_ms = self.clock.now().monotonic_ms;
        if self.engine.poll_deadline().is_some_and(|at| at.saturating_add(DEADLINE_PATIENCE_MS) <= now_ms) {
            self.fire_next();
        }
    }

    /// One deadline at a time: between two of them the mailbox is looked at.
    fn fire_next(&mut self) {
        self.engine.handle_timeout(self.clock.now());
        self.drive();
    }

    fn resign(&mut self) {
        self.engine.handle_unload(ErrorCode::NotCoordinator);
        self.send_answers();
    }

    /// Does what the engine asks for.
    fn drive(&mut self) {
        while let Some(records) = self.engine.poll_append() {
            let now = self.clock.now();
            let appended = batch_of(records, now.wall_ms).and_then(|batch| self.log.append(batch));
            match appended {
                Ok(base) => self.engine.handle_appended(now, base),
                Err(error) => {
                    warn!(error = error.name(), "group records could not be stored");
                    self.engine.handle_append_failed(now, error);
                }
            }
        }
        self.engine.handle_committed(self.log.committed());
        while let Some(event) = self.engine.poll_event() {
            log_event(event);
        }
        self.count_at.get_or_insert_with(|| Instant::now() + COUNT_INTERVAL);
        self.send_answers();
    }

    fn count(&mut self) {
        self.counted.update(self.engine.shard());
        self.count_at = None;
    }

    async fn next_count(&self) {
        match self.count_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn send_answers(&mut self) {
        while let Some((token, answer)) = self.engine.poll_answer() {
            if let Some(reply) = self.replies.remove(&token) {
                reply.send(answer).ok(); // whoever asked may be gone
            }
        }
    }

    /// Resolves when answers that wait for the log may be due. Never, if none waits.
    async fn something_committed(&self) {
        let seen = self.log.committed();
        if seen < self.engine.log_end() {
            self.log.committed_beyond(seen).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    async fn next_deadline(&self) {
        match self.engine.poll_deadline() {
            Some(at) => tokio::time::sleep_until(self.clock.start + Duration::from_millis(at)).await,
            None => std::future::pending().await,
        }
    }
}

fn batch_of(records: &[Record], timestamp_ms: i64) -> Result<Vec<u8>, ErrorCode> {
    let mut batch = BatchBuilder::new();
    for record in records {
        let encoded = encode(record).map_err(|error| {
            warn!(%error, "group record cannot be encoded");
            ErrorCode::InvalidRequest
        })?;
        batch.append(timestamp_ms, Some(&encoded.key), encoded.value.as_deref(), []);
    }
    batch.build().map_err(|error| {
        warn!(%error, "group records do not make a batch");
        ErrorCode::RecordListTooLarge
    })
}

fn log_event(event: Event) {
    match event {
        Event::Rebalancing { group, generation, reason } => {
            info!(%group, generation = generation.0, reason, "group starts to rebalance");
        }
        Event::GenerationStarted { group, generation, members } => {
            debug!(%group, generation = generation.0, members, "group has a new generation");
        }
        Event::Stabilized { group, generation, members } => {
            info!(%group, generation = generation.0, members, "group is stable");
        }
        Event::Emptied { group, generation } => info!(%group, generation = generation.0, "group is empty"),
        Event::MemberFailed { group, member, reason } => info!(%group, %member, reason, "member is out of the group"),
        Event::MemberLeft { group, member, reason } => info!(%group, %member, reason, "member left the group"),
        Event::StaticMemberFenced { group, instance, old, new } => {
            info!(%group, %instance, %old, %new, "static member is back under a new id, the old one is fenced");
        }
        Event::NotStored { group, what, error } => {
            warn!(%group, what, error = error.name(), "group state could not be stored");
        }
        Event::OffsetsExpired { offsets, groups } => info!(offsets, groups, "expired offsets and groups"),
        Event::Deleted { group, offsets } => info!(%group, offsets, "deleting group"),
    }
}
