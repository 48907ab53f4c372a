//! A source that counts: record n of a task has the value n, its offset is n.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinstream_connect_api::{
    Config, ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Headers, Importance, OffsetMap, Plugin,
    Polled, RawConfig, SchemaAndValue, SourceRecord, SourceTask, SourceTaskContext, TaskError, async_trait,
};
use twinstream_model::TopicName;

pub(crate) const CLASS: &str = "test.CounterSourceConnector";

fn definition() -> ConfigDef {
    ConfigDef::new()
        .define(ConfigKey::required("topic", ConfigType::String, Importance::High, "where to count"))
        .define(ConfigKey::with_default("count", ConfigType::Long, "100", Importance::High, "how far"))
        .define(ConfigKey::with_default("fail.at", ConfigType::Long, "-1", Importance::Low, "number to fail at"))
        .define(ConfigKey::with_default("hang", ConfigType::Boolean, "false", Importance::Low, "start never returns"))
        .define(ConfigKey::optional("secret", ConfigType::Password, Importance::Low, "never shown"))
}

/// A plugin whose tasks fail at `fail.at` unless `healed`.
pub(crate) fn plugin(healed: Arc<AtomicBool>) -> Plugin {
    let task = move || CounterTask { healed: Arc::clone(&healed), at: 0, config: None, partition: OffsetMap::new() };
    Plugin::source(CLASS, definition(), || CounterConnector { config: None }, task).alias("test.OtherNameConnector")
}

struct CounterConnector {
    config: Option<RawConfig>,
}

#[async_trait]
impl Connector for CounterConnector {
    async fn start(&mut self, _context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        if config.get("hang").is_some_and(|hang| hang == "true") {
            std::future::pending::<()>().await;
        }
        self.config = Some(config);
        Ok(())
    }

    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        let config = self.config.clone().unwrap();
        let task = |number: usize| {
            let mut task = config.clone();
            task.insert("number".to_owned(), number.to_string());
            task
        };
        Ok((0..max_tasks).map(task).collect())
    }
}

struct CounterTask {
    healed: Arc<AtomicBool>,
    at: i64,
    config: Option<Config>,
    partition: OffsetMap,
}

#[async_trait]
impl SourceTask for CounterTask {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        self.partition.insert("counter".to_owned(), config["number"].as_str().into());
        let stored = context.offsets(std::slice::from_ref(&self.partition)).await?.remove(0);
        self.at = stored.and_then(|offset| offset["n"].as_i64()).map_or(0, |n| n + 1);
        let parsed = definition().parse(&config);
        self.config = Some(parsed.map_err(|error| TaskError::fatal("config").caused_by(error))?);
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let config = self.config.as_ref().unwrap();
        if self.at >= config.int("count") {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Ok(Polled::Idle);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.at == config.int("fail.at") && !self.healed.load(Ordering::Acquire) {
            let cause = std::io::Error::other("the dog ate it");
            return Err(TaskError::fatal(format!("cannot count beyond {}", self.at)).caused_by(cause));
        }
        let mut offset = OffsetMap::new();
        offset.insert("n".to_owned(), self.at.into());
        let record = SourceRecord {
            source_partition: self.partition.clone(),
            source_offset: offset,
            topic: TopicName::parse(config.string("topic")).unwrap(),
            partition: None,
            key: SchemaAndValue::schemaless(self.partition["counter"].as_str().unwrap()),
            value: SchemaAndValue::schemaless(self.at),
            timestamp: None,
            headers: Headers::default(),
        };
        self.at += 1;
        Ok(Polled::Records(vec![record]))
    }
}
