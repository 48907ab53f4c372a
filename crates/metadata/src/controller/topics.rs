//! Creating and deleting topics.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use twinstream_model::{ErrorCode, InvalidTopicName, NodeId, PartitionIndex, TopicId, TopicName};

use super::{
    Controller, Decision, Defaults, Mode, PARTITIONS_PER_REQUEST_MAX, draft::Draft, nodes_text,
    partitions::initial_partition, placement::place,
};
use crate::{
    configs::{self, ConfigError},
    features,
    image::{ConfigResource, Image, Mirror, has_duplicates},
    record::Record,
};

/// A topic that somebody asks for, as the request says it.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    /// -1 for the default.
    pub partitions: i32,
    /// -1 for the default.
    pub replication_factor: i16,
    /// Replicas by partition; empty to let the controller place them.
    pub assignments: Vec<(PartitionIndex, Vec<NodeId>)>,
    pub configs: Vec<(String, Option<String>)>,
    /// Set for a topic that is to be a mirror.
    pub mirror: Option<Mirror>,
}

/// A topic as it is, or would be, made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub name: TopicName,
    pub topic_id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// What the request set, checked.
    pub configs: BTreeMap<String, String>,
}

/// How a topic to delete is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeleteTarget {
    Name(String),
    Id(TopicId),
}

/// A topic that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: TopicName,
    pub topic_id: TopicId,
}

/// Why a topic was not made, changed or deleted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicError {
    #[error(transparent)]
    InvalidName(#[from] InvalidTopicName),
    #[error("topic {0} already exists")]
    Exists(TopicName),
    #[error(
        "topic name {name} collides with the existing topic {other}, because '.' and '_' give the same metric name"
    )]
    Collides { name: TopicName, other: TopicName },
    #[error("the request names topic {0} more than once")]
    Duplicate(String),
    #[error("a topic needs at least one partition, not {0}; -1 asks for the broker's default")]
    PartitionCount(i32),
    #[error("one request may make at most {PARTITIONS_PER_REQUEST_MAX} partitions; ask for fewer at a time")]
    TooManyPartitions,
    #[error("one request may add at most {PARTITIONS_PER_REQUEST_MAX} partitions; ask for fewer at a time")]
    TooManyMorePartitions,
    #[error("replication factor {0} is not possible, a partition needs at least one replica; -1 asks for the default")]
    ReplicationFactor(i32),
    #[error(
        "replication factor {wanted} needs {wanted} brokers and {registered} are registered and have a directory that is not cordoned; ask for at most {registered}, or start more brokers"
    )]
    TooFewBrokers { wanted: usize, registered: usize },
    #[error("default.replication.factor={0} is not possible, a partition needs at least one replica")]
    DefaultReplicationFactor(i16),
    #[error(
        "no broker is up to take a replica; {fenced} registered brokers are fenced or shut down, all others have all their directories cordoned"
    )]
    NoLiveBroker { fenced: usize },
    #[error("a manual assignment was given, so partition count and replication factor must both be -1")]
    AssignmentAndCount,
    #[error("{0}")]
    Assignment(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "the cluster has no mirrors yet; raise the feature {} when all its brokers run this release",
        features::MIRROR
    )]
    MirrorsNotServed,
    #[error("topic {0} belongs to the cluster itself and cannot be a mirror")]
    InternalMirror(TopicName),
    #[error("no topic is called {0}")]
    UnknownName(String),
    #[error("no topic has the id {0}")]
    UnknownId(TopicId),
    #[error(
        "topic {topic} has {have} partitions; partitions can only be added, so ask for more than that, not {wanted}"
    )]
    NotMorePartitions { topic: TopicName, have: usize, wanted: i32 },
}

impl TopicError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName(_) | Self::Collides { .. } => ErrorCode::InvalidTopicException,
            Self::Exists(_) => ErrorCode::TopicAlreadyExists,
            Self::Duplicate(_) | Self::AssignmentAndCount => ErrorCode::InvalidRequest,
            Self::PartitionCount(_) | Self::NotMorePartitions { .. } => ErrorCode::InvalidPartitions,
            Self::TooManyPartitions => ErrorCode::PolicyViolation,
            Self::ReplicationFactor(_)
            | Self::DefaultReplicationFactor(_)
            | Self::TooFewBrokers { .. }
            | Self::NoLiveBroker { .. } => ErrorCode::InvalidReplicationFactor,
            // Kafka, too, has another code for what is too much to add than for what is too much to make.
            Self::Assignment(_) | Self::TooManyMorePartitions => ErrorCode::InvalidReplicaAssignment,
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::MirrorsNotServed => ErrorCode::UnsupportedVersion,
            Self::InternalMirror(_) => ErrorCode::InvalidTopicException,
            Self::UnknownName(_) => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownId(_) => ErrorCode::UnknownTopicId,
        }
    }
}

impl Controller {
    /// Decides about each topic of a CreateTopics request, in its order. `new_id` makes ids that were never used.
    pub fn create_topics(
        &self,
        topics: &[NewTopic],
        mode: Mode,
        defaults: Defaults<'_>,
        new_id: &mut dyn FnMut() -> TopicId,
    ) -> Decision<Vec<Result<CreatedTopic, TopicError>>> {
        let mut draft = self.draft();
        let mut budget = PARTITIONS_PER_REQUEST_MAX;
        let duplicates = duplicates(topics.iter().map(|topic| topic.name.as_str()));
        let mut answers = Vec::with_capacity(topics.len());
        for topic in topics {
            if duplicates.contains(topic.name.as_str()) {
                answers.push(Err(TopicError::Duplicate(topic.name.clone())));
                continue;
            }
            answers.push(self.create_topic(&mut draft, &mut budget, topic, defaults, new_id));
        }
        mode.decide(draft, answers)
    }

    fn create_topic(
        &self,
        draft: &mut Draft,
        budget: &mut usize,
        topic: &NewTopic,
        defaults: Defaults<'_>,
        new_id: &mut dyn FnMut() -> TopicId,
    ) -> Result<CreatedTopic, TopicError> {
        let name = check_new_name(&draft.image, &topic.name)?;
        check_mirror(&draft.image, &name, topic)?;
        let configs = check_configs(&topic.configs, defaults)?;
        let replicas = if topic.assignments.is_empty() {
            self.place(&draft.image, topic, *budget)?
        } else {
            check_assignments(&draft.image, topic)?
        };
        *budget = budget.checked_sub(replicas.len()).ok_or(TopicError::TooManyPartitions)?;

        let topic_id = new_id();
        let partitions = replicas.len() as i32;
        let replication_factor = replicas.first().map_or(0, Vec::len) as i16;
        draft.push(Record::Topic { name: name.clone(), topic_id });
        if let Some(mirror) = topic.mirror.clone() {
            draft.push(Record::Mirror { topic_id, mirror });
        }
        let resource = ConfigResource::Topic(name.clone());
        for (name, value) in &configs {
            draft.push(Record::Config { resource: resource.clone(), name: name.clone(), value: Some(value.clone()) });
        }
        for (index, nodes) in replicas.into_iter().enumerate() {
            let record = initial_partition(&draft.image, topic_id, PartitionIndex(index as i32), nodes);
            draft.push(record);
        }
        Ok(CreatedTopic { name, topic_id, partitions, replication_factor, configs })
    }

    fn place(&self, image: &Image, topic: &NewTopic, budget: usize) -> Result<Vec<Vec<NodeId>>, TopicError> {
        let wanted = if topic.partitions == -1 { self.settings.partitions } else { topic.partitions };
        let count =
            usize::try_from(wanted).ok().filter(|count| *count > 0).ok_or(TopicError::PartitionCount(wanted))?;
        if count > budget {
            return Err(TopicError::TooManyPartitions);
        }
        place(image, &self.cordoned, count, self.replication_factor(topic.replication_factor)?)
    }

    fn replication_factor(&self, wanted: i16) -> Result<usize, TopicError> {
        let default = self.settings.replication_factor;
        match wanted {
            -1 if default < 1 => Err(TopicError::DefaultReplicationFactor(default)),
            -1 => Ok(default as usize),
            wanted if wanted < 1 => Err(TopicError::ReplicationFactor(i32::from(wanted))),
            wanted => Ok(wanted as usize),
        }
    }

    /// Decides about each topic of a DeleteTopics request, in its order.
    pub fn delete_topics(&self, targets: &[DeleteTarget]) -> Decision<Vec<Result<DeletedTopic, TopicError>>> {
        let mut draft = self.draft();
        let mut answers = Vec::with_capacity(targets.len());
        for target in targets {
            let answer = find_target(&self.image, target).and_then(|topic| {
                if draft.image.topic_by_id(topic.topic_id).is_none() {
                    return Err(TopicError::Duplicate(topic.name.to_string()));
                }
                draft.push(Record::RemoveTopic { topic_id: topic.topic_id });
                Ok(topic)
            });
            answers.push(answer);
        }
        draft.decide(answers)
    }
}

fn find_target(image: &Image, target: &DeleteTarget) -> Result<DeletedTopic, TopicError> {
    let topic = match target {
        DeleteTarget::Name(text) => {
            let name = TopicName::parse(text).ok();
            let topic = name.and_then(|name| image.topic(&name));
            topic.ok_or_else(|| TopicError::UnknownName(text.clone()))?
        }
        DeleteTarget::Id(id) => image.topic_by_id(*id).ok_or(TopicError::UnknownId(*id))?,
    };
    Ok(DeletedTopic { name: topic.name.clone(), topic_id: topic.id })
}

/// The texts that occur more than once.
pub(super) fn duplicates<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| !seen.insert(*text)).collect()
}

fn check_new_name(image: &Image, text: &str) -> Result<TopicName, TopicError> {
    let name = TopicName::parse(text)?;
    if image.topic(&name).is_some() {
        return Err(TopicError::Exists(name));
    }
    // Only such a name can collide; the others skip the walk over all topics.
    if text.contains(['.', '_'])
        && let Some(other) = image.topics().find(|topic| topic.name.collides_with(&name))
    {
        return Err(TopicError::Collides { name, other: other.name.clone() });
    }
    Ok(name)
}

fn check_mirror(image: &Image, name: &TopicName, topic: &NewTopic) -> Result<(), TopicError> {
    match &topic.mirror {
        Some(_) if image.feature_level(features::MIRROR) < 1 => Err(TopicError::MirrorsNotServed),
        Some(_) if name.is_internal() => Err(TopicError::InternalMirror(name.clone())),
        _ => Ok(()),
    }
}

fn check_configs(
    configs: &[(String, Option<String>)],
    defaults: Defaults<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut checked = BTreeMap::new();
    for (name, value) in configs {
        checked.insert(name.clone(), configs::check_value(name, value.as_deref())?);
    }
    configs::check_together(&checked, defaults)?;
    Ok(checked)
}

fn check_assignments(image: &Image, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, TopicError> {
    if topic.partitions != -1 || topic.replication_factor != -1 {
        return Err(TopicError::AssignmentAndCount);
    }
    let mut by_partition = BTreeMap::new();
    for (partition, nodes) in &topic.assignments {
        if by_partition.insert(partition.0, nodes.clone()).is_some() {
            return Err(TopicError::Assignment(format!("partition {partition} is assigned twice")));
        }
    }
    for (expected, partition) in by_partition.keys().enumerate() {
        if usize::try_from(*partition) != Ok(expected) {
            let message = format!("partitions must be numbered from 0 without holes, {expected} is missing");
            return Err(TopicError::Assignment(message));
        }
    }
    let assigned: Vec<Vec<NodeId>> = by_partition.into_values().collect();
    let factor = assigned.first().map_or(0, Vec::len);
    for (partition, nodes) in assigned.iter().enumerate() {
        check_replicas(image, partition, nodes, factor)?;
    }
    Ok(assigned)
}

/// Whether a partition may live on these nodes. As in Kafka a fenced one is welcome, as long as somebody can lead.
pub(super) fn check_replicas(
    image: &Image,
    partition: usize,
    nodes: &[NodeId],
    factor: usize,
) -> Result<(), TopicError> {
    let refuse =
        |message: String| Err(TopicError::Assignment(format!("the assignment of partition {partition} {message}")));
    if nodes.is_empty() {
        return refuse("names no broker".to_owned());
    }
    if has_duplicates(nodes) {
        return refuse(format!("names a broker twice: {}", nodes_text(nodes)));
    }
    if nodes.len() != factor {
        return refuse(format!("names {} brokers where the others name {factor}", nodes.len()));
    }
    if let Some(stranger) = nodes.iter().find(|node| image.broker(**node).is_none()) {
        let known: Vec<NodeId> = image.brokers().map(|broker| broker.node_id).collect();
        let known = nodes_text(&known);
        return refuse(format!("names broker {stranger}, which is not registered; registered are {known}"));
    }
    if !nodes.iter().any(|node| image.broker(*node).is_some_and(|broker| broker.is_eligible())) {
        return refuse(format!("names no broker that is up: {}", nodes_text(nodes)));
    }
    Ok(())
}
