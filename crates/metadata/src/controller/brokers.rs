//! Brokers: registration, heartbeats, sessions, fencing.
//!
//! States of a broker and what moves it: *fenced* (registered, or its session was lost) -> *serving* on a heartbeat of a broker that
//! has caught up; *serving* -> *fenced* when its session ends, when its process is known to be gone, when it wants to stop, and when a
//! new incarnation of it registers. A fenced broker leads nothing.
//!
//! Sessions live in memory only. A new controller gives every serving broker one full session time to report. Until it does, a new
//! incarnation may take its place at once: after a crash of the whole cluster nobody should wait for sessions of the dead.

use std::{collections::BTreeMap, time::Instant};

use thiserror::Error;
use twinstream_model::{ClusterId, ErrorCode, NodeId};
use uuid::Uuid;

use super::{
    Controller, Decision, Draft,
    partitions::{give_leadership, take_leadership},
};
use crate::{
    image::{BrokerImage, Image},
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
    /// The random id of its metadata directory.
    pub metadata_directory: Option<Uuid>,
    /// The kernel's boot id, by which a crash of the process is told from a loss of power.
    pub boot_id: String,
    /// Whether every log directory says that the last run was ended in order.
    pub clean: bool,
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
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Session {
    incarnation: Uuid,
    last_heard: Instant,
    /// Its process is not known to live, so another one may take the node id at once.
    gone: bool,
}

/// Who was heard of and when.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_node: BTreeMap<NodeId, Session>,
}

impl Sessions {
    pub(super) fn take_over(image: &Image, now: Instant) -> Self {
        let session = |broker: &BrokerImage| Session { incarnation: broker.incarnation, last_heard: now, gone: true };
        let by_node = image.live_brokers().map(|broker| (broker.node_id, session(broker))).collect();
        Self { by_node }
    }

    fn touch(&mut self, node_id: NodeId, incarnation: Uuid, now: Instant) {
        self.by_node.insert(node_id, Session { incarnation, last_heard: now, gone: false });
    }
}

impl Controller {
    /// A process registers; the answer is its epoch. Registering again with the same incarnation answers the same epoch.
    pub fn register_broker(&mut self, registration: &Registration, now: Instant) -> Result<Decision<i64>, BrokerError> {
        self.check_registration(registration, now)?;
        let node_id = registration.node_id;
        let known = self.image.broker(node_id).cloned();
        self.sessions.touch(node_id, registration.incarnation, now);
        if let Some(known) = &known
            && known.incarnation == registration.incarnation
            && known.endpoints == registration.endpoints
            && known.rack == registration.rack
        {
            return Ok(Decision::nothing(known.epoch));
        }
        let mut draft = Draft::new(&self.image);
        if let Some(known) = known.filter(|known| !known.fenced) {
            fence(&mut draft, &known);
        }
        let epoch = draft.image.next_broker_epoch();
        draft.push(Record::RegisterBroker {
            node_id,
            incarnation: registration.incarnation,
            epoch,
            endpoints: registration.endpoints.clone(),
            rack: registration.rack.clone(),
            controller: registration.controller,
            directories: registration.directories.clone(),
            metadata_directory: registration.metadata_directory,
            boot_id: registration.boot_id.clone(),
        });
        Ok(Decision { records: draft.records, answer: epoch })
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
        match self.sessions.by_node.get(&node_id) {
            Some(session) if session.incarnation != registration.incarnation && !session.gone => {
                let age = now.saturating_duration_since(session.last_heard);
                if age < self.settings.session_timeout {
                    return Err(BrokerError::Duplicate { node_id, age_ms: age.as_millis() });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_epoch(&self, node_id: NodeId, found: i64) -> Result<&BrokerImage, BrokerError> {
        let broker = self.image.broker(node_id).ok_or(BrokerError::NotRegistered(node_id))?;
        if broker.epoch != found {
            return Err(BrokerError::StaleEpoch { node_id, current: broker.epoch, found });
        }
        Ok(broker)
    }

    /// A broker shows that it lives.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Instant) -> Result<Decision<HeartbeatAnswer>, BrokerError> {
        let broker = self.check_epoch(heartbeat.node_id, heartbeat.epoch)?.clone();
        let mut draft = Draft::new(&self.image);
        if heartbeat.wants_shutdown {
            self.sessions.by_node.remove(&heartbeat.node_id);
            if !broker.fenced {
                fence(&mut draft, &broker);
            }
            let answer = HeartbeatAnswer { fenced: true, may_shut_down: true };
            return Ok(Decision { records: draft.records, answer });
        }
        self.sessions.touch(heartbeat.node_id, broker.incarnation, now);
        if broker.fenced && heartbeat.caught_up {
            unfence(&mut draft, &broker);
        }
        let fenced = broker.fenced && !heartbeat.caught_up;
        Ok(Decision { records: draft.records, answer: HeartbeatAnswer { fenced, may_shut_down: false } })
    }

    /// The connection to this broker broke: should a new incarnation register before the old one is heard of again, let it in.
    pub fn connection_lost(&mut self, node_id: NodeId) {
        if let Some(session) = self.sessions.by_node.get_mut(&node_id) {
            session.gone = true;
        }
    }

    /// The process of this broker is gone for sure: fence it now, and let a new incarnation in.
    pub fn broker_gone(&mut self, node_id: NodeId) -> Decision<()> {
        self.connection_lost(node_id);
        let mut draft = Draft::new(&self.image);
        if let Some(broker) = self.image.broker(node_id).filter(|broker| !broker.fenced) {
            fence(&mut draft, broker);
        }
        Decision { records: draft.records, answer: () }
    }

    /// Fences the brokers whose session has ended; the answer names them.
    pub fn expire_sessions(&mut self, now: Instant) -> Decision<Vec<NodeId>> {
        let timeout = self.settings.session_timeout;
        let ended = |session: &Session| now.saturating_duration_since(session.last_heard) >= timeout;
        let expired: Vec<NodeId> =
            self.sessions.by_node.iter().filter(|(_, session)| ended(session)).map(|(node, _)| *node).collect();
        let mut draft = Draft::new(&self.image);
        for node_id in &expired {
            self.sessions.by_node.remove(node_id);
            if let Some(broker) = self.image.broker(*node_id).filter(|broker| !broker.fenced) {
                fence(&mut draft, broker);
            }
        }
        Decision { records: draft.records, answer: expired }
    }

    /// When the next session ends if nobody is heard of.
    pub fn session_deadline(&self) -> Option<Instant> {
        let oldest = self.sessions.by_node.values().map(|session| session.last_heard).min()?;
        Some(oldest + self.settings.session_timeout)
    }
}

fn fence(draft: &mut Draft, broker: &BrokerImage) {
    take_leadership(draft, broker.node_id);
    draft.push(Record::FenceBroker {
        node_id: broker.node_id,
        epoch: broker.epoch,
        fenced: true,
        shutting_down: false,
    });
}

fn unfence(draft: &mut Draft, broker: &BrokerImage) {
    draft.push(Record::FenceBroker {
        node_id: broker.node_id,
        epoch: broker.epoch,
        fenced: false,
        shutting_down: false,
    });
    give_leadership(draft, broker.node_id);
}
