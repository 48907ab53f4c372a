//! The connector: makes the topic of checkpoints and deals groups out by their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinstream_client::RawClient;
use twinstream_connect_api::{Connector, ConnectorContext, RawConfig, TaskError, async_trait};

use super::not_done;
use super::settings::{CheckpointSettings, TASK_COUNT, TASK_INDEX};
use crate::differs;
use crate::syncs::topic_log::TopicLog;

#[derive(Default)]
pub struct MirrorCheckpointConnector {
    running: Option<(CheckpointSettings, RawConfig)>,
}

#[async_trait]
impl Connector for MirrorCheckpointConnector {
    async fn validate(&self, config: &RawConfig) -> BTreeMap<String, Vec<String>> {
        match CheckpointSettings::parse(config) {
            Ok(_) => BTreeMap::new(),
            Err(error) => BTreeMap::from([(error.key().to_owned(), vec![error.to_string()])]),
        }
    }

    async fn start(&mut self, context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        let settings = CheckpointSettings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the checkpoint connector").caused_by(cause))?;
        if settings.enabled {
            differs::tell(context.connector(), &differs::OF_CHECKPOINT, &config);
            let failed = |cause| not_done(format!("make topic {} on the target", settings.topic), cause);
            let target = RawClient::connect(&settings.target).await.map_err(failed)?;
            TopicLog::new(target, settings.topic.clone()).ensure(settings.replicas, &[]).await.map_err(failed)?;
        }
        self.running = Some((settings, config));
        Ok(())
    }

    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        let (settings, config) =
            self.running.as_ref().ok_or_else(|| TaskError::fatal("the connector was not started"))?;
        if !settings.enabled {
            return Ok(Vec::new());
        }
        let one = |index: usize| {
            let mut config = config.clone();
            config.insert(TASK_INDEX.to_owned(), index.to_string());
            config.insert(TASK_COUNT.to_owned(), max_tasks.max(1).to_string());
            config
        };
        Ok((0..max_tasks.max(1)).map(one).collect())
    }
}
