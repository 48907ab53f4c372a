//! Damaged records are had back from another replica.
//!
//! Picture: readers, the scrub and recovery mark what is damaged; a task here looks for marks, asks the replicas that are
//! in sync one after the other for exactly these records, and has the log put them in place. Until then nobody gets
//! them; everything else of the partition is served and written.
//!
//! Invariants: only committed records of replicas that are in sync are taken, so what is put in place is what was there.
//! Nothing is cut for a repair: a replica that shortened its log while it counts as in sync could win an election with
//! less than was acknowledged. Where all in-sync replicas were asked and have the records in another form, this copy gives
//! up its place first (`aside`). What no replica can give stays marked, and the log says what to do.

mod aside; // copies that give up their place

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use twinstream_log::{Damage, Repaired};
use twinstream_metadata::Image;
use twinstream_model::{NodeId, Offset, TopicPartition};
use twinstream_protocol::batch::batches;

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

/// What the other replicas could do about a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is whole again, or gone.
    Settled,
    /// Somebody may know more later.
    Unknown,
    /// All have been asked, and those that have the records have them in another form.
    Hopeless,
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
        let found = broker.partitions.damage_found();
        let aside = broker.partitions.aside();
        if found == seen && retries.is_empty() && aside.is_empty() {
            continue;
        }
        seen = found;
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            () = round(&broker, aside, &mut retries) => {}
        }
    }
}

async fn round(broker: &Arc<Broker>, aside: Vec<Arc<Partition>>, retries: &mut HashMap<TopicPartition, Retry>) {
    let all = broker.partitions.all().into_values().map(|(partition, _)| partition);
    let damaged: Vec<Arc<Partition>> = all.filter(|partition| partition.log().is_damaged()).collect();
    let (holes, whole) = (&damaged, aside.iter().filter(|partition| !partition.log().is_damaged()));
    let work: Vec<&Arc<Partition>> = holes.iter().chain(whole).collect();
    retries.retain(|at, _| work.iter().any(|partition| partition.id() == at));
    for partition in work {
        let now = Instant::now();
        if retries.get(partition.id()).is_some_and(|retry| retry.at > now) {
            continue;
        }
        let is_moving = step(broker, partition, retries.contains_key(partition.id())).await;
        let retry = retries.entry(partition.id().clone()).or_insert(Retry { at: now, pause: PAUSE_MIN / 2 });
        retry.pause = if is_moving { PAUSE_MIN } else { (retry.pause * 2).min(PAUSE_MAX) };
        retry.at = now + retry.pause;
    }
    let ranges = damaged.iter().map(|partition| partition.log().damage().len()).sum();
    broker.partitions.metrics().set_damaged(ranges);
}

/// One try for one partition; true if the next step should follow soon.
async fn step(broker: &Arc<Broker>, partition: &Arc<Partition>, complained: bool) -> bool {
    let mut hopeless = None;
    for damage in partition.log().damage() {
        let start = damage.offsets.start;
        if repair(broker, partition, damage, complained).await == Outcome::Hopeless {
            hopeless.get_or_insert(start);
        }
    }
    if let Some(hole) = hopeless {
        aside::give_up_from(broker, partition, hole).await;
    }
    if !partition.log().is_damaged() {
        aside::come_back(broker, partition).await;
    }
    hopeless.is_some() || !partition.log().is_damaged()
}

/// Tries the replicas in turn; complains unless that was done before.
async fn repair(broker: &Arc<Broker>, partition: &Arc<Partition>, damage: Damage, complained: bool) -> Outcome {
    let image = broker.image.load_full();
    let at = partition.id();
    let (first_offset, end_offset) = (damage.offsets.start.0, damage.offsets.end.0);
    let mut reasons = Vec::new();
    let (mut has_whole, mut may_know_more) = (false, false);
    for peer in peers(broker, &image, at) {
        match ask(broker, &image, partition, &damage, peer).await {
            Ok(Repaired::Done) => {
                tracing::info!(partition = %at, first_offset, end_offset, from = peer.0, "repaired damaged records from another replica");
                return Outcome::Settled;
            }
            Ok(Repaired::Gone) => return Outcome::Settled,
            Ok(Repaired::Unfit(why)) => {
                has_whole = true;
                reasons.push(format!("broker {peer}: {why}"));
            }
            Err(why) => {
                may_know_more = true;
                reasons.push(format!("broker {peer}: {why}"));
            }
        }
    }
    if has_whole && !may_know_more {
        let reasons = reasons.join("; ");
        tracing::debug!(partition = %at, first_offset, end_offset, reasons, "no replica can fill a hole");
        return Outcome::Hopeless;
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
    Outcome::Unknown
}

/// Asks one replica for a stretch. Of one that is too large for a repair only whether it is there.
async fn ask(
    broker: &Arc<Broker>,
    image: &Image,
    partition: &Arc<Partition>,
    damage: &Damage,
    peer: NodeId,
) -> Result<Repaired, String> {
    let bytes = partition.log().room_of(damage).unwrap_or(REPAIR_BYTES_MAX);
    let is_too_large = bytes > REPAIR_BYTES_MAX;
    let start = damage.offsets.start;
    let offsets = if is_too_large { start..Offset(start.0 + 1) } else { damage.offsets.clone() };
    let stretch = Stretch { topic: partition.topic_id(), partition: partition.id().partition, offsets, bytes };
    let records = peer::fetch(&broker.settings, image, peer, &stretch).await.map_err(|error| error.to_string())?;
    // What changed on the way says nothing about what the replica has.
    batches(&records).try_for_each(|batch| batch?.check_crc()).map_err(|error| error.to_string())?;
    match is_too_large {
        true => Ok(Repaired::Unfit(format!("{bytes} bytes are too many for a repair"))),
        false => put_in_place(partition, damage, records).await,
    }
}

async fn put_in_place(partition: &Arc<Partition>, damage: &Damage, records: Vec<u8>) -> Result<Repaired, String> {
    let (partition, damage) = (Arc::clone(partition), damage.clone());
    let done = tokio::task::spawn_blocking(move || partition.log().repair(&damage, &records)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.chain())
}

/// The replicas that have all that is committed, the leader first.
fn peers(broker: &Broker, image: &Image, at: &TopicPartition) -> Vec<NodeId> {
    let Some(found) = image.partition(&at.topic, at.partition) else { return Vec::new() };
    let mut peers: Vec<NodeId> = found.isr.iter().copied().filter(|node| *node != broker.settings.node.id).collect();
    peers.sort_by_key(|node| Some(*node) != found.leader);
    peers
}
