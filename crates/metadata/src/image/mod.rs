//! What the cluster looks like after replaying the metadata log up to some entry.
//!
//! Picture: a handful of shared maps. A clone copies pointers, so every request handler can hold one; [`Image::apply`] copies a map
//! only when somebody else still looks at it.
//!
//! Invariants: `apply` is replay only. It never decides, never fails half way and gives the same image for the same records.
//! A record that does not fit (unknown topic id, epoch that goes back) means the log is damaged or the controller is wrong; it is
//! reported and the image stays as it was.
//! Not here: deciding (see `controller`), default values of configs (see `configs`).

pub mod mirror; // topics that are a mirror of another cluster's
mod partition; // one partition
mod quotas; // whom a client quota is for
mod scram; // what checks a password
mod snapshot; // an image as records, and back

use std::{collections::BTreeMap, sync::Arc};

use thiserror::Error;
use twinstream_model::{ClusterId, NodeId, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use crate::{
    features,
    record::{Endpoint, Record},
};

pub use mirror::{Mirror, MirrorState};
pub use partition::PartitionImage;
pub(crate) use partition::{has_duplicates, without};
pub use quotas::{QuotaEntity, QuotaEntityType, QuotaValue};
pub use scram::{ScramCredential, ScramMechanism, ScramUser};
pub use snapshot::SnapshotError;

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    Topic(TopicName),
    Broker(NodeId),
    /// Kafka's broker resource with the empty name: the default of all brokers.
    BrokerDefault,
    /// A consumer group, whether or not there is one.
    Group(String),
    /// A subscription to metrics of clients (KIP-714).
    ClientMetrics(String),
}

/// One registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    pub node_id: NodeId,
    /// One process run. A restart makes a new one.
    pub incarnation: Uuid,
    pub epoch: i64,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// A fenced broker is known but serves no client: it leads nothing and is not in Metadata answers.
    pub fenced: bool,
    /// Whether the node has a vote in the metadata quorum.
    pub controller: bool,
    /// The random ids of its log directories. A wiped or exchanged disk has another id. Empty when an older release wrote it.
    pub directories: Vec<Uuid>,
    /// The random id of its metadata directory, by which the quorum knows whether its vote is still worth anything (KIP-853).
    pub metadata_directory: Option<Uuid>,
    /// Names one run of the kernel: what was in the page cache of another run may be gone.
    pub boot_id: String,
    /// It serves clients still, hands over what it leads, and may neither lead nor join an ISR.
    pub shutting_down: bool,
}

impl BrokerImage {
    /// Whether it may lead and be in an ISR: it serves and is not about to stop.
    pub fn is_eligible(&self) -> bool {
        !self.fenced && !self.shutting_down
    }

    /// The address of the listener of this name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener.eq_ignore_ascii_case(listener))
    }
}

/// One topic. Partitions are numbered from 0 without holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    pub name: TopicName,
    pub id: TopicId,
    pub partitions: Vec<PartitionImage>,
    /// Set for a topic that is, or was, a mirror of another cluster's.
    pub mirror: Option<Arc<Mirror>>,
}

impl TopicImage {
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        usize::try_from(index.0).ok().and_then(|index| self.partitions.get(index))
    }

    /// The partitions with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        self.partitions.iter().enumerate().map(|(index, partition)| (PartitionIndex(index as i32), partition))
    }
}

/// A record that cannot follow what came before it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReplayError {
    #[error("the cluster id is {known}, a record says {found}")]
    OtherCluster { known: ClusterId, found: ClusterId },
    #[error("no topic has the id {0}")]
    UnknownTopic(TopicId),
    #[error("topic {0} exists already")]
    TopicExists(TopicName),
    #[error("topic {topic} has {have} partitions, so partition {partition} does not follow")]
    PartitionOrder { topic: TopicName, have: usize, partition: PartitionIndex },
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition { topic: TopicName, partition: PartitionIndex },
    #[error("an epoch of {what} goes back from {from} to {to}")]
    EpochBack { what: String, from: i64, to: i64 },
    #[error("topic {0} cannot have this mark of a mirror")]
    Mirror(TopicName),
    #[error("broker {0} is not registered with this epoch")]
    UnknownBroker(NodeId),
    #[error(
        "feature {name} has level {level}, which this release does not serve; start the release that set it, or a later one"
    )]
    UnknownFeature { name: String, level: i16 },
}

type Configs = BTreeMap<String, String>;
type Quotas = BTreeMap<String, QuotaValue>;

/// The cluster's metadata at one point of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    cluster_id: Option<ClusterId>,
    brokers: Arc<BTreeMap<NodeId, Arc<BrokerImage>>>,
    topics: Arc<BTreeMap<TopicName, Arc<TopicImage>>>,
    names: Arc<BTreeMap<TopicId, TopicName>>,
    configs: Arc<BTreeMap<ConfigResource, Arc<Configs>>>,
    features: Arc<BTreeMap<String, i16>>,
    client_quotas: Arc<BTreeMap<QuotaEntity, Arc<Quotas>>>,
    scram_credentials: Arc<BTreeMap<ScramUser, Arc<ScramCredential>>>,
    next_producer_id: i64,
    next_broker_epoch: i64,
}

impl Image {
    /// The cluster's id; `None` until the first leader wrote it.
    pub fn cluster_id(&self) -> Option<&ClusterId> {
        self.cluster_id.as_ref()
    }

    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values()
    }

    /// The brokers that serve clients.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    pub fn broker(&self, node_id: NodeId) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&node_id)
    }

    /// Topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    pub fn topic(&self, name: &TopicName) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, topic_id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names.get(&topic_id)?)
    }

    pub fn partition(&self, name: &TopicName, partition: PartitionIndex) -> Option<&PartitionImage> {
        self.topic(name)?.partition(partition)
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// The configs that somebody set on this resource; defaults are not among them.
    pub fn configs(&self, resource: &ConfigResource) -> impl Iterator<Item = (&str, &str)> {
        self.configs
            .get(resource)
            .into_iter()
            .flat_map(|configs| configs.iter())
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn config(&self, resource: &ConfigResource, name: &str) -> Option<&str> {
        self.configs.get(resource)?.get(name).map(String::as_str)
    }

    /// Every resource that has configs, in a fixed order.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// The finalized level of a feature; its lowest one when nobody set any.
    pub fn feature_level(&self, name: &str) -> i16 {
        let lowest = || features::find(name).map_or(0, |feature| feature.min);
        self.features.get(name).copied().unwrap_or_else(lowest)
    }

    /// Every entity that has quotas, in a fixed order.
    pub fn client_quotas(&self) -> impl Iterator<Item = (&QuotaEntity, impl Iterator<Item = (&str, QuotaValue)>)> {
        self.client_quotas
            .iter()
            .map(|(entity, quotas)| (entity, quotas.iter().map(|(key, value)| (key.as_str(), *value))))
    }

    pub fn client_quota(&self, entity: &QuotaEntity, key: &str) -> Option<QuotaValue> {
        self.client_quotas.get(entity)?.get(key).copied()
    }

    /// Every SCRAM credential, by user and mechanism.
    pub fn scram_credentials(&self) -> impl Iterator<Item = (&ScramUser, &ScramCredential)> {
        self.scram_credentials.iter().map(|(user, credential)| (user, &**credential))
    }

    pub fn scram_credential(&self, user: &ScramUser) -> Option<&ScramCredential> {
        self.scram_credentials.get(user).map(|credential| &**credential)
    }

    /// The first producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The epoch of the next broker registration.
    pub fn next_broker_epoch(&self) -> i64 {
        self.next_broker_epoch
    }

    /// Whether both images name the same topics and partitions, leaders included. Cheap when nothing changed.
    pub fn same_topics(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics) || self.topics == other.topics
    }

    /// This image as if nobody led what `node` leads. For a process that was started anew and is not registered yet: what the image
    /// says of its node was meant for the process before, which may have had another disk.
    pub fn without_leaderships_of(&self, node: NodeId) -> Self {
        let leads = |topic: &TopicImage| topic.partitions.iter().any(|partition| partition.leader == Some(node));
        let concerned: Vec<TopicName> =
            self.topics().filter(|topic| leads(topic)).map(|topic| topic.name.clone()).collect();
        let mut image = self.clone();
        let topics = Arc::make_mut(&mut image.topics);
        for name in concerned {
            let Some(topic) = topics.get_mut(&name) else { continue };
            let led = Arc::make_mut(topic).partitions.iter_mut().filter(|partition| partition.leader == Some(node));
            led.for_each(|partition| partition.leader = None);
        }
        image
    }

    /// Replays a batch. On an error nothing of the batch has changed the image.
    pub fn apply_batch(&mut self, records: &[Record]) -> Result<(), ReplayError> {
        let mut next = self.clone();
        for record in records {
            next.apply(record)?;
        }
        *self = next;
        Ok(())
    }

    /// Replays one record. On an error the image has not changed.
    pub fn apply(&mut self, record: &Record) -> Result<(), ReplayError> {
        match record {
            Record::ClusterId { cluster_id } => self.apply_cluster_id(cluster_id),
            Record::RegisterBroker {
                node_id,
                incarnation,
                epoch,
                endpoints,
                rack,
                controller,
                directories,
                metadata_directory,
                boot_id,
            } => self.apply_registration(BrokerImage {
                node_id: *node_id,
                incarnation: *incarnation,
                epoch: *epoch,
                endpoints: endpoints.clone(),
                rack: rack.clone(),
                fenced: true,
                controller: *controller,
                directories: directories.clone(),
                metadata_directory: *metadata_directory,
                boot_id: boot_id.clone(),
                shutting_down: false,
            }),
            Record::FenceBroker { node_id, epoch, fenced, shutting_down } => {
                let broker = self.registered_mut(*node_id, *epoch)?;
                (broker.fenced, broker.shutting_down) = (*fenced, *shutting_down);
                Ok(())
            }
            Record::UnregisterBroker { node_id, epoch } => {
                self.registered_mut(*node_id, *epoch)?;
                Arc::make_mut(&mut self.brokers).remove(node_id);
                Ok(())
            }
            Record::Topic { name, topic_id } => self.apply_topic(name, *topic_id),
            Record::Mirror { topic_id, mirror } => self.apply_mirror(*topic_id, mirror),
            Record::Partition { topic_id, partition, image } => self.apply_new_partition(*topic_id, *partition, image),
            Record::PartitionChange { topic_id, partition, image } => {
                self.apply_partition_change(*topic_id, *partition, image)
            }
            Record::RemoveTopic { topic_id } => self.apply_removal(*topic_id),
            Record::Config { resource, name, value } => {
                self.apply_config(resource, name, value.as_deref());
                Ok(())
            }
            Record::ProducerIds { next_producer_id, .. } => {
                no_way_back("producer ids", self.next_producer_id, *next_producer_id)?;
                self.next_producer_id = *next_producer_id;
                Ok(())
            }
            Record::FeatureLevel { name, level } => self.apply_feature(name, *level),
            Record::ClientQuota { entity, key, value } => {
                self.apply_quota(entity, key, *value);
                Ok(())
            }
            Record::ScramCredential { user, credential } => {
                let all = Arc::make_mut(&mut self.scram_credentials);
                match credential {
                    Some(credential) => all.insert(user.clone(), Arc::new(credential.clone())),
                    None => all.remove(user),
                };
                Ok(())
            }
        }
    }

    fn apply_cluster_id(&mut self, found: &ClusterId) -> Result<(), ReplayError> {
        match &self.cluster_id {
            Some(known) if known != found => {
                Err(ReplayError::OtherCluster { known: known.clone(), found: found.clone() })
            }
            _ => {
                self.cluster_id = Some(found.clone());
                Ok(())
            }
        }
    }

    fn apply_registration(&mut self, broker: BrokerImage) -> Result<(), ReplayError> {
        if let Some(known) = self.brokers.get(&broker.node_id) {
            no_way_back("a broker registration", known.epoch, broker.epoch)?;
        }
        self.next_broker_epoch = self.next_broker_epoch.max(broker.epoch + 1);
        Arc::make_mut(&mut self.brokers).insert(broker.node_id, Arc::new(broker));
        Ok(())
    }

    fn registered_mut(&mut self, node_id: NodeId, epoch: i64) -> Result<&mut BrokerImage, ReplayError> {
        match Arc::make_mut(&mut self.brokers).get_mut(&node_id) {
            Some(broker) if broker.epoch == epoch => Ok(Arc::make_mut(broker)),
            _ => Err(ReplayError::UnknownBroker(node_id)),
        }
    }

    fn apply_topic(&mut self, name: &TopicName, topic_id: TopicId) -> Result<(), ReplayError> {
        if self.topics.contains_key(name) || self.names.contains_key(&topic_id) {
            return Err(ReplayError::TopicExists(name.clone()));
        }
        let topic = TopicImage { name: name.clone(), id: topic_id, partitions: Vec::new(), mirror: None };
        Arc::make_mut(&mut self.topics).insert(name.clone(), Arc::new(topic));
        Arc::make_mut(&mut self.names).insert(topic_id, name.clone());
        Ok(())
    }

    fn topic_mut(&mut self, topic_id: TopicId) -> Result<&mut TopicImage, ReplayError> {
        let unknown = ReplayError::UnknownTopic(topic_id);
        let name = self.names.get(&topic_id).ok_or_else(|| unknown.clone())?;
        let topic = Arc::make_mut(&mut self.topics).get_mut(name).ok_or(unknown)?;
        Ok(Arc::make_mut(topic))
    }

    /// A promotion, or becoming a mirror again, raises all partitions at once, so that it takes effect as a whole however many there
    /// are.
    fn apply_mirror(&mut self, topic_id: TopicId, mirror: &Mirror) -> Result<(), ReplayError> {
        let topic = self.topic_mut(topic_id)?;
        let is_sound = match &topic.mirror {
            Some(before) => before.may_become(mirror),
            None => topic.partitions.is_empty() || matches!(mirror.state, MirrorState::MirroringAgain { .. }),
        };
        if !is_sound {
            return Err(ReplayError::Mirror(topic.name.clone()));
        }
        topic.mirror = Some(Arc::new(mirror.clone()));
        let Some(epoch) = mirror.since() else { return Ok(()) };
        for partition in topic.partitions.iter_mut().filter(|partition| partition.leader_epoch < epoch) {
            partition.leader_epoch = epoch;
            partition.partition_epoch += 1;
        }
        Ok(())
    }

    fn apply_new_partition(
        &mut self,
        topic_id: TopicId,
        index: PartitionIndex,
        partition: &PartitionImage,
    ) -> Result<(), ReplayError> {
        let topic = self.topic_mut(topic_id)?;
        let have = topic.partitions.len();
        if usize::try_from(index.0) != Ok(have) {
            return Err(ReplayError::PartitionOrder { topic: topic.name.clone(), have, partition: index });
        }
        topic.partitions.push(partition.clone());
        Ok(())
    }

    fn apply_partition_change(
        &mut self,
        topic_id: TopicId,
        index: PartitionIndex,
        change: &PartitionImage,
    ) -> Result<(), ReplayError> {
        let topic = self.topic_mut(topic_id)?;
        let slot = usize::try_from(index.0).ok().and_then(|index| topic.partitions.get_mut(index));
        let Some(slot) = slot else {
            return Err(ReplayError::UnknownPartition { topic: topic.name.clone(), partition: index });
        };
        for (from, to) in [(slot.leader_epoch.0, change.leader_epoch.0), (slot.partition_epoch, change.partition_epoch)]
        {
            if to < from {
                let what = format!("{}-{index}", topic.name);
                return Err(ReplayError::EpochBack { what, from: i64::from(from), to: i64::from(to) });
            }
        }
        *slot = slot.changed_by(change);
        Ok(())
    }

    fn apply_removal(&mut self, topic_id: TopicId) -> Result<(), ReplayError> {
        let name = self.names.get(&topic_id).cloned().ok_or(ReplayError::UnknownTopic(topic_id))?;
        Arc::make_mut(&mut self.names).remove(&topic_id);
        Arc::make_mut(&mut self.topics).remove(&name);
        let resource = ConfigResource::Topic(name);
        if self.configs.contains_key(&resource) {
            Arc::make_mut(&mut self.configs).remove(&resource);
        }
        Ok(())
    }

    fn apply_config(&mut self, resource: &ConfigResource, name: &str, value: Option<&str>) {
        let all = Arc::make_mut(&mut self.configs);
        match value {
            Some(value) => {
                let configs = all.entry(resource.clone()).or_default();
                Arc::make_mut(configs).insert(name.to_owned(), value.to_owned());
            }
            None => {
                let Some(configs) = all.get_mut(resource) else { return };
                Arc::make_mut(configs).remove(name);
                if configs.is_empty() {
                    all.remove(resource);
                }
            }
        }
    }

    fn apply_feature(&mut self, name: &str, level: i16) -> Result<(), ReplayError> {
        let is_known = features::find(name).is_some_and(|feature| feature.supports(level));
        if !is_known {
            return Err(ReplayError::UnknownFeature { name: name.to_owned(), level });
        }
        Arc::make_mut(&mut self.features).insert(name.to_owned(), level);
        Ok(())
    }

    fn apply_quota(&mut self, entity: &QuotaEntity, key: &str, value: Option<QuotaValue>) {
        let all = Arc::make_mut(&mut self.client_quotas);
        match value {
            Some(value) => {
                let quotas = all.entry(entity.clone()).or_default();
                Arc::make_mut(quotas).insert(key.to_owned(), value);
            }
            None => {
                let Some(quotas) = all.get_mut(entity) else { return };
                Arc::make_mut(quotas).remove(key);
                if quotas.is_empty() {
                    all.remove(entity);
                }
            }
        }
    }

    /// What must hold after every batch; tests and simulations call it.
    pub fn check_invariants(&self) -> Result<(), String> {
        if self.names.len() != self.topics.len() {
            return Err(format!("{} topic ids for {} topics", self.names.len(), self.topics.len()));
        }
        for topic in self.topics() {
            if self.names.get(&topic.id) != Some(&topic.name) {
                return Err(format!("topic {} is not found by its id", topic.name));
            }
            for (index, partition) in topic.iter() {
                self.check_partition(partition).map_err(|cause| format!("{}-{index}: {cause}", topic.name))?;
            }
        }
        Ok(())
    }

    fn check_partition(&self, partition: &PartitionImage) -> Result<(), String> {
        partition.check_sets()?;
        let Some(leader) = partition.leader else { return Ok(()) };
        match self.broker(leader) {
            Some(broker) if !broker.fenced => Ok(()),
            _ => Err(format!("leader {leader} is fenced or unknown")),
        }
    }
}

fn no_way_back(what: &str, from: i64, to: i64) -> Result<(), ReplayError> {
    if to >= from {
        return Ok(());
    }
    Err(ReplayError::EpochBack { what: what.to_owned(), from, to })
}

#[cfg(test)]
mod tests;
