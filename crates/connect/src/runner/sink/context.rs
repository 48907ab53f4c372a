//! What a sink task asks of its runner: noted here, done by the runner in its next turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use twinstream_connect_api::{SinkRecord, SinkTaskContext, TaskError};
use twinstream_model::{Offset, TopicPartition};

use crate::runner::TaskSpec;
use crate::runner::errors::{BadRecord, ErrorPolicy, Stage};
use crate::state::TaskId;

pub(super) struct Context {
    id: TaskId,
    class: String,
    policy: Arc<ErrorPolicy>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    assignment: BTreeSet<TopicPartition>,
    paused: BTreeSet<TopicPartition>,
    seeks: BTreeMap<TopicPartition, Offset>,
    commit: bool,
    retry_after: Option<Duration>,
}

impl Context {
    pub(super) fn new(spec: &TaskSpec, policy: Arc<ErrorPolicy>) -> Self {
        let class = spec.task.get("task.class").cloned().unwrap_or_else(|| spec.plugin.class.clone());
        Self { id: spec.id.clone(), class, policy, asked: Mutex::default() }
    }

    pub(super) fn set_assignment(&self, open: &BTreeSet<TopicPartition>) {
        let mut asked = self.asked.lock();
        asked.assignment = open.clone();
        asked.paused.retain(|partition| open.contains(partition));
        asked.seeks.retain(|partition, _| open.contains(partition));
    }

    /// Partitions whose records wait: paused ones, and those that are to go on elsewhere.
    pub(super) fn paused(&self) -> BTreeSet<TopicPartition> {
        let asked = self.asked.lock();
        asked.paused.iter().chain(asked.seeks.keys()).cloned().collect()
    }

    pub(super) fn take_seeks(&self) -> BTreeMap<TopicPartition, Offset> {
        std::mem::take(&mut self.asked.lock().seeks)
    }

    pub(super) fn take_commit_request(&self) -> bool {
        std::mem::take(&mut self.asked.lock().commit)
    }

    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        self.asked.lock().retry_after.take()
    }
}

#[async_trait]
impl SinkTaskContext for Context {
    fn connector(&self) -> &str {
        &self.id.connector
    }

    fn task_id(&self) -> i32 {
        self.id.task
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.asked.lock().assignment.iter().cloned().collect()
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.asked.lock().paused.extend(partitions.iter().cloned());
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.asked.lock().paused.retain(|partition| !partitions.contains(partition));
    }

    fn seek(&self, offsets: BTreeMap<TopicPartition, Offset>) {
        self.asked.lock().seeks.extend(offsets);
    }

    fn request_commit(&self) {
        self.asked.lock().commit = true;
    }

    fn retry_after(&self, delay: Duration) {
        self.asked.lock().retry_after = Some(delay);
    }

    async fn report(&self, record: &SinkRecord, error: TaskError) -> Result<(), TaskError> {
        let origin = Some((record.topic_partition(), record.offset, record.timestamp));
        let bad = BadRecord { stage: Stage::TaskPut, class: &self.class, origin, original: &record.original, error };
        self.policy.bad_record(bad).await
    }
}
