//! This broker's life in the cluster: register, heartbeat, leave.
//!
//! Picture: a task that registers with the active controller, tries again until it is let in, and then sends heartbeats: quickly while
//! it is fenced, so that a start is fast, and every `broker.heartbeat.interval.ms` after that. When the controller says that its
//! registration is out of date (another incarnation, a controller that lost the session) it registers again.
//!
//! Invariants: a broker says that it has caught up only when its own image has its own registration; a broker that is refused for
//! good (another process with its node id, another cluster) fails instead of retrying for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use twinstream_metadata::Endpoint;
use twinstream_metadata::controller::{Heartbeat, HeartbeatAnswer, Registration};
use twinstream_model::ErrorCode;

use super::ask::{ForwardError, ask};
use super::heartbeats::{Beat, Forms};
use super::messages::Join;
use super::{ControllerError, Shared};
use crate::settings::live::LiveSettings;

const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long one try to register may take; then the log says what is in the way.
const REGISTER_LIMIT: Duration = Duration::from_secs(3);
/// While it is fenced a broker has nothing to do but to become ready.
const FENCED_INTERVAL: Duration = Duration::from_millis(20);
/// Before a refused registration is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a broker that wants to stop waits for its leaderships to be taken over.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
const PLAINTEXT: i16 = 0;

/// *member* -> *leaving* (serves on, hands over) -> *left* (the controller has let it go; sends no heartbeat any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Member,
    Leaving,
    Left,
}

/// This broker's registration and heartbeats.
pub(crate) struct Membership {
    shared: Arc<Shared>,
    refused: Arc<watch::Sender<Option<ControllerError>>>,
}

impl Membership {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, refused: Arc::new(watch::Sender::new(None)) }
    }

    /// Registers and sends heartbeats from now on.
    pub(crate) fn join(&self) {
        let member = Member { shared: Arc::clone(&self.shared), refused: Arc::clone(&self.refused) };
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
        own.is_some_and(|own| own.incarnation == self.shared.incarnation && !own.fenced)
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

    /// Hands over what this broker leads, so that clients move on before it stops. It serves on meanwhile; the controller says
    /// when nothing is left that another broker could lead. Once the session is lost there is nobody to hand over to, as when a
    /// whole cluster stops and the voters that went first took the majority with them.
    pub(crate) async fn leave(&self) {
        if self.shared.broker_epoch.borrow().is_none() {
            return;
        }
        let mut stage = self.shared.stage.subscribe();
        self.shared.stage.send_if_modified(|stage| {
            *stage == Stage::Member && std::mem::replace(stage, Stage::Leaving) != Stage::Leaving
        });
        let mut session = self.shared.session.clone();
        let left = async {
            tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage == Stage::Left) => tracing::info!("left the cluster"),
                () = session.lost() => tracing::info!("the session with the controller is over, stopping without it"),
            }
        };
        match tokio::time::timeout(LEAVE_LIMIT, left).await {
            Ok(()) => {}
            Err(_) => tracing::warn!(
                limit_ms = LEAVE_LIMIT.as_millis() as u64,
                "the controller did not let this broker go in time, stopping without it"
            ),
        }
    }
}

struct Member {
    shared: Arc<Shared>,
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
        let join = Join { registration: self.registration(), wants_vote: shared.settings.quorum.wants_vote };
        let answered = ask(shared, &join, REGISTER_LIMIT).await?;
        let joined = answered.answer;
        shared.identity.cluster.get_or_init(|| joined.cluster.clone());
        shared.lease.extend(answered.sent);
        shared.local.directories.reported.store(true, Ordering::Release);
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
            incarnation: shared.incarnation,
            cluster_id: shared.identity.cluster.get().cloned(),
            endpoints: endpoints.collect(),
            rack: shared.settings.node.rack.clone(),
            controller: shared.settings.node.is_controller,
            directories: shared.local.directories.ids.clone(),
            offline_directories: shared.local.directories.absent.unseen(),
            metadata_directory: Some(shared.quorum.directory_id()),
            boot_id: shared.local.boot_id.clone(),
            clean: shared.local.directories.clean,
        }
    }

    /// Whether there is a directory for new partitions.
    fn takes_replicas(&self) -> bool {
        let image = self.shared.image.load();
        LiveSettings::new(&self.shared.settings, &image).cordoned_dirs().contains(&false)
    }

    /// Sends heartbeats until the registration is out of date.
    async fn stay_alive(&self, epoch: i64) {
        let settings = &self.shared.settings.node;
        let node_id = self.shared.identity.node_id;
        let mut is_late = false;
        let mut has_told = false;
        let mut stage = self.shared.stage.subscribe();
        let term = self.shared.quorum.status().term;
        let mut forms = Forms::default();
        let min_insync_replicas = Some(self.shared.settings.topics.min_insync_replicas);
        loop {
            if self.must_ask_for_vote(term) {
                return;
            }
            let wants_shutdown = *stage.borrow_and_update() == Stage::Leaving;
            let is_registered = self.has_own_registration(epoch).await;
            // Before it is let in: what it cannot reach must not be elected.
            has_told = has_told || is_registered && self.tell_absent().await;
            let caught_up = is_registered && has_told;
            let takes_replicas = self.takes_replicas();
            let heartbeat =
                Heartbeat { node_id, epoch, caught_up, wants_shutdown, takes_replicas, min_insync_replicas };
            let pause = match beat(&self.shared, heartbeat, &mut forms, settings.session_timeout).await {
                Ok(answer) if answer.may_shut_down && wants_shutdown => {
                    self.shared.stage.send_replace(Stage::Left);
                    return std::future::pending().await;
                }
                Ok(answer) if answer.fenced || wants_shutdown => FENCED_INTERVAL,
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
            tokio::time::timeout(pause, stage.changed()).await.ok();
        }
    }

    /// Whether this node's wish for a vote may have been lost with a leader. A node that has voted with this directory lost its
    /// vote by somebody's will and does not ask again.
    fn must_ask_for_vote(&self, term: u64) -> bool {
        let shared = &self.shared;
        if !shared.settings.quorum.wants_vote || shared.has_voted.load(Ordering::Relaxed) {
            return false;
        }
        let status = shared.quorum.status();
        let votes = status.is_voter(shared.identity.node_id, status.directory_id);
        shared.has_voted.store(votes, Ordering::Relaxed);
        !votes && status.term != term && status.leader.is_some()
    }

    /// Tells the controller which copies may lie in directories that could not be opened; false if it must be told again.
    async fn tell_absent(&self) -> bool {
        let shared = &self.shared;
        let absent = shared.local.directories.absent.settle(&shared.image.load(), shared.identity.node_id);
        if absent.is_empty() {
            return true;
        }
        tracing::warn!(
            partitions = absent.len(),
            "copies may lie in log directories that cannot be opened, they are offline until the next start"
        );
        match shared.report_offline(&absent, shared.settings.node.session_timeout).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "cannot tell the controller which copies are out of reach, trying on");
                false
            }
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

/// A heartbeat to the active controller, wherever it is. The answer extends this broker's session: to this node's own session as
/// the controller counts only what a majority of voters has heard, because a controller that is cut off does not notice at once.
async fn beat(
    shared: &Arc<Shared>,
    heartbeat: Heartbeat,
    forms: &mut Forms,
    limit: Duration,
) -> Result<HeartbeatAnswer, ForwardError> {
    let term = shared.quorum.status().term;
    let say = |form| async move { ask(shared, &Beat { heartbeat, form }, limit).await };
    let answered = forms.say(term, say).await?;
    if answered.answer.fenced {
        if !heartbeat.wants_shutdown {
            shared.lease.give_up();
        }
    } else if let Some(heard) = shared.heard_by_majority(answered.sent).await {
        shared.lease.extend(heard);
    }
    Ok(answered.answer)
}

impl Shared {
    /// Until when the controller that answered a request of `sent` was surely the controller: for another node's answer that time
    /// itself, for this node's own the last time that it heard of a majority of voters.
    async fn heard_by_majority(&self, sent: Instant) -> Option<Instant> {
        let voters = self.quorum.status().voters.len();
        if !self.quorum.is_leader() || voters < 2 {
            return Some(sent);
        }
        let described = self.quorum.describe().await.ok()?;
        let own = self.identity.node_id;
        let others = described.replicas.iter().filter(|replica| replica.voter && replica.node != own);
        let mut heard: Vec<i64> = others.filter_map(|replica| replica.last_fetch_ms).collect();
        heard.sort_unstable_by(|left, right| right.cmp(left));
        // With this node itself that many make a majority.
        let oldest_needed = *heard.get(voters / 2 - 1)?;
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis() as i64;
        let age = Duration::from_millis(u64::try_from(now_ms - oldest_needed).unwrap_or(0));
        Some(sent.min(Instant::now().checked_sub(age)?))
    }
}
