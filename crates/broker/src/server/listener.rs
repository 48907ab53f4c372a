//! A listener: accepts connections within its limits.
//!
//! Invariants: at most `max.connections` connections per broker and `max.connections.per.ip` per address are open;
//! a connection over a limit is closed at once and counted. More than `max.connection.creation.rate` per second wait to be
//! accepted; a listener that only nodes use is not held up by it. When the broker stops, no new connection is accepted and
//! the open ones get [`DRAIN_LIMIT`] to finish the request in hand.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::connection::{self, Client, ConnectionSettings};
use super::pace::Pace;
use crate::context::Broker;
use crate::settings::connections::ConnectionBounds;

/// How long a stopping broker waits for requests in hand.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Pause after a failed accept (usually: out of file descriptors), instead of spinning.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Counts open connections of all listeners against the broker's limits.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    bounds: ArcSwap<ConnectionBounds>,
    total: AtomicUsize,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    /// How many were admitted so far, over all listeners.
    admitted: AtomicU64,
    pace: Pace,
}

/// One admitted connection; gives its place back when dropped.
pub(crate) struct Admission {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
    /// Later connections of a client have higher numbers.
    number: u64,
}

/// Why a connection was not admitted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("max.connections={0} are open")]
    Total(usize),
    #[error("{ip} has max.connections.per.ip={limit} open")]
    PerIp { ip: IpAddr, limit: usize },
}

impl ConnectionLimits {
    pub(crate) fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds: ArcSwap::from_pointee(bounds),
            total: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            admitted: AtomicU64::new(0),
            pace: Pace::default(),
        }
    }

    /// Waits until a new connection may be taken in.
    async fn keep_pace(&self) {
        loop {
            let rate = self.bounds.load().rate_max;
            match self.pace.take(rate, Instant::now()) {
                Ok(()) => return,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Changes the limits for connections that are still to come; open ones stay.
    pub(crate) fn set(&self, bounds: ConnectionBounds) {
        self.bounds.store(Arc::new(bounds));
    }

    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admission, Refusal> {
        let ip = ip.to_canonical();
        let bounds = self.bounds.load();
        let mut per_ip = self.per_ip.lock();
        if self.total.load(Ordering::Relaxed) >= bounds.max {
            return Err(Refusal::Total(bounds.max));
        }
        let limit = bounds.per_ip_overrides.get(&ip).copied().unwrap_or(bounds.per_ip_max);
        let open = per_ip.get(&ip).copied().unwrap_or(0);
        if open >= limit {
            return Err(Refusal::PerIp { ip, limit });
        }
        per_ip.insert(ip, open + 1);
        self.total.fetch_add(1, Ordering::Relaxed);
        let number = self.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(Admission { limits: Arc::clone(self), ip, number })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut per_ip = self.limits.per_ip.lock();
        if let Some(open) = per_ip.get_mut(&self.ip) {
            *open -= 1;
            if *open == 0 {
                per_ip.remove(&self.ip);
            }
        }
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the broker stops.
pub(crate) async fn accept_loop(
    broker: Arc<Broker>,
    listener: TcpListener,
    settings: ConnectionSettings,
    tasks: TaskTracker,
) {
    let shutdown = broker.shutdown.clone();
    let network = &broker.settings.network;
    let only_nodes = network.listeners.len() > 1 && *settings.listener == *network.inter_broker_listener;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if !only_nodes {
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return,
                        () = broker.connection_limits.keep_pace() => {}
                    }
                }
                admit(&broker, stream, peer, &settings, &tasks);
            }
            Err(error) => {
                tracing::warn!(listener = %settings.listener, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(
    broker: &Arc<Broker>,
    stream: TcpStream,
    peer: SocketAddr,
    settings: &ConnectionSettings,
    tasks: &TaskTracker,
) {
    let admission = match broker.connection_limits.admit(peer.ip()) {
        Ok(admission) => admission,
        Err(refusal) => {
            broker.metrics.connection_refused();
            let listener = &settings.listener;
            match broker.warnings.refused.admit(Instant::now()) {
                Some(left_out) => tracing::warn!(%peer, %listener, %refusal, left_out, "connection refused"),
                None => tracing::debug!(%peer, %listener, %refusal, "connection refused"),
            }
            return;
        }
    };
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%peer, %error, "connection lost before its first request");
        return;
    }
    broker.metrics.connection_opened(&settings.listener);
    let (broker, settings) = (Arc::clone(broker), settings.clone());
    tasks.spawn(async move {
        let (metrics, listener) = (Arc::clone(&broker.metrics), Arc::clone(&settings.listener));
        connection::serve(broker, stream, Client { peer, number: admission.number }, settings).await;
        metrics.connection_closed(&listener);
        drop(admission);
    });
}

/// Answers leave at once, and the system finds out about clients that vanished without a word, as in Kafka.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    Ok(rustix::net::sockopt::set_socket_keepalive(stream, true)?)
}

#[cfg(test)]
mod tests;
