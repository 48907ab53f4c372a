//! This broker's life in the cluster: register, heartbeat, leave.
//!
//! Picture: a task that registers with the active controller, tries again until it is let in, and then sends heartbeats: quickly while
//! it is fenced, so that a start is fast, and every `broker.heartbeat.interval.ms` after that. When the controller says that its
//! registration is out of date (another incarnation, a controller that lost the session) it registers again.
//!
//! Invariants: a broker says that it has caught up only when its own image has its own registration; a broker that is refused for
//! good (another process with its node id, another cluster) fails instead of retrying for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use twinstream_metadata::Endpoint;
use twinstream_metadata::controller::{Heartbeat, HeartbeatAnswer, Registration};
use twinstream_model::ErrorCode;
use uuid::Uuid;

use super::ask::{ForwardError, ask};
use super::messages::Join;
use super::{ControllerError, Shared};

const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long one try to register may take; then the log says what is in the way.
const REGISTER_LIMIT: Duration = Duration::from_secs(3);
/// While it is fenced a broker has nothing to do but to become ready.
const FENCED_INTERVAL: Duration = Duration::from_millis(20);
/// Before a refused registration is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const PLAINTEXT: i16 = 0;

/// This broker's registration and heartbeats.
pub(crate) struct Membership {
    shared: Arc<Shared>,
    incarnation: Uuid,
    refused: Arc<watch::Sender<Option<ControllerError>>>,
}

impl Membership {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, incarnation: Uuid::new_v4(), refused: Arc::new(watch::Sender::new(None)) }
    }

    /// Registers and sends heartbeats from now on.
    pub(crate) fn join(&self) {
        let member = Member {
            shared: Arc::clone(&self.shared),
            incarnation: self.incarnation,
            refused: Arc::clone(&self.refused),
        };
        let shutdown = self.shared.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = member.run() => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Returns when this node's own image says that this broker serves.
    pub(crate) async fn until_serving(&self) -> Result<(), ControllerError> {
        let mut applied = self.shared.applied.clone();
        let mut refused = self.refused.subscribe();
        loop {
            if let Some(error) = refused.borrow_and_update().clone() {
                return Err(error);
            }
            if self.is_serving() {
                return Ok(());
            }
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return Err(ControllerError::Stopping) },
                changed = refused.changed() => if changed.is_err() { return Err(ControllerError::Stopping) },
                () = self.shared.shutdown.cancelled() => return Err(ControllerError::Stopping),
            }
        }
    }

    fn is_serving(&self) -> bool {
        let image = self.shared.image.load();
        let own = image.broker(self.shared.identity.node_id);
        own.is_some_and(|own| own.incarnation == self.incarnation && !own.fenced)
    }

    /// Returns when the controller refuses this broker for good while it runs.
    pub(crate) async fn refused(&self) -> ControllerError {
        let mut refused = self.refused.subscribe();
        loop {
            if let Some(error) = refused.borrow_and_update().clone() {
                return error;
            }
            if refused.changed().await.is_err() {
                return ControllerError::Stopping;
            }
        }
    }

    /// Hands over what this broker leads, so that clients move on before it stops.
    pub(crate) async fn leave(&self) {
        let Some(epoch) = *self.shared.broker_epoch.borrow() else { return };
        let node_id = self.shared.identity.node_id;
        let goodbye = Heartbeat { node_id, epoch, caught_up: true, wants_shutdown: true };
        let limit = self.shared.settings.node.request_timeout.min(Duration::from_secs(5));
        match tokio::time::timeout(limit, beat(&self.shared, goodbye, limit)).await {
            Ok(Ok(_)) => tracing::info!("left the cluster"),
            Ok(Err(error)) => tracing::warn!(%error, "could not tell the controller that this broker stops"),
            Err(_) => tracing::warn!("the controller did not hear in time that this broker stops"),
        }
        self.shared.broker_epoch.send_replace(None);
    }
}

struct Member {
    shared: Arc<Shared>,
    incarnation: Uuid,
    refused: Arc<watch::Sender<Option<ControllerError>>>,
}

impl Member {
    async fn run(self) {
        loop {
            match self.register().await {
                Ok(epoch) => self.stay_alive(epoch).await,
                Err(error) => {
                    self.refused.send_replace(Some(error));
                    return;
                }
            }
        }
    }

    /// Registers; tries again as long as it may help.
    async fn register(&self) -> Result<i64, ControllerError> {
        let mut duplicate_since = None;
        let mut warned = false;
        loop {
            let error = match self.register_once().await {
                Ok(epoch) => return Ok(epoch),
                Err(error) => error,
            };
            match &error {
                ForwardError::Refused { code: ErrorCode::DuplicateBrokerRegistration, message } => {
                    // A crashed predecessor's session ends; a living namesake's does not.
                    let since = *duplicate_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.shared.settings.node.session_timeout * 2 {
                        return Err(ControllerError::Refused(message.clone()));
                    }
                }
                ForwardError::Refused {
                    code: ErrorCode::InconsistentClusterId | ErrorCode::InvalidRegistration,
                    message,
                } => {
                    return Err(ControllerError::Refused(message.clone()));
                }
                _ if !warned => {
                    tracing::warn!(%error, "not registered with the controller yet, trying on");
                    warned = true;
                }
                _ => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn register_once(&self) -> Result<i64, ForwardError> {
        let shared = &self.shared;
        let join = Join { registration: self.registration(), last_index: shared.quorum.status().last_index };
        let answered = ask(shared, &join, REGISTER_LIMIT).await?;
        let joined = answered.answer;
        shared.identity.cluster.get_or_init(|| joined.cluster.clone());
        shared.lease.extend(answered.sent);
        shared.broker_epoch.send_replace(Some(joined.epoch));
        tracing::debug!(epoch = joined.epoch, cluster = %joined.cluster, "registered");
        Ok(joined.epoch)
    }

    fn registration(&self) -> Registration {
        let shared = &self.shared;
        let endpoints = shared.advertised.iter().map(|listener| Endpoint {
            listener: listener.name.clone(),
            host: listener.host.clone(),
            port: listener.port,
            security_protocol: PLAINTEXT,
        });
        Registration {
            node_id: shared.identity.node_id,
            incarnation: self.incarnation,
            cluster_id: shared.identity.cluster.get().cloned(),
            endpoints: endpoints.collect(),
            rack: shared.settings.node.rack.clone(),
            controller: shared.settings.node.is_controller,
            directories: Vec::new(),
            metadata_directory: None,
            boot_id: String::new(),
            clean: true,
        }
    }

    /// Sends heartbeats until the registration is out of date.
    async fn stay_alive(&self, epoch: i64) {
        let settings = &self.shared.settings.node;
        let node_id = self.shared.identity.node_id;
        let mut is_late = false;
        loop {
            if self.shared.broker_epoch.borrow().is_none() {
                // This broker has left; the process is about to end.
                return std::future::pending().await;
            }
            let caught_up = self.has_own_registration(epoch).await;
            let heartbeat = Heartbeat { node_id, epoch, caught_up, wants_shutdown: false };
            let pause = match beat(&self.shared, heartbeat, settings.session_timeout).await {
                Ok(answer) if answer.fenced => FENCED_INTERVAL,
                Ok(_) => {
                    if std::mem::take(&mut is_late) {
                        tracing::info!("heartbeats reach the controller again");
                    }
                    settings.heartbeat_interval
                }
                Err(ForwardError::Refused {
                    code: ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered,
                    message,
                }) => {
                    tracing::warn!(message, "registration is out of date, registering again");
                    self.shared.lease.give_up();
                    return;
                }
                Err(error) => {
                    if !is_late {
                        tracing::warn!(%error, "heartbeat did not reach the controller, trying on");
                        is_late = true;
                    }
                    PAUSE_MAX.min(settings.heartbeat_interval)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the image has this registration; waits a moment for it, since it is on its way.
    async fn has_own_registration(&self, epoch: i64) -> bool {
        let mut applied = self.shared.applied.clone();
        let registered = |_: &u64| {
            let image = self.shared.image.load();
            image.broker(self.shared.identity.node_id).is_some_and(|own| own.epoch == epoch)
        };
        let wait = self.shared.settings.node.heartbeat_interval;
        matches!(tokio::time::timeout(wait, applied.wait_for(registered)).await, Ok(Ok(_)))
    }
}

/// A heartbeat to the active controller, wherever it is. The answer extends this broker's session.
async fn beat(shared: &Shared, heartbeat: Heartbeat, limit: Duration) -> Result<HeartbeatAnswer, ForwardError> {
    let answered = ask(shared, &heartbeat, limit).await?;
    if answered.answer.fenced {
        shared.lease.give_up();
    } else {
        shared.lease.extend(answered.sent);
    }
    Ok(answered.answer)
}
