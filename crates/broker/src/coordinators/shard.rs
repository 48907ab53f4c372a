//! One shard's task: a mailbox, the engine, the partition's log, and one sleep until the next deadline.
//!
//! Picture: the driver of [`twinstream_coordinator::Engine`]. It hands requests in, appends what the engine asks
//! for, sends answers to whoever waits for them, and passes effects on to its [`Kind`].
//!
//! Invariants: a shard serves only when everything that its log held is committed in its own leadership: the leader
//! before it may have answered from records that this broker's high watermark does not cover yet
//! (`coordinator/docs/002-a-new-coordinator.md`). Requests that are in the mailbox are served before deadlines that are due, so that a stall of this
//! process does not fail members whose heartbeats are already here. Every request is answered: by the shard, or
//! with NOT_COORDINATOR when the shard moves away. A shard that panics is logged as an error and loaded anew.
//!
//! Not here: which shards exist (`shards`), what a request means (`twinstream_coordinator`).

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use twinstream_coordinator::{Engine, Now, Shard, Token};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::kind::Kind;
use super::loader::{self, LoadError};
use super::log::ShardLog;

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

type RequestOf<K> = <<K as Kind>::Shard as Shard>::Request;
type AnswerOf<K> = <<K as Kind>::Shard as Shard>::Answer;

/// A request on its way to a shard.
struct Letter<K: Kind> {
    request: RequestOf<K>,
    reply: oneshot::Sender<AnswerOf<K>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
    /// The log cannot be loaded; a human must act.
    Failed,
}

/// Which leadership of which partition a shard belongs to, and the way back to it for who carries out its effects.
pub(crate) struct Site<K: Kind> {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: LeaderEpoch,
    /// Fires when the shard moves away: what it wanted done is the business of the next one.
    pub(crate) resigned: CancellationToken,
    mailbox: mpsc::WeakSender<Letter<K>>,
}

impl<K: Kind> Clone for Site<K> {
    fn clone(&self) -> Self {
        Site {
            partition: self.partition.clone(),
            epoch: self.epoch,
            resigned: self.resigned.clone(),
            mailbox: self.mailbox.clone(),
        }
    }
}

impl<K: Kind> fmt::Debug for Site<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} in epoch {}", K::NAME, self.partition, self.epoch.0)
    }
}

impl<K: Kind> Site<K> {
    /// Tells the shard how an effect went, and waits for what it says.
    pub(crate) async fn tell(&self, request: RequestOf<K>) -> Result<AnswerOf<K>, ErrorCode> {
        let mailbox = self.mailbox.upgrade().ok_or(ErrorCode::NotCoordinator)?;
        ask::<K>(&mailbox, request).await
    }
}

async fn ask<K: Kind>(mailbox: &mpsc::Sender<Letter<K>>, request: RequestOf<K>) -> Result<AnswerOf<K>, ErrorCode> {
    let (reply, answer) = oneshot::channel();
    let sent = mailbox.send(Letter { request, reply }).await;
    sent.map_err(|_| ErrorCode::NotCoordinator)?;
    answer.await.map_err(|_| ErrorCode::NotCoordinator)
}

/// The service's end of a shard.
pub(crate) struct ShardHandle<K: Kind> {
    mailbox: mpsc::Sender<Letter<K>>,
    phase: watch::Receiver<Phase>,
    stop: CancellationToken,
}

impl<K: Kind> ShardHandle<K> {
    /// Starts the shard's task; loading begins at once.
    pub(crate) fn start(
        kind: K,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        log: Arc<dyn ShardLog>,
    ) -> ShardHandle<K> {
        let (mailbox, letters) = mpsc::channel(MAILBOX_REQUESTS_MAX);
        let (entering, phase) = watch::channel(Phase::Loading);
        let stop = CancellationToken::new();
        let site = Site { partition, epoch, resigned: stop.clone(), mailbox: mailbox.downgrade() };
        tokio::spawn(ShardTask { kind, site, log, phase: entering, letters }.run());
        ShardHandle { mailbox, phase, stop }
    }

    /// Asks the shard and waits for its answer, which for a join may take a whole rebalance. While the shard loads,
    /// waits for it a moment.
    pub(crate) async fn call(&self, request: RequestOf<K>) -> Result<AnswerOf<K>, ErrorCode> {
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
    pub(crate) async fn call_when_loaded(&self, request: RequestOf<K>) -> Result<AnswerOf<K>, ErrorCode> {
        ask::<K>(&self.mailbox, request).await
    }

    /// Resigns: what is parked is answered with NOT_COORDINATOR.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl<K: Kind> Drop for ShardHandle<K> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct ShardTask<K: Kind> {
    kind: K,
    site: Site<K>,
    log: Arc<dyn ShardLog>,
    phase: watch::Sender<Phase>,
    letters: mpsc::Receiver<Letter<K>>,
}

impl<K: Kind> ShardTask<K> {
    async fn run(mut self) {
        while !self.site.resigned.is_cancelled() {
            let lived = AssertUnwindSafe(self.live()).catch_unwind().await;
            let partition = &self.site.partition;
            match lived {
                Ok(Ok(())) => break,
                Ok(Err(error)) => {
                    self.set_phase(Phase::Failed);
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    error!(coordinator = K::NAME, %partition, %error, cause, "coordinator cannot load its partition");
                    self.turn_away().await;
                }
                Err(_) => {
                    self.set_phase(Phase::Loading);
                    error!(coordinator = K::NAME, %partition, "coordinator shard panicked, loading it again");
                    tokio::select! {
                        () = tokio::time::sleep(RESTART_PAUSE) => (),
                        () = self.site.resigned.cancelled() => (),
                    }
                }
            }
        }
        debug!(coordinator = K::NAME, partition = %self.site.partition, "coordinator shard resigned");
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
            counted: self.kind.share(),
            count_at: None,
            kind: self.kind.clone(),
            site: self.site.clone(),
        };
        driver.drive();
        self.set_phase(Phase::Active);
        loop {
            tokio::select! {
                biased;
                () = self.site.resigned.cancelled() => break,
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
    async fn load(&self, clock: Clock) -> Result<Option<Engine<K::Shard>>, LoadError> {
        let (log, partition, kind) = (self.log.clone(), self.site.partition.clone(), self.kind.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let mut engine = Engine::new(kind.shard(), kind.commit_timeout().as_millis() as u64);
            let (end, loaded) = loader::load::<K>(&mut engine, &*log, &partition)?;
            Ok((engine, end, loaded))
        });
        let loaded = tokio::select! {
            loaded = loading => loaded,
            () = self.site.resigned.cancelled() => return Ok(None),
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
            () = self.site.resigned.cancelled() => return Ok(None),
        }
        engine.handle_loaded(clock.now(), end, self.log.committed());
        let (partition, records, bytes) = (&self.site.partition, loaded.records, loaded.bytes);
        if records > 0 {
            let elapsed_ms = clock.now().monotonic_ms;
            info!(coordinator = K::NAME, %partition, records, bytes, read_ms, elapsed_ms, "loaded coordinator shard");
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
            let (partition, committed) = (&self.site.partition, self.log.committed());
            warn!(
                coordinator = K::NAME, %partition, log_end = %end, high_watermark = %committed,
                "coordinator waits until its log is committed: too few replicas are in sync, start their brokers"
            );
            all.await;
            info!(coordinator = K::NAME, %partition, log_end = %end, "log of the coordinator is committed now");
        }
    }

    /// Until the shard moves away, whoever sent a request before it was known that none can be served hears
    /// NOT_COORDINATOR.
    async fn turn_away(&mut self) {
        loop {
            tokio::select! {
                () = self.site.resigned.cancelled() => return,
                letter = self.letters.recv() => match letter {
                    Some(letter) => drop(letter),
                    None => return, // nobody can ask any more
                },
            }
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

struct Driver<K: Kind> {
    engine: Engine<K::Shard>,
    log: Arc<dyn ShardLog>,
    clock: Clock,
    /// One per request that is not answered yet, so at most one per connection.
    replies: HashMap<Token, oneshot::Sender<AnswerOf<K>>>,
    next_token: u64,
    counted: K::Share,
    /// When to count next, if something has happened since.
    count_at: Option<Instant>,
    kind: K,
    site: Site<K>,
}

impl<K: Kind> Driver<K> {
    fn serve(&mut self, letter: Letter<K>) {
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
            let appended = K::batch(records, now.wall_ms).and_then(|batch| self.log.append(batch));
            match appended {
                Ok(base) => self.engine.handle_appended(now, base),
                Err(error) => {
                    warn!(coordinator = K::NAME, error = error.name(), "records could not be stored");
                    self.engine.handle_append_failed(now, error);
                }
            }
        }
        self.engine.handle_committed(self.log.committed());
        while let Some(event) = self.engine.poll_event() {
            self.kind.log_event(event);
        }
        while let Some(effect) = self.engine.poll_effect() {
            self.kind.carry_out(effect, &self.site);
        }
        self.count_at.get_or_insert_with(|| Instant::now() + COUNT_INTERVAL);
        self.send_answers();
    }

    fn count(&mut self) {
        K::count(&mut self.counted, self.engine.shard());
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

    /// Resolves when answers that wait for the log may be due. Never, if none waits. What counts is how far the engine
    /// knows: a commit that comes just after it was told must not be taken for one that it has seen.
    async fn something_committed(&self) {
        let seen = self.engine.committed();
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
