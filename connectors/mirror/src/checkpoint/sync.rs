//! Brings translated offsets to the groups of the target.
//!
//! Only what changed since it was last judged is looked at: a link whose groups stand still asks the target nothing, but once
//! in [`JUDGE_ANEW`], when offsets that expired there, or that somebody deleted, are written again. What could not be written
//! because the group has members is judged again each round. A coordinator that does not answer keeps no other's groups
//! waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};
use twinstream_client::raw::{GroupListing, OffsetAt};
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::{ErrorCode, GroupId, Offset, TopicPartition};

use super::follower::{Place, Translated};
use super::metrics::LinkMetrics;
use crate::figures::{self, GroupBehind, LinkFigures};
use crate::groups::ask;
use crate::groups::decide::{Position, Step, is_free, note_of, noted, step, within};
use crate::syncs::topic_log::now_ms;

/// How often everything is judged, whether it changed or not.
const JUDGE_ANEW: Duration = Duration::from_secs(30);

pub(super) struct GroupSync {
    target: RawClient,
    figures: Arc<LinkFigures>,
    every: Duration,
    /// The note that goes with an offset whose group has none of its own.
    mark: String,
    ran_at: Option<Instant>,
    judged_anew_at: Instant,
    metrics: LinkMetrics,
    known: HashMap<Place, Known>,
    /// Groups whose offsets the target did not take the last time; they hold nobody else up.
    refused: BTreeSet<GroupId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// What the link wrote last.
    ours: Option<Offset>,
    /// The translated offset that was judged last.
    judged: Option<Offset>,
    /// The translated offset that the target's group was left behind, or before, by its own doing.
    left: Option<Offset>,
    /// Since when the group is behind on the target; Unix time.
    behind_since: Option<i64>,
}

/// What is to be judged of a group: by partition, the translated offset.
type Candidates<'a> = BTreeMap<&'a GroupId, Vec<(&'a TopicPartition, &'a Translated)>>;

impl GroupSync {
    pub(super) fn new(
        target: RawClient,
        every: Duration,
        (source, target_alias): (&str, &str),
        metrics: LinkMetrics,
    ) -> Self {
        Self {
            target,
            figures: figures::link(source, target_alias),
            every,
            mark: note_of(source),
            ran_at: None,
            judged_anew_at: Instant::now(),
            metrics,
            known: HashMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// What was told before is the link's own doing.
    pub(super) fn load(&mut self, emitted: &HashMap<Place, (Offset, Offset)>) {
        for (place, (_, downstream)) in emitted {
            self.known.insert(place.clone(), Known { ours: Some(*downstream), ..Known::default() });
        }
    }

    /// Groups that are gone from the source leave nothing behind.
    pub(super) fn keep(&mut self, groups: &BTreeSet<&GroupId>) {
        self.known.retain(|(group, _), _| groups.contains(group));
        self.refused.retain(|group| groups.contains(group));
    }

    pub(super) async fn run(
        &mut self,
        translated: &BTreeMap<Place, Translated>,
        read_at: i64,
    ) -> Result<(), ClientError> {
        if self.ran_at.is_some_and(|at| at.elapsed() < self.every) {
            return Ok(());
        }
        self.ran_at = Some(Instant::now());
        if self.judged_anew_at.elapsed() >= JUDGE_ANEW {
            self.judged_anew_at = Instant::now();
            self.known.values_mut().for_each(|known| known.judged = None);
        }
        let done = self.bring(translated, read_at).await;
        self.tell_behind(translated, now_ms());
        done
    }

    async fn bring(&mut self, translated: &BTreeMap<Place, Translated>, read_at: i64) -> Result<(), ClientError> {
        let mut candidates = Candidates::new();
        for (place, at) in translated {
            if self.known.get(place).and_then(|known| known.judged) != Some(at.downstream) {
                candidates.entry(&place.0).or_default().push((&place.1, at));
            }
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let (listed, silent) = self.target.list_groups_now().await?;
        let listed: BTreeMap<GroupId, GroupListing> =
            listed.into_iter().map(|listing| (listing.group.clone(), listing)).collect();
        // Whom nobody lists may be a coordinator's that does not answer: with members, for all that is known.
        candidates.retain(|group, _| silent.is_empty() || listed.contains_key(*group));
        candidates.retain(|group, _| listed.get(*group).is_none_or(|listing| is_free(&listing.state)));
        let there: Vec<&GroupListing> = candidates.keys().filter_map(|group| listed.get(*group)).collect();
        let present = ask::committed(&self.target, &there).await?;
        candidates.retain(|group, _| !present.failed.contains_key(*group));
        let ends = self.ends(&candidates).await?;
        for (group, positions) in candidates {
            let wanted = self.judge(group, positions, present.offsets.get(group), &ends);
            self.write(group, wanted, read_at).await;
        }
        Ok(())
    }

    /// Log start and log end of the partitions that are to be written; those that cannot be asked are left out.
    async fn ends(
        &self,
        candidates: &Candidates<'_>,
    ) -> Result<BTreeMap<TopicPartition, (Offset, Offset)>, ClientError> {
        let mut partitions: Vec<TopicPartition> =
            candidates.values().flatten().map(|(partition, _)| (*partition).clone()).collect();
        partitions.sort();
        partitions.dedup();
        let mut starts = self.target.list_offsets_now(&partitions, OffsetAt::Earliest).await?;
        let ends = self.target.list_offsets_now(&partitions, OffsetAt::Latest).await?;
        let both = |(partition, end): (TopicPartition, Result<Offset, ClientError>)| {
            let start = starts.remove(&partition)?.ok()?;
            Some((partition, (start, end.ok()?)))
        };
        Ok(ends.into_iter().filter_map(both).collect())
    }

    /// What is to be written of a group: by partition, the offset and the translated one that it comes from.
    fn judge<'a>(
        &mut self,
        group: &GroupId,
        positions: Vec<(&'a TopicPartition, &'a Translated)>,
        present: Option<&ask::Committed>,
        ends: &BTreeMap<TopicPartition, (Offset, Offset)>,
    ) -> Vec<(&'a TopicPartition, Offset, &'a Translated)> {
        let mut writes = Vec::new();
        for (partition, at) in positions {
            let Some((start, end)) = ends.get(partition) else { continue };
            let known = self.known.entry((group.clone(), partition.clone())).or_default();
            let wanted = within(at.downstream, *start, *end);
            let present = present.and_then(|present| present.get(partition));
            let marked = present.filter(|commit| commit.metadata == self.mark).map(|commit| commit.offset);
            let present = present.map(|commit| commit.offset);
            match step(Position { wanted, present, ours: marked.or(known.ours) }) {
                Step::Write => writes.push((partition, wanted, at)),
                Step::Same => known.stands(wanted, at.downstream),
                Step::Leave => {
                    known.judged = Some(at.downstream);
                    if known.left.replace(at.downstream) == Some(at.downstream) {
                        continue;
                    }
                    self.metrics.left();
                    debug!(%group, %partition, ?present, "left: the group is further on the target by its own doing");
                }
            }
        }
        writes
    }

    async fn write(&mut self, group: &GroupId, writes: Vec<(&TopicPartition, Offset, &Translated)>, read_at: i64) {
        if writes.is_empty() {
            return;
        }
        let commit = |(partition, offset, at): &(&TopicPartition, Offset, &Translated)| {
            let metadata = noted(&at.metadata, &self.mark);
            ((*partition).clone(), CommitOffset { offset: *offset, metadata })
        };
        match self.target.commit_offsets(group, &writes.iter().map(commit).collect()).await {
            Ok(()) => {}
            // Somebody joined since the group was looked at; the next round looks again.
            Err(error) if is_in_use(error.code()) => {
                debug!(%group, "the group has members on the target now");
                return;
            }
            Err(cause) => {
                self.metrics.refused();
                if self.refused.insert(group.clone()) {
                    let cause = trace_of(&cause);
                    warn!(%group, cause, "offsets of a group cannot be written on the target, which is tried again");
                }
                return;
            }
        }
        if self.refused.remove(group) {
            info!(%group, "offsets of a group can be written on the target again");
        }
        for (partition, offset, at) in writes {
            let place = (group.clone(), partition.clone());
            self.known.entry(place).or_default().stands(offset, at.downstream);
            self.metrics.written();
            let now = now_ms();
            self.figures.checkpoint_took(group, partition, now - read_at, now);
        }
    }
}

impl GroupSync {
    /// How far groups on the target are behind those at the source. One that is there by its own doing is not behind.
    fn tell_behind(&mut self, translated: &BTreeMap<Place, Translated>, now: i64) {
        for (place, at) in translated {
            let known = self.known.entry(place.clone()).or_default();
            let behind = known.behind(at, now);
            self.figures.group_behind(&place.0, &at.source, behind);
        }
    }
}

impl Known {
    fn stands(&mut self, offset: Offset, judged: Offset) {
        (self.ours, self.judged, self.left) = (Some(offset), Some(judged), None);
    }

    fn behind(&mut self, at: &Translated, now: i64) -> GroupBehind {
        let is_there = self.left == Some(at.downstream);
        // Without an offset of ours the group would begin anew.
        let ours = self.ours.unwrap_or(Offset(0));
        let records = if is_there { 0 } else { (at.downstream.0 - ours.0).max(0) + at.missing };
        self.behind_since = (records > 0).then(|| self.behind_since.unwrap_or(now));
        GroupBehind { records, since_ms: self.behind_since }
    }
}

fn is_in_use(code: Option<ErrorCode>) -> bool {
    use ErrorCode::{IllegalGeneration, RebalanceInProgress, StaleMemberEpoch, UnknownMemberId};
    matches!(code, Some(UnknownMemberId | IllegalGeneration | RebalanceInProgress | StaleMemberEpoch))
}

#[cfg(test)]
mod tests {
    use twinstream_model::{PartitionIndex, TopicName};

    use super::*;

    fn at(downstream: i64, missing: i64) -> Translated {
        let source = TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(0));
        let upstream = Offset(downstream + missing);
        Translated { source, upstream, downstream: Offset(downstream), missing, metadata: String::new() }
    }

    fn behind(records: i64, since: Option<i64>) -> GroupBehind {
        GroupBehind { records, since_ms: since }
    }

    #[test]
    fn a_group_is_behind_by_what_was_not_written_and_by_what_is_not_mirrored() {
        let mut known = Known::default();
        known.stands(Offset(80), Offset(80));
        assert_eq!(known.behind(&at(80, 0), 1), behind(0, None));
        assert_eq!(known.behind(&at(80, 20), 2), behind(20, Some(2)), "the mirror ends at 80");
        assert_eq!(known.behind(&at(95, 5), 3), behind(20, Some(2)), "since then");
        known.stands(Offset(100), Offset(100));
        assert_eq!(known.behind(&at(100, 0), 4), behind(0, None));
        assert_eq!(known.behind(&at(90, 0), 5), behind(0, None), "it went back, and is not behind");
    }

    #[test]
    fn a_group_that_is_further_by_its_own_doing_is_not_behind() {
        let mut known = Known { left: Some(Offset(50)), ..Known::default() };
        assert_eq!(known.behind(&at(50, 0), 1), behind(0, None));
        assert_eq!(known.behind(&at(60, 0), 1).records, 60, "it has not been looked at again");
    }
}
