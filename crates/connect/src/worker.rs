//! Start and end of a worker.
//!
//! Start: settings, listener, group, topics, states, herder, ready. The listener comes first, so that a port in use is found
//! before anything is touched, and so that another worker can tell that we are alive. End: tasks and connectors stop and
//! store their offsets, statuses are written, the place in the group is given back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use twinstream_client::{Admin, ClientError};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{Extension, Plugin, RawConfig};
use twinstream_telemetry::Metrics;

use crate::group::{GroupError, GroupOptions, Membership, instance_id};
use crate::herder::{self, HerderHandle};
use crate::keeper;
use crate::metrics::{Overview, WorkerMetrics};
use crate::plugins::Plugins;
use crate::rest::{self, App, SharedApp};
use crate::runner::{Memory, Shared};
use crate::settings::{Role, Settings};
use crate::state::TaskId;
use crate::store::{Start, StateLog, StatusStore, StoreError, ensure_state_topics};

/// What takes longer at the start is told.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// How long the last statuses may take to be written.
const LAST_STATUSES_WITHIN: Duration = Duration::from_secs(5);

/// What a worker is started with.
pub struct WorkerOptions {
    /// The `worker.properties` file.
    pub config: Option<PathBuf>,
    /// Settings that win over the file's.
    pub overrides: Vec<(String, String)>,
    /// The connectors that it can run.
    pub plugins: Vec<Plugin>,
    /// Connectors by name that have nobody else who looks after them, see [`crate::keeper`]. Tasks of them that have failed
    /// when the worker is stopped are its error.
    pub connectors: Vec<(String, RawConfig)>,
    /// Further paths of its REST API.
    pub extensions: Vec<Arc<dyn Extension>>,
    /// Where its metrics are registered; a fresh registry will do.
    pub metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("worker settings file {}: {reason}", path.display())]
    ConfigFile { path: PathBuf, reason: String },
    #[error("worker settings: {}", problems.join("; "))]
    Settings { problems: Vec<String> },
    #[error("cannot listen on {address}: {source}; change 'listeners' or stop the process that holds the port")]
    Listen { address: String, source: std::io::Error },
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("cannot reach the cluster of the worker")]
    Cluster(#[source] ClientError),
    #[error("topic {topic} of the worker cannot be prepared")]
    Topic { topic: String, source: ClientError },
    #[error("topic {topic} was created but does not show up: check the brokers")]
    TopicInvisible { topic: String },
    #[error(
        "topic {topic} has {count} partitions, the config topic must have exactly one: name another in 'config.storage.topic'"
    )]
    ConfigTopicPartitions { topic: String, count: usize },
    #[error("the worker's stored state cannot be loaded: {}", trace_of(.0.as_ref()))]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("connector {name} cannot be put: {reason}")]
    Connector { name: String, reason: String },
    #[error("the worker lost its place in the group: {reason}")]
    PlaceLost { reason: String },
    #[error("tasks had failed when the worker was stopped: {}", tasks.join("; "))]
    TasksFailed { tasks: Vec<String> },
    #[error("the REST listener failed")]
    Serve(#[source] std::io::Error),
}

impl From<StoreError> for WorkerError {
    fn from(error: StoreError) -> Self {
        Self::State(Box::new(error))
    }
}

/// Reads the settings as a start would, and touches nothing else. What is wrong is the error; what has no effect is returned.
pub fn check(config: Option<&Path>, overrides: &[(String, String)]) -> Result<Vec<String>, WorkerError> {
    let settings = Settings::load(config, overrides)?;
    settings.listener().map_err(|problem| WorkerError::Settings { problems: vec![problem] })?;
    Ok(settings.without_effect().map(|(name, reason)| format!("{name} has no effect: {reason}")).collect())
}

/// Runs a worker until `shutdown` turns true, or until it loses its place in the group.
pub async fn run(options: WorkerOptions, mut shutdown: watch::Receiver<bool>) -> Result<(), WorkerError> {
    let settings = Arc::new(Settings::load(options.config.as_deref(), &options.overrides)?);
    settings.log_without_effect();
    if let Some(problem) = rest::problem_of_extensions(&options.extensions) {
        return Err(WorkerError::Settings { problems: vec![problem] });
    }
    let (listener, address) = listen(&settings).await?;
    let app: SharedApp = Arc::new(OnceLock::new());
    let (stop_serving, serving_stopped) = watch::channel(false);
    let (metrics, connectors) = (options.metrics.clone(), options.connectors.clone());
    let server = tokio::spawn({
        let (app, extensions) = (Arc::clone(&app), options.extensions.clone());
        async move { rest::serve(listener, app, &extensions, &metrics, serving_stopped).await }
    });
    let starting = start(options, Arc::clone(&settings), address);
    let started = tokio::select! {
        started = starting => started?,
        _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
    };
    let Started { made, mut membership, parts } = started;
    let url = made.url.clone();
    let _always_empty_before = app.set(made);
    tracing::info!(%address, %url, group = settings.group_id(), "ready");
    twinstream_telemetry::service::ready();

    let mut server = server;
    let kept: Vec<String> = connectors.iter().map(|(name, _)| name.clone()).collect();
    let ended = tokio::select! {
        refused = keeper::keep(&app, connectors) => refused,
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
        reason = membership.lost() => Err(WorkerError::PlaceLost { reason }),
        served = &mut server => match served {
            Ok(Err(error)) => Err(WorkerError::Serve(error)),
            _ => Err(WorkerError::Serve(std::io::Error::other("the listener ended"))),
        },
    };
    tracing::info!("stopping");
    let failed = keeper::failed(&app, &kept); // a task that is stopped shows no failure any more
    parts.stop().await;
    membership.leave().await;
    stop_serving.send_replace(true);
    if ended.is_ok() && !failed.is_empty() {
        let line = |(task, cause): (TaskId, String)| format!("{task} ({})", cause.lines().next().unwrap_or_default());
        return Err(WorkerError::TasksFailed { tasks: failed.into_iter().map(line).collect() });
    }
    ended
}

async fn listen(settings: &Settings) -> Result<(TcpListener, SocketAddr), WorkerError> {
    let (host, port) = settings.listener().map_err(|problem| WorkerError::Settings { problems: vec![problem] })?;
    let failed = |source| WorkerError::Listen { address: format!("{host}:{port}"), source };
    let listener = TcpListener::bind((host.as_str(), port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

struct Started {
    made: App,
    membership: Membership,
    parts: Parts,
}

/// What must be stopped in order.
struct Parts {
    herder: HerderHandle,
    statuses: StatusStore,
    status_log: Arc<StateLog<crate::state::statuses::StatusState>>,
    status_writer: tokio::task::AbortHandle,
}

impl Parts {
    async fn stop(self) {
        self.herder.shutdown().await;
        self.status_writer.abort();
        let written = tokio::time::timeout(LAST_STATUSES_WITHIN, self.statuses.write_dirty(&self.status_log)).await;
        if !matches!(written, Ok(true)) {
            tracing::warn!("the last statuses were not written");
        }
    }
}

async fn start(options: WorkerOptions, settings: Arc<Settings>, address: SocketAddr) -> Result<Started, WorkerError> {
    let client = |role| {
        let made = settings.client(role, [].into_iter());
        made.map_err(|error| WorkerError::Settings { problems: vec![error.to_string()] })
    };
    let asking = client(Role::Admin)?;
    let admin = told("for the cluster to answer", Admin::connect(&asking)).await.map_err(WorkerError::Cluster)?;
    let (host, port) = settings.advertised(address.port());
    let worker_id = format!("{host}:{port}");
    let url = format!("http://{worker_id}/");
    let consumer = client(Role::Consumer)?;
    let joining = join(&settings, &consumer, &worker_id, &url);
    let membership = told(
        "for its place in the group (the brokers need a coordinator for it: their log says if they have none)",
        joining,
    )
    .await?;

    let topics = told("for the topics of its state to be made", ensure_state_topics(&admin, &settings)).await?;
    let producer = client(Role::Producer)?;
    let transactions = settings.config_transactions().map(|id| (id, membership.place()));
    let own_configs = Start { transactions, waits: true };
    // Tasks with transactions end those of their predecessors, then read for themselves.
    let all_offsets = Start { transactions: None, waits: !settings.is_exactly_once() };
    let reading = async {
        tokio::try_join!(
            StateLog::open_as(topics.configs, &consumer, &producer, &admin, own_configs),
            StateLog::open_as(topics.offsets, &consumer, &producer, &admin, all_offsets),
            StateLog::<crate::state::statuses::StatusState>::open(topics.statuses, &consumer, &producer, &admin),
        )
    };
    let (configs, offsets, statuses) = told("for the topics of its state to be read", reading).await?;
    let (configs, offsets, status_log) = (Arc::new(configs), Arc::new(offsets), Arc::new(statuses));
    let statuses = StatusStore::new(status_log.state().clone(), worker_id);
    statuses.set_generation(i64::from(membership.generation()));
    let status_writer = statuses.spawn_writer(Arc::clone(&status_log)).abort_handle();
    let plugins = Plugins::new(options.plugins);
    let metrics = WorkerMetrics::new(&options.metrics);
    let bytes_max = usize::try_from(settings.int("twinstream.source.in.flight.max.bytes")).unwrap_or(usize::MAX);
    let overview = Overview::new(
        Arc::clone(&configs),
        statuses.clone(),
        plugins.clone(),
        metrics.in_flight_bytes.clone(),
        bytes_max,
    );
    options.metrics.declare(overview);
    membership.declare(&options.metrics);
    let shared = Shared {
        memory: Memory::new(bytes_max, metrics.in_flight_bytes.clone()),
        settings: Arc::clone(&settings),
        statuses: statuses.clone(),
        offsets: Arc::clone(&offsets),
        place: membership.place(),
        metrics,
    };
    let herder = herder::spawn(Arc::clone(&configs), plugins.clone(), shared);
    let parts = Parts { herder: herder.clone(), statuses: statuses.clone(), status_log, status_writer };
    let cluster_id = admin.cluster_id().unwrap_or_default();
    let made = App { settings, plugins, configs, offsets, statuses, herder, admin, cluster_id, url };
    Ok(Started { made, membership, parts })
}

/// A step of the start; one that takes longer than [`TELL_AFTER`] is named, and again each time that it has taken twice as long.
async fn told<T>(what: &'static str, step: impl Future<Output = T>) -> T {
    let mut step = std::pin::pin!(step);
    let (mut waited, mut next) = (Duration::ZERO, TELL_AFTER);
    loop {
        match tokio::time::timeout(next, &mut step).await {
            Ok(done) => return done,
            Err(_) => {
                waited += next;
                next = waited;
                tracing::warn!(waited_s = waited.as_secs(), "worker still starts up, it waits {what}");
            }
        }
    }
}

async fn join(
    settings: &Settings,
    client: &twinstream_client::ClientSettings,
    worker_id: &str,
    url: &str,
) -> Result<Membership, WorkerError> {
    let options = GroupOptions {
        group: settings.group_id().to_owned(),
        url: url.to_owned(),
        instance: instance_id(&[worker_id]),
        session_timeout: settings.session_timeout(),
        rebalance_timeout: settings.millis("rebalance.timeout.ms"),
        heartbeat: settings.heartbeat_interval(),
    };
    Ok(Membership::join(client, options).await?)
}
