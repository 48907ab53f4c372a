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
use twinstream_metadata::controller::{BrokerError, Heartbeat, HeartbeatAnswer, ProducerIdBlock, Registration};
use twinstream_model::{ErrorCode, NodeId};
use uuid::Uuid;

use super::forward::ForwardError;
use super::messages::{self, InternalApi, Join, Joined};
use super::{ControllerError, DecideError, Shared};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// While it is fenced a broker has nothing to do but to become ready.
const FENCED_INTERVAL: Duration = Duration::from_millis(20);
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
        let mut pause = PAUSE_MIN;
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
                _ => {}
            }
            if !warned && pause == PAUSE_MAX {
                tracing::warn!(%error, "not registered with the controller yet, trying on");
                warned = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn register_once(&self) -> Result<i64, ForwardError> {
        let shared = &self.shared;
        let join = Join { registration: self.registration(), last_index: shared.quorum.status().last_index };
        let joined = if shared.quorum.is_leader() {
            register_here(shared, join).await.map_err(|(code, message)| ForwardError::Refused { code, message })?
        } else {
            let limit = shared.settings.node.request_timeout;
            let payload = shared.ask_controller(InternalApi::Register, |out| join.write(out), limit).await?;
            Joined::read(&payload).map_err(|error| ForwardError::Lost(error.to_string()))?
        };
        shared.identity.cluster.get_or_init(|| joined.cluster.clone());
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
                    is_late = false;
                    settings.heartbeat_interval
                }
                Err(ForwardError::Refused {
                    code: ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered,
                    message,
                }) => {
                    tracing::warn!(message, "registration is out of date, registering again");
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

/// A heartbeat to the active controller, wherever it is.
async fn beat(shared: &Shared, heartbeat: Heartbeat, limit: Duration) -> Result<HeartbeatAnswer, ForwardError> {
    if shared.quorum.is_leader() {
        let refused = |(code, message)| ForwardError::Refused { code, message };
        return heartbeat_here(shared, heartbeat).await.map_err(refused);
    }
    let write = |out: &mut twinstream_metadata::codec::Writer| messages::write_heartbeat(out, &heartbeat);
    let payload = shared.ask_controller(InternalApi::Heartbeat, write, limit).await?;
    messages::read_heartbeat_answer(&payload).map_err(|error| ForwardError::Lost(error.to_string()))
}

/// A block of producer ids from the active controller, wherever it is.
pub(super) async fn allocate_producer_ids(shared: &Shared) -> Result<ProducerIdBlock, ForwardError> {
    let not_registered = || ForwardError::Refused {
        code: ErrorCode::CoordinatorLoadInProgress,
        message: "this broker is not registered yet; ask again".to_owned(),
    };
    let epoch = (*shared.broker_epoch.borrow()).ok_or_else(not_registered)?;
    if shared.quorum.is_leader() {
        let refused = |(code, message)| ForwardError::Refused { code, message };
        return producer_ids_here(shared, shared.identity.node_id, epoch).await.map_err(refused);
    }
    let limit = shared.settings.node.request_timeout;
    let payload = shared.ask_controller(InternalApi::ProducerIds, |out| out.i64(epoch), limit).await?;
    messages::read_producer_ids(&payload).map_err(|error| ForwardError::Lost(error.to_string()))
}

type Refusal = (ErrorCode, String);

/// Lets a node follow the log, then registers its broker.
pub(super) async fn register_here(shared: &Shared, join: Join) -> Result<Joined, Refusal> {
    let Join { registration, last_index } = join;
    let node_id = registration.node_id;
    let endpoint = registration
        .endpoints
        .iter()
        .find(|endpoint| endpoint.listener.eq_ignore_ascii_case(&shared.settings.network.inter_broker_listener));
    let address = endpoint.map(|endpoint| super::address(&endpoint.host, endpoint.port));
    let decided = shared
        .actor
        .decide(move |controller, now| verb_outcome(controller.register_broker(&registration, now)))
        .await
        .map_err(undecided)?;
    let epoch = decided.map_err(refused)?;
    if node_id != shared.identity.node_id {
        let Some(address) = address else {
            let message = format!(
                "node {node_id} has no listener {}, which nodes talk over; set inter.broker.listener.name alike on all nodes",
                shared.settings.network.inter_broker_listener
            );
            return Err((ErrorCode::InvalidRegistration, message));
        };
        shared.transport.set_address(node_id, address);
        let lost = |error: twinstream_quorum::ProposeError| (ErrorCode::NotController, error.to_string());
        shared.quorum.add_learner(node_id, last_index).map_err(lost)?.await.map_err(lost)?;
    }
    let cluster = shared.image.load().cluster_id().cloned();
    let cluster = cluster.ok_or_else(|| refused(BrokerError::NoClusterId))?;
    Ok(Joined { cluster, epoch })
}

pub(super) async fn heartbeat_here(shared: &Shared, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
    let decided = shared.actor.decide(move |controller, now| verb_outcome(controller.heartbeat(&heartbeat, now))).await;
    decided.map_err(undecided)?.map_err(refused)
}

pub(super) async fn producer_ids_here(
    shared: &Shared,
    node_id: NodeId,
    epoch: i64,
) -> Result<ProducerIdBlock, Refusal> {
    let decided =
        shared.actor.decide(move |controller, _| verb_outcome(controller.allocate_producer_ids(node_id, epoch))).await;
    decided.map_err(undecided)?.map_err(refused)
}

/// A refusal is a decision, too: one that writes nothing.
fn verb_outcome<T>(
    outcome: Result<twinstream_metadata::controller::Decision<T>, BrokerError>,
) -> twinstream_metadata::controller::Decision<Result<T, BrokerError>> {
    use twinstream_metadata::controller::Decision;
    match outcome {
        Ok(Decision { records, answer }) => Decision { records, answer: Ok(answer) },
        Err(error) => Decision { records: Vec::new(), answer: Err(error) },
    }
}

fn refused(error: BrokerError) -> Refusal {
    (error.code(), error.to_string())
}

fn undecided(error: DecideError) -> Refusal {
    (error.code(), error.to_string())
}
