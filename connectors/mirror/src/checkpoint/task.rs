//! The task: hands the checkpoints of its follower to the worker.
//!
//! The follower runs in a tokio task of its own and waits until a poll has taken what it found ([`QUEUE`]), so a target that
//! is slow holds it back; a dropped poll loses nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use twinstream_client::{ClientSettings, RawClient};
use twinstream_connect_api::{
    OffsetMap, Polled, RawConfig, Schema, SchemaAndValue, SourceRecord, SourceTask, SourceTaskContext, TaskError,
    Value, async_trait,
};
use twinstream_model::{PartitionIndex, TopicName};

use super::follower::{Follower, Found};
use super::not_done;
use super::settings::{CheckpointSettings, TASK_COUNT, TASK_INDEX};
use crate::syncs::formats::Checkpoint;

/// Rounds that wait for a poll; the next one would only bring newer offsets of the same groups.
const QUEUE: usize = 1;
/// One question of a round is repeated no longer than this, whatever `admin.timeout.ms` is: a partition or a group without
/// leader must not hold up the others, and the next round asks again.
const QUESTION_MS_MAX: u64 = 5_000;
const POLL_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct MirrorCheckpointTask {
    running: Option<Running>,
}

struct Running {
    topic: TopicName,
    found: mpsc::Receiver<Result<Found, TaskError>>,
    follower: AbortHandle,
}

#[async_trait]
impl SourceTask for MirrorCheckpointTask {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let settings = CheckpointSettings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the checkpoint connector").caused_by(cause))?;
        let number = |key: &str, default: usize| config.get(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        let share = (number(TASK_INDEX, 0), number(TASK_COUNT, 1).max(1));
        let brief = |settings: &ClientSettings| {
            let millis = settings.get("default.api.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            let millis = millis.min(QUESTION_MS_MAX).to_string();
            settings.clone().with("default.api.timeout.ms", &millis).unwrap_or_else(|_| settings.clone())
        };
        let (source, target) = (brief(&settings.source), brief(&settings.target));
        let (source, target) = tokio::join!(RawClient::connect(&source), RawClient::connect(&target));
        let away = |side: &'static str| move |cause| not_done(format!("reach the {side} cluster"), cause);
        let (source, target) = (source.map_err(away("source"))?, target.map_err(away("target"))?);
        let topic = settings.topic.clone();
        let (found_in, found) = mpsc::channel(QUEUE);
        let follower = Follower::new(settings, source, target, share, context.connector());
        let follower = tokio::spawn(follower.run(found_in)).abort_handle();
        self.running = Some(Running { topic, found, follower });
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let running = self.running.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))?;
        match timeout(POLL_WAIT, running.found.recv()).await {
            Err(_) => Ok(Polled::Idle),
            Ok(None) => Err(TaskError::fatal("the task that follows groups has ended")),
            Ok(Some(Err(error))) => Err(error),
            Ok(Some(Ok(found))) => {
                let records = found.checkpoints.iter().map(|one| record(&running.topic, one, found.read_at));
                Ok(Polled::Records(records.collect()))
            }
        }
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.follower.abort();
        }
    }
}

impl Drop for MirrorCheckpointTask {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.follower.abort();
        }
    }
}

fn record(topic: &TopicName, checkpoint: &Checkpoint, timestamp: i64) -> SourceRecord {
    let partition = json!({
        "group": checkpoint.group.as_str(),
        "topic": checkpoint.partition.topic.as_str(),
        "partition": checkpoint.partition.partition.0,
    });
    bytes_record(topic, object(partition), (checkpoint.key(), checkpoint.value()), timestamp)
}

/// A record of one of MirrorMaker's topics: partition 0, bytes, and the offset that MirrorMaker stores for it.
pub(crate) fn bytes_record(
    topic: &TopicName,
    source_partition: OffsetMap,
    (key, value): (Vec<u8>, Vec<u8>),
    timestamp: i64,
) -> SourceRecord {
    let bytes = |bytes: Vec<u8>| SchemaAndValue::new(Arc::new(Schema::bytes()), Value::Bytes(bytes.into()));
    SourceRecord {
        source_partition,
        source_offset: object(json!({ "offset": 0 })),
        topic: topic.clone(),
        partition: Some(PartitionIndex(0)),
        key: bytes(key),
        value: bytes(value),
        timestamp: Some(timestamp),
        headers: Default::default(),
    }
}

pub(crate) fn object(value: serde_json::Value) -> OffsetMap {
    match value {
        serde_json::Value::Object(map) => map,
        _ => OffsetMap::new(),
    }
}
