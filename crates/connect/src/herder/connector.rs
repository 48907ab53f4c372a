//! Connector actors: one tokio task per started connector, so that one that hangs concerns nobody else.
//!
//! An actor starts the connector, asks it for task configurations, and again whenever the connector requests it. Each call
//! has a deadline; a failure or a missed deadline shows as FAILED with the cause chain, and the stored tasks go on. A start
//! that fails for a cause that may pass shows as RESTARTING with the cause and is tried again, without end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use twinstream_connect_api::{Connector, ConnectorContext, Plugin, RawConfig, TaskError};

use super::{Event, Events};
use crate::runner::Shared;
use crate::settings::Settings;
use crate::state::statuses::RunState;
use crate::store::StatusStore;

/// How long one call of a connector may take. Looking at a distant cluster may take a while; beyond this it hangs.
const CALL_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Between two starts: a cluster that is back is noticed within this time.
const START_PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) struct Spec {
    pub(super) name: String,
    pub(super) plugin: Plugin,
    pub(super) config: RawConfig,
    pub(super) incarnation: u64,
}

/// A running connector as the herder holds it.
pub(super) struct ConnectorHandle {
    stop: watch::Sender<bool>,
    silent: Arc<AtomicBool>,
    actor: JoinHandle<()>,
}

impl ConnectorHandle {
    /// Ends the connector: asks, waits, then cuts it off. It reports nothing from now on.
    pub(super) async fn stop(mut self) {
        self.silent.store(true, Ordering::Release);
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_WITHIN, &mut self.actor).await.is_err() {
            self.actor.abort();
        }
    }

    pub(super) fn stop_in_background(self) {
        self.silent.store(true, Ordering::Release);
        tokio::spawn(self.stop());
    }
}

/// Spawns an actor; it starts the connector when its predecessor has stopped.
pub(super) fn spawn(
    shared: Shared,
    events: Events,
    spec: Spec,
    predecessor: Option<ConnectorHandle>,
) -> ConnectorHandle {
    let (stop, stopped) = watch::channel(false);
    let silent = Arc::new(AtomicBool::new(false));
    if let Some(predecessor) = &predecessor {
        predecessor.silent.store(true, Ordering::Release);
    }
    let context = Arc::new(Context {
        name: spec.name.clone(),
        version: spec.plugin.version.clone(),
        target: target_of(&shared.settings, &spec.config),
        is_exactly_once: shared.settings.is_exactly_once(),
        statuses: shared.statuses.clone(),
        silent: Arc::clone(&silent),
        reconfigure: Notify::new(),
        raised: Mutex::new(None),
    });
    let actor = tokio::spawn(async move {
        if let Some(predecessor) = predecessor {
            predecessor.stop().await;
        }
        run(shared, events, spec, context, stopped).await;
    });
    ConnectorHandle { stop, silent, actor }
}

async fn run(shared: Shared, events: Events, spec: Spec, context: Arc<Context>, mut stop: watch::Receiver<bool>) {
    shared.metrics.connector_startup_attempts.inc();
    let mut connector = spec.plugin.make_connector();
    let work = drive(connector.as_mut(), &events, &spec, &context);
    let result = tokio::select! {
        result = AssertUnwindSafe(work).catch_unwind() => result,
        _ = stop.wait_for(|stop| *stop) => Ok(Ok(())),
    };
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(TaskError::fatal("the connector's code panicked, the log has the place")),
    };
    if let Some(error) = failure {
        shared.metrics.connector_startup_failures.inc();
        context.failed(&error);
    }
    if tokio::time::timeout(STOP_WITHIN, connector.stop()).await.is_err() {
        tracing::warn!(connector = spec.name, "connector does not stop, letting go of it");
    }
}

/// Starts the connector and serves its requests; ends only with an error.
async fn drive(
    connector: &mut dyn Connector,
    events: &Events,
    spec: &Spec,
    context: &Arc<Context>,
) -> Result<(), TaskError> {
    start(connector, spec, context).await?;
    context.running();
    tracing::info!(connector = spec.name, "connector runs");
    let max = spec.config.get("tasks.max").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    loop {
        let configs = task_configs(connector, spec, max).await?;
        if configs.len() > max {
            let count = configs.len();
            let text = format!("the connector wants {count} tasks, tasks.max allows {max}");
            return Err(TaskError::fatal(text));
        }
        let (connector_name, incarnation) = (spec.name.clone(), spec.incarnation);
        events.send(Event::TaskConfigs { connector: connector_name, incarnation, configs }).await;
        context.reconfigure.notified().await;
    }
}

/// Starts the connector; what may pass, as a cluster that is away, is tried again with growing pauses.
async fn start(connector: &mut dyn Connector, spec: &Spec, context: &Arc<Context>) -> Result<(), TaskError> {
    let mut pause = RETRY_FIRST;
    loop {
        match within("start", connector.start(Arc::clone(context) as _, spec.config.clone())).await {
            Err(error) if error.is_retriable() => {
                let trace = error.trace();
                tracing::warn!(connector = spec.name, cause = trace, ?pause, "the connector is started again");
                context.set(RunState::Restarting, Some(trace));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(START_PAUSE_MAX);
            }
            done => return done,
        }
    }
}

/// Asks for task configurations; what may pass is tried again with growing pauses.
async fn task_configs(connector: &mut dyn Connector, spec: &Spec, max: usize) -> Result<Vec<RawConfig>, TaskError> {
    let mut pause = RETRY_FIRST;
    loop {
        match within("task_configs", connector.task_configs(max)).await {
            Err(error) if error.is_retriable() => {
                tracing::warn!(connector = spec.name, cause = %error.trace(), ?pause, "task configurations are asked for again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            done => return done,
        }
    }
}

async fn within<T>(call: &str, work: impl Future<Output = Result<T, TaskError>>) -> Result<T, TaskError> {
    match tokio::time::timeout(CALL_WITHIN, work).await {
        Ok(done) => done,
        Err(_) => {
            let limit = CALL_WITHIN.as_secs();
            Err(TaskError::fatal(format!("the connector's {call} did not return within {limit} s")))
        }
    }
}

/// Where a connector's records go.
fn target_of(settings: &Settings, config: &RawConfig) -> String {
    let own = config.get("producer.override.bootstrap.servers").map(|servers| servers.trim());
    own.or(settings.producer_servers()).unwrap_or_default().to_owned()
}

struct Context {
    name: String,
    version: String,
    target: String,
    is_exactly_once: bool,
    statuses: StatusStore,
    silent: Arc<AtomicBool>,
    reconfigure: Notify,
    /// An error raised before the start had returned.
    raised: Mutex<Option<TaskError>>,
}

impl Context {
    fn running(&self) {
        let raised = self.raised.lock().take();
        match raised {
            Some(error) => self.failed(&error),
            None => self.set(RunState::Running, None),
        }
    }

    fn failed(&self, error: &TaskError) {
        let trace = error.trace();
        tracing::error!(connector = self.name, cause = trace, "connector failed");
        self.set(RunState::Failed, Some(trace));
    }

    fn set(&self, state: RunState, trace: Option<String>) {
        if !self.silent.load(Ordering::Acquire) {
            self.statuses.set_connector(&self.name, state, trace, Some(&self.version));
        }
    }
}

impl ConnectorContext for Context {
    fn connector(&self) -> &str {
        &self.name
    }

    fn request_task_reconfiguration(&self) {
        self.reconfigure.notify_one();
    }

    fn raise_error(&self, error: TaskError) {
        self.failed(&error);
        *self.raised.lock() = Some(error);
    }

    fn is_exactly_once(&self) -> bool {
        self.is_exactly_once
    }

    fn target_bootstrap_servers(&self) -> Option<&str> {
        Some(&self.target)
    }
}
