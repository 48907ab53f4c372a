//! Task actors: one tokio task per connector task, driven by what is wanted of it.
//!
//! Picture: the herder spawns an actor and from then on only says *run*, *pause* or *stop* through a watch channel. The
//! actor builds what the task needs (converters, clients), calls the connector's code, and tells its state. A panic or an
//! error of the connector's code ends this actor only, and shows as FAILED with the cause chain.
//! Invariants: an actor starts its task only after its predecessor has ended (or was cut off after
//! `task.shutdown.graceful.timeout.ms`); an actor that was replaced never reports a state again.

mod errors;
mod exactly_once;
mod lives;
mod memory;
mod outgoing;
mod packing;
mod progress;
mod report;
mod sink;
mod sizes; // of transactions
mod source;
mod stillness;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_connect_api::{Plugin, PluginMake, RawConfig, TaskError};

use crate::group::Place;
use crate::metrics::WorkerMetrics;
use crate::settings::Settings;
use crate::state::TaskId;
use crate::state::offsets::OffsetState;
use crate::state::statuses::RunState;
use crate::store::{StateLog, StatusStore};

pub(crate) use memory::Memory;
pub(crate) use report::Reporter;
pub(crate) use sizes::TransactionSizes;

/// What the herder wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Run,
    Pause,
    Stop,
}

/// Everything that tasks share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) statuses: StatusStore,
    pub(crate) offsets: Arc<StateLog<OffsetState>>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) memory: Memory,
    /// The worker's own, for tasks whose transactional id a successor may have taken.
    pub(crate) place: Place,
}

/// One task to run.
pub(crate) struct TaskSpec {
    pub(crate) id: TaskId,
    pub(crate) plugin: Plugin,
    /// The connector's configuration: converters, error handling, client overrides.
    pub(crate) connector: RawConfig,
    /// The task's own, as the connector gave it.
    pub(crate) task: RawConfig,
}

impl TaskSpec {
    /// A setting that a task inherits from its connector.
    fn setting(&self, name: &str) -> Option<&str> {
        self.connector.get(name).map(|value| value.trim())
    }

    fn client_overrides(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.connector.iter().filter_map(move |(k, v)| Some((k.strip_prefix(prefix)?, v.as_str())))
    }
}

/// A running task as the herder holds it.
pub(crate) struct TaskHandle {
    want: watch::Sender<Want>,
    config: watch::Sender<RawConfig>,
    reporter: Reporter,
    actor: JoinHandle<()>,
    grace: Duration,
}

/// Beyond the grace time, what the runner itself may need to flush and close.
const STOP_SLACK: Duration = Duration::from_secs(2);

impl TaskHandle {
    pub(crate) fn want(&self, want: Want) {
        self.want.send_replace(want);
    }

    /// Tells the task of a configuration that differs in live keys only; `false` if nobody listens any more.
    pub(crate) fn retune(&self, config: RawConfig) -> bool {
        self.config.send(config).is_ok()
    }

    /// Ends the task: asks, waits for the grace time, then cuts it off. It reports nothing from now on.
    pub(crate) async fn stop(mut self) {
        self.reporter.silence();
        self.want.send_replace(Want::Stop);
        if tokio::time::timeout(self.grace + STOP_SLACK, &mut self.actor).await.is_err() {
            tracing::warn!(task = %self.reporter.id(), "task does not stop, cutting it off");
            self.actor.abort();
        }
    }
}

/// Spawns a task's actor; it starts when `after` is over.
pub(crate) fn spawn(
    shared: Shared,
    spec: TaskSpec,
    want: Want,
    after: Option<impl Future<Output = ()> + Send + 'static>,
) -> TaskHandle {
    let (want, wanted) = watch::channel(want);
    let (config, configured) = watch::channel(spec.task.clone());
    let reporter = Reporter::new(&shared, &spec);
    let grace = shared.settings.millis("task.shutdown.graceful.timeout.ms");
    let actor = tokio::spawn({
        let reporter = reporter.clone();
        async move {
            if let Some(after) = after {
                after.await;
            }
            run(shared, spec, reporter, wanted, configured).await;
        }
    });
    TaskHandle { want, config, reporter, actor, grace }
}

async fn run(
    shared: Shared,
    spec: TaskSpec,
    reporter: Reporter,
    want: watch::Receiver<Want>,
    config: watch::Receiver<RawConfig>,
) {
    if *want.borrow() == Want::Stop {
        return;
    }
    shared.metrics.task_startup_attempts.inc();
    let id = spec.id.clone();
    let make = spec.plugin.make.clone();
    let running = async {
        match make {
            PluginMake::Source { task, .. } => {
                lives::run(shared, spec, &*task, reporter.clone(), Ears { want, config }).await
            }
            PluginMake::Sink { task, .. } => sink::run(shared, spec, task(), reporter.clone(), want).await,
        }
    };
    match AssertUnwindSafe(running).catch_unwind().await {
        Ok(Ok(())) => tracing::info!(task = %id, "task stopped"),
        Ok(Err(error)) => reporter.failed(&error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            reporter.failed(&TaskError::fatal(format!("the connector's code panicked: {text}")));
        }
    }
}

/// How a source task hears of what the herder wants.
struct Ears {
    want: watch::Receiver<Want>,
    /// The task's configuration; it changes in live keys only.
    config: watch::Receiver<RawConfig>,
}

async fn stop_wanted(want: &mut watch::Receiver<Want>) {
    // An error means that the herder is gone, which is a stop as well.
    want.wait_for(|want| *want == Want::Stop).await.ok();
}

/// Waits until something other than `now` is wanted; a herder that is gone wants a stop.
async fn wanted_change(want: &mut watch::Receiver<Want>, now: Want) -> Want {
    match want.wait_for(|wanted| *wanted != now).await {
        Ok(wanted) => *wanted,
        Err(_) => Want::Stop,
    }
}

/// The state that shows for what is wanted.
fn run_state(want: Want) -> RunState {
    if want == Want::Pause { RunState::Paused } else { RunState::Running }
}
