//! Damaged records are had back from another replica.
//!
//! Picture: readers, the scrub and recovery mark what is damaged; a task here looks for marks, asks the replicas that are
//! in sync one after the other for exactly these records, and has the log put them in place. Until then nobody gets
//! them; everything else of the partition is served and written.
//!
//! Invariants: only committed records of replicas that are in sync are taken, so what is put in place is what was there.
//! Nothing is cut for a repair: a replica that shortened its log while it counts as in sync could win an election with
//! less than was acknowledged. What no replica can give stays marked, and the log says what to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use twinstream_log::{Damage, Repaired};
use twinstream_model::{NodeId, TopicPartition};

use super::Partition;
use crate::context::Broker;
use crate::replication::peer::{self, Stretch};

/// How often is looked for new damage.
const INTERVAL: Duration = Duration::from_millis(250);
/// Pauses before a repair that failed is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A stretch that is larger is not held in memory for a repair.
const REPAIR_BYTES_MAX: u64 = 64 << 20;

/// When a partition is tried again.
struct Retry {
    at: Instant,
    pause: Duration,
}

/// Repairs until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    let mut retries: HashMap<TopicPartition, Retry> = HashMap::new();
    loop {
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let found = broker.partitions.directories().files().damage_found();
        if found == seen && retries.is_empty() {
            continue;
        }
        seen = found;
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            () = round(&broker, &mut retries) => {}
        }
    }
}

async fn round(broker: &Arc<Broker>, retries: &mut HashMap<TopicPartition, Retry>) {
    let damaged: Vec<Arc<Partition>> = broker
        .partitions
        .all()
        .into_values()
        .map(|(partition, _)| partition)
        .filter(|p| p.log().is_damaged())
        .collect();
    retries.retain(|at, _| damaged.iter().any(|partition| partition.id() == at));
    for partition in &damaged {
        let now = Instant::now();
        if retries.get(partition.id()).is_some_and(|retry| retry.at > now) {
            continue;
        }
        for damage in partition.log().damage() {
            repair(broker, partition, damage, retries.contains_key(partition.id())).await;
        }
        match partition.log().is_damaged() {
            false => drop(retries.remove(partition.id())),
            true => {
                let retry = retries.entry(partition.id().clone()).or_insert(Retry { at: now, pause: PAUSE_MIN / 2 });
                retry.pause = (retry.pause * 2).min(PAUSE_MAX);
                retry.at = now + retry.pause;
            }
        }
    }
    let ranges = damaged.iter().map(|partition| partition.log().damage().len()).sum();
    broker.partitions.metrics().set_damaged(ranges);
}

/// Tries the replicas in turn; complains unless that was done before.
async fn repair(broker: &Arc<Broker>, partition: &Arc<Partition>, damage: Damage, complained: bool) {
    let image = broker.image.load_full();
    let at = partition.id();
    let peers = peers(broker, &image, at);
    let stretch = Stretch {
        topic: partition.topic_id(),
        partition: at.partition,
        offsets: damage.offsets.clone(),
        bytes: damage.bytes.end - damage.bytes.start,
    };
    let (first_offset, end_offset) = (damage.offsets.start.0, damage.offsets.end.0);
    let mut reasons = Vec::new();
    for peer in peers {
        if stretch.bytes > REPAIR_BYTES_MAX {
            reasons.push(format!("{} bytes are too many for a repair", stretch.bytes));
            break;
        }
        let records = match peer::fetch(&broker.settings, &image, peer, &stretch).await {
            Ok(records) => records,
            Err(error) => {
                reasons.push(format!("broker {peer}: {error}"));
                continue;
            }
        };
        match put_in_place(partition, &damage, records).await {
            Ok(Repaired::Done) => {
                tracing::info!(partition = %at, first_offset, end_offset, from = peer.0, "repaired damaged records from another replica");
                return;
            }
            Ok(Repaired::Gone) => return,
            Ok(Repaired::Unfit(why)) => reasons.push(format!("broker {peer}: {why}")),
            Err(why) => reasons.push(why),
        }
    }
    if !complained {
        let reasons = if reasons.is_empty() { "no other replica is in sync".to_owned() } else { reasons.join("; ") };
        tracing::warn!(
            partition = %at,
            first_offset,
            end_offset,
            reasons,
            "damaged records cannot be repaired now, trying on; readers go on behind them, or stop this broker and delete the partition's folder to copy all of it anew"
        );
    }
}

async fn put_in_place(partition: &Arc<Partition>, damage: &Damage, records: Vec<u8>) -> Result<Repaired, String> {
    let (partition, damage) = (Arc::clone(partition), damage.clone());
    let done = tokio::task::spawn_blocking(move || partition.log().repair(&damage, &records)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.chain())
}

/// The replicas that have all that is committed, the leader first.
fn peers(broker: &Broker, image: &twinstream_metadata::Image, at: &TopicPartition) -> Vec<NodeId> {
    let Some(found) = image.partition(&at.topic, at.partition) else { return Vec::new() };
    let mut peers: Vec<NodeId> = found.isr.iter().copied().filter(|node| *node != broker.settings.node.id).collect();
    peers.sort_by_key(|node| Some(*node) != found.leader);
    peers
}
