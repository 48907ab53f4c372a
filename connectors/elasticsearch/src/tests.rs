//! The sink judged from outside: settings, requests, verdicts, offsets, and whole tasks against servers.

mod pressure; // against a scripted server
mod pure; // settings, requests, verdicts, offsets
mod writing; // against the embedded index

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use twinstream_connect_api::{
    Headers, OriginalRecord, RawConfig, SchemaAndValue, SinkRecord, SinkTask, SinkTaskContext, TaskError,
    TimestampType, Value, async_trait,
};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::ElasticsearchSinkTask;
use crate::lane::held;

const TOPIC: &str = "src.Quakes";
const INDEX: &str = "src.quakes";

/// The worker as a task sees it.
#[derive(Default)]
struct Worker {
    tolerant: bool,
    reported: Mutex<Vec<(i64, String)>>,
    paused: Mutex<Vec<bool>>,
}

#[async_trait]
impl SinkTaskContext for Worker {
    fn connector(&self) -> &str {
        "sink"
    }

    fn task_id(&self) -> i32 {
        0
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        vec![partition(0)]
    }

    fn pause(&self, _partitions: &[TopicPartition]) {
        held(&self.paused).push(true);
    }

    fn resume(&self, _partitions: &[TopicPartition]) {
        held(&self.paused).push(false);
    }

    fn seek(&self, _offsets: BTreeMap<TopicPartition, Offset>) {}

    fn request_commit(&self) {}

    fn retry_after(&self, _delay: Duration) {}

    async fn report(&self, record: &SinkRecord, error: TaskError) -> Result<(), TaskError> {
        held(&self.reported).push((record.offset.0, error.to_string()));
        if self.tolerant { Ok(()) } else { Err(error) }
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse(TOPIC).expect("topic"), PartitionIndex(index))
}

fn record(offset: i64, key: impl Into<Value>, value: impl Into<Value>) -> SinkRecord {
    SinkRecord {
        topic: TopicName::parse(TOPIC).expect("topic"),
        partition: PartitionIndex(0),
        offset: Offset(offset),
        timestamp: None,
        timestamp_type: TimestampType::CreateTime,
        key: SchemaAndValue::schemaless(key),
        value: SchemaAndValue::schemaless(value),
        headers: Headers::default(),
        original: OriginalRecord::default(),
    }
}

fn config(url: &str, extra: &[(&str, &str)]) -> RawConfig {
    let mut config = RawConfig::from([
        ("connection.url".to_owned(), url.to_owned()),
        ("retry.backoff.ms".to_owned(), "5".to_owned()),
    ]);
    config.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    config
}

async fn started(worker: &Arc<Worker>, config: RawConfig) -> ElasticsearchSinkTask {
    let mut task = ElasticsearchSinkTask::default();
    task.start(Arc::clone(worker) as Arc<dyn SinkTaskContext>, config).await.expect("task starts");
    task.open(&[partition(0)]).await.expect("partitions open");
    task
}

async fn put(task: &mut ElasticsearchSinkTask, records: Vec<SinkRecord>) -> Result<(), TaskError> {
    task.put(records.into_iter().map(Arc::new).collect()).await
}

/// What the task would have committed after records up to `end` were delivered.
async fn committed(task: &mut ElasticsearchSinkTask, end: i64) -> Result<i64, TaskError> {
    let delivered = BTreeMap::from([(partition(0), Offset(end))]);
    Ok(task.pre_commit(&delivered).await?[&partition(0)].0)
}

/// Commits until everything is finished, as the worker does from time to time.
async fn commit_all(task: &mut ElasticsearchSinkTask, end: i64) -> Result<(), TaskError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while committed(task, end).await? != end {
        assert!(tokio::time::Instant::now() < deadline, "not everything was written in time");
    }
    Ok(())
}
