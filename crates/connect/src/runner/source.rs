//! Runs a source task: poll, convert or pass through, produce, store the offsets of what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use twinstream_client::{ClientSettings, Header, Producer, ProducerRecord, RawClient};
use twinstream_connect_api::{
    OffsetMap, OriginalRecord, Polled, RawBatch, SourceRecord, SourceTask, SourceTaskContext, TaskError,
};

use super::errors::{BadRecord, ErrorPolicy, Stage};
use super::lanes::{Arrived, Lanes};
use super::progress::{Progress, Ticket};
use super::report::Reporter;
use super::{Shared, TaskSpec, Want, run_state, wanted_change};
use crate::converters::{Converter, HeaderConverter, Part};
use crate::metrics::TaskMetrics;
use crate::plugins::task_converters;
use crate::settings::Role;
use crate::state::offsets::OffsetState;
use crate::store::{StateLog, StoreError};

/// Polling waits while more than this is not acknowledged: what one task may hold in memory.
const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
const IN_FLIGHT_RECORDS_MAX: usize = 20_000;
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
        Ok(()) => runner.work(task.as_mut(), want).await,
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
        let (converters, key, value, header) = task_converters(&shared.settings, &spec.connector)?;
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
                if std::mem::take(&mut self.out.commit_due) {
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
                for batch in batches {
                    self.metrics.polled.inc_by(u64::from(batch.records));
                    self.out.send_batch(batch).await?;
                }
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

type Stored = (Vec<(OffsetMap, OffsetMap)>, Result<(), StoreError>);
type Delivered = (Ticket, usize, Result<(), TaskError>);

/// Everything that is on its way to Kafka, and the offsets behind it.
struct Outgoing {
    connector: String,
    producer_settings: ClientSettings,
    offsets: Arc<StateLog<OffsetState>>,
    producer: Option<Producer>,
    lanes: Option<Lanes>,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    progress: Progress,
    bytes: usize,
    records: usize,
    storing: Option<BoxFuture<'static, Stored>>,
    next_store: Instant,
    store_interval: Duration,
    store_timeout: Duration,
    /// Offsets were stored since the task's last `commit`.
    commit_due: bool,
    metrics: TaskMetrics,
}

impl Outgoing {
    fn new(shared: &Shared, spec: &TaskSpec) -> Result<Self, TaskError> {
        let client_id = format!("connector-producer-{}", spec.id);
        let own = [("client.id", client_id.as_str())].into_iter();
        let settings = shared.settings.client(Role::Producer, own.chain(spec.client_overrides("producer.override.")));
        let producer_settings = settings.map_err(|error| TaskError::fatal("producer settings").caused_by(error))?;
        let store_interval = shared.settings.millis("offset.flush.interval.ms");
        Ok(Self {
            connector: spec.id.connector.clone(),
            producer_settings,
            offsets: Arc::clone(&shared.offsets),
            producer: None,
            lanes: None,
            deliveries: FuturesUnordered::new(),
            progress: Progress::default(),
            bytes: 0,
            records: 0,
            storing: None,
            next_store: Instant::now() + store_interval,
            store_interval,
            store_timeout: shared.settings.millis("offset.flush.timeout.ms"),
            commit_due: false,
            metrics: shared.metrics.task(&spec.id),
        })
    }

    fn has_room(&self) -> bool {
        self.bytes < IN_FLIGHT_BYTES_MAX && self.records < IN_FLIGHT_RECORDS_MAX
    }

    fn skip(&mut self, source: &OffsetMap, offset: OffsetMap) {
        let ticket = self.progress.sent(source, offset);
        self.progress.acknowledged(ticket);
    }

    async fn send_record(
        &mut self,
        record: ProducerRecord,
        source: &OffsetMap,
        offset: OffsetMap,
    ) -> Result<(), TaskError> {
        let failed = |error| TaskError::fatal(format!("cannot produce to {}", record.topic)).caused_by(error);
        let producer = match &self.producer {
            Some(producer) => producer,
            None => {
                let made = Producer::connect(&self.producer_settings).await.map_err(failed)?;
                self.producer.insert(made)
            }
        };
        let delivery = producer.enqueue(&record).await.map_err(failed)?;
        let ticket = self.progress.sent(source, offset);
        let bytes = record.key.as_ref().map_or(0, |b| b.len()) + record.value.as_ref().map_or(0, |b| b.len());
        self.count_out(1, bytes);
        let topic = record.topic;
        self.deliveries.push(Box::pin(async move {
            let done = delivery.wait().await;
            let failed = |error| TaskError::fatal(format!("cannot produce to {topic}")).caused_by(error);
            (ticket, bytes, done.map(|_| ()).map_err(failed))
        }));
        Ok(())
    }

    async fn send_batch(&mut self, batch: RawBatch) -> Result<(), TaskError> {
        if self.lanes.is_none() {
            let client = RawClient::connect(&self.producer_settings).await;
            let client = client.map_err(|e| TaskError::fatal("cannot reach the target cluster").caused_by(e))?;
            let give_up = self.producer_settings.get("delivery.timeout.ms").and_then(|text| text.parse().ok());
            self.lanes = Some(Lanes::new(client, Duration::from_millis(give_up.unwrap_or(120_000))));
        }
        let ticket = self.progress.sent(&batch.source_partition, batch.source_offset.clone());
        self.count_out(batch.records as usize, batch.bytes.len());
        if let Some(lanes) = &mut self.lanes {
            lanes.send(ticket, batch);
        }
        Ok(())
    }

    fn count_out(&mut self, records: usize, bytes: usize) {
        self.records += records;
        self.bytes += bytes;
        self.metrics.active.set(i64::try_from(self.records).unwrap_or(i64::MAX));
    }

    fn count_in(&mut self, ticket: Ticket, records: usize, bytes: usize) {
        self.progress.acknowledged(ticket);
        self.records -= records;
        self.bytes -= bytes;
        self.metrics.written.inc_by(records as u64);
        self.metrics.active.set(i64::try_from(self.records).unwrap_or(i64::MAX));
    }

    /// Waits for the next thing to happen and takes it in. Cancel safe: waiting changes nothing.
    async fn step(&mut self) -> Result<(), TaskError> {
        tokio::select! {
            arrived = next_arrival(&mut self.lanes) => {
                let Arrived { ticket, records, bytes } = arrived?;
                self.count_in(ticket, records as usize, bytes);
            }
            Some((ticket, bytes, delivered)) = self.deliveries.next() => {
                delivered?;
                self.count_in(ticket, 1, bytes);
            }
            stored = next_stored(&mut self.storing) => {
                self.storing = None;
                self.stored(stored);
            }
            () = tokio::time::sleep_until(self.next_store), if self.storing.is_none() => self.begin_store(),
        }
        Ok(())
    }

    fn begin_store(&mut self) {
        self.next_store = Instant::now() + self.store_interval;
        let offsets = self.progress.take_storable();
        if !offsets.is_empty() {
            self.storing =
                Some(Box::pin(store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout)));
        }
    }

    fn stored(&mut self, (offsets, result): Stored) {
        match result {
            Ok(()) => {
                self.metrics.commits.inc();
                self.commit_due = true;
            }
            Err(error) => {
                self.metrics.commit_failures.inc();
                let cause = twinstream_connect_api::error::trace_of(&error);
                tracing::warn!(connector = self.connector, cause, "offsets are not stored yet");
                self.progress.put_back(offsets);
            }
        }
    }

    /// Until nothing is under way, or something failed.
    async fn drain(&mut self) {
        while !self.deliveries.is_empty() || self.lanes.as_ref().is_some_and(|lanes| !lanes.is_empty()) {
            if self.step().await.is_err() {
                return;
            }
        }
    }

    /// Stores what is storable; `false` if there was nothing.
    async fn store_now(&mut self) -> Result<bool, StoreError> {
        if let Some(storing) = self.storing.take() {
            let stored = storing.await;
            self.stored(stored);
        }
        let offsets = self.progress.take_storable();
        if offsets.is_empty() {
            return Ok(std::mem::take(&mut self.commit_due));
        }
        let stored = store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout).await;
        stored.1.map(|()| true)
    }
}

async fn next_arrival(lanes: &mut Option<Lanes>) -> Result<Arrived, TaskError> {
    match lanes {
        Some(lanes) => lanes.next().await,
        None => futures::future::pending().await,
    }
}

async fn next_stored(storing: &mut Option<BoxFuture<'static, Stored>>) -> Stored {
    match storing {
        Some(storing) => storing.await,
        None => futures::future::pending().await,
    }
}

async fn store(
    log: Arc<StateLog<OffsetState>>,
    connector: String,
    offsets: Vec<(OffsetMap, OffsetMap)>,
    within: Duration,
) -> Stored {
    let records = {
        let state = log.state();
        offsets.iter().map(|(partition, offset)| state.record(&connector, partition, offset)).collect()
    };
    let result = match tokio::time::timeout(within, log.write(records)).await {
        Ok(result) => result,
        Err(_) => Err(log.late(within)),
    };
    (offsets, result)
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
