//! The group coordinator of this broker: one shard per partition of `__consumer_offsets` that it leads.
//!
//! Picture: a switchboard. A group's id names its partition (`placement`), the partition's leader coordinates the
//! group, and each led partition has one task (`shard`) that owns the groups in it. Whoever applies new metadata
//! calls [`GroupService::reconcile`], which starts and stops shards; handlers [`GroupService::call`].
//!
//! Invariants: at most one shard per partition runs here; a shard of an older leader epoch is stopped before the
//! one of the newer epoch starts; a request for a group that is not coordinated here is answered NOT_COORDINATOR,
//! and COORDINATOR_LOAD_IN_PROGRESS while its shard loads.
//!
//! Not here: what requests mean (`twinstream_coordinator::group`), wire messages (`handlers`).

mod loader; // from the log into a shard
mod log; // what a shard needs of a log
mod placement; // which partition a group belongs to
mod shard; // one shard's task
mod topic; // the offsets topic itself

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::RwLock;
use tracing::debug;
use twinstream_coordinator::group::{Answer, GroupConfig, ListFilter, Listing, Request};
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, NodeId, PartitionIndex, TopicName, TopicPartition};

use crate::settings::Settings;

pub(crate) use log::ShardLog;
pub(crate) use placement::partition_of;
use shard::ShardHandle;
pub(crate) use topic::create_offsets_topic;

/// The topic that groups and offsets live in.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Starts, stops and finds the shards of this broker.
pub(crate) struct GroupService {
    node: NodeId,
    config: GroupConfig,
    shards: RwLock<BTreeMap<PartitionIndex, Shard>>,
}

struct Shard {
    epoch: LeaderEpoch,
    handle: Arc<ShardHandle>,
}

impl GroupService {
    pub(crate) fn new(settings: &Settings) -> GroupService {
        GroupService { node: settings.node.id, config: group_config(settings), shards: RwLock::default() }
    }

    /// Makes the shards those of the partitions that `image` says this broker leads. `open` gives the log of such
    /// a partition, or `None` while it is not there yet; then the shard starts with a later call.
    ///
    /// Only one caller at a time.
    pub(crate) fn reconcile(
        &self,
        image: &Image,
        open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>,
    ) {
        let led = self.led(image);
        let mut shards = self.shards.write();
        shards.retain(|partition, shard| {
            let stays = led.get(partition) == Some(&shard.epoch);
            if !stays {
                debug!(partition = partition.0, epoch = shard.epoch.0, "resigning as group coordinator");
                shard.handle.stop();
            }
            stays
        });
        for (partition, epoch) in led {
            if shards.contains_key(&partition) {
                continue;
            }
            let Some(name) = offsets_topic(image).map(|topic| topic.name.clone()) else { return };
            let topic_partition = TopicPartition::new(name, partition);
            let Some(log) = open(&topic_partition, epoch) else { continue };
            debug!(partition = partition.0, epoch = epoch.0, "becoming group coordinator");
            let handle = Arc::new(ShardHandle::start(topic_partition, log, self.config.clone()));
            shards.insert(partition, Shard { epoch, handle });
        }
    }

    fn led(&self, image: &Image) -> BTreeMap<PartitionIndex, LeaderEpoch> {
        let partitions = offsets_topic(image).into_iter().flat_map(|topic| topic.iter());
        partitions.filter(|(_, p)| p.leader == Some(self.node)).map(|(index, p)| (index, p.leader_epoch)).collect()
    }

    /// Asks the coordinator of a group. The error is one that clients know how to handle: look for the coordinator
    /// again, or wait.
    pub(crate) async fn call(&self, image: &Image, group: &GroupId, request: Request) -> Result<Answer, ErrorCode> {
        let topic = offsets_topic(image).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group.as_str(), topic.partitions.len() as i32);
        let handle = self.shards.read().get(&partition).map(|shard| shard.handle.clone());
        handle.ok_or(ErrorCode::NotCoordinator)?.call(request).await
    }

    /// Lists the groups of every shard here. A shard that loads makes the list incomplete, which clients are told.
    pub(crate) async fn list(&self, filter: &ListFilter) -> Result<Vec<Listing>, ErrorCode> {
        let mut listings = Vec::new();
        for answer in self.call_all(&Request::List(filter.clone())).await {
            match answer {
                Ok(Answer::List(groups)) => listings.extend(groups),
                Ok(_) | Err(ErrorCode::NotCoordinator) => (), // resigned meanwhile: its new leader lists it
                Err(error) => return Err(error),
            }
        }
        Ok(listings)
    }

    /// Drops what groups committed for topics that are gone.
    pub(crate) async fn forget_topics(&self, topics: Vec<TopicName>) {
        self.call_all(&Request::ForgetTopics(topics)).await;
    }

    /// Whether no shard is loading.
    pub(crate) fn is_loaded(&self) -> bool {
        !self.shards.read().values().any(|shard| shard.handle.is_loading())
    }

    /// Resigns everywhere; what is parked is answered with NOT_COORDINATOR.
    pub(crate) fn stop(&self) {
        self.shards.write().clear();
    }

    async fn call_all(&self, request: &Request) -> Vec<Result<Answer, ErrorCode>> {
        let handles: Vec<_> = self.shards.read().values().map(|shard| shard.handle.clone()).collect();
        join_all(handles.iter().map(|handle| handle.call(request.clone()))).await
    }
}

/// The offsets topic, once it exists.
pub(crate) fn offsets_topic(image: &Image) -> Option<&Arc<TopicImage>> {
    image.topic(&TopicName::parse(OFFSETS_TOPIC).ok()?)
}

fn group_config(settings: &Settings) -> GroupConfig {
    let millis = |duration: std::time::Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    GroupConfig {
        initial_rebalance_delay_ms: settings.groups.initial_rebalance_delay.as_millis() as u64,
        session_timeout_ms_min: millis(settings.groups.session_timeout_min),
        session_timeout_ms_max: millis(settings.groups.session_timeout_max),
        members_max: settings.groups.size_max,
        offset_metadata_bytes_max: settings.offsets.metadata_bytes_max,
        offsets_retention_ms: settings.offsets.retention.as_millis() as i64,
        offsets_retention_check_interval_ms: settings.offsets.retention_check_interval.as_millis() as u64,
    }
}

#[cfg(test)]
mod tests;
