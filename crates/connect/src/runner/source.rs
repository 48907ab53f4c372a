//! Runs a source task: poll, convert or pass through, produce, store the offsets of what was acknowledged.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use twinstream_client::{Header, ProducerRecord};
use twinstream_connect_api::{
    OffsetMap, OriginalRecord, Polled, RawConfig, SourceRecord, SourceTask, SourceTaskContext, TaskError,
};

use super::errors::{BadRecord, ErrorPolicy, Stage};
use super::outgoing::Outgoing;
use super::report::Reporter;
use super::stillness::{SHOWN_AFTER, Stillness, Turn};
use super::{Ears, Shared, TaskSpec, Want, run_state, stop_wanted, wanted_change};
use crate::converters::{Converter, HeaderConverter, Part};
use crate::metrics::TaskMetrics;
use crate::plugins::{task_converters, with_own_converters};
use crate::state::offsets::OffsetState;
use crate::store::StateLog;

/// Pauses between polls that failed in a way that may pass.
const POLL_RETRY_FIRST: Duration = Duration::from_millis(500);
const POLL_RETRY_MAX: Duration = Duration::from_secs(30);
/// One poll that fails is no state; from so many in a row on the task shows why it does nothing.
const SHOWN_FROM: u32 = 2;
/// How often it is looked whether anything arrives.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often failing polls are told again, with the newest cause.
const SHOWN_EVERY: Duration = Duration::from_secs(60);

/// How a life ended without an error.
pub(super) enum End {
    Stopped,
    /// The task's configuration has changed and it could not take it in.
    Reconfigured,
}

pub(super) struct Life {
    pub(super) end: Result<End, TaskError>,
    /// Something of it has arrived.
    pub(super) has_delivered: bool,
}

/// One life of a task, from its start to its stop. A revival follows a life that ended with a passing error; it shows as
/// running only when it is known to do its work again.
pub(super) async fn live(
    shared: &Shared,
    spec: &TaskSpec,
    mut task: Box<dyn SourceTask>,
    reporter: &Reporter,
    ears: &mut Ears,
    is_revival: bool,
) -> Life {
    let unborn = |end| Life { end, has_delivered: false };
    let mut runner = match Runner::new(shared, spec, reporter.clone(), is_revival).await {
        Ok(runner) => runner,
        Err(error) => {
            shared.metrics.task_startup_failures.inc();
            return unborn(Err(error));
        }
    };
    let starting = async {
        let own = match shared.settings.is_exactly_once() {
            true => Some(runner.out.begin_transactions(shared, spec).await?),
            false => None,
        };
        let (connector, offsets) = (spec.id.connector.clone(), Arc::clone(&shared.offsets));
        let context = Arc::new(Context { connector, task: spec.id.task, offsets, own });
        task.start(context, spec.task.clone()).await
    };
    let started = tokio::select! {
        started = starting => started,
        () = stop_wanted(&mut ears.want) => {
            task.stop().await;
            return unborn(Ok(End::Stopped));
        }
    };
    let end = match started {
        Ok(()) => {
            runner.out.observe(task.raw_observer());
            runner.work(task.as_mut(), ears).await
        }
        Err(error) => {
            shared.metrics.task_startup_failures.inc();
            Err(error)
        }
    };
    let grace = shared.settings.millis("task.shutdown.graceful.timeout.ms");
    runner.finish(task.as_mut(), grace, end.is_ok()).await;
    task.stop().await;
    Life { end, has_delivered: runner.out.has_delivered() }
}

/// Polls in a row that failed in a way that may pass.
#[derive(Default)]
struct Failing {
    count: u32,
    /// Since then the task shows as RESTARTING.
    shown_at: Option<Instant>,
}

impl Failing {
    /// One more has failed at this time. Whether the task is to show it now.
    fn again(&mut self, now: Instant) -> bool {
        self.count = self.count.saturating_add(1);
        let is_due = self.count >= SHOWN_FROM && self.shown_at.is_none_or(|at| now >= at + SHOWN_EVERY);
        if is_due {
            self.shown_at = Some(now);
        }
        is_due
    }

    /// One did not fail. Whether the task showed that they do.
    fn is_over(&mut self) -> bool {
        std::mem::take(self).shown_at.is_some()
    }
}

struct Runner {
    reporter: Reporter,
    /// What the life before this one failed of is not known to be over.
    is_revival: bool,
    failing: Failing,
    stillness: Stillness,
    /// Kept, because it is waited for again and again.
    next_look: Pin<Box<Sleep>>,
    key: Converter,
    value: Converter,
    header: HeaderConverter,
    classes: [String; 2],
    policy: ErrorPolicy,
    out: Outgoing,
    metrics: TaskMetrics,
}

impl Runner {
    async fn new(shared: &Shared, spec: &TaskSpec, reporter: Reporter, is_revival: bool) -> Result<Self, TaskError> {
        let (converters, key, value, header) =
            task_converters(&shared.settings, &with_own_converters(&spec.plugin, &spec.connector))?;
        let class = |part: Part| converters.get(part.setting()).cloned().unwrap_or_default();
        Ok(Self {
            reporter,
            is_revival,
            failing: Failing::default(),
            stillness: Stillness::default(),
            next_look: Box::pin(tokio::time::sleep(LOOK_EVERY)),
            key,
            value,
            header,
            classes: [class(Part::Key), class(Part::Value)],
            policy: ErrorPolicy::new(shared, spec).await?,
            out: Outgoing::new(shared, spec)?,
            metrics: shared.metrics.task(&spec.id),
        })
    }

    /// Polls and sends until a stop is wanted or something fails for good.
    async fn work(&mut self, task: &mut dyn SourceTask, ears: &mut Ears) -> Result<End, TaskError> {
        let mut retry_pause = POLL_RETRY_FIRST;
        loop {
            let wanted = *ears.want.borrow();
            if wanted == Want::Stop {
                return Ok(End::Stopped);
            }
            if wanted == Want::Pause || !self.is_revival {
                (self.failing, self.stillness) = (Failing::default(), Stillness::default());
                self.reporter.state(run_state(wanted));
            }
            while *ears.want.borrow() == wanted {
                if wanted == Want::Pause || !self.out.has_room() {
                    tokio::select! {
                        _ = wanted_change(&mut ears.want, wanted) => {}
                        () = config_change(&mut ears.config) => {}
                        () = self.next_look.as_mut(), if wanted == Want::Run => self.look(),
                        step = self.out.step() => step?,
                    }
                } else {
                    match self.poll(task, ears).await? {
                        None => {}
                        Some(Ok(polled)) => {
                            retry_pause = POLL_RETRY_FIRST;
                            if self.failing.is_over() {
                                self.runs_again();
                            }
                            let is_idle = matches!(polled, Polled::Idle);
                            self.dispatch(polled).await?;
                            if is_idle && self.out.is_empty() {
                                self.revived();
                            }
                        }
                        Some(Err(error)) if error.is_retriable() => {
                            self.pause_after(&error, retry_pause, &mut ears.want).await?;
                            retry_pause = (retry_pause * 2).min(POLL_RETRY_MAX);
                        }
                        Some(Err(error)) => return Err(error),
                    }
                }
                if self.out.take_commit_due() {
                    task.commit().await?;
                }
                if !self.retune(task, &mut ears.config).await? {
                    return Ok(End::Reconfigured);
                }
            }
        }
    }

    /// Tells the task of a changed configuration; `false` if it cannot take it in.
    async fn retune(
        &mut self,
        task: &mut dyn SourceTask,
        config: &mut watch::Receiver<RawConfig>,
    ) -> Result<bool, TaskError> {
        if !config.has_changed().unwrap_or(false) {
            return Ok(true);
        }
        let changed = config.borrow_and_update().clone();
        let is_taken_in = task.reconfigure(&changed).await?;
        tracing::info!(task = %self.reporter.id(), is_taken_in, "task has a new configuration");
        Ok(is_taken_in)
    }

    /// Shows how long nothing arrives.
    fn look(&mut self) {
        let now = Instant::now();
        self.next_look.as_mut().reset(now + LOOK_EVERY);
        match self.stillness.look(now, !self.out.is_empty(), self.metrics.written.get()) {
            Some(Turn::Still) if !self.is_revival => {
                let seconds = SHOWN_AFTER.as_secs();
                let text =
                    format!("the target cluster has acknowledged nothing for {seconds} s, what waits is sent again");
                self.reporter.nothing_arrives(&TaskError::retriable(text));
            }
            Some(Turn::Moves) => self.runs_again(),
            Some(Turn::Still) | None => {}
        }
    }

    /// One trouble is over; the task shows as running unless it has another one.
    fn runs_again(&self) {
        if !self.is_revival && self.failing.shown_at.is_none() && !self.stillness.is_shown() {
            self.reporter.state(run_state(Want::Run));
        }
    }

    /// Shows a task that came back as running: something has arrived, or there is nothing to do.
    fn revived(&mut self) {
        if std::mem::take(&mut self.is_revival) {
            self.reporter.state(run_state(Want::Run));
        }
    }

    /// One poll, while acknowledgements and stores go on. `None` if something else is wanted meanwhile.
    async fn poll(
        &mut self,
        task: &mut dyn SourceTask,
        ears: &mut Ears,
    ) -> Result<Option<Result<Polled, TaskError>>, TaskError> {
        let mut poll = task.poll();
        loop {
            if self.is_revival && self.out.has_delivered() {
                self.revived();
            }
            tokio::select! {
                biased;
                _ = wanted_change(&mut ears.want, Want::Run) => return Ok(None),
                () = config_change(&mut ears.config) => return Ok(None),
                () = self.next_look.as_mut() => self.look(),
                step = self.out.step() => step?,
                polled = &mut poll => return Ok(Some(polled)),
            }
        }
    }

    async fn pause_after(
        &mut self,
        error: &TaskError,
        pause: Duration,
        want: &mut watch::Receiver<Want>,
    ) -> Result<(), TaskError> {
        let pause = match error {
            TaskError::Retriable { retry_after: Some(delay), .. } => *delay,
            _ => pause,
        };
        if self.failing.again(Instant::now()) {
            self.reporter.polls_fail(error);
        } else if self.failing.count == 1 {
            tracing::warn!(task = %self.reporter.id(), cause = %error.trace(), ?pause, "poll is tried again");
        }
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                _ = wanted_change(want, Want::Run) => return Ok(()),
                () = tokio::time::sleep_until(until) => return Ok(()),
                step = self.out.step() => step?,
            }
        }
    }

    async fn dispatch(&mut self, polled: Polled) -> Result<(), TaskError> {
        match polled {
            Polled::Idle => {}
            Polled::Batches(batches) => {
                self.metrics.polled.inc_by(batches.iter().map(|batch| u64::from(batch.records)).sum());
                self.out.send_batches(batches);
            }
            Polled::Records(records) => {
                self.metrics.polled.inc_by(records.len() as u64);
                for record in records {
                    self.send_record(record).await?;
                }
            }
        }
        self.out.end_of_poll();
        Ok(())
    }

    async fn send_record(&mut self, record: SourceRecord) -> Result<(), TaskError> {
        let topic = record.topic.as_str();
        let key = self.policy.retrying(|| self.key.encode(topic, &record.key)).await;
        let value = self.policy.retrying(|| self.value.encode(topic, &record.value)).await;
        let (stage, class, error) = match (key, value) {
            (Ok(key), Ok(value)) => {
                let headers = self.header.to_bytes(&record.headers);
                let headers = headers.into_iter().map(|(key, value)| Header { key, value }).collect();
                let (topic, partition, timestamp) = (record.topic, record.partition, record.timestamp);
                let outgoing = ProducerRecord { topic, partition, key, value, headers, timestamp };
                return self.out.send_record(outgoing, &record.source_partition, record.source_offset).await;
            }
            (Err(error), _) => (Stage::KeyConverter, &self.classes[0], error),
            (_, Err(error)) => (Stage::ValueConverter, &self.classes[1], error),
        };
        let error = TaskError::fatal(error.message.clone()).caused_by(error);
        let original = OriginalRecord::default();
        let bad = BadRecord { stage, class, origin: None, original: &original, error };
        self.policy.bad_record(bad).await?;
        // Left out: its offset still counts, as soon as everything before it has arrived.
        self.out.skip(&record.source_partition, record.source_offset);
        Ok(())
    }

    /// Lets what is under way arrive, then stores offsets a last time.
    /// After an error a transaction is given up: what is in it will be read again.
    async fn finish(&mut self, task: &mut dyn SourceTask, grace: Duration, is_sound: bool) {
        let id = self.reporter.id().clone();
        if is_sound {
            self.out.begin_commit();
        } else {
            self.out.abort(grace).await;
        }
        if tokio::time::timeout(grace, self.out.drain()).await.is_err() {
            tracing::warn!(task = %id, "some records were not acknowledged in time, they will be read again");
            self.out.abort(grace).await;
        }
        match self.out.store_now().await {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = task.commit().await {
                    tracing::warn!(task = %id, cause = %error.trace(), "commit at the end failed");
                }
            }
            Err(error) => {
                let cause = twinstream_connect_api::error::trace_of(&error);
                tracing::warn!(task = %id, cause, "offsets were not stored, some records will be read again");
            }
        }
    }
}

/// Waits until the task's configuration is another one than was last looked at, and leaves it so.
async fn config_change(config: &mut watch::Receiver<RawConfig>) {
    match config.changed().await {
        Ok(()) => config.mark_changed(),
        Err(_) => std::future::pending().await, // the herder is gone, which is a stop
    }
}

struct Context {
    connector: String,
    task: i32,
    offsets: Arc<StateLog<OffsetState>>,
    /// What is committed, of exactly-once tasks.
    own: Option<Arc<Mutex<OffsetState>>>,
}

#[async_trait]
impl SourceTaskContext for Context {
    fn connector(&self) -> &str {
        &self.connector
    }

    fn task_id(&self) -> i32 {
        self.task
    }

    async fn offsets(&self, partitions: &[OffsetMap]) -> Result<Vec<Option<OffsetMap>>, TaskError> {
        let state = match &self.own {
            Some(own) => own.lock(),
            None => self.offsets.state(),
        };
        Ok(partitions.iter().map(|partition| state.get(&self.connector, partition).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_go_on_failing_are_shown_again_and_again_and_one_alone_is_not() {
        let (mut failing, now) = (Failing::default(), Instant::now());
        assert!(!failing.again(now), "one alone");
        assert!(!failing.is_over());
        let second = Duration::from_secs(1);
        let shown: Vec<u32> = (0..150).filter(|number| failing.again(now + second * *number)).collect();
        assert_eq!(shown, [1, 61, 121], "for as long as it takes");
        assert!(failing.is_over() && !failing.is_over(), "told once");
        assert!(!failing.again(now), "it begins anew");
    }
}
