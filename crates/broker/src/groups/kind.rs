//! Groups as a kind of coordinator: their settings, their events as log lines.

use std::time::Duration;

use tracing::{debug, info, warn};
use twinstream_coordinator::group::{Event, GroupConfig, GroupShard, Record};
use twinstream_coordinator::{Engine, NoEffect};
use twinstream_model::{ErrorCode, Offset};
use twinstream_protocol::batch::BatchView;

use super::metrics::{GroupMetrics, Share};
use super::records;
use crate::coordinators::{Kind, LoadError, Loaded, Site};

/// How group shards behave and where they are counted.
#[derive(Clone, Debug)]
pub(super) struct GroupKind {
    pub(super) group: GroupConfig,
    /// How long an answer waits for its commit.
    pub(super) commit_timeout: Duration,
    pub(super) metrics: GroupMetrics,
}

impl Kind for GroupKind {
    type Shard = GroupShard;
    type Share = Share;

    const NAME: &'static str = "group";

    fn shard(&self) -> GroupShard {
        GroupShard::new(self.group.clone())
    }

    fn commit_timeout(&self) -> Duration {
        self.commit_timeout
    }

    fn batch(records: &[Record], timestamp_ms: i64) -> Result<Vec<u8>, ErrorCode> {
        records::batch_of(records, timestamp_ms)
    }

    fn replay(
        engine: &mut Engine<GroupShard>,
        batch: &BatchView<'_>,
        from: Offset,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError> {
        records::replay(engine, batch, from, loaded)
    }

    fn log_event(&self, event: Event) {
        match event {
            Event::Rebalancing { group, generation, reason } => {
                info!(%group, generation = generation.0, reason, "group starts to rebalance");
            }
            Event::GenerationStarted { group, generation, members } => {
                debug!(%group, generation = generation.0, members, "group has a new generation");
            }
            Event::Stabilized { group, generation, members } => {
                info!(%group, generation = generation.0, members, "group is stable");
            }
            Event::Emptied { group, generation } => info!(%group, generation = generation.0, "group is empty"),
            Event::MemberFailed { group, member, reason } => {
                info!(%group, %member, reason, "member is out of the group")
            }
            Event::MemberLeft { group, member, reason } => info!(%group, %member, reason, "member left the group"),
            Event::StaticMemberFenced { group, instance, old, new } => {
                info!(%group, %instance, %old, %new, "static member is back under a new id, the old one is fenced");
            }
            Event::NotUpgraded { group, reason } => {
                warn!(%group, reason, "classic group does not take in a member of the consumer protocol");
            }
            Event::NotStored { group, what, error } => {
                warn!(%group, what, error = error.name(), "group state could not be stored");
            }
            Event::NewGroupEpoch { group, epoch, members } => {
                debug!(%group, epoch = epoch.0, members, "consumer group has a new epoch");
            }
            Event::NewTarget { group, epoch, members, assignor } => {
                info!(%group, epoch = epoch.0, members, assignor, "consumer group has a new target assignment");
            }
            Event::OffsetsExpired { offsets, groups } => info!(offsets, groups, "expired offsets and groups"),
            Event::Deleted { group, offsets } => info!(%group, offsets, "deleting group"),
        }
    }

    fn carry_out(&self, effect: NoEffect, _site: &Site<Self>) {
        match effect {}
    }

    fn share(&self) -> Share {
        self.metrics.share()
    }

    fn count(share: &mut Share, shard: &GroupShard) {
        share.update(shard);
    }
}
