//! Which followed partition is fetched by which task.
//!
//! Picture: `num.replica.fetchers` tasks for each broker that leads something followed here. A partition goes by its
//! name to one of them; when the image gives it another leader or epoch, it moves to a task of that leader at once.
//!
//! Invariants: a partition is with one task at most; a task's mailbox has at most one entry per partition, the last
//! word about it. Not here: what a task does (`fetcher`).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use twinstream_model::{LeaderEpoch, NodeId, TopicPartition};

use super::fetcher::Fetcher;
use super::session::Key;
use crate::context::Broker;
use crate::partitions::{Followers, Partition};

/// A task: the leader that it fetches from, and its number among those for that leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FetcherId {
    pub(super) leader: NodeId,
    pub(super) index: usize,
}

/// The last word about a partition.
pub(super) enum Change {
    Fetch { partition: Arc<Partition>, epoch: LeaderEpoch },
    Leave,
}

/// What a task is to hear.
#[derive(Default)]
pub(super) struct Mailbox {
    changes: Mutex<HashMap<Key, Change>>,
    bell: Notify,
}

impl Mailbox {
    pub(super) fn take(&self) -> HashMap<Key, Change> {
        std::mem::take(&mut *self.changes.lock())
    }

    /// Resolves when there is a partition to fetch that was not there before. One that leaves can wait: its answers
    /// are dropped.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn put(&self, key: Key, change: Change) {
        let is_urgent = matches!(change, Change::Fetch { .. });
        self.changes.lock().insert(key, change);
        if is_urgent {
            self.bell.notify_one();
        }
    }
}

/// All tasks.
#[derive(Default)]
pub(crate) struct Fetchers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    runtime: Option<Runtime>,
    placed: HashMap<TopicPartition, Placed>,
    mailboxes: HashMap<FetcherId, Arc<Mailbox>>,
    lags: HashMap<FetcherId, i64>,
}

/// Where a partition is fetched, and what its task was told.
struct Placed {
    at: FetcherId,
    partition: Weak<Partition>,
    epoch: LeaderEpoch,
}

/// What it takes to start a task; weak, because the broker owns us.
struct Runtime {
    broker: Weak<Broker>,
    tasks: TaskTracker,
    handle: tokio::runtime::Handle,
    per_leader: usize,
}

impl Fetchers {
    /// Lets tasks run. Nothing is followed before.
    pub(super) fn start(&self, broker: &Arc<Broker>, tasks: &TaskTracker) {
        self.inner.lock().runtime = Some(Runtime {
            broker: Arc::downgrade(broker),
            tasks: tasks.clone(),
            handle: tokio::runtime::Handle::current(),
            per_leader: broker.settings.replication.fetchers,
        });
    }

    /// Spreads the partitions over another number of tasks per leader. Tasks that are left without partitions stay,
    /// without work.
    pub(crate) fn resize(&self, per_leader: usize) {
        let mut inner = self.inner.lock();
        let Some(runtime) = inner.runtime.as_mut().filter(|runtime| runtime.per_leader != per_leader) else { return };
        tracing::info!(before = runtime.per_leader, after = per_leader, "number of fetchers for each leader changed");
        runtime.per_leader = per_leader;
        let moved = inner.placed.values().filter_map(|placed| {
            let partition = placed.partition.upgrade()?;
            let at = FetcherId { index: spread(partition.id(), per_leader), ..placed.at };
            (at != placed.at).then_some((partition, at, placed.epoch))
        });
        let moved: Vec<_> = moved.collect();
        moved.iter().for_each(|(partition, at, epoch)| inner.place(partition, *at, *epoch));
    }

    /// Notes how far one task is behind its leader; the gauge shows the worst.
    pub(super) fn report_lag(&self, id: FetcherId, lag: i64, gauge: &IntGauge) {
        let mut inner = self.inner.lock();
        inner.lags.insert(id, lag);
        gauge.set(inner.lags.values().copied().max().unwrap_or(0));
    }
}

impl Followers for Fetchers {
    fn follow(&self, partition: &Arc<Partition>, leader: NodeId, epoch: LeaderEpoch) {
        let mut inner = self.inner.lock();
        let Some(per_leader) = inner.runtime.as_ref().map(|runtime| runtime.per_leader) else {
            tracing::error!(partition = %partition.id(), "a partition is to be followed before its broker runs");
            return;
        };
        let id = FetcherId { leader, index: spread(partition.id(), per_leader) };
        inner.place(partition, id, epoch);
    }

    fn stop(&self, partition: &Partition) {
        let mut inner = self.inner.lock();
        if let Some(placed) = inner.placed.remove(partition.id()) {
            inner.leave(placed.at, partition);
        }
    }
}

impl Inner {
    fn place(&mut self, partition: &Arc<Partition>, at: FetcherId, epoch: LeaderEpoch) {
        let placed = Placed { at, partition: Arc::downgrade(partition), epoch };
        let before = self.placed.insert(partition.id().clone(), placed);
        if let Some(other) = before.filter(|before| before.at != at) {
            self.leave(other.at, partition);
        }
        let change = Change::Fetch { partition: Arc::clone(partition), epoch };
        self.mailbox(at).put(key(partition), change);
    }

    fn leave(&self, id: FetcherId, partition: &Partition) {
        if let Some(mailbox) = self.mailboxes.get(&id) {
            mailbox.put(key(partition), Change::Leave);
        }
    }

    /// The mailbox of a task, which is started if it does not run yet.
    fn mailbox(&mut self, id: FetcherId) -> &Mailbox {
        let Inner { runtime, mailboxes, .. } = self;
        mailboxes.entry(id).or_insert_with(|| {
            let mailbox: Arc<Mailbox> = Arc::default();
            if let Some(runtime) = runtime
                && let Some(broker) = runtime.broker.upgrade()
            {
                let fetcher = Fetcher::new(broker, id, Arc::clone(&mailbox));
                runtime.tasks.spawn_on(fetcher.run(), &runtime.handle);
            }
            mailbox
        })
    }
}

fn key(partition: &Partition) -> Key {
    (partition.topic_id(), partition.id().partition)
}

fn spread(partition: &TopicPartition, fetchers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    partition.hash(&mut hasher);
    (hasher.finish() % fetchers.max(1) as u64) as usize
}
