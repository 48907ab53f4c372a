//! The group coordinator of this broker: one shard per partition of `__consumer_offsets` that it leads.
//!
//! Picture: the switchboard of [`coordinators`](crate::coordinators) for groups. Whoever applies new metadata
//! calls [`GroupService::reconcile`]; handlers [`GroupService::call`].
//!
//! Invariants: those of the switchboard; offsets of a topic that is gone are forgotten by every shard, those that load
//! do so afterwards.
//!
//! Not here: what requests mean (`twinstream_coordinator::group`), wire messages (`handlers`).

mod cluster; // topics as groups see them
mod committed; // what all of them have committed
mod kind; // groups as a kind of coordinator
mod metrics; // how many groups and offsets
mod records; // their records as batches

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::{debug, error, warn};
use twinstream_coordinator::group::{
    Answer, ConsumerGroupConfig, EndTransaction, GroupConfig, GroupOverrides, ListFilter, Listing, MigrationPolicy,
    Request, Topics,
};
use twinstream_metadata::{Image, TopicImage, configs};
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition};

use twinstream_telemetry::Metrics;

use crate::context::{Broker, RequestContext};
use crate::controller::Session;
use crate::coordinators::{Creation, InternalTopic, ShardLog, Shards, join_lists};
use crate::settings::live::LiveSettings;
use crate::settings::{ConsumerGroupSettings, OffsetsSettings, Settings};
use cluster::ClusterView;
pub(crate) use committed::CommittedGroup;
use kind::GroupKind;
use metrics::GroupMetrics;

/// The topic that groups and offsets live in.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Starts, stops and finds the group shards of this broker.
pub(crate) struct GroupService {
    shards: Shards<GroupKind>,
    creation: Creation,
    /// The image of the last `reconcile`, to see which topics are gone.
    seen: Mutex<Image>,
    /// The same image for consumer groups, with a version.
    cluster: ArcSwap<ClusterView>,
}

impl GroupService {
    pub(crate) fn new(settings: &Settings, registry: &Metrics, session: Session) -> GroupService {
        let kind = GroupKind {
            group: group_config(settings),
            commit_timeout: settings.offsets.commit_timeout,
            metrics: GroupMetrics::new(registry),
        };
        GroupService {
            shards: Shards::new(kind, OFFSETS_TOPIC, settings.node.id, session),
            creation: Creation::default(),
            seen: Mutex::default(),
            cluster: ArcSwap::default(),
        }
    }

    /// Makes the shards those of the partitions that `image` says this broker leads, see [`Shards::reconcile`].
    /// Offsets of topics that are gone since the last call are forgotten.
    pub(crate) fn reconcile(
        &self,
        image: &Image,
        open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>,
    ) {
        let mut seen = self.seen.lock();
        let before = std::mem::replace(&mut *seen, image.clone());
        self.cluster.store(Arc::new(self.cluster.load().next(image)));
        drop(seen);
        self.shards.reconcile(image, open);
        if !before.same_topics(image) {
            self.forget_topics(gone(&before, image));
        }
    }

    /// The topics of now, for requests that may need them.
    pub(crate) fn cluster(&self) -> Arc<dyn Topics> {
        self.cluster.load_full()
    }

    /// What counts for a group beyond the settings that its coordinator was started with: its own configs, and what was
    /// altered since, within the bounds of now.
    pub(crate) fn overrides(&self, broker: &Broker, group: &str) -> GroupOverrides {
        let image = broker.image.load();
        let live = LiveSettings::new(&broker.settings, &image);
        let number = |name: &str| configs::groups::effective(&image, group, name, &live);
        let millis = |name: &str| number(name).and_then(|value| i32::try_from(value).ok());
        GroupOverrides {
            session_timeout_ms: millis("consumer.session.timeout.ms"),
            heartbeat_interval_ms: millis("consumer.heartbeat.interval.ms"),
            assignment_interval_ms: number("consumer.assignment.interval.ms"),
        }
    }

    /// Asks the coordinator of a group, see [`Shards::call`].
    pub(crate) async fn call(&self, image: &Image, group: &GroupId, request: Request) -> Result<Answer, ErrorCode> {
        self.shards.call(image, group.as_str(), request).await
    }

    /// Ends a producer's transaction in a partition of the offsets topic. The errors are those of a partition's leader,
    /// because a transaction's coordinator does not ask for coordinators.
    pub(crate) async fn end_transaction(
        &self,
        image: &Image,
        partition: PartitionIndex,
        end: EndTransaction,
    ) -> Result<(), ErrorCode> {
        let code = match self.shards.call_partition(image, partition, Request::EndTransaction(end)).await {
            Ok(Answer::EndTransaction(code)) | Err(code) => code,
            Ok(other) => {
                error!(?other, "group coordinator answered another question");
                ErrorCode::UnknownServerError
            }
        };
        match code {
            ErrorCode::None => Ok(()),
            ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {
                Err(ErrorCode::NotLeaderOrFollower)
            }
            code => Err(code),
        }
    }

    /// Lists the groups of every shard here. A shard that loads makes the list incomplete, which clients are told.
    pub(crate) async fn list(&self, filter: &ListFilter) -> Result<Vec<Listing>, ErrorCode> {
        let answers = self.shards.call_all(&Request::List(filter.clone())).await;
        join_lists(answers.into_iter().map(|answer| match answer? {
            Answer::List(groups) => groups,
            other => {
                error!(?other, "group coordinator answered another question");
                Err(ErrorCode::UnknownServerError)
            }
        }))
    }

    /// Drops what groups committed for topics that are gone; shards that load do so afterwards.
    fn forget_topics(&self, topics: Vec<(TopicName, TopicId)>) {
        if topics.is_empty() {
            return;
        }
        debug!(topics = topics.len(), "forgetting offsets of deleted topics");
        for handle in self.shards.handles() {
            let request = Request::ForgetTopics(topics.clone());
            tokio::spawn(async move {
                match handle.call_when_loaded(request).await {
                    Ok(Answer::ForgetTopics(ErrorCode::None)) | Err(ErrorCode::NotCoordinator) => (),
                    other => warn!(?other, "offsets of deleted topics could not be forgotten"),
                }
            });
        }
    }

    /// Resigns everywhere and for good; what is parked is answered with NOT_COORDINATOR.
    pub(crate) fn stop(&self) {
        self.shards.stop();
    }

    /// Brings `__consumer_offsets` into being, see [`Creation::create`].
    pub(crate) async fn create_topic(&self, broker: &Arc<Broker>, ctx: &RequestContext) -> bool {
        self.creation.create(broker, ctx, &internal_topic(&broker.settings.offsets)).await
    }
}

/// The offsets topic, once it exists.
pub(crate) fn offsets_topic(image: &Image) -> Option<&Arc<TopicImage>> {
    image.topic(&TopicName::parse(OFFSETS_TOPIC).ok()?)
}

fn internal_topic(settings: &OffsetsSettings) -> InternalTopic {
    InternalTopic {
        name: OFFSETS_TOPIC,
        partitions: settings.topic_partitions,
        replication_factor: settings.topic_replication_factor,
        configs: vec![
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", settings.topic_segment_bytes.to_string()),
        ],
        replication_setting: "offsets.topic.replication.factor",
        nobody: "consumer group",
    }
}

/// The topics of `before` that `after` does not have; a topic of the same name made since is another topic.
fn gone(before: &Image, after: &Image) -> Vec<(TopicName, TopicId)> {
    let gone = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none());
    gone.map(|topic| (topic.name.clone(), topic.id)).collect()
}

fn group_config(settings: &Settings) -> GroupConfig {
    GroupConfig {
        initial_rebalance_delay_ms: settings.groups.initial_rebalance_delay.as_millis() as u64,
        session_timeout_ms_min: millis(settings.groups.session_timeout_min),
        session_timeout_ms_max: millis(settings.groups.session_timeout_max),
        members_max: settings.groups.size_max,
        offset_metadata_bytes_max: settings.offsets.metadata_bytes_max,
        offsets_retention_ms: settings.offsets.retention.as_millis() as i64,
        offsets_retention_check_interval_ms: settings.offsets.retention_check_interval.as_millis() as u64,
        consumer: consumer_group_config(&settings.groups.consumer),
    }
}

fn consumer_group_config(settings: &ConsumerGroupSettings) -> ConsumerGroupConfig {
    let defaults = ConsumerGroupConfig::default();
    ConsumerGroupConfig {
        session_timeout_ms: millis(settings.session_timeout),
        heartbeat_interval_ms: millis(settings.heartbeat_interval),
        members_max: settings.size_max,
        assignors: settings.assignors.iter().map(|name| Arc::from(name.as_str())).collect(),
        migration: MigrationPolicy::parse(&settings.migration_policy).unwrap_or(defaults.migration),
        assignment_interval_ms: settings.assignment_interval.as_millis() as i64,
        regex_refresh_interval_ms: settings.regex_refresh_interval.as_millis() as u64,
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
