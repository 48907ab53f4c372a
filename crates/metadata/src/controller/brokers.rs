//! Brokers: registration, heartbeats, leaving.
//!
//! States of a broker and what moves it: *fenced* (registered, or its session was lost) -> *serving* on a heartbeat of a broker that
//! has caught up; *serving* -> *shutting down* on a heartbeat that says so; *serving*, *shutting down* -> *fenced* when its session
//! ends, when its process is known to be gone, when it has handed over and may stop, and when a new incarnation of it registers; any
//! fenced one -> *unregistered* by command. A fenced broker leads nothing and is in no ISR.
//!
//! Invariants: a broker whose copies may have lost records is out of every ISR and ELR before its registration takes effect, so
//! before it may fetch (KIP-966).

use std::time::Instant;

use thiserror::Error;
use twinstream_model::{ClusterId, ErrorCode, NodeId};
use uuid::Uuid;

use super::{
    Controller, Decision,
    change::{Change, Election, Forget},
    draft::{Draft, Walk},
};
use crate::{
    image::{BrokerImage, PartitionImage},
    record::{Endpoint, Record},
};

/// A broker process that wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub node_id: NodeId,
    /// One process run.
    pub incarnation: Uuid,
    /// The cluster that its data belongs to; `None` when it has none yet.
    pub cluster_id: Option<ClusterId>,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub controller: bool,
    /// The random ids of its log directories, `directory.id` in their `meta.properties`.
    pub directories: Vec<Uuid>,
    /// How many more directories it is to have that cannot be opened, whose ids it cannot tell for that.
    pub offline_directories: usize,
    /// The random id of its metadata directory.
    pub metadata_directory: Option<Uuid>,
    /// The kernel's boot id, by which a crash of the process is told from a loss of power.
    pub boot_id: String,
    /// Whether every log directory says that the last run was ended in order.
    pub clean: bool,
}

/// What a broker learns from its registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    pub epoch: i64,
    /// Why its copies no longer count, if they do not. Worth a warning.
    pub loss: Option<ReplicaLoss>,
}

/// Why the copies of a broker no longer count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaLoss {
    /// It was not stopped in order and the kernel has another boot id: what was in the page cache is gone.
    PowerLoss,
    /// A log directory that it had is missing or was exchanged. It is no last known leader either: it may be empty.
    Disk,
}

/// A sign of life, and what the broker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub node_id: NodeId,
    pub epoch: i64,
    /// Whether the broker has replayed its own registration, so that it knows what it leads.
    pub caught_up: bool,
    /// Whether the broker wants to stop: it hands over its leaderships and ends its session.
    pub wants_shutdown: bool,
    /// Whether new partitions may be placed on it: not if all its directories are cordoned (KIP-1066).
    pub takes_replicas: bool,
    /// `min.insync.replicas` of its settings; older releases do not tell it.
    pub min_insync_replicas: Option<usize>,
}

/// What a broker learns from its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub fenced: bool,
    /// It leads nothing any more and may exit.
    pub may_shut_down: bool,
}

/// Why a broker's request is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BrokerError {
    #[error(
        "node {node_id} is in use by another broker process, last heard of {age_ms} ms ago; give this one another node.id, or stop the other one"
    )]
    Duplicate { node_id: NodeId, age_ms: u128 },
    #[error(
        "node {node_id} holds data of cluster {found} and this is cluster {expected}; point it at its own controllers, or at an empty data directory"
    )]
    OtherCluster { node_id: NodeId, found: ClusterId, expected: ClusterId },
    #[error("the cluster has no id yet; try again")]
    NoClusterId,
    #[error("node {0} has no endpoint; set listeners or advertised.listeners")]
    NoEndpoint(NodeId),
    #[error("node {0} is not registered")]
    NotRegistered(NodeId),
    #[error("node {node_id} has epoch {current} and the request says {found}; the process registered again since")]
    StaleEpoch { node_id: NodeId, current: i64, found: i64 },
    #[error("all producer ids are used up")]
    ProducerIdsExhausted,
    #[error("the replicas of node {0} are still being taken out of service; try again")]
    StillLeaving(NodeId),
    #[error("broker {0} serves clients; stop it before it is unregistered")]
    Serving(NodeId),
}

impl BrokerError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Duplicate { .. } => ErrorCode::DuplicateBrokerRegistration,
            Self::OtherCluster { .. } => ErrorCode::InconsistentClusterId,
            Self::NoClusterId => ErrorCode::CoordinatorLoadInProgress,
            Self::NoEndpoint(_) => ErrorCode::InvalidRegistration,
            Self::NotRegistered(_) => ErrorCode::BrokerIdNotRegistered,
            Self::StaleEpoch { .. } => ErrorCode::StaleBrokerEpoch,
            Self::ProducerIdsExhausted => ErrorCode::UnknownServerError,
            Self::StillLeaving(_) => ErrorCode::CoordinatorLoadInProgress,
            Self::Serving(_) => ErrorCode::InvalidRequest,
        }
    }
}

impl Controller {
    /// A process registers; the answer has its epoch. Registering again with the same incarnation answers the same epoch. When more
    /// partitions must change than one batch holds, the answer is [`BrokerError::StillLeaving`] and the next attempt goes on.
    pub fn register_broker(
        &mut self,
        registration: &Registration,
        now: Instant,
    ) -> Decision<Result<Registered, BrokerError>> {
        if let Err(error) = self.check_registration(registration, now) {
            return Decision::nothing(Err(error));
        }
        let node_id = registration.node_id;
        let known = self.image.broker(node_id).cloned();
        self.sessions.touch(node_id, registration.incarnation, now);
        if let Some(known) = &known
            && known.incarnation == registration.incarnation
            && known.endpoints == registration.endpoints
            && known.rack == registration.rack
        {
            return Decision::nothing(Ok(Registered { epoch: known.epoch, loss: None }));
        }
        let mut draft = self.draft();
        let loss = known.as_ref().and_then(|known| replica_loss(known, registration));
        if known.is_some() && self.retire_predecessor(&mut draft, node_id, loss) == Walk::Full {
            return draft.decide(Err(BrokerError::StillLeaving(node_id)));
        }
        let epoch = draft.image.next_broker_epoch();
        draft.push(register(registration, known.as_deref(), epoch));
        draft.decide(Ok(Registered { epoch, loss }))
    }

    fn check_registration(&self, registration: &Registration, now: Instant) -> Result<(), BrokerError> {
        let node_id = registration.node_id;
        let expected = self.image.cluster_id().ok_or(BrokerError::NoClusterId)?;
        if let Some(found) = registration.cluster_id.as_ref().filter(|found| *found != expected) {
            return Err(BrokerError::OtherCluster { node_id, found: found.clone(), expected: expected.clone() });
        }
        if registration.endpoints.is_empty() {
            return Err(BrokerError::NoEndpoint(node_id));
        }
        match self.sessions.holder_age(node_id, registration.incarnation, now) {
            Some(age) if age < self.settings.session_timeout => {
                Err(BrokerError::Duplicate { node_id, age_ms: age.as_millis() })
            }
            _ => Ok(()),
        }
    }

    /// The process before this one leads nothing any more; if its copies do not count any more, they count nowhere.
    fn retire_predecessor(&self, draft: &mut Draft, node_id: NodeId, loss: Option<ReplicaLoss>) -> Walk {
        let forget = match loss {
            Some(ReplicaLoss::Disk) => Some(Forget::All),
            Some(ReplicaLoss::PowerLoss) => Some(Forget::Tail),
            None => None,
        };
        self.retire_one(draft, node_id, forget)
    }

    /// Takes a node out of every ISR and, if its copies do not count any more, out of every ELR.
    fn retire_one(&self, draft: &mut Draft, node_id: NodeId, forget: Option<Forget>) -> Walk {
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &[node_id]);
        let is_concerned = |partition: &PartitionImage| {
            partition.isr.contains(&node_id)
                || partition.offline.contains(&node_id)
                || forget.is_some() && partition.elr.contains(&node_id)
                || forget == Some(Forget::All) && partition.last_known_leader == Some(node_id)
        };
        draft.walk(&policy, |partition, rules| {
            is_concerned(partition).then_some(())?;
            let mut change = Change::of(partition);
            change.return_online(node_id);
            match forget {
                Some(forget) => change.forget(node_id, forget),
                None => change.leave_isr(&[node_id]),
            }
            change.settle(rules(), Election::IfNeeded, &brokers)
        })
    }

    pub(super) fn check_epoch(&self, node_id: NodeId, found: i64) -> Result<&BrokerImage, BrokerError> {
        let broker = self.image.broker(node_id).ok_or(BrokerError::NotRegistered(node_id))?;
        if broker.epoch != found {
            return Err(BrokerError::StaleEpoch { node_id, current: broker.epoch, found });
        }
        Ok(broker)
    }

    /// A broker shows that it lives.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Instant) -> Decision<Result<HeartbeatAnswer, BrokerError>> {
        let broker = match self.check_epoch(heartbeat.node_id, heartbeat.epoch) {
            Ok(broker) => broker.clone(),
            Err(error) => return Decision::nothing(Err(error)),
        };
        self.sessions.touch(heartbeat.node_id, broker.incarnation, now);
        match heartbeat.takes_replicas {
            true => self.cordoned.remove(&heartbeat.node_id),
            false => self.cordoned.insert(heartbeat.node_id),
        };
        self.hear_min_isr(heartbeat.node_id, heartbeat.min_insync_replicas);
        if heartbeat.wants_shutdown {
            return self.shut_down(&broker).map(Ok);
        }
        let mut draft = self.draft();
        let returns = broker.fenced && heartbeat.caught_up && !broker.shutting_down;
        if returns {
            self.unfence(&mut draft, &broker);
        }
        self.adopt_if_missing(&mut draft);
        draft.decide(Ok(HeartbeatAnswer { fenced: broker.fenced && !returns, may_shut_down: false }))
    }

    /// A broker leaves for good: its registration and what is known of its disks is forgotten, so its copies no longer count. It
    /// must have stopped. Partitions that list it as a replica keep it until they are reassigned.
    pub fn unregister_broker(&mut self, node_id: NodeId) -> Decision<Result<(), BrokerError>> {
        let broker = match self.image.broker(node_id) {
            None => return Decision::nothing(Err(BrokerError::NotRegistered(node_id))),
            Some(broker) if !broker.fenced => return Decision::nothing(Err(BrokerError::Serving(node_id))),
            Some(broker) => broker.clone(),
        };
        let mut draft = self.draft();
        if self.retire_one(&mut draft, node_id, Some(Forget::All)) == Walk::Full {
            return draft.decide(Err(BrokerError::StillLeaving(node_id)));
        }
        draft.push(Record::UnregisterBroker { node_id, epoch: broker.epoch });
        draft.decide(Ok(()))
    }
}

/// Directories that cannot be opened now stay known, so that it is noticed when they come back empty.
fn register(registration: &Registration, known: Option<&BrokerImage>, epoch: i64) -> Record {
    let mut directories = registration.directories.clone();
    if let Some(known) = known.filter(|_| registration.offline_directories > 0) {
        directories.extend(missing(known, registration));
    }
    Record::RegisterBroker {
        node_id: registration.node_id,
        incarnation: registration.incarnation,
        epoch,
        endpoints: registration.endpoints.clone(),
        rack: registration.rack.clone(),
        controller: registration.controller,
        directories,
        metadata_directory: registration.metadata_directory,
        boot_id: registration.boot_id.clone(),
    }
}

/// Directories that a node had and does not have any more.
fn missing(known: &BrokerImage, registration: &Registration) -> Vec<Uuid> {
    let is_missing = |directory: &Uuid| !registration.directories.contains(directory);
    known.directories.iter().copied().filter(is_missing).collect()
}

/// Whether the copies of a known node still count after this restart. A process that only crashed keeps its place: the page cache
/// survived it. An older release did not tell its directories, so nothing can be missing from them.
fn replica_loss(known: &BrokerImage, registration: &Registration) -> Option<ReplicaLoss> {
    if known.incarnation == registration.incarnation {
        return None;
    }
    // Of one that cannot be opened the broker itself says which copies are on it, see [`Controller::replicas_offline`].
    if missing(known, registration).len() > registration.offline_directories {
        return Some(ReplicaLoss::Disk);
    }
    let lost_page_cache = !registration.clean && known.boot_id != registration.boot_id;
    lost_page_cache.then_some(ReplicaLoss::PowerLoss)
}
