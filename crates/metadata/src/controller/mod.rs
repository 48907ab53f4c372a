//! What the one active controller decides.
//!
//! Picture: a [`Controller`] holds the image as it will be once everything decided so far is committed. A verb looks at that image and
//! returns a [`Decision`]: records for the log and the answer for the caller. The caller writes the records and feeds them back
//! through [`Controller::replay`]; it answers when they are committed. When a write fails the controller is thrown away and made
//! anew from the committed image, because what it foresaw did not happen.
//!
//! Invariants: verbs never change the image, so a decision that is not written has no effect; one decision is one batch, all or
//! nothing; a validate-only request decides the same and writes nothing.
//! Not here: waiting, timers (the caller asks for [`Controller::session_deadline`]), ids and time, which are arguments.

mod brokers; // registration, heartbeats, leaving
mod brokers_up; // which brokers may lead
mod change; // one partition from one state to the next
mod client_quotas; // how much clients may ask for, as it is stored
mod config_changes; // set, delete, append, subtract
mod disks; // copies on failed disks
mod draft; // a decision under way
mod elections; // elections by command, and back to the preferred leaders
mod features; // levels of behaviour
mod fencing; // brokers that are gone, and those that are back
mod holes; // copies that are cut where nobody can fill a hole
mod isr_changes; // what leaders say about their ISR
mod min_isr; // one number of in-sync replicas for the cluster
mod mirrors; // topics that follow another cluster's
mod partitions; // more partitions
mod placement; // which broker gets a replica
mod producer_ids; // blocks of ids
mod reassignments; // partitions that move to other brokers
mod rules; // what a topic wants of its leaders
mod scram; // credentials, as they are stored
mod sessions; // who was heard of and when
mod topics; // create and delete

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use twinstream_model::{ClusterId, NodeId, TopicPartition};

pub use self::{
    brokers::{BrokerError, Heartbeat, HeartbeatAnswer, Registered, Registration, ReplicaLoss},
    client_quotas::{QuotaAlteration, QuotaError},
    config_changes::{AlterError, AlterResource, BrokerConfigs, ConfigOperation, ConfigSetting},
    disks::Reported,
    elections::{Balanced, ElectError, ElectionKind, REBALANCED_LEADERS_MAX},
    features::{FeatureError, FeatureUpdate, UpgradeType},
    holes::{CopyMove, SeenCopy},
    isr_changes::IsrChange,
    mirrors::{EpochRaise, MIRROR_EPOCH_MAX, MirrorError, PROMOTION_STEP},
    partitions::NewPartitions,
    producer_ids::{PRODUCER_ID_BLOCK_LEN, ProducerIdBlock},
    reassignments::ReassignError,
    scram::{ScramAnswers, ScramDeletion, ScramError, ScramKeys, ScramUpsertion},
    topics::{CreatedTopic, DeleteTarget, DeletedTopic, NewTopic, TopicError},
};
use self::{draft::Draft, rules::Policy, sessions::Sessions};
use crate::{
    configs::BrokerDefaults,
    features::served,
    image::{Image, ReplayError},
    record::{RECORD_BATCH_BYTES_MAX, Record},
};

/// Partitions that one request may make, as in Kafka: its records must fit one batch.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Where a decision that may touch any number of partitions ends its batch. Far enough below the bound of a batch that the records
/// which end such a decision (a fencing, a registration) always fit.
const DRAFT_BYTES_MAX: usize = RECORD_BATCH_BYTES_MAX / 2;
/// How long what is left to do waits after an attempt, so that a quorum which takes nothing is not asked without a pause.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What the controller needs to know of the settings.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
    /// `broker.session.timeout.ms`
    pub session_timeout: Duration,
    /// `min.insync.replicas` of this node: the default that a new cluster gets, and the least that an older one does.
    pub min_insync_replicas: usize,
    /// `unclean.leader.election.enable`, likewise.
    pub unclean_leader_election: bool,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            replication_factor: 1,
            session_timeout: Duration::from_secs(9),
            min_insync_replicas: 1,
            unclean_leader_election: false,
        }
    }
}

/// What to write and what to answer once it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    pub records: Vec<Record>,
    pub answer: T,
    /// What it does to leaders and ISRs, for the caller to count and log once it is committed.
    pub effects: Effects,
}

/// What a decision does to the partitions of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Unclean elections with the new leader: committed records may be lost. Log each at WARN.
    pub unclean: Vec<(TopicPartition, NodeId)>,
    /// Partitions whose last leader leads again though its tail may be gone, because nobody has more.
    pub last_known: Vec<(TopicPartition, NodeId)>,
    /// Partitions that have no leader any more.
    pub offline: Vec<TopicPartition>,
    /// Partitions with another leader than before, or none.
    pub leaders_changed: usize,
    /// Partitions whose ISR lost a member.
    pub isr_shrunk: usize,
    /// The default of `min.insync.replicas` that a cluster of an older release got.
    pub min_isr_adopted: Option<usize>,
}

impl<T> Decision<T> {
    fn nothing(answer: T) -> Self {
        Self { records: Vec::new(), answer, effects: Effects::default() }
    }

    /// The same decision with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Decision<U> {
        Decision { records: self.records, answer: change(self.answer), effects: self.effects }
    }
}

/// Whether a request is meant or only tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Apply,
    ValidateOnly,
}

impl Mode {
    /// `validate_only` of a request.
    pub fn of(validate_only: bool) -> Self {
        if validate_only { Self::ValidateOnly } else { Self::Apply }
    }

    fn decide<T>(self, draft: Draft, answer: T) -> Decision<T> {
        match self {
            Self::Apply => draft.decide(answer),
            Self::ValidateOnly => Decision::nothing(answer),
        }
    }
}

/// The active controller's view of the cluster.
pub struct Controller {
    image: Image,
    settings: ControllerSettings,
    sessions: Sessions,
    /// Brokers that take no new replicas, as their last heartbeats said. A new controller hears it within one heartbeat.
    cordoned: BTreeSet<NodeId>,
    /// `min.insync.replicas` of the settings of brokers, as their last heartbeats said.
    told_min_isr: BTreeMap<NodeId, usize>,
    /// Whether partitions may wait for something that no event will bring: after taking over, after a config change, after a batch
    /// that was full. See [`Controller::expire_sessions`].
    sweep_due: bool,
    /// When what is left to do is tried (again).
    retry_at: Instant,
    draft_bytes_max: usize,
}

impl Controller {
    /// A controller that takes over with everything committed so far. Brokers that serve get a full session time to report.
    pub fn new(image: Image, settings: ControllerSettings, now: Instant) -> Self {
        let sessions = Sessions::take_over(&image, now);
        Self {
            image,
            settings,
            sessions,
            cordoned: BTreeSet::new(),
            told_min_isr: BTreeMap::new(),
            sweep_due: true,
            retry_at: now,
            draft_bytes_max: DRAFT_BYTES_MAX,
        }
    }

    /// Who led before, and when this node last heard of it: should that node hang, its session has begun then.
    pub fn previous_leader(&mut self, node_id: NodeId, last_heard: Instant) {
        self.sessions.heard_last(node_id, last_heard);
    }

    /// What the log of a new cluster begins with: its id, the newest level of every feature, its default of
    /// `min.insync.replicas`, its range of producer ids.
    pub fn found_cluster(&self, cluster_id: ClusterId) -> Decision<()> {
        let mut draft = self.draft();
        let next_producer_id = producer_ids::range_of(&cluster_id).start;
        draft.push(Record::ClusterId { cluster_id });
        for feature in served() {
            draft.push(Record::FeatureLevel { name: feature.name.to_owned(), level: feature.max });
        }
        draft.push(min_isr::default_record(self.settings.min_insync_replicas));
        draft.push(Record::ProducerIds { node_id: NodeId::NONE, broker_epoch: -1, next_producer_id });
        draft.decide(())
    }

    /// The image with everything decided so far.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Takes in records of a decision that are on their way into the log.
    pub fn replay(&mut self, records: &[Record]) -> Result<(), ReplayError> {
        self.image.apply_batch(records)?;
        let about_leaders =
            |record: &Record| matches!(record, Record::Config { name, .. } if rules::is_about_leaders(name));
        self.sweep_due |= records.iter().any(about_leaders);
        Ok(())
    }

    fn draft(&self) -> Draft {
        Draft::new(&self.image, self.draft_bytes_max)
    }

    /// What topics want of their leaders, by the image of a draft.
    fn policy(&self, image: &Image) -> Policy {
        Policy::new(&self.settings, image)
    }
}

fn nodes_text(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    nodes.join(", ")
}

/// Where a topic gets defaults from: the controller node's own broker settings.
type Defaults<'a> = &'a dyn BrokerDefaults;

#[cfg(test)]
mod tests;
