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

mod brokers; // registration, heartbeats, fencing
mod config_changes; // set, delete, append, subtract
mod partitions; // more partitions, new leaders
mod placement; // which broker gets a replica
mod producer_ids; // blocks of ids
mod topics; // create and delete

use std::time::Duration;

use twinstream_model::NodeId;

pub use self::{
    brokers::{BrokerError, Heartbeat, HeartbeatAnswer, Registration},
    config_changes::{AlterError, AlterResource, BrokerConfigs, ConfigOperation, ConfigSetting},
    partitions::NewPartitions,
    producer_ids::{PRODUCER_ID_BLOCK_LEN, ProducerIdBlock},
    topics::{CreatedTopic, DeleteTarget, DeletedTopic, NewTopic, TopicError},
};
use crate::{
    configs::BrokerDefaults,
    image::{Image, ReplayError},
    record::Record,
};

/// Partitions that one request may make, as in Kafka: its records must fit one batch.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// What the controller needs to know of the settings.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
    /// `broker.session.timeout.ms`
    pub session_timeout: Duration,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self { partitions: 1, replication_factor: 1, session_timeout: Duration::from_secs(9) }
    }
}

/// What to write and what to answer once it is committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    pub records: Vec<Record>,
    pub answer: T,
}

impl<T> Decision<T> {
    fn nothing(answer: T) -> Self {
        Self { records: Vec::new(), answer }
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

    fn decide<T>(self, records: Vec<Record>, answer: T) -> Decision<T> {
        match self {
            Self::Apply => Decision { records, answer },
            Self::ValidateOnly => Decision::nothing(answer),
        }
    }
}

/// The active controller's view of the cluster.
pub struct Controller {
    image: Image,
    settings: ControllerSettings,
    sessions: brokers::Sessions,
}

impl Controller {
    /// A controller that takes over with everything committed so far. Brokers that serve get a full session time to report.
    pub fn new(image: Image, settings: ControllerSettings, now: std::time::Instant) -> Self {
        let sessions = brokers::Sessions::take_over(&image, now);
        Self { image, settings, sessions }
    }

    /// The image with everything decided so far.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Takes in records of a decision that are on their way into the log.
    pub fn replay(&mut self, records: &[Record]) -> Result<(), ReplayError> {
        self.image.apply_batch(records)
    }
}

/// A decision under way: records so far, on an image that has them.
struct Draft {
    image: Image,
    records: Vec<Record>,
}

impl Draft {
    fn new(image: &Image) -> Self {
        Self { image: image.clone(), records: Vec::new() }
    }

    /// Adds a record that the caller has checked against the draft's image.
    fn push(&mut self, record: Record) {
        if let Err(error) = self.image.apply(&record) {
            // The caller looked at this very image; that the record does not fit is a bug in the controller.
            panic!("the controller drafted a record that does not fit: {error}");
        }
        self.records.push(record);
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
