//! What is asked about consumer groups and what is answered, free of wire versions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId};
use uuid::Uuid;

use super::super::Event;
use super::super::request::{InstanceId, MemberId};
use super::super::topics::Topics;
use super::record::{Epoch, Partitions};

/// ConsumerGroupHeartbeat. `None` means "as before", except in a first heartbeat.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub group: GroupId,
    pub member: MemberId,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members).
    pub epoch: Epoch,
    pub instance: Option<InstanceId>,
    pub rack: Option<Arc<str>>,
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<BTreeSet<Arc<str>>>,
    pub regex: Option<Arc<str>>,
    pub assignor: Option<Arc<str>>,
    /// What the member owns at this moment.
    pub owned: Option<Partitions>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Version 1 and later (KIP-1082): the client chooses its member id.
    pub requires_member_id: bool,
    /// Randomness from the outside for a new member id.
    pub fresh_id: Uuid,
    /// The cluster as it is now.
    pub cluster: Arc<dyn Topics>,
    pub overrides: GroupOverrides,
}

/// What the configuration of the group itself says (resources of type GROUP), where it says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`
    pub assignment_interval_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub member: MemberId,
    pub epoch: Epoch,
    pub heartbeat_interval_ms: i32,
    /// Told when it changed, and to members that tell everything themselves.
    pub assignment: Option<Partitions>,
}

impl ConsumerHeartbeatAnswer {
    pub fn failed(error: ErrorCode, message: Option<String>) -> ConsumerHeartbeatAnswer {
        ConsumerHeartbeatAnswer {
            error,
            message,
            member: MemberId::default(),
            epoch: Epoch(0),
            heartbeat_interval_ms: 0,
            assignment: None,
        }
    }
}

/// Why a member is not served, with what it is told besides the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
    /// What an operator should know, who cannot see what the member was told.
    pub(crate) event: Option<Event>,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into(), event: None }
    }

    pub(crate) fn with_event(self, event: Event) -> Refusal {
        Refusal { event: Some(event), ..self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: ConsumerGroupState,
    pub epoch: Epoch,
    pub target_epoch: Epoch,
    pub assignor: Arc<str>,
    pub members: Vec<DescribedConsumer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub rack: Option<Arc<str>>,
    pub epoch: Epoch,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
    pub regex: Option<Arc<str>>,
    pub assigned: Partitions,
    pub target: Partitions,
    pub speaks_classic: bool,
}

/// The state of a consumer group, which follows from its parts and is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerGroupState {
    /// Nobody is in.
    Empty,
    /// The target assignment is older than the group.
    Assigning,
    /// Somebody has not reached the target assignment.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

impl fmt::Display for ConsumerGroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
