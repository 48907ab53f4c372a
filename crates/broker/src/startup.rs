//! From settings to a serving broker, and back.
//!
//! Picture of a start: read settings; lock the log directories; open the listeners; join the metadata quorum; follow
//! the image (open partitions, load groups); accept connections; register; when the image says that this broker is
//! unfenced, let clients' requests through and log `ready`. Listeners accept before that, because the quorum's own
//! messages travel on them; what clients ask meanwhile waits.
//!
//! Picture of a stop: hand leaderships over, of partitions and then of the quorum; stop accepting and let requests in
//! hand finish; resign as coordinator; close and checkpoint the logs, mark the shutdown as clean; leave the quorum.
//!
//! Invariants: nothing in a log directory is touched without its lock; a failed step takes back what went before.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinstream_log::OpenFiles;
use twinstream_metadata::{ConfigResource, Image};
use twinstream_telemetry::Reading;

use crate::auto_create::Complaints;
use crate::broker_calls::BrokerCalls;
use crate::context::{Broker, ClientWarnings};
use crate::controller::{self, ControllerStart, Membership};
use crate::follow::{self, Followed};
use crate::groups::GroupService;
use crate::handlers::fetch::WaitRoom;
use crate::metrics::{
    BrokerMetrics, ExporterFigures, InSyncFigures, LogFigures, QuorumFigures, watch_group_lag, watch_load, watch_quorum,
};
use crate::partitions::{
    Cleaner, CleanerMetrics, ColdReads, Directories, FetchSessions, PartitionManager, ProducerIds, watch_failures,
};
use crate::replication::Replication;
use crate::server::bind::{self, Bound};
use crate::server::connection::ConnectionSettings;
use crate::server::listener::{ConnectionLimits, DRAIN_LIMIT, accept_loop};
use crate::server::memory::RequestMemory;
use crate::settings::{NetworkSettings, Settings, sources};
use crate::transactions::TransactionService;
use crate::{BrokerError, BrokerOptions};

pub(crate) async fn run(options: BrokerOptions, mut shutdown: watch::Receiver<bool>) -> Result<(), BrokerError> {
    let started = Instant::now();
    let settings = Arc::new(read_settings(&options)?);
    let files = OpenFiles::new(settings.log.open_files_max.min(OpenFiles::default_max(raise_file_limit())));
    let directories = Directories::open(&settings.log.dirs, settings.node.id, settings.log.reserve_bytes, files)?;
    let bound = bind::bind_all(&settings.network.listeners, settings.network.backlog).await?;
    let node = Node::new(settings, directories, &bound, &shutdown).await?;
    let outcome = node.serve(bound, started, &mut shutdown).await;
    node.stop(outcome.is_ok()).await;
    outcome
}

/// One broker from its first to its last task.
struct Node {
    broker: Arc<Broker>,
    membership: Membership,
    connections: TaskTracker,
    background: TaskTracker,
    /// Fires last: what serves other nodes and the quorum lives until then.
    end: CancellationToken,
}

impl Node {
    async fn new(
        settings: Arc<Settings>,
        directories: Directories,
        bound: &[Bound],
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Self, BrokerError> {
        let image: Arc<ArcSwap<Image>> = Arc::default();
        let metrics = Arc::new(BrokerMetrics::new(Arc::clone(&image), settings.node.id));
        serve_metrics(&settings, &metrics, shutdown).await?;
        let end = CancellationToken::new();
        let controller = controller::start(ControllerStart {
            settings: Arc::clone(&settings),
            image: Arc::clone(&image),
            known_cluster: directories.cluster_id(),
            directories: directories.identity(),
            elections: metrics.elections.clone(),
            advertised: bind::with_bound_ports(settings.network.advertised.clone(), bound),
            shutdown: end.clone(),
        })?;
        let status_of = controller.clone();
        metrics.registry.declare(QuorumFigures::new(move || status_of.quorum_status()));
        controller.quorum_traffic().declare(&metrics.registry);
        let membership = controller.membership();
        let replication = Replication::new();
        let replicas = replication.for_partitions();
        let partitions = Arc::new(PartitionManager::new(Arc::clone(&settings), directories, replicas));
        metrics.registry.declare(partitions.metrics().clone());
        metrics.registry.declare(InSyncFigures::new(Arc::clone(&image), Arc::clone(&settings)));
        metrics.registry.declare(LogFigures::new(Arc::clone(&partitions)));
        let exporter = ExporterFigures::new(Arc::clone(&image), Arc::clone(&partitions), Arc::clone(&settings));
        metrics.registry.declare(exporter);
        let groups = GroupService::new(&settings, &metrics.registry, controller.session());
        let transactions = TransactionService::new(&settings, &metrics.registry, controller.session());
        let broker = Arc::new(Broker {
            controller,
            partitions,
            followed: Followed::default(),
            replication,
            fetch_sessions: FetchSessions::new(settings.network.fetch_session_slots),
            fetch_room: WaitRoom::default(),
            cold_reads: ColdReads::new(&metrics.registry),
            producer_ids: ProducerIds::default(),
            calls: BrokerCalls::default(),
            groups,
            transactions,
            complaints: Complaints::default(),
            warnings: ClientWarnings::default(),
            connection_limits: Arc::new(ConnectionLimits::new(settings.network.connections.clone())),
            settings,
            image,
            metrics,
            serving: CancellationToken::new(),
            shutdown: CancellationToken::new(),
        });
        Ok(Self { broker, membership, connections: TaskTracker::new(), background: TaskTracker::new(), end })
    }

    /// Runs until told to stop, or until a part fails.
    async fn serve(
        &self,
        bound: Vec<Bound>,
        started: Instant,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), BrokerError> {
        let broker = &self.broker;
        let addresses: Vec<String> = bound.iter().map(ToString::to_string).collect();
        accept(broker, bound, &self.connections);
        broker.partitions.start_background(&self.background, &broker.shutdown);
        let compaction = CleanerMetrics::new(&broker.metrics.registry);
        Cleaner::new(Arc::clone(&broker.partitions), compaction).start(&self.background, &broker.shutdown);
        broker.replication.start(broker, &self.background);
        let carrying = broker.transactions.start(broker, &self.background);
        self.background.spawn(watch_quorum(Arc::clone(broker)));
        self.background.spawn(watch_load(Arc::clone(broker)));
        self.background.spawn(watch_group_lag(Arc::clone(broker)));
        let following = self.background.spawn(follow::run(Arc::clone(broker)));
        tokio::select! {
            // A sender that is gone wants the broker stopped as well.
            _ = shutdown.wait_for(|stop| *stop) => Ok(()),
            failed = self.become_ready(&addresses, started) => Err(failed),
            failed = broker.controller.failed() => Err(failed.into()),
            failed = watch_failures(Arc::clone(broker)) => Err(failed),
            failed = self.membership.refused() => Err(failed.into()),
            ended = following => match ended {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => Err(BrokerError::Ended("following the metadata")),
            },
            _ = carrying => Err(BrokerError::Ended("carrying markers of transactions")),
        }
    }

    /// Joins the cluster and lets clients in. Returns only when that fails.
    async fn become_ready(&self, addresses: &[String], started: Instant) -> BrokerError {
        let broker = &self.broker;
        self.membership.join();
        let limit = broker.settings.node.registration_timeout;
        match tokio::time::timeout(limit, self.membership.until_serving()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return BrokerError::NotRegistered { limit_ms: limit.as_millis() },
        }
        broker.followed.until(broker.controller.applied()).await;
        warn_of_min_isr(broker);
        let (partitions, image) = (Arc::clone(&broker.partitions), broker.image.load_full());
        // The image has this run's registration, so it is caught up, and folders that it does not know are left over.
        if tokio::task::spawn_blocking(move || partitions.remove_strays(&image)).await.is_err() {
            return BrokerError::Ended("removing the folders of deleted topics");
        }
        broker.serving.cancel();
        log_ready(broker, addresses, started);
        std::future::pending().await
    }

    /// Stops in the order of the module's picture. A broker that failed does not wait for others.
    async fn stop(self, in_good_order: bool) {
        let broker = &self.broker;
        if in_good_order && broker.serving.is_cancelled() && broker.settings.node.controlled_shutdown {
            self.membership.leave().await;
            broker.controller.hand_over().await;
        }
        broker.shutdown.cancel();
        broker.groups.stop();
        broker.transactions.stop();
        drain(&self.connections).await;
        self.background.close();
        self.background.wait().await;
        let partitions = Arc::clone(&broker.partitions);
        if tokio::task::spawn_blocking(move || partitions.close()).await.is_err() {
            tracing::error!("closing the logs panicked, the next start checks them");
        }
        broker.controller.stop().await;
        self.end.cancel();
        tracing::info!("stopped");
    }
}

fn read_settings(options: &BrokerOptions) -> Result<Settings, BrokerError> {
    let given = sources::gather(options.config.as_deref(), std::env::vars(), &options.overrides)?;
    let settings = Settings::new(given)?;
    settings.log_without_effect();
    Ok(settings)
}

/// Files of logs and clients take descriptors, and the usual soft limit of 1024 is for programs that call `select`. The
/// hard limit is what the administrator allows. Returns the limit that holds, `None` if there is none.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, current = limit.current, "cannot raise the limit of open files");
            limit.current
        }
    }
}

async fn serve_metrics(
    settings: &Settings,
    metrics: &BrokerMetrics,
    shutdown: &watch::Receiver<bool>,
) -> Result<(), BrokerError> {
    if let Some(address) = settings.network.metrics_listener {
        let bound = metrics.registry.serve(address, shutdown.clone()).await?;
        tracing::info!(address = %bound, "serving /metrics");
    }
    Ok(())
}

/// Starts accepting on every listener.
fn accept(broker: &Arc<Broker>, bound: Vec<Bound>, connections: &TaskTracker) {
    let network = &broker.settings.network;
    let memory = RequestMemory::new(network.queued_request_bytes_max);
    declare_queues(broker, &memory);
    for Bound { listener, socket, .. } in bound {
        let settings = connection_settings(network, listener.name, memory.clone());
        let accepting = accept_loop(Arc::clone(broker), socket, settings, connections.clone());
        connections.spawn(accepting);
    }
}

/// What waits in parts that have no metrics of their own.
fn declare_queues(broker: &Arc<Broker>, memory: &RequestMemory) {
    let registry = &broker.metrics.registry;
    let (memory, weak) = (memory.clone(), Arc::downgrade(broker));
    registry.declare(Reading::gauge(
        "kafka_network_requestchannel_requestqueuesize",
        "Requests that wait for room in queued.max.request.bytes; there is no other queue for them.",
        move || memory.waiting() as f64,
    ));
    let counts = move || weak.upgrade().map_or((0, 0, 0), |broker| broker.fetch_sessions.counts());
    let (sessions, partitions) = (counts.clone(), counts.clone());
    registry.declare(Reading::gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        "Fetch sessions that this broker keeps.",
        move || sessions().0 as f64,
    ));
    registry.declare(Reading::gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
        "Partitions in all fetch sessions.",
        move || partitions().1 as f64,
    ));
    registry.declare(Reading::counter(
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
        "Fetch sessions that made room for others.",
        move || counts().2 as f64,
    ));
}

fn connection_settings(network: &NetworkSettings, listener: String, memory: RequestMemory) -> ConnectionSettings {
    ConnectionSettings {
        listener: listener.into(),
        request_bytes_max: network.request_bytes_max,
        idle_limit: network.connections_idle_max,
        memory,
    }
}

fn log_ready(broker: &Broker, addresses: &[String], started: Instant) {
    tracing::info!(
        node = broker.settings.node.id.0,
        cluster = broker.image.load().cluster_id().map_or("", |id| id.as_str()),
        listeners = addresses.join(","),
        elapsed_ms = started.elapsed().as_millis() as u64,
        "ready"
    );
    twinstream_telemetry::service::ready();
}

/// A number in the settings file that says something else than the cluster looks as if it counted. One that asks for more is a
/// promise that is not kept.
fn warn_of_min_isr(broker: &Broker) {
    const NAME: &str = "min.insync.replicas";
    let image = broker.image.load();
    let counts = image.config(&ConfigResource::BrokerDefault, NAME);
    let Some(counts) = counts.and_then(|text| text.trim().parse::<usize>().ok()) else { return };
    let wanted = broker.settings.topics.min_insync_replicas;
    if !broker.settings.is_given(NAME) || wanted == counts {
        return;
    }
    if counts < wanted {
        tracing::error!(
            wanted,
            counts,
            "the cluster acknowledges writes with fewer in-sync replicas than min.insync.replicas of this broker's settings, \
             which does not count: raise it with kafka-configs --entity-type brokers --entity-default"
        );
    } else {
        tracing::warn!(
            wanted,
            counts,
            "min.insync.replicas of the settings does not count, the cluster has a default of its own: \
             change it with kafka-configs --entity-type brokers --entity-default"
        );
    }
}

/// Waits until the requests in hand are answered, as long as [`DRAIN_LIMIT`] allows.
async fn drain(connections: &TaskTracker) {
    connections.close();
    if tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not finish in time and are dropped");
    }
}
