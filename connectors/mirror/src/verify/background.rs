//! Verification all the time: every partition of the link in turn, never faster than the setting allows.
//!
//! Picture: rounds. In each one every partition that has something new on both sides goes one stretch further; then the round
//! waits for what it has read to be within the bound, or for [`ROUND_EVERY`] if there was nothing. What tasks of this process
//! copy says by itself whether there is something new; the source is asked about the others every [`LOOK_EVERY`].
//! A difference is logged with its offsets, counted, and told in `/links`. A process that starts anew begins anew: so a disk
//! that forgets is found some day, too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};
use twinstream_client::ClientError;
use twinstream_client::raw::OffsetAt;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{Offset, TopicPartition};

use super::walk::{Pair, Step, Walk};
use super::world::World;
use crate::config::Settings;
use crate::figures::{self, Seen};

const ROUND_EVERY: Duration = Duration::from_secs(5);
/// Topics, their modes, and ends of partitions that other workers copy.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a step counts at least: four small questions cost about as much as this. So thousands of partitions with a record each
/// now and then keep nobody busy.
const STEP_BYTES_LEAST: u64 = 64 << 10;

/// Runs until it is dropped.
pub(crate) async fn run(settings: Settings, connector: String, bytes_per_second: u64) {
    let mut is_told = false;
    loop {
        // The copy comes first: a link that begins has better to do with its network.
        sleep(ROUND_EVERY).await;
        let mut background = match World::connect(settings.clone(), false).await {
            Ok(world) => Background::new(world, &settings, bytes_per_second),
            Err(cause) => {
                if !std::mem::replace(&mut is_told, true) {
                    warn!(connector, cause = trace_of(&cause), "nothing is verified, a cluster does not answer");
                }
                continue;
            }
        };
        loop {
            match background.round().await {
                Ok(()) => {
                    if std::mem::take(&mut is_told) {
                        info!(connector, "verification goes on");
                    }
                }
                Err(cause) => {
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(connector, cause = trace_of(&cause), "nothing is verified now");
                    }
                    sleep(ROUND_EVERY).await;
                }
            }
        }
    }
}

struct Background {
    world: World,
    source_alias: String,
    target_alias: String,
    bytes_per_second: u64,
    walks: BTreeMap<TopicPartition, Partition>,
    look_at: Instant,
    /// What was read is within the bound from then on.
    free_at: Instant,
}

struct Partition {
    walk: Walk,
    /// The end of the source that the last step without a gain was made for, and when it is tried again all the same.
    tried: Option<(Offset, Instant)>,
    /// As it was asked for: other workers copy it.
    asked_end: Option<Offset>,
}

impl Background {
    fn new(world: World, settings: &Settings, bytes_per_second: u64) -> Background {
        let now = Instant::now();
        Background {
            world,
            source_alias: settings.source_alias.clone(),
            target_alias: settings.target_alias.clone(),
            bytes_per_second: bytes_per_second.max(1),
            walks: BTreeMap::new(),
            look_at: now,
            free_at: now,
        }
    }

    async fn round(&mut self) -> Result<(), ClientError> {
        let seen = figures::link(&self.source_alias, &self.target_alias).partitions();
        let live: BTreeMap<TopicPartition, Offset> = seen
            .iter()
            .filter(|seen| seen.is_live)
            .filter_map(|seen: &Seen| Some((seen.source.clone(), seen.arrived?)))
            .collect();
        if Instant::now() >= self.look_at {
            self.look(&live).await?;
            self.look_at = Instant::now() + LOOK_EVERY;
        }
        let now = Instant::now();
        let due: Vec<TopicPartition> = self
            .walks
            .iter()
            .filter(|(name, one)| one.is_due(live.get(*name), now))
            .map(|(name, _)| name.clone())
            .collect();
        if due.is_empty() {
            sleep(ROUND_EVERY).await;
            return Ok(());
        }
        self.world.read_map().await?;
        let mut has_moved = false;
        for name in due {
            sleep_until(self.free_at).await;
            let known_end = live.get(&name).copied();
            has_moved |= self.step(&name, known_end).await?;
        }
        if !has_moved {
            sleep(ROUND_EVERY).await;
        }
        Ok(())
    }

    /// Which partitions there are, and how far those are that nobody here copies.
    async fn look(&mut self, live: &BTreeMap<TopicPartition, Offset>) -> Result<(), ClientError> {
        let found = self.world.look(|_| true).await?;
        let mut before = std::mem::take(&mut self.walks);
        for pair in found.pairs {
            let known = before.remove(&pair.there).filter(|known| known.walk.pair.is_as(&pair));
            let mut one = known.unwrap_or_else(|| Partition {
                walk: Walk::new(pair.clone(), None),
                tried: None,
                asked_end: None,
            });
            one.walk.pair = pair;
            self.walks.insert(one.walk.pair.there.clone(), one);
        }
        let away: Vec<TopicPartition> = self.walks.keys().filter(|name| !live.contains_key(*name)).cloned().collect();
        if away.is_empty() {
            return Ok(());
        }
        let ends = self.world.sides.source.list_offsets_now(&away, OffsetAt::Latest).await?;
        for (name, end) in ends {
            if let (Some(one), Ok(end)) = (self.walks.get_mut(&name), end) {
                one.asked_end = Some(end);
            }
        }
        Ok(())
    }

    /// Whether a partition went further.
    async fn step(&mut self, name: &TopicPartition, known_end: Option<Offset>) -> Result<bool, ClientError> {
        let Some(one) = self.walks.get_mut(name) else { return Ok(false) };
        let (before, known) = (one.walk.next, one.walk.told.differences);
        let step = one.walk.step(&self.world.sides, self.world.map(name)).await;
        let end = known_end.or(one.asked_end).unwrap_or(Offset(0));
        let bytes = match step {
            Ok(Step::Moved { bytes } | Step::AtEnd { bytes }) => bytes,
            // One partition without a leader stops no other.
            Err(cause) => {
                if one.tried.is_none() {
                    warn!(partition = %name, cause = trace_of(&cause), "partition is not verified now");
                }
                one.tried = Some((end, Instant::now() + LOOK_EVERY));
                return Ok(false);
            }
        };
        let pause = Duration::from_secs_f64(bytes.max(STEP_BYTES_LEAST) as f64 / self.bytes_per_second as f64);
        self.free_at = self.free_at.max(Instant::now()) + pause;
        let has_moved = one.walk.next > before;
        one.tried = (!has_moved).then(|| (end, Instant::now() + LOOK_EVERY));
        let figures = figures::link(&self.source_alias, &self.target_alias).partition(name, &one.walk.pair.here);
        if let Some(next) = one.walk.next {
            figures.verified(Offset(next));
        }
        let more = one.walk.told.differences - known;
        if more > 0 {
            figures.differs(more);
            crate::metrics::differ(&self.source_alias, &self.target_alias, &one.walk.pair.here, more);
            let first = one.walk.told.named.first().map(ToString::to_string).unwrap_or_default();
            error!(partition = %name, copy = %one.walk.pair.here, differences = more, first, "source and target differ");
            one.walk.told.named.clear();
        }
        Ok(has_moved)
    }
}

impl Pair {
    /// The same copy, whatever its settings say now.
    fn is_as(&self, other: &Pair) -> bool {
        self.here == other.here && self.mode == other.mode
    }
}

impl Partition {
    /// `arrived`: what is before is on the target, says a task of this process.
    fn is_due(&self, arrived: Option<&Offset>, now: Instant) -> bool {
        let Some(end) = arrived.copied().or(self.asked_end) else { return false };
        // Nothing was ever written to many a partition.
        let is_behind = self.walk.next.unwrap_or(0) < end.0;
        let rests = self.tried.is_some_and(|(tried, until)| tried >= end && now < until);
        is_behind && !rests
    }
}
