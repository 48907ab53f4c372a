//! A source of whole batches, as a link reads them from a log: each has its place there, the marks of a transactional
//! producer, and the epoch of its leader.
//!
//! Record `n` of a partition has the value `n`; the stored offset is the number of the last one copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_connect_api::{
    AfterRefusal, Config, ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Importance, OffsetMap,
    Placement, Plugin, Polled, RawBatch, RawConfig, RawLane, RawObserver, Refusal, SourceTask, SourceTaskContext,
    TaskError, async_trait,
};
use twinstream_model::{
    ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};

pub(crate) const CLASS: &str = "test.BatchSourceConnector";
/// Where the first record stands on the source.
const SOURCE_START: i64 = 5_000;
/// Bytes of a record that alone is more than Kafka's default `max.message.bytes`.
const TOO_LARGE: i64 = 2_000_000;

fn definition() -> ConfigDef {
    let number = |name: &str, default: &str| {
        ConfigKey::with_default(name, ConfigType::Long, default, Importance::High, "a number of the test")
    };
    ConfigDef::new()
        .define(ConfigKey::required("topic", ConfigType::String, Importance::High, "where to"))
        .define(number("partitions", "1"))
        .define(number("batches", "100"))
        .define(number("records.per.batch", "5"))
        .define(number("bytes.per.record", "1"))
        .define(number("too.large.at", "-1"))
}

type Deliveries = BTreeMap<i32, Vec<(i64, i64)>>;

/// What the observer of all tasks was told, and how much they handed over.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// By partition: the position after the batch, and where the target put it.
    deliveries: Arc<Mutex<Deliveries>>,
    records_per_batch: Arc<AtomicUsize>,
    bytes_per_batch: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    most_under_way: Arc<AtomicUsize>,
    /// Partitions whose lane the target refused and that have no new one yet.
    refused: Arc<Mutex<BTreeSet<i32>>>,
    refusals: Arc<AtomicUsize>,
    /// A lane was closed: there is something to do again for a task that had handed over all.
    closed: Arc<Notify>,
    /// What the next refusal leads to, otherwise the task fails.
    pub(crate) close_lanes: Arc<AtomicBool>,
    /// A target that does not answer is expected; it is left to the worker.
    pub(crate) pass_on_timeouts: Arc<AtomicBool>,
}

impl Told {
    pub(crate) fn plugin(&self) -> Plugin {
        let told = self.clone();
        let task = move || BatchTask { told: told.clone(), config: None, lanes: Vec::new() };
        Plugin::source(CLASS, definition(), || BatchConnector { config: None }, task)
    }

    pub(crate) fn of(&self, partition: i32) -> Vec<(i64, i64)> {
        self.deliveries.lock().get(&partition).cloned().unwrap_or_default()
    }

    /// The most batches that were handed over and not yet told to have arrived.
    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::Acquire)
    }

    /// How often a lane was refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::Acquire)
    }

    /// Bytes of one batch, all of which are alike in size.
    pub(crate) fn bytes_per_batch(&self) -> usize {
        self.bytes_per_batch.load(Ordering::Acquire)
    }
}

impl RawObserver for Told {
    fn delivered(&self, lane: &Arc<RawLane>, next: i64, base_offset: Offset) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        let mut deliveries = self.deliveries.lock();
        deliveries.entry(lane.target.partition.0).or_default().push((next - SOURCE_START, base_offset.0));
    }

    fn refused(&self, lane: &Arc<RawLane>, refusal: &Refusal<'_>) -> AfterRefusal {
        if refusal.error.is_retriable() && self.pass_on_timeouts.load(Ordering::Acquire) {
            self.refusals.fetch_add(1, Ordering::AcqRel);
            return AfterRefusal::FailTask;
        }
        assert_eq!(refusal.code, Some(ErrorCode::MessageTooLarge), "{}", refusal.error.trace());
        self.refusals.fetch_add(1, Ordering::AcqRel);
        if !self.close_lanes.load(Ordering::Acquire) {
            return AfterRefusal::FailTask;
        }
        self.refused.lock().insert(lane.target.partition.0);
        self.closed.notify_one();
        AfterRefusal::CloseLane
    }
}

struct BatchConnector {
    config: Option<RawConfig>,
}

#[async_trait]
impl Connector for BatchConnector {
    async fn start(&mut self, _context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        self.config = Some(config);
        Ok(())
    }

    async fn task_configs(&mut self, _max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        Ok(self.config.iter().cloned().collect())
    }
}

struct BatchTask {
    told: Told,
    config: Option<Config>,
    /// With the number of the next record.
    lanes: Vec<(Arc<RawLane>, i64)>,
}

#[async_trait]
impl SourceTask for BatchTask {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let config = definition().parse(&config).map_err(|error| TaskError::fatal("config").caused_by(error))?;
        for partition in 0..i32::try_from(config.int("partitions")).unwrap() {
            let topic = TopicName::parse(config.string("topic")).unwrap();
            let mut source_partition = OffsetMap::new();
            source_partition.insert("partition".to_owned(), partition.into());
            let stored = context.offsets(std::slice::from_ref(&source_partition)).await?.remove(0);
            let next = stored.and_then(|offset| offset["n"].as_i64()).map_or(0, |n| n + 1);
            let target = TopicPartition::new(topic, PartitionIndex(partition));
            let lane = RawLane { target, source_partition, source_offset: last_copied };
            self.lanes.push((Arc::new(lane), next));
        }
        self.told.records_per_batch.store(config.int("records.per.batch") as usize, Ordering::Release);
        self.config = Some(config);
        Ok(())
    }

    /// The next batch of each partition.
    async fn poll(&mut self) -> Result<Polled, TaskError> {
        self.renew_lanes();
        let config = self.config.as_ref().unwrap();
        let records = config.int("records.per.batch");
        let end = config.int("batches") * records;
        let mut batches = Vec::new();
        for (lane, next) in self.lanes.iter_mut().filter(|(_, next)| *next < end) {
            // Only once: a task whose batch was refused has learned to make smaller ones.
            let too_large = config.int("too.large.at") == *next
                && lane.target.partition.0 == 0
                && !(self.told.close_lanes.load(Ordering::Acquire) && self.told.refusals() > 0);
            let bytes_per_record = if too_large { TOO_LARGE } else { config.int("bytes.per.record") };
            let bytes = as_on_the_source(*next, records, bytes_per_record);
            self.told.bytes_per_batch.fetch_max(bytes.len(), Ordering::AcqRel);
            *next += records;
            batches.push(RawBatch {
                lane: Arc::clone(lane),
                bytes,
                records: u32::try_from(records).unwrap(),
                next: SOURCE_START + *next,
                placement: Placement::Assigned,
            });
        }
        if batches.is_empty() {
            self.told.closed.notified().await;
            return Ok(Polled::Idle);
        }
        let under_way = self.told.under_way.fetch_add(batches.len(), Ordering::AcqRel) + batches.len();
        self.told.most_under_way.fetch_max(under_way, Ordering::AcqRel);
        Ok(Polled::Batches(batches))
    }

    fn raw_observer(&self) -> Option<Arc<dyn RawObserver>> {
        Some(Arc::new(self.told.clone()))
    }
}

impl BatchTask {
    /// What was refused goes on with a new lane behind the last delivery.
    fn renew_lanes(&mut self) {
        let refused = std::mem::take(&mut *self.told.refused.lock());
        for (lane, next) in self.lanes.iter_mut().filter(|(lane, _)| refused.contains(&lane.target.partition.0)) {
            let RawLane { target, source_partition, source_offset } = &**lane;
            *next = self.told.of(target.partition.0).last().map_or(0, |(next, _)| *next);
            let (target, source_partition) = (target.clone(), source_partition.clone());
            *lane = Arc::new(RawLane { target, source_partition, source_offset: *source_offset });
        }
    }
}

fn last_copied(next: i64) -> OffsetMap {
    let mut offset = OffsetMap::new();
    offset.insert("n".to_owned(), (next - SOURCE_START - 1).into());
    offset
}

fn as_on_the_source(first: i64, records: i64, bytes_per_record: i64) -> Bytes {
    let base_sequence = i32::try_from(first).unwrap();
    let stamp = ProducerStamp { id: ProducerId(77), epoch: ProducerEpoch(3), base_sequence };
    let batch = BatchBuilder::new().with_base_offset(Offset(SOURCE_START + first)).with_leader_epoch(LeaderEpoch(9));
    let mut batch = batch.with_producer(stamp).with_transactional();
    // Old records would be deleted while a test runs.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    let padding = "0".repeat(usize::try_from(bytes_per_record).unwrap());
    for number in first..first + records {
        batch.append(now_ms, None, Some((padding.clone() + &format!("{number:05}")).as_bytes()), []);
    }
    Bytes::from(batch.build().unwrap())
}
