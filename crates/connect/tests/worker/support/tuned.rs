//! A source whose task can be told of new parts while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use twinstream_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Importance, Plugin, Polled, RawConfig, SourceTask,
    SourceTaskContext, TaskError, async_trait,
};

pub(crate) const CLASS: &str = "test.TunedSourceConnector";

/// What the connector says next, and what its only task has heard.
#[derive(Clone, Default)]
pub(crate) struct Tuned {
    parts: Arc<Mutex<String>>,
    context: Arc<Mutex<Option<Arc<dyn ConnectorContext>>>>,
    pub(crate) starts: Arc<AtomicUsize>,
    /// What the task was told, by its start or while it ran.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Tuned {
    pub(crate) fn plugin(&self) -> Plugin {
        let (connector, task) = (self.clone(), self.clone());
        let key = ConfigKey::optional("other", ConfigType::String, Importance::Low, "a key that is not live");
        let made = move || TunedTask { tuned: task.clone() };
        Plugin::source(CLASS, ConfigDef::new().define(key), move || TunedConnector { tuned: connector.clone() }, made)
    }

    /// The connector has new parts for its task. `refuse`: the task cannot take them in; `fail`: it breaks on them;
    /// `away` at a start: not now.
    pub(crate) fn set(&self, parts: &str) {
        *self.parts.lock() = parts.to_owned();
        self.context.lock().as_ref().unwrap().request_task_reconfiguration();
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::Acquire)
    }

    pub(crate) fn last_heard(&self) -> Option<String> {
        self.heard.lock().last().cloned()
    }

    pub(crate) fn target(&self) -> Option<String> {
        self.context.lock().as_ref().unwrap().target_bootstrap_servers().map(str::to_owned)
    }
}

struct TunedConnector {
    tuned: Tuned,
}

#[async_trait]
impl Connector for TunedConnector {
    async fn start(&mut self, context: Arc<dyn ConnectorContext>, _config: RawConfig) -> Result<(), TaskError> {
        *self.tuned.context.lock() = Some(context);
        Ok(())
    }

    async fn task_configs(&mut self, _max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        Ok(vec![RawConfig::from([("parts".to_owned(), self.tuned.parts.lock().clone())])])
    }

    fn live_keys(&self) -> &'static [&'static str] {
        &["parts"]
    }
}

struct TunedTask {
    tuned: Tuned,
}

#[async_trait]
impl SourceTask for TunedTask {
    async fn start(&mut self, _context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        self.tuned.starts.fetch_add(1, Ordering::AcqRel);
        if config["parts"] == "refuse-away" && self.tuned.starts() < 5 {
            return Err(TaskError::retriable("the outside is away").retry_after(Duration::from_millis(100)));
        }
        self.tuned.heard.lock().push(config["parts"].clone());
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        // Nothing ever comes: who tells the task must not wait for this.
        std::future::pending().await
    }

    async fn reconfigure(&mut self, config: &RawConfig) -> Result<bool, TaskError> {
        match config["parts"].as_str() {
            refused if refused.starts_with("refuse") => Ok(false),
            "fail" => Err(TaskError::fatal("cannot work with these parts")),
            parts => {
                self.tuned.heard.lock().push(parts.to_owned());
                Ok(true)
            }
        }
    }
}
