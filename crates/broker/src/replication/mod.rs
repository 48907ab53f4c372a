//! What this broker does so that replicas stay alike: fetch from leaders, propose in-sync sets, hold back moves.
//!
//! Picture: for each broker that leads something which is followed here there are a few *fetchers*, tasks with a
//! connection of their own; the metadata image assigns partitions to them. As a leader this broker *watches* its
//! followers by the clock, and what that and their fetches say about in-sync sets goes to the controller in *batches*.
//! *Throttles* bound what moving replicas may take.
//!
//! Invariants: the rules live in `twinstream_replication` and are applied under the locks of
//! [`Partition`](crate::partitions::Partition); nothing here can make a partition accept an answer of another leader
//! epoch than its own. Every queue is bounded by the number of partitions.
//!
//! Not here: serving the fetches of followers (`handlers::fetch`), who leads (`controller`).

pub(crate) mod connection; // one request out, one answer back
mod fetcher; // one task per leader and connection
mod fetchers; // which partition is fetched by which task
mod isr; // changes of in-sync sets on their way to the controller
pub(crate) mod peer; // records of another replica, for a repair
mod session; // only what changed is sent
mod throttles; // how much moving replicas may take

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

pub(crate) use self::fetchers::Fetchers;
pub(crate) use self::isr::IsrChanges;
pub(crate) use self::throttles::Throttles;
use crate::context::Broker;
use crate::partitions::Replicas;

/// How often leaders look at their followers, at most and at least.
const WATCH_INTERVAL_MIN: Duration = Duration::from_millis(20);
const WATCH_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// The parts that others talk to.
pub(crate) struct Replication {
    pub(crate) isr: Arc<IsrChanges>,
    pub(crate) fetchers: Arc<Fetchers>,
    pub(crate) throttles: Arc<Throttles>,
}

impl Replication {
    pub(crate) fn new() -> Replication {
        Replication { isr: Arc::default(), fetchers: Arc::default(), throttles: Arc::new(Throttles::new()) }
    }

    /// What partitions need of it.
    pub(crate) fn for_partitions(&self) -> Replicas {
        Replicas { isr: Arc::clone(&self.isr), followers: Arc::clone(&self.fetchers) as _ }
    }

    /// Starts the tasks; they end when the broker stops.
    pub(crate) fn start(&self, broker: &Arc<Broker>, tasks: &TaskTracker) {
        self.fetchers.start(broker, tasks);
        tasks.spawn(isr::run(Arc::clone(broker)));
        tasks.spawn(watch_followers(Arc::clone(broker)));
        tasks.spawn(crate::partitions::repair::run(Arc::clone(broker)));
    }
}

/// Lets leaders look for followers that fell behind or silent.
async fn watch_followers(broker: Arc<Broker>) {
    let limits = &broker.settings.replication;
    let interval = (limits.silence_max.min(limits.lag_max) / 4).clamp(WATCH_INTERVAL_MIN, WATCH_INTERVAL_MAX);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        broker.partitions.for_each(|partition| partition.check_followers(now));
    }
}
