//! The connector: decides how the work is split into tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{RawConfig, TaskError};

/// One configured connector, source or sink.
///
/// Order of calls, one at a time: [`validate`](Self::validate) (any number, on an instance that is never started), or
/// `start`, then `task_configs` once and again after each [`ConnectorContext::request_task_reconfiguration`], then `stop`.
/// A connector instance is used for one configuration: a changed configuration, a resume or a restart makes a new one.
///
/// The worker promises: the configuration passed `config_def` and `validate`; each call has a deadline on its own (a
/// connector that hangs is reported FAILED and never blocks another one or the REST API); `stop` is called at most once,
/// also after a failed `start`.
///
/// The connector must: keep `task_configs` stable (the same outside world gives the same list in the same order), because
/// tasks are restarted exactly when the list differs from the stored one; do its watching in a tokio task that it ends in
/// `stop`.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Checks that need several keys at once, or the outside world; key -> messages. Each key is already parsed and
    /// checked on its own by the plugin's `ConfigDef`; this is only called when those checks found nothing.
    async fn validate(&self, config: &RawConfig) -> BTreeMap<String, Vec<String>> {
        let _unused = config;
        BTreeMap::new()
    }

    async fn start(&mut self, context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError>;

    /// At most `max_tasks` configurations (`tasks.max`, at least 1); an empty list means that there is nothing to do now.
    /// The worker adds `task.class` and hands each one to a fresh task.
    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError>;

    async fn stop(&mut self) {}

    /// Whether a source with this configuration brings each record once if its offsets and records are stored together
    /// (`exactly.once.support=required` asks); else why not. Asked of an instance that is never started.
    fn exactly_once_support(&self, config: &RawConfig) -> Result<(), String> {
        let _unused = config;
        Err("the connector does not say whether it brings each record once: set 'requested'".to_owned())
    }

    /// Keys of task configurations whose change a running source task may take in without a restart: a task whose new
    /// configuration differs in nothing else is told through [`SourceTask::reconfigure`](crate::SourceTask::reconfigure).
    /// Asked of an instance that is never started.
    fn live_keys(&self) -> &'static [&'static str] {
        &[]
    }
}

/// What a running connector may ask of the worker.
pub trait ConnectorContext: Send + Sync {
    fn connector(&self) -> &str;

    /// Asks the worker to call `task_configs` again and to restart tasks if the answer differs. Cheap; requests that come
    /// before the worker gets to it become one.
    fn request_task_reconfiguration(&self);

    /// Marks the connector FAILED with this error. Its tasks go on.
    fn raise_error(&self, error: TaskError);

    /// Its tasks produce in transactions (`exactly.once.source.support=enabled`).
    fn is_exactly_once(&self) -> bool {
        false
    }

    /// `bootstrap.servers` of the cluster that records of this connector's tasks go to: `producer.override.bootstrap.servers`
    /// of its configuration, else the worker's. `None` where nobody produces, as in a test of the connector alone.
    fn target_bootstrap_servers(&self) -> Option<&str> {
        None
    }
}
