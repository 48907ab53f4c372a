//! The group coordinator of this broker: one shard per partition of `__consumer_offsets` that it leads.
//!
//! Picture: a switchboard. A group's id names its partition (`placement`), the partition's leader coordinates the
//! group, and each led partition has one task (`shard`) that owns the groups in it. Whoever applies new metadata
//! calls [`GroupService::reconcile`], which starts and stops shards; handlers [`GroupService::call`].
//!
//! Invariants: at most one shard per partition runs here; a shard of an older leader epoch is stopped before the
//! one of the newer epoch starts; a request for a group that is not coordinated here, or may not be because this
//! broker's session with the controller is lost, is answered NOT_COORDINATOR, and COORDINATOR_LOAD_IN_PROGRESS while
//! its shard loads.
//!
//! Not here: what requests mean (`twinstream_coordinator::group`), wire messages (`handlers`).

mod loader; // from the log into a shard
mod log; // what a shard needs of a log
mod metrics; // how many groups and offsets
mod placement; // which partition a group belongs to
mod shard; // one shard's task
mod topic; // the offsets topic itself

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tracing::{debug, warn};
use twinstream_coordinator::group::{Answer, GroupConfig, ListFilter, Listing, Request};
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, NodeId, PartitionIndex, TopicName, TopicPartition};

use twinstream_telemetry::Metrics;

use crate::controller::Session;
use crate::settings::Settings;

pub(crate) use log::ShardLog;
use metrics::GroupMetrics;
pub(crate) use placement::partition_of;
use shard::{LOAD_PATIENCE, ShardHandle, ShardSettings};
pub(crate) use topic::create_offsets_topic;

/// The topic that groups and offsets live in.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Starts, stops and finds the shards of this broker.
pub(crate) struct GroupService {
    node: NodeId,
    session: Session,
    shard_settings: ShardSettings,
    shards: RwLock<BTreeMap<PartitionIndex, Shard>>,
    /// Set under the lock of `shards`, by `stop`.
    stopped: AtomicBool,
    /// Rings when shards started or stopped.
    moved: watch::Sender<()>,
    /// Held by whoever creates the offsets topic.
    creating: tokio::sync::Mutex<topic::Creation>,
    /// The image of the last `reconcile`, to see which topics are gone.
    seen: Mutex<Image>,
}

struct Shard {
    epoch: LeaderEpoch,
    handle: Arc<ShardHandle>,
}

impl GroupService {
    pub(crate) fn new(settings: &Settings, registry: &Metrics, session: Session) -> GroupService {
        GroupService {
            node: settings.node.id,
            session,
            shard_settings: ShardSettings {
                group: group_config(settings),
                commit_timeout: settings.offsets.commit_timeout,
                metrics: GroupMetrics::new(registry),
            },
            shards: RwLock::default(),
            stopped: AtomicBool::new(false),
            moved: watch::Sender::default(),
            creating: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Makes the shards those of the partitions that `image` says this broker leads. `open` gives the log of such
    /// a partition, or `None` while it is not there yet; then the shard starts with a later call. Offsets of topics
    /// that are gone since the last call are forgotten.
    ///
    /// Only one caller at a time.
    pub(crate) fn reconcile(
        &self,
        image: &Image,
        open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>,
    ) {
        let before = std::mem::replace(&mut *self.seen.lock(), image.clone());
        self.move_shards(image, open);
        self.moved.send_replace(());
        if !before.same_topics(image) {
            self.forget_topics(topic::gone(&before, image));
        }
    }

    fn move_shards(&self, image: &Image, open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>) {
        let led = self.led(image);
        let mut shards = self.shards.write();
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
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
            let handle = Arc::new(ShardHandle::start(topic_partition, log, self.shard_settings.clone()));
            shards.insert(partition, Shard { epoch, handle });
        }
    }

    fn led(&self, image: &Image) -> BTreeMap<PartitionIndex, LeaderEpoch> {
        let partitions = offsets_topic(image).into_iter().flat_map(|topic| topic.iter());
        partitions.filter(|(_, p)| p.leader == Some(self.node)).map(|(index, p)| (index, p.leader_epoch)).collect()
    }

    /// Asks the coordinator of a group, waiting a moment for a shard that starts. The error is one that clients know how to handle: look for the coordinator
    /// again, or wait.
    pub(crate) async fn call(&self, image: &Image, group: &GroupId, request: Request) -> Result<Answer, ErrorCode> {
        if self.session.is_lost() {
            return Err(ErrorCode::NotCoordinator); // the group may be coordinated elsewhere by now
        }
        let topic = offsets_topic(image).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group.as_str(), topic.partitions.len() as i32);
        if topic.partition(partition).and_then(|p| p.leader) != Some(self.node) {
            return Err(ErrorCode::NotCoordinator);
        }
        let handle = self.shard(partition).await.ok_or(ErrorCode::CoordinatorLoadInProgress)?;
        handle.call(request).await
    }

    /// The shard of a partition that the image says is led here; it may still be about to start.
    async fn shard(&self, partition: PartitionIndex) -> Option<Arc<ShardHandle>> {
        let find = || self.shards.read().get(&partition).map(|shard| shard.handle.clone());
        let mut moved = self.moved.subscribe();
        let started = async {
            loop {
                if let Some(handle) = find() {
                    return Some(handle);
                }
                moved.changed().await.ok()?;
            }
        };
        tokio::time::timeout(LOAD_PATIENCE, started).await.ok().flatten()
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

    /// Drops what groups committed for topics that are gone; shards that load do so afterwards.
    fn forget_topics(&self, topics: Vec<TopicName>) {
        if topics.is_empty() {
            return;
        }
        debug!(topics = topics.len(), "forgetting offsets of deleted topics");
        for handle in self.handles() {
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
        // Said, not left to the last handle's drop: a parked request holds one.
        let mut shards = self.shards.write();
        self.stopped.store(true, Ordering::Relaxed);
        for shard in std::mem::take(&mut *shards).into_values() {
            shard.handle.stop();
        }
        drop(shards);
    }

    fn handles(&self) -> Vec<Arc<ShardHandle>> {
        self.shards.read().values().map(|shard| shard.handle.clone()).collect()
    }

    async fn call_all(&self, request: &Request) -> Vec<Result<Answer, ErrorCode>> {
        let handles = self.handles();
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
