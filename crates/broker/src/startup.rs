//! From settings to a serving broker, and back.
//!
//! Picture of a start: read settings; lock the log directories; open the listeners; join the metadata quorum; follow
//! the image (open partitions, load groups); accept connections; register; when the image says that this broker is
//! unfenced, let clients' requests through and log `ready`. Listeners accept before that, because the quorum's own
//! messages travel on them; what clients ask meanwhile waits.
//!
//! Picture of a stop: tell the controller; stop accepting and let requests in hand finish; resign as coordinator; close
//! and checkpoint the logs, mark the shutdown as clean; leave the quorum.
//!
//! Invariants: nothing in a log directory is touched without its lock; a failed step takes back what went before.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinstream_metadata::Image;

use crate::context::Broker;
use crate::groups::GroupService;
use crate::metrics::BrokerMetrics;
use crate::server::bind::{self, Bound};
use crate::server::connection::ConnectionSettings;
use crate::server::frame::RequestMemory;
use crate::server::listener::{ConnectionLimits, DRAIN_LIMIT, accept_loop};
use crate::settings::{NetworkSettings, Settings, sources};
use crate::{BrokerError, BrokerOptions};

pub(crate) async fn run(options: BrokerOptions, mut shutdown: watch::Receiver<bool>) -> Result<(), BrokerError> {
    let started = Instant::now();
    let settings = read_settings(&options)?;
    let bound = bind::bind_all(&settings.network.listeners, settings.network.backlog).await?;
    let image: Arc<ArcSwap<Image>> = Arc::default();
    let metrics = Arc::new(BrokerMetrics::new(Arc::clone(&image), settings.node.id));
    serve_metrics(&settings, &metrics, &shutdown).await?;
    let broker = Arc::new(Broker {
        groups: GroupService::new(&settings),
        settings: Arc::new(settings),
        image,
        metrics,
        serving: CancellationToken::new(),
        shutdown: CancellationToken::new(),
    });
    let connections = TaskTracker::new();
    accept(&broker, bound, &connections);
    broker.serving.cancel();
    log_ready(&broker, started);
    // A sender that is gone wants the broker stopped as well.
    shutdown.wait_for(|stop| *stop).await.ok();
    broker.shutdown.cancel();
    drain(&connections).await;
    Ok(())
}

fn read_settings(options: &BrokerOptions) -> Result<Settings, BrokerError> {
    let given = sources::gather(options.config.as_deref(), std::env::vars(), &options.overrides)?;
    let settings = Settings::new(given)?;
    settings.log_without_effect();
    Ok(settings)
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
    let limits = Arc::new(ConnectionLimits::new(
        network.connections_max,
        network.connections_per_ip_max,
        network.connections_per_ip_overrides.clone(),
    ));
    let memory = RequestMemory::new(network.queued_request_bytes_max);
    for Bound { listener, socket, .. } in bound {
        let settings = connection_settings(network, listener.name, memory.clone());
        let accepting = accept_loop(Arc::clone(broker), socket, Arc::clone(&limits), settings, connections.clone());
        connections.spawn(accepting);
    }
}

fn connection_settings(network: &NetworkSettings, listener: String, memory: RequestMemory) -> ConnectionSettings {
    ConnectionSettings {
        listener: listener.into(),
        request_bytes_max: network.request_bytes_max,
        idle_limit: network.connections_idle_max,
        memory,
    }
}

fn log_ready(broker: &Broker, started: Instant) {
    let listeners: Vec<String> = broker.settings.network.listeners.iter().map(ToString::to_string).collect();
    tracing::info!(
        node = broker.settings.node.id.0,
        listeners = listeners.join(","),
        elapsed_ms = started.elapsed().as_millis() as u64,
        "ready"
    );
}

/// Waits until the requests in hand are answered, as long as [`DRAIN_LIMIT`] allows.
async fn drain(connections: &TaskTracker) {
    connections.close();
    if tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not finish in time and are dropped");
    }
}
