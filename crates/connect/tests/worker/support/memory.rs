//! A sink that keeps what it gets where the test can see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use twinstream_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Importance, Plugin, RawConfig, SinkRecord, SinkTask,
    SinkTaskContext, TaskError, async_trait,
};
use twinstream_model::{Offset, TopicPartition};

pub(crate) const CLASS: &str = "test.MemorySinkConnector";

/// What all tasks of a test's sinks have seen.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) records: Arc<Mutex<Vec<Arc<SinkRecord>>>>,
    /// So many of the next non-empty puts fail in a way that may pass.
    pub(crate) refuse: Arc<AtomicUsize>,
    pub(crate) closed: Arc<Mutex<Vec<TopicPartition>>>,
}

impl Memory {
    pub(crate) fn plugin(&self) -> Plugin {
        let memory = self.clone();
        let definition = ConfigDef::new().define(ConfigKey::optional(
            "poison",
            ConfigType::String,
            Importance::Low,
            "a value to report",
        ));
        let task = move || MemoryTask { memory: memory.clone(), context: None, poison: None };
        Plugin::sink(CLASS, definition, || MemoryConnector { config: None }, task)
    }

    /// Values as JSON texts, sorted.
    pub(crate) fn values(&self) -> Vec<String> {
        let text = |record: &Arc<SinkRecord>| record.value.value.to_json(record.value.schema.as_ref()).to_string();
        let mut values: Vec<String> = self.records.lock().iter().map(text).collect();
        values.sort();
        values
    }

    pub(crate) fn count(&self) -> usize {
        self.records.lock().len()
    }
}

struct MemoryConnector {
    config: Option<RawConfig>,
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn start(&mut self, _context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        self.config = Some(config);
        Ok(())
    }

    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        Ok(vec![self.config.clone().unwrap(); max_tasks])
    }
}

struct MemoryTask {
    memory: Memory,
    context: Option<Arc<dyn SinkTaskContext>>,
    poison: Option<String>,
}

#[async_trait]
impl SinkTask for MemoryTask {
    async fn start(&mut self, context: Arc<dyn SinkTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        self.context = Some(context);
        self.poison = config.get("poison").cloned();
        Ok(())
    }

    async fn put(&mut self, records: Vec<Arc<SinkRecord>>) -> Result<(), TaskError> {
        if !records.is_empty()
            && self.memory.refuse.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
        {
            return Err(TaskError::retriable("busy"));
        }
        for record in records {
            let value = record.value.value.to_json(None).to_string();
            if Some(&value) == self.poison.as_ref() {
                self.context.as_ref().unwrap().report(&record, TaskError::fatal("poisonous")).await?;
            } else {
                self.memory.records.lock().push(record);
            }
        }
        Ok(())
    }

    async fn pre_commit(
        &mut self,
        delivered: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, TaskError> {
        Ok(delivered.clone())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        self.memory.closed.lock().extend(partitions.iter().cloned());
        Ok(())
    }
}
