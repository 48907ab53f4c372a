//! Runs a sink task: consume, convert, put, commit what the task says is safe.
//!
//! Picture: records wait in `held` in the order consumed; each turn hands the deliverable ones to `put`. While a `put` is to
//! be repeated, or the task or a user paused partitions, records stay in `held` and the consumer is paused, so `held` is
//! bounded by what was already on its way. The consumer is polled all the time, so it keeps its partitions.
//! Invariants: `delivered` is the offset after the last record that `put` took; nothing beyond it is ever committed.

mod context;
mod convert;
mod place;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use twinstream_client::{ClientError, CommitOffset, Consumer, ConsumerEvent, ConsumerRecord, Revocation, StartAt};
use twinstream_connect_api::{SinkRecord, SinkTask, SinkTaskContext as _, TaskError};
use twinstream_model::{ErrorCode, Offset, TopicPartition};

use super::errors::ErrorPolicy;
use super::report::Reporter;
use super::{Shared, TaskSpec, Want, run_state, wanted_change};
use crate::metrics::TaskMetrics;
use context::Context;
use convert::Conversion;
use place::Place;

/// `put` is called at least this often.
const TURN: Duration = Duration::from_secs(1);
/// Records of one `put`; what Kafka's consumer gives to one poll.
const PUT_RECORDS_MAX: usize = 500;
const PUT_RETRY_FIRST: Duration = Duration::from_millis(500);
const PUT_RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(
    shared: Shared,
    spec: TaskSpec,
    mut task: Box<dyn SinkTask>,
    reporter: Reporter,
    mut want: watch::Receiver<Want>,
) -> Result<(), TaskError> {
    let startup_failed = |_: &TaskError| shared.metrics.task_startup_failures.inc();
    let policy = Arc::new(ErrorPolicy::new(&shared, &spec).await.inspect_err(startup_failed)?);
    let context = Arc::new(Context::new(&spec, Arc::clone(&policy)));
    let started = tokio::select! {
        started = task.start(Arc::clone(&context) as _, spec.task.clone()) => started,
        () = super::stop_wanted(&mut want) => {
            task.stop().await;
            return Ok(());
        }
    };
    let made = match started {
        Ok(()) => Runner::new(&shared, &spec, policy, context, reporter).await,
        Err(error) => Err(error),
    };
    let mut runner = match made {
        Ok(runner) => runner,
        Err(error) => {
            startup_failed(&error);
            task.stop().await;
            return Err(error);
        }
    };
    let result = runner.work(task.as_mut(), want).await;
    runner.finish(task.as_mut()).await;
    task.stop().await;
    result
}

struct Runner {
    reporter: Reporter,
    conversion: Conversion,
    context: Arc<Context>,
    consumer: Consumer,
    place: Place,
    /// Consumed, not yet converted.
    held: VecDeque<ConsumerRecord>,
    retry: Option<Retry>,
    open: BTreeSet<TopicPartition>,
    delivered: BTreeMap<TopicPartition, Offset>,
    committed: BTreeMap<TopicPartition, Offset>,
    /// What the consumer was told to pause.
    paused: BTreeSet<TopicPartition>,
    next_commit: Instant,
    commit_interval: Duration,
    metrics: TaskMetrics,
}

/// Converted records and where they end, per partition.
#[derive(Default)]
struct Delivery {
    records: Vec<Arc<SinkRecord>>,
    /// The offset after the last record, left-out ones included.
    ends: BTreeMap<TopicPartition, Offset>,
}

struct Retry {
    delivery: Delivery,
    at: Instant,
    pause: Duration,
}

impl Runner {
    async fn new(
        shared: &Shared,
        spec: &TaskSpec,
        policy: Arc<ErrorPolicy>,
        context: Arc<Context>,
        reporter: Reporter,
    ) -> Result<Self, TaskError> {
        let commit_interval = shared.settings.millis("offset.flush.interval.ms");
        let conversion = Conversion::new(shared, spec, policy)?;
        let (consumer, place) = place::join(shared, spec).await?; // last: who joined must leave
        Ok(Self {
            reporter,
            conversion,
            context,
            consumer,
            place,
            held: VecDeque::new(),
            retry: None,
            open: BTreeSet::new(),
            delivered: BTreeMap::new(),
            committed: BTreeMap::new(),
            paused: BTreeSet::new(),
            next_commit: Instant::now() + commit_interval,
            commit_interval,
            metrics: shared.metrics.task(&spec.id),
        })
    }

    async fn work(&mut self, task: &mut dyn SinkTask, mut want: watch::Receiver<Want>) -> Result<(), TaskError> {
        let mut shown = None;
        loop {
            let wanted = *want.borrow();
            if wanted == Want::Stop {
                return Ok(());
            }
            if shown != Some(wanted) {
                self.reporter.state(run_state(wanted));
                shown = Some(wanted);
            }
            self.seek_as_asked().await?;
            self.pause_as_needed(wanted).await?;
            let wait = self.wait(wanted);
            let events = tokio::select! {
                _ = wanted_change(&mut want, wanted) => continue,
                events = self.consumer.next_batch(wait) => events,
            };
            for event in events {
                self.take_in(task, event).await?;
            }
            self.deliver(task, wanted).await?;
            if Instant::now() >= self.next_commit || self.context.take_commit_request() {
                self.commit(task, &self.open.clone()).await?;
                self.next_commit = Instant::now() + self.commit_interval;
            }
        }
    }

    /// How long to wait for records: a turn, less if something is due before.
    fn wait(&self, wanted: Want) -> Duration {
        let now = Instant::now();
        let retry = self.retry.as_ref().filter(|_| wanted == Want::Run);
        let due = retry.map_or(self.next_commit, |retry| retry.at.min(self.next_commit));
        due.saturating_duration_since(now).min(TURN).max(Duration::from_millis(1))
    }

    async fn take_in(&mut self, task: &mut dyn SinkTask, event: ConsumerEvent) -> Result<(), TaskError> {
        match event {
            ConsumerEvent::Record(record) => {
                self.metrics.read.inc();
                self.held.push_back(record);
            }
            ConsumerEvent::Assigned(partitions) => {
                tracing::info!(task = %self.reporter.id(), ?partitions, "partitions assigned");
                self.open.extend(partitions.iter().cloned());
                self.context.set_assignment(&self.open);
                self.metrics.partitions.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
                task.open(&partitions).await?;
            }
            ConsumerEvent::Revoked(revocation) => self.revoked(task, revocation).await?,
            ConsumerEvent::Error { error, fatal: true } => {
                return Err(TaskError::fatal("the consumer failed").caused_by(error));
            }
            ConsumerEvent::Error { error, .. } => {
                tracing::warn!(task = %self.reporter.id(), %error, "consuming goes on after an error");
            }
            ConsumerEvent::EndOfPartition(_) => {}
        }
        Ok(())
    }

    /// Flushes and closes partitions on their way out; dropping the revocation at the end lets them go.
    async fn revoked(&mut self, task: &mut dyn SinkTask, revocation: Revocation) -> Result<(), TaskError> {
        let leaving: BTreeSet<TopicPartition> = revocation.partitions.iter().cloned().collect();
        tracing::info!(task = %self.reporter.id(), partitions = ?leaving, lost = revocation.lost, "partitions revoked");
        // Not delivered means not committed: whoever gets the partition reads these again.
        self.forget_undelivered(&leaving);
        if !revocation.lost {
            self.commit(task, &leaving).await?;
        }
        let closing: Vec<TopicPartition> = self.open.intersection(&leaving).cloned().collect();
        task.close(&closing).await?;
        self.open.retain(|partition| !leaving.contains(partition));
        self.delivered.retain(|partition, _| !leaving.contains(partition));
        self.committed.retain(|partition, _| !leaving.contains(partition));
        self.paused.retain(|partition| !leaving.contains(partition));
        self.context.set_assignment(&self.open);
        self.metrics.partitions.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
        drop(revocation);
        Ok(())
    }

    fn forget_undelivered(&mut self, partitions: &BTreeSet<TopicPartition>) {
        self.held.retain(|record| !partitions.contains(&record.topic_partition()));
        if let Some(retry) = &mut self.retry {
            retry.delivery.records.retain(|record| !partitions.contains(&record.topic_partition()));
            retry.delivery.ends.retain(|partition, _| !partitions.contains(partition));
        }
    }

    /// One or more `put`s: what is to be repeated first, then what is deliverable; an empty one if there is nothing.
    async fn deliver(&mut self, task: &mut dyn SinkTask, wanted: Want) -> Result<(), TaskError> {
        if let Some(retry) = self.retry.take() {
            if Instant::now() < retry.at || wanted == Want::Pause {
                self.retry = Some(retry);
                return Ok(());
            }
            self.put(task, retry.delivery, retry.pause).await?;
            if self.retry.is_some() {
                return Ok(());
            }
        }
        loop {
            let next = if wanted == Want::Run { self.next_deliverable() } else { Vec::new() };
            let last = next.len() < PUT_RECORDS_MAX;
            let delivery = self.conversion.convert(next).await?;
            self.put(task, delivery, PUT_RETRY_FIRST).await?;
            if last || self.retry.is_some() {
                return Ok(());
            }
        }
    }

    /// Takes the records of partitions that the task has not paused out of `held`, in order.
    fn next_deliverable(&mut self) -> Vec<ConsumerRecord> {
        let paused = self.context.paused();
        let mut next = Vec::new();
        if paused.is_empty() {
            next.extend(self.held.drain(..self.held.len().min(PUT_RECORDS_MAX)));
            return next;
        }
        let mut kept = VecDeque::new();
        for record in self.held.drain(..) {
            if next.len() < PUT_RECORDS_MAX && !paused.contains(&record.topic_partition()) {
                next.push(record);
            } else {
                kept.push_back(record);
            }
        }
        self.held = kept;
        next
    }

    async fn put(&mut self, task: &mut dyn SinkTask, delivery: Delivery, pause: Duration) -> Result<(), TaskError> {
        let count = delivery.records.len() as u64;
        match task.put(delivery.records.clone()).await {
            Ok(()) => {
                self.metrics.sent.inc_by(count);
                self.delivered.extend(delivery.ends);
                Ok(())
            }
            Err(error) if error.is_retriable() => {
                let asked = match &error {
                    TaskError::Retriable { retry_after, .. } => *retry_after,
                    TaskError::Fatal { .. } => None,
                };
                let wait = self.context.take_retry_after().or(asked).unwrap_or(pause);
                tracing::warn!(task = %self.reporter.id(), cause = %error.trace(), ?wait, "put is repeated");
                self.metrics.retries.inc();
                let pause = (pause * 2).min(PUT_RETRY_MAX);
                self.retry = Some(Retry { delivery, at: Instant::now() + wait, pause });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the consumer what to pause: everything while a user paused the task or a put is repeated, else what the task
    /// asked for.
    async fn pause_as_needed(&mut self, wanted: Want) -> Result<(), TaskError> {
        let all = wanted == Want::Pause || self.retry.is_some();
        let needed: BTreeSet<TopicPartition> =
            if all { self.open.clone() } else { self.context.paused().intersection(&self.open).cloned().collect() };
        let pause: Vec<TopicPartition> = needed.difference(&self.paused).cloned().collect();
        let resume: Vec<TopicPartition> = self.paused.difference(&needed).cloned().collect();
        let failed = |error: ClientError| TaskError::fatal("cannot pause or resume partitions").caused_by(error);
        if !pause.is_empty() {
            self.consumer.pause(&pause).await.map_err(failed)?;
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume).await.map_err(failed)?;
        }
        self.paused = needed;
        Ok(())
    }

    async fn seek_as_asked(&mut self) -> Result<(), TaskError> {
        for (partition, offset) in self.context.take_seeks() {
            if !self.open.contains(&partition) {
                continue;
            }
            match self.consumer.seek(&partition, StartAt::Offset(offset)).await {
                Ok(()) => {}
                // Again in the next turn, if the partition is still ours then; until then nothing of it is delivered.
                Err(error) if error.is_retriable() || error.code() == Some(ErrorCode::RebalanceInProgress) => {
                    self.context.seek(BTreeMap::from([(partition, offset)]));
                    continue;
                }
                Err(error) => {
                    return Err(TaskError::fatal(format!("cannot seek {partition} to {offset}")).caused_by(error));
                }
            }
            self.forget_undelivered(&BTreeSet::from([partition.clone()]));
            self.delivered.insert(partition, offset);
        }
        Ok(())
    }

    /// Asks the task what is safe and commits what of it is new.
    async fn commit(&mut self, task: &mut dyn SinkTask, of: &BTreeSet<TopicPartition>) -> Result<(), TaskError> {
        let id = self.reporter.id().clone();
        let safe = match task.pre_commit(&self.delivered).await {
            Ok(safe) => safe,
            Err(error) if error.is_retriable() => {
                self.metrics.commit_failures.inc();
                tracing::warn!(task = %id, cause = %error.trace(), "nothing is committed this time");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut commit = BTreeMap::new();
        for (partition, offset) in safe {
            let Some(delivered) = self.delivered.get(&partition) else { continue };
            if *delivered < offset {
                tracing::warn!(task = %id, %partition, %offset, %delivered, "task would commit what it was never given");
            }
            let offset = offset.min(*delivered);
            if of.contains(&partition) && self.committed.get(&partition) != Some(&offset) {
                commit.insert(partition, offset);
            }
        }
        if commit.is_empty() {
            return Ok(());
        }
        let offsets: BTreeMap<TopicPartition, CommitOffset> =
            commit.iter().map(|(partition, offset)| (partition.clone(), CommitOffset::from(*offset))).collect();
        let started = Instant::now();
        match self.consumer.commit(&offsets).await {
            Ok(()) => {
                self.metrics.commits.inc();
                self.metrics.commit_times.add(started.elapsed());
                self.committed.extend(commit);
            }
            Err(error) => {
                self.metrics.commit_failures.inc();
                tracing::warn!(task = %id, %error, "offsets are not committed, some records may be delivered again");
            }
        }
        Ok(())
    }

    /// Commits and closes everything a last time. Errors are logged: the task ends anyway.
    async fn finish(mut self, task: &mut dyn SinkTask) {
        let id = self.reporter.id().clone();
        let open = self.open.clone();
        if let Err(error) = self.commit(task, &open).await {
            tracing::warn!(task = %id, cause = %error.trace(), "nothing is committed at the end");
        }
        let partitions: Vec<TopicPartition> = open.into_iter().collect();
        if let Err(error) = task.close(&partitions).await {
            tracing::warn!(task = %id, cause = %error.trace(), "closing partitions failed");
        }
        if let Err(error) = self.consumer.close().await {
            tracing::warn!(task = %id, %error, "consumer was not closed in time");
        }
        self.place.leave(&id).await;
    }
}
