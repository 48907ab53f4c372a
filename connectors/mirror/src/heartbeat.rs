//! The heartbeat connector: one small record each second into the target's `heartbeats`.
//!
//! Who mirrors that topic on (the opposite link does) has a clock of its own path: MirrorMaker's clients count hops and find
//! upstream clusters by it (KIP-382). As with MirrorMaker, only `emit.heartbeats.enabled` switches it off, so that a flow
//! that copies nothing is known all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};
use twinstream_client::{ClientSettings, RawClient};
use twinstream_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Importance, Plugin, Polled, RawConfig, SourceTask,
    SourceTaskContext, TaskError, async_trait,
};
use twinstream_model::TopicName;

use crate::checkpoint::{bytes_record, not_done, object};
use crate::config::{self, MirrorConfigError, Settings, interval};
use crate::differs;
use crate::policy::HEARTBEATS;
use crate::syncs::formats::Heartbeat;
use crate::syncs::settings::{replicas, replicas_key, shared};
use crate::syncs::topic_log::{Replicas, TopicLog, now_ms};

pub const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector";

const EMIT: &str = "emit.heartbeats.enabled";
const EMIT_EVERY: &str = "emit.heartbeats.interval.seconds";
const EVERY_MIN: Duration = Duration::from_secs(1);
const REPLICAS: &str = "heartbeats.topic.replication.factor";

/// What the worker needs to run this connector.
pub fn plugin() -> Plugin {
    Plugin::source(CLASS, config_def(), MirrorHeartbeatConnector::default, MirrorHeartbeatTask::default)
        .version(env!("CARGO_PKG_VERSION"))
        .writes_bytes()
}

pub fn config_def() -> ConfigDef {
    let key =
        |name: &str, kind, default: &str, doc: &str| ConfigKey::with_default(name, kind, default, Importance::Low, doc);
    let def = shared(config::clusters(ConfigDef::new()))
        .define(key(EMIT, ConfigType::Boolean, "true", "Whether heartbeats are written."))
        .define(key(EMIT_EVERY, ConfigType::Long, "1", "How often; never if it is not above 0."))
        .define(replicas_key(REPLICAS, HEARTBEATS));
    config::foreign(def)
}

#[derive(Clone, Debug)]
struct HeartbeatSettings {
    emit: bool,
    every: Duration,
    source_alias: String,
    target_alias: String,
    target: ClientSettings,
    topic: TopicName,
    replicas: Replicas,
}

impl HeartbeatSettings {
    fn parse(raw: &RawConfig) -> Result<Self, MirrorConfigError> {
        let config = config_def().parse(raw)?;
        let common = Settings::parse(raw)?;
        let every = interval(&config, EMIT_EVERY);
        Ok(Self {
            emit: config.bool(EMIT) && every.is_some(),
            every: every.unwrap_or(EVERY_MIN),
            source_alias: common.source_alias,
            target_alias: common.target_alias,
            target: common.target,
            topic: TopicName::parse(HEARTBEATS)
                .map_err(|cause| MirrorConfigError::Value { key: EMIT, why: cause.to_string() })?,
            replicas: replicas(&config, raw, REPLICAS),
        })
    }
}

#[derive(Default)]
pub struct MirrorHeartbeatConnector {
    running: Option<(HeartbeatSettings, RawConfig)>,
}

#[async_trait]
impl Connector for MirrorHeartbeatConnector {
    async fn validate(&self, config: &RawConfig) -> BTreeMap<String, Vec<String>> {
        match HeartbeatSettings::parse(config) {
            Ok(_) => BTreeMap::new(),
            Err(error) => BTreeMap::from([(error.key().to_owned(), vec![error.to_string()])]),
        }
    }

    async fn start(&mut self, context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        let settings = HeartbeatSettings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the heartbeat connector").caused_by(cause))?;
        let failed = |cause| not_done(format!("make topic {} on the target", settings.topic), cause);
        if settings.emit {
            differs::tell(context.connector(), &differs::OF_HEARTBEAT, &config);
            let target = RawClient::connect(&settings.target).await.map_err(failed)?;
            TopicLog::new(target, settings.topic.clone()).ensure(settings.replicas, &[]).await.map_err(failed)?;
        }
        self.running = Some((settings, config));
        Ok(())
    }

    /// One task, however many are allowed.
    async fn task_configs(&mut self, _max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        let running = self.running.as_ref().ok_or_else(|| TaskError::fatal("the connector was not started"))?;
        Ok(if running.0.emit { vec![running.1.clone()] } else { Vec::new() })
    }
}

#[derive(Default)]
pub struct MirrorHeartbeatTask {
    running: Option<(HeartbeatSettings, Instant)>,
}

#[async_trait]
impl SourceTask for MirrorHeartbeatTask {
    async fn start(&mut self, _context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let settings = HeartbeatSettings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the heartbeat connector").caused_by(cause))?;
        let first = Instant::now() + settings.every;
        self.running = Some((settings, first));
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let (settings, next) = self.running.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))?;
        let soon = Instant::now() + POLL_WAIT;
        sleep_until((*next).min(soon)).await;
        if *next > soon {
            return Ok(Polled::Idle);
        }
        *next = Instant::now() + settings.every;
        let timestamp = now_ms();
        let (source, target) = (settings.source_alias.clone(), settings.target_alias.clone());
        let partition = json!({ "sourceClusterAlias": source, "targetClusterAlias": target });
        let heartbeat = Heartbeat { source, target, timestamp };
        let record = (heartbeat.key(), heartbeat.value());
        Ok(Polled::Records(vec![bytes_record(&settings.topic, object(partition), record, timestamp)]))
    }
}

/// A poll waits no longer than this.
const POLL_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
