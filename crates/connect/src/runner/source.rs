//! Runs a source task: poll, convert or pass through, produce, store the offsets of what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use twinstream_client::{Header, ProducerRecord};
use twinstream_connect_api::{
    OffsetMap, OriginalRecord, Polled, SourceRecord, SourceTask, SourceTaskContext, TaskError,
};

use super::errors::{BadRecord, ErrorPolicy, Stage};
use super::outgoing::Outgoing;
use super::report::Reporter;
use super::{Shared, TaskSpec, Want, run_state, wanted_change};
use crate::converters::{Converter, HeaderConverter, Part};
use crate::metrics::TaskMetrics;
use crate::plugins::{task_converters, with_own_converters};
use crate::state::offsets::OffsetState;
use crate::store::StateLog;

/// Pauses between polls that failed in a way that may pass.
const POLL_RETRY_FIRST: Duration = Duration::from_millis(500);
const POLL_RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(
    shared: Shared,
    spec: TaskSpec,
    mut task: Box<dyn SourceTask>,
    reporter: Reporter,
    mut want: watch::Receiver<Want>,
) -> Result<(), TaskError> {
    let mut runner = Runner::new(&shared, &spec, reporter).await.inspect_err(|_| {
        shared.metrics.task_startup_failures.inc();
    })?;
    let context = Arc::new(Context {
        connector: spec.id.connector.clone(),
        task: spec.id.task,
        offsets: Arc::clone(&shared.offsets),
    });
    let started = tokio::select! {
        started = task.start(context, spec.task.clone()) => started,
        () = stop_wanted(&mut want) => {
            task.stop().await;
            return Ok(());
        }
    };
    let result = match started {
        Ok(()) => {
            runner.out.observe(task.raw_observer());
            runner.work(task.as_mut(), want).await
        }
        Err(error) => {
            shared.metrics.task_startup_failures.inc();
            Err(error)
        }
    };
    let grace = shared.settings.millis("task.shutdown.graceful.timeout.ms");
    runner.finish(task.as_mut(), grace).await;
    task.stop().await;
    result
}

pub(super) async fn stop_wanted(want: &mut watch::Receiver<Want>) {
    // An error means that the herder is gone, which is a stop as well.
    want.wait_for(|want| *want == Want::Stop).await.ok();
}

struct Runner {
    reporter: Reporter,
    key: Converter,
    value: Converter,
    header: HeaderConverter,
    classes: [String; 2],
    policy: ErrorPolicy,
    out: Outgoing,
    metrics: TaskMetrics,
}

impl Runner {
    async fn new(shared: &Shared, spec: &TaskSpec, reporter: Reporter) -> Result<Self, TaskError> {
        let (converters, key, value, header) =
            task_converters(&shared.settings, &with_own_converters(&spec.plugin, &spec.connector))?;
        let class = |part: Part| converters.get(part.setting()).cloned().unwrap_or_default();
        Ok(Self {
            reporter,
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
    async fn work(&mut self, task: &mut dyn SourceTask, mut want: watch::Receiver<Want>) -> Result<(), TaskError> {
        let mut retry_pause = POLL_RETRY_FIRST;
        loop {
            let wanted = *want.borrow();
            if wanted == Want::Stop {
                return Ok(());
            }
            self.reporter.state(run_state(wanted));
            while *want.borrow() == wanted {
                if wanted == Want::Pause || !self.out.has_room() {
                    tokio::select! {
                        _ = wanted_change(&mut want, wanted) => {}
                        step = self.out.step() => step?,
                    }
                } else {
                    match self.poll(task, &mut want).await? {
                        None => {}
                        Some(Ok(polled)) => {
                            retry_pause = POLL_RETRY_FIRST;
                            self.dispatch(polled).await?;
                        }
                        Some(Err(error)) if error.is_retriable() => {
                            self.pause_after(&error, retry_pause, &mut want).await?;
                            retry_pause = (retry_pause * 2).min(POLL_RETRY_MAX);
                        }
                        Some(Err(error)) => return Err(error),
                    }
                }
                if self.out.take_commit_due() {
                    task.commit().await?;
                }
            }
        }
    }

    /// One poll, while acknowledgements and stores go on. `None` if something else is wanted meanwhile.
    async fn poll(
        &mut self,
        task: &mut dyn SourceTask,
        want: &mut watch::Receiver<Want>,
    ) -> Result<Option<Result<Polled, TaskError>>, TaskError> {
        let mut poll = task.poll();
        loop {
            tokio::select! {
                biased;
                _ = wanted_change(want, Want::Run) => return Ok(None),
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
        tracing::warn!(task = %self.reporter.id(), cause = %error.trace(), ?pause, "poll is tried again");
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
    async fn finish(&mut self, task: &mut dyn SourceTask, grace: Duration) {
        let id = self.reporter.id().clone();
        if tokio::time::timeout(grace, self.out.drain()).await.is_err() {
            tracing::warn!(task = %id, "some records were not acknowledged in time, they will be read again");
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

struct Context {
    connector: String,
    task: i32,
    offsets: Arc<StateLog<OffsetState>>,
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
        let state = self.offsets.state();
        Ok(partitions.iter().map(|partition| state.get(&self.connector, partition).cloned()).collect())
    }
}
