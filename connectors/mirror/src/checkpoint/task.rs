//! The task: hands the checkpoints of its follower to the worker.
//!
//! The follower runs in a tokio task of its own and waits until a poll has taken what it found ([`QUEUE`]), so a target that
//! is slow holds it back; a dropped poll loses nothing. While it tells that a cluster is away, each poll fails with that
//! cause, so that the task does not show as running; it goes on by itself when the cluster is back.

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
use twinstream_model::{GroupId, PartitionIndex, TopicName, TopicPartition};

use super::follower::{Follower, Told};
use super::settings::{CheckpointSettings, TASK_COUNT, TASK_INDEX};
use crate::away::patiently;
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
    told: mpsc::Receiver<Told>,
    follower: AbortHandle,
    is_away: Away,
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
        let reach = async |side: &str, settings: &ClientSettings| {
            patiently(|| format!("reach the {side} cluster"), || RawClient::connect(settings)).await
        };
        let (source, target) = tokio::try_join!(reach("source", &source), reach("target", &target))?;
        let topic = settings.topic.clone();
        let (tell, told) = mpsc::channel(QUEUE);
        let follower = Follower::new(settings, source, target, share, context.connector());
        let follower = tokio::spawn(follower.run(tell)).abort_handle();
        self.running = Some(Running { topic, told, follower, is_away: Away::default() });
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let running = self.running.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))?;
        match timeout(POLL_WAIT, running.told.recv()).await {
            Err(_) => running.is_away.idle(),
            Ok(None) => Err(TaskError::fatal("the task that follows groups has ended")),
            Ok(Some(Told::Failed(error))) => Err(error),
            Ok(Some(Told::Away(away))) => running.is_away.told(away),
            Ok(Some(Told::Found(found))) => {
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

/// What the follower said last of clusters that do not answer.
#[derive(Default)]
struct Away(Option<String>);

impl Away {
    fn told(&mut self, away: Option<TaskError>) -> Result<Polled, TaskError> {
        self.0 = away.as_ref().map(TaskError::trace);
        // The follower has its own pauses.
        away.map_or(Ok(Polled::Idle), |error| Err(error.retry_after(Duration::ZERO)))
    }

    /// Nothing new: what was said last still holds.
    fn idle(&self) -> Result<Polled, TaskError> {
        let Some(cause) = &self.0 else { return Ok(Polled::Idle) };
        Err(TaskError::retriable("groups are not followed").caused_by(cause.clone()).retry_after(Duration::ZERO))
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
    let source_partition = source_partition(&checkpoint.group, &checkpoint.partition);
    bytes_record(topic, source_partition, (checkpoint.key(), checkpoint.value()), timestamp)
}

/// What the worker stores an offset for, in the order in which MirrorMaker's map has it: the key is compared as bytes when the
/// topic of offsets is compacted, also across a change from one to the other.
fn source_partition(group: &GroupId, partition: &TopicPartition) -> OffsetMap {
    object(json!({
        "partition": partition.partition.0,
        "topic": partition.topic.as_str(),
        "group": group.as_str(),
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_stored_under_mirror_makers_bytes() {
        let partition = TopicPartition::new(TopicName::parse("k.plain").unwrap(), PartitionIndex(0));
        let key = json!(["mmc", source_partition(&GroupId::from("g1"), &partition)]).to_string();
        // As the worker of Kafka 4.3.1 has written it.
        assert_eq!(key, r#"["mmc",{"partition":0,"topic":"k.plain","group":"g1"}]"#);
    }

    #[test]
    fn a_task_whose_clusters_are_away_fails_each_poll_until_they_are_back() {
        let mut away = Away::default();
        assert!(matches!(away.idle(), Ok(Polled::Idle)));
        for _ in 0..3 {
            let error = away.told(Some(TaskError::retriable("no answer").caused_by("refused"))).unwrap_err();
            assert!(error.is_retriable() && error.trace().contains("refused"));
            let between = away.idle().unwrap_err();
            assert!(between.is_retriable() && between.trace().contains("refused"), "{}", between.trace());
        }
        assert!(matches!(away.told(None), Ok(Polled::Idle)));
        assert!(matches!(away.idle(), Ok(Polled::Idle)));
    }
}
