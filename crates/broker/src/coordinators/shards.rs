//! Which shards of one kind run here, and how they are found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::debug;
use twinstream_coordinator::Shard;
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::kind::Kind;
use super::log::ShardLog;
use super::placement::partition_of;
use super::shard::{LOAD_PATIENCE, ShardHandle};
use crate::controller::Session;

type RequestOf<K> = <<K as Kind>::Shard as Shard>::Request;
type AnswerOf<K> = <<K as Kind>::Shard as Shard>::Answer;

/// Starts, stops and finds the shards of one internal topic on this broker.
pub(crate) struct Shards<K: Kind> {
    kind: K,
    topic: &'static str,
    node: NodeId,
    session: Session,
    running: RwLock<BTreeMap<PartitionIndex, Running<K>>>,
    /// Set under the lock of `running`, by `stop`.
    stopped: AtomicBool,
    /// Rings when shards started or stopped.
    moved: watch::Sender<()>,
}

struct Running<K: Kind> {
    leadership: Leadership,
    handle: Arc<ShardHandle<K>>,
}

/// What a shard lives for. The topic is part of it: one that was deleted and made again begins with the same epoch, and its
/// log is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leadership {
    topic: TopicId,
    epoch: LeaderEpoch,
}

impl<K: Kind> Shards<K> {
    pub(crate) fn new(kind: K, topic: &'static str, node: NodeId, session: Session) -> Shards<K> {
        Shards {
            kind,
            topic,
            node,
            session,
            running: RwLock::default(),
            stopped: AtomicBool::new(false),
            moved: watch::Sender::default(),
        }
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
        self.move_shards(image, open);
        self.moved.send_replace(());
    }

    fn move_shards(&self, image: &Image, open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>) {
        let led = self.led(image);
        let mut running = self.running.write();
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        running.retain(|partition, shard| {
            let stays = led.get(partition) == Some(&shard.leadership);
            if !stays {
                debug!(coordinator = K::NAME, partition = partition.0, epoch = shard.leadership.epoch.0, "resigning");
                shard.handle.stop();
            }
            stays
        });
        for (partition, leadership) in led {
            if running.contains_key(&partition) {
                continue;
            }
            let Some(name) = self.topic_in(image).map(|topic| topic.name.clone()) else { return };
            let topic_partition = TopicPartition::new(name, partition);
            let epoch = leadership.epoch;
            let Some(log) = open(&topic_partition, epoch) else { continue };
            debug!(coordinator = K::NAME, partition = partition.0, epoch = epoch.0, "becoming coordinator");
            let handle = Arc::new(ShardHandle::start(self.kind.clone(), topic_partition, epoch, log));
            running.insert(partition, Running { leadership, handle });
        }
    }

    fn led(&self, image: &Image) -> BTreeMap<PartitionIndex, Leadership> {
        let Some(topic) = self.topic_in(image) else { return BTreeMap::new() };
        let led = topic.iter().filter(|(_, partition)| partition.leader == Some(self.node));
        led.map(|(index, led)| (index, Leadership { topic: topic.id, epoch: led.leader_epoch })).collect()
    }

    /// Asks the coordinator of a key, waiting a moment for a shard that starts. The error is one that clients know how
    /// to handle: look for the coordinator again, or wait.
    pub(crate) async fn call(&self, image: &Image, key: &str, request: RequestOf<K>) -> Result<AnswerOf<K>, ErrorCode> {
        let topic = self.topic_in(image).ok_or(ErrorCode::NotCoordinator)?;
        self.call_partition(image, partition_of(key, topic.partitions.len() as i32), request).await
    }

    /// Asks the shard of a partition.
    pub(crate) async fn call_partition(
        &self,
        image: &Image,
        partition: PartitionIndex,
        request: RequestOf<K>,
    ) -> Result<AnswerOf<K>, ErrorCode> {
        if self.session.is_lost() {
            return Err(ErrorCode::NotCoordinator); // the key may be coordinated elsewhere by now
        }
        let leader = self.topic_in(image).and_then(|topic| topic.partition(partition)).and_then(|p| p.leader);
        if leader != Some(self.node) {
            return Err(ErrorCode::NotCoordinator);
        }
        let handle = self.shard(partition).await.ok_or(ErrorCode::CoordinatorLoadInProgress)?;
        handle.call(request).await
    }

    /// The shard of a partition that the image says is led here; it may still be about to start.
    async fn shard(&self, partition: PartitionIndex) -> Option<Arc<ShardHandle<K>>> {
        let find = || self.running.read().get(&partition).map(|shard| shard.handle.clone());
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

    /// Every shard that runs here.
    pub(crate) fn handles(&self) -> Vec<Arc<ShardHandle<K>>> {
        self.running.read().values().map(|shard| shard.handle.clone()).collect()
    }

    /// Asks every shard here the same.
    pub(crate) async fn call_all(&self, request: &RequestOf<K>) -> Vec<Result<AnswerOf<K>, ErrorCode>> {
        let handles = self.handles();
        join_all(handles.iter().map(|handle| handle.call(request.clone()))).await
    }

    /// Resigns everywhere and for good; what is parked is answered with NOT_COORDINATOR.
    pub(crate) fn stop(&self) {
        // Said, not left to the last handle's drop: a parked request holds one.
        let mut running = self.running.write();
        self.stopped.store(true, Ordering::Relaxed);
        for shard in std::mem::take(&mut *running).into_values() {
            shard.handle.stop();
        }
        drop(running);
    }

    /// The internal topic, once it exists.
    fn topic_in<'a>(&self, image: &'a Image) -> Option<&'a Arc<TopicImage>> {
        image.topic(&TopicName::parse(self.topic).ok()?)
    }
}

/// Puts together what the shards here listed. One that has resigned meanwhile is left out, because its new leader lists what
/// it had; after any other error the list would lack something without saying so.
pub(crate) fn join_lists<T>(lists: impl IntoIterator<Item = Result<Vec<T>, ErrorCode>>) -> Result<Vec<T>, ErrorCode> {
    let mut joined = Vec::new();
    for list in lists {
        match list {
            Ok(listed) => joined.extend(listed),
            Err(ErrorCode::NotCoordinator) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests;
