//! How far both sides of a link are, and waiting until they are further.
//!
//! What is asked depends on who leads: a mirror's own log end tells what arrived; once it is promoted that is its producers'
//! as well, and only what the tasks saw, or the worker stored, tells what came over the link.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use tokio::time::Instant;
use twinstream_client::ClientError;
use twinstream_connect_api::ApiRefusal;
use twinstream_model::{Offset, TopicPartition};

use super::ends::{ANSWERS_WITHIN, Pair, ends_of, fenced_ends_of, log_ends_of, stable_ends_of};
use super::plan::Phase;
use super::report::Standing;
use super::{LOOK_EVERY, Operation, Side, TRANSACTIONS_WITHIN, Verb};
use crate::aligned::parting::{self, Parting, PartingError};
use crate::figures;
use crate::words::counted;

/// Partitions whose point of parting is looked for side by side.
const ASKED_AT_ONCE: usize = 32;

type Ends = BTreeMap<TopicPartition, Offset>;

impl Operation<'_> {
    /// How far both sides are, by asking them, or by what the source said last.
    pub(super) async fn measure(&mut self) -> Result<(), ApiRefusal> {
        let seen: BTreeMap<TopicPartition, figures::Seen> = figures::link(&self.link.source, &self.link.target)
            .partitions()
            .into_iter()
            .map(|seen| (seen.source.clone(), seen))
            .collect();
        let (there, here): (Vec<_>, Vec<_>) = self.pairs.values().flat_map(Pair::partitions).unzip();
        let source_ends = match &self.ends.source {
            // What one broker of the source does not say is no reason not to ask the others.
            Ok(_) if self.report.verb == Verb::Failover => match self.ends.source_ends(&there).await {
                Ok(ends) => Some(ends),
                Err(_) => {
                    self.ends.give_up_source();
                    self.report.source_answers = false;
                    None
                }
            },
            Ok(source) => match tokio::time::timeout(ANSWERS_WITHIN, ends_of(source, &there)).await {
                Ok(Ok(ends)) => Some(ends),
                Ok(Err(cause)) => return Err(self.ends.source_unheard(&cause)),
                Err(_) => {
                    let what = "ask where its logs end".to_owned();
                    return Err(self.ends.source_unheard(&ClientError::Timeout { what, after: ANSWERS_WITHIN }));
                }
            },
            Err(_) => None,
        };
        let target_ends = ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
        for pair in self.pairs.values() {
            let phase = self.ends.phase(pair);
            for (there, here) in pair.partitions() {
                let seen = seen.get(&there);
                let arrived = match phase {
                    Phase::Ahead | Phase::Between => target_ends.get(&here).copied(),
                    _ => seen.and_then(|seen| seen.arrived).max(self.positions.get(&there).copied()),
                };
                // Of a topic that was made anew nothing is here, and of the one before nobody knows where it ended.
                let is_another = pair.is_another(phase);
                let end = source_ends.as_ref().filter(|_| !is_another).and_then(|ends| ends.get(&there).copied());
                let seen = seen.filter(|_| !is_another);
                let standing = match (end, seen) {
                    // It follows: there is nothing that only the source has.
                    (Some(end), _) if phase == Phase::Behind => {
                        Standing { source_end: Some(end), given_up: Some(0), ..Standing::default() }
                    }
                    (Some(end), _) => Standing { source_end: Some(end), arrived, ..Standing::default() },
                    (None, Some(seen)) => Standing::seen(seen, arrived),
                    (None, None) => Standing { arrived, ..Standing::default() },
                };
                self.report.standings.insert(there, standing);
            }
        }
        Ok(())
    }

    /// Where both sides part, after both may have been written to. Topics that the source leads have nothing to give up.
    pub(super) async fn measure_parting(&mut self) -> Result<(), ApiRefusal> {
        for phase in [Phase::Parted, Phase::Behind, Phase::Between] {
            let (there, here) = self.partitions_in(phase);
            let (source_ends, target_ends) = self.both_ends(&there, &here).await?;
            // The original is the one that has to give up: seen from the way back it is the mirror. Between, it gives up no more.
            let partings = match phase {
                Phase::Between => Vec::new(),
                _ => self.partings(&there, &here).await?,
            };
            let mut partings = partings.into_iter();
            for (there, here) in there.into_iter().zip(here) {
                let (end, target_end) = (source_ends.get(&there).copied(), target_ends.get(&here).copied());
                let parted = partings.next().flatten();
                if parted.is_none() && phase == Phase::Behind && self.report.resumes {
                    // What was cut by the call before nobody counts any more.
                    self.report.standings.insert(there, Standing { source_end: end, ..Standing::default() });
                    continue;
                }
                let at = parted.map_or(end, |parted| Some(parted.at));
                let beyond = |end: Option<Offset>| Some((end?.0 - at?.0).max(0));
                let standing = Standing {
                    source_end: end,
                    arrived: target_end,
                    as_of_ms: None,
                    given_up: beyond(parted.map_or(end, |parted| Some(parted.mirror_end)).max(end)),
                    to_copy: beyond(target_end),
                };
                self.report.standings.insert(there, standing);
            }
        }
        Ok(())
    }

    /// Partitions of the copies in this phase, by both names.
    fn partitions_in(&self, phase: Phase) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
        self.in_phase(&[phase]).into_iter().flat_map(Pair::copied).unzip()
    }

    /// Committed ends of both sides.
    async fn both_ends(&self, there: &[TopicPartition], here: &[TopicPartition]) -> Result<(Ends, Ends), ApiRefusal> {
        let source_ends =
            ends_of(self.ends.source()?, there).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        let target_ends = ends_of(&self.ends.target, here).await.map_err(|cause| self.ends.unheard(&cause))?;
        Ok((source_ends, target_ends))
    }

    /// Whether a copy that is fenced has something that its original lacks. One that lacks something itself was left by a
    /// reversal: the way back would cut its original.
    pub(super) async fn not_home(&self) -> Result<bool, ApiRefusal> {
        let (there, here) = self.partitions_in(Phase::Between);
        let source_ends = log_ends_of(self.ends.source()?, &there).await;
        let source_ends = source_ends.map_err(|cause| self.ends.source_unheard(&cause))?;
        let target_ends = log_ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
        let (mut lack, mut ahead) = (false, None);
        for (there, here) in there.iter().zip(&here) {
            let (home, away) = (source_ends.get(there), target_ends.get(here));
            lack |= away > home;
            ahead = ahead.or((home > away).then_some(there));
        }
        match ahead {
            Some(partition) if lack || !self.in_phase(&[Phase::Parted, Phase::Behind]).is_empty() => {
                Err(ApiRefusal::conflict(format!(
                    "topic {} is in the middle of a reversal, its copy does not have all of it: call `twinstream link reverse {}` again first",
                    partition.topic, self.link
                )))
            }
            _ => Ok(lack),
        }
    }

    /// What each partition lacks whose copy is not promoted; `i64::MAX` where that is not known.
    fn lacking(&self) -> impl Iterator<Item = i64> + '_ {
        let phases = [Phase::Ahead, Phase::Between, Phase::Plain];
        let counts = move |at: &TopicPartition| {
            self.pairs.get(&at.topic).is_some_and(|pair| phases.contains(&self.ends.phase(pair)))
        };
        let standings = self.report.standings.iter().filter(move |(at, _)| counts(at));
        standings.map(|(_, standing)| standing.lost().unwrap_or(i64::MAX))
    }

    /// What the source has got beyond copies that lead already.
    pub(super) fn beyond_the_parted(&self) -> i64 {
        let parted =
            |at: &TopicPartition| self.pairs.get(&at.topic).is_some_and(|pair| self.ends.phase(pair) == Phase::Parted);
        let standings = self.report.standings.iter().filter(|(at, _)| parted(at));
        standings.filter_map(|(_, standing)| standing.lost()).fold(0, i64::saturating_add)
    }

    /// In the preview of a verb that waits until copies have everything: what they lack now is copied first, and not lost.
    pub(super) fn copy_before_it_leads(&mut self) {
        let phases = [Phase::Ahead, Phase::Between, Phase::Plain];
        for pair in self.pairs.values().filter(|pair| phases.contains(&self.ends.phase(pair))) {
            for (there, _) in pair.partitions() {
                if let Some(standing) = self.report.standings.get_mut(&there)
                    && let Some(lacks) = standing.lost()
                {
                    (standing.given_up, standing.to_copy) = (Some(0), Some(lacks));
                }
            }
        }
    }

    pub(super) fn behind(&self) -> i64 {
        self.lacking().fold(0, i64::saturating_add)
    }

    fn worst(&self) -> i64 {
        self.lacking().max().unwrap_or(0)
    }

    /// What a source that nobody has fenced has got since it was measured: lost as well. How many records that is.
    pub(super) async fn measure_what_came_since(&mut self) -> Result<i64, ApiRefusal> {
        let partitions: Vec<TopicPartition> = self.report.standings.keys().cloned().collect();
        if self.ends.source.is_err() {
            return Ok(0);
        }
        // It may have died in the meantime: what is known is what it said then.
        let Ok(ends) = self.ends.source_ends(&partitions).await else {
            self.report.source_answers = false;
            return Ok(0);
        };
        let mut came = 0;
        for (partition, end) in ends {
            if let Some(standing) = self.report.standings.get_mut(&partition)
                && let Some(before) = standing.source_end
                && standing.as_of_ms.is_none()
                && end > before
            {
                standing.source_end = Some(end);
                came += end.0 - before.0;
            }
        }
        Ok(came)
    }

    /// Copies that were written to until they were fenced may have transactions of their own, which end by their markers yet.
    pub(super) async fn let_transactions_end(&mut self) -> Result<(), ApiRefusal> {
        let (_, here) = self.partitions_in(Phase::Between);
        let until = self.asked.until.min(Instant::now() + TRANSACTIONS_WITHIN);
        loop {
            let unheard = |cause| self.ends.unheard(&cause);
            let stable = stable_ends_of(&self.ends.target, &here).await.map_err(unheard)?;
            let ends = ends_of(&self.ends.target, &here).await.map_err(unheard)?;
            let open = ends.iter().filter(|(at, end)| stable.get(at).is_none_or(|stable| stable < end)).count();
            if open == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                self.report.left.push(format!(
                    "transactions are open in {} of '{}': they end as their producers say, or by their time limit; those of partitions that '{}' has led since are aborted",
                    counted(open, "partition"),
                    self.ends.target_alias,
                    self.ends.source_alias
                ));
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no copy lacks more than `records`; false if time is up.
    pub(super) async fn wait_until_copied(&mut self, records: i64) -> Result<bool, ApiRefusal> {
        loop {
            self.measure().await?;
            if self.worst() <= records {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the originals lack no more than `records` of what the copies have.
    pub(super) async fn wait_until_brought_home(&mut self, records: i64) -> Result<bool, ApiRefusal> {
        loop {
            let (there, here) = self.partitions_in(Phase::Behind);
            let (source_ends, target_ends) = self.both_ends(&there, &here).await?;
            let partings = self.still_parted(&there, &here).await?;
            let lacks = |(there, here): (&TopicPartition, &TopicPartition)| {
                let (home, away) = (source_ends.get(there)?, target_ends.get(here)?);
                Some((away.0 - home.0).max(0))
            };
            let is_near = there.iter().zip(&here).map(lacks).all(|lack| lack.is_some_and(|lack| lack <= records));
            if is_near && partings == 0 {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Originals that still have records which the copies have not.
    async fn still_parted(&self, there: &[TopicPartition], here: &[TopicPartition]) -> Result<usize, ApiRefusal> {
        Ok(self.partings(there, here).await?.iter().flatten().count())
    }

    /// Where the originals part from the copies, in the order of the partitions; several are asked side by side.
    async fn partings(
        &self,
        there: &[TopicPartition],
        here: &[TopicPartition],
    ) -> Result<Vec<Option<Parting>>, ApiRefusal> {
        let mut found: Vec<Option<Parting>> = vec![None; there.len()];
        let (mut asked, mut asking) = (there.iter().zip(here).enumerate(), JoinSet::new());
        loop {
            let free = ASKED_AT_ONCE - asking.len();
            for (index, (there, here)) in asked.by_ref().take(free) {
                let (source, target) = (self.ends.source()?.clone(), self.ends.target.clone());
                let (there, here) = (there.clone(), here.clone());
                asking.spawn(async move { (index, parting::between(&target, &here, &source, &there).await) });
            }
            let Some(joined) = asking.join_next().await else { return Ok(found) };
            let (index, parted) = joined.map_err(|cause| {
                ApiRefusal::new(500, format!("where both sides part was not found out: {cause}; call again"))
            })?;
            found[index] = parted.map_err(|cause| match cause {
                PartingError::Unheard(cause) => self.ends.either_unheard(&cause),
                refused => ApiRefusal::conflict(refused.to_string()),
            })?;
        }
    }

    /// Waits until nobody leads an original who has not heard that it is fenced: it would take records that the way back cuts
    /// off, and that no report has counted. False if time is up.
    pub(super) async fn wait_until_fence_is_known(&mut self) -> Result<bool, ApiRefusal> {
        loop {
            let (there, _) = self.partitions_in(Phase::Behind);
            let ends = fenced_ends_of(self.ends.source()?, &there).await;
            let ends = ends.map_err(|cause| self.ends.source_unheard(&cause))?;
            if ends.len() == there.len() {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the fenced `side` has nothing that the other one lacks; both are mirrors, so their log ends tell.
    pub(super) async fn wait_until_all_is_copied(&mut self, side: Side) -> Result<bool, ApiRefusal> {
        loop {
            let (there, here): (Vec<_>, Vec<_>) = match side {
                // What only the source has is still to be copied.
                Side::Source => self.in_phase(&[Phase::Between]).into_iter().flat_map(Pair::partitions).unzip(),
                Side::Target => self.partitions_in(Phase::Between),
            };
            let (source, target) = (self.ends.source()?, &self.ends.target);
            let (source_ends, target_ends) = match side {
                Side::Source => (fenced_ends_of(source, &there).await, log_ends_of(target, &here).await),
                Side::Target => (log_ends_of(source, &there).await, fenced_ends_of(target, &here).await),
            };
            let source_ends = source_ends.map_err(|cause| self.ends.source_unheard(&cause))?;
            let target_ends = target_ends.map_err(|cause| self.ends.unheard(&cause))?;
            let fenced = match side {
                Side::Source => (source, &there),
                Side::Target => (target, &here),
            };
            // Its transactions end by their markers yet, which are copied as well: cut off, a commit that was answered would
            // become an abort.
            let stable = stable_ends_of(fenced.0, fenced.1).await.map_err(|cause| match side {
                Side::Source => self.ends.source_unheard(&cause),
                Side::Target => self.ends.unheard(&cause),
            })?;
            let has_all = there.iter().zip(&here).all(|(there, here)| {
                let (home, away) = (source_ends.get(there), target_ends.get(here));
                let (fenced, other, stable) = match side {
                    Side::Source => (home, away, stable.get(there)),
                    Side::Target => (away, home, stable.get(here)),
                };
                fenced.is_some() && other >= fenced && stable >= fenced
            });
            if has_all {
                if side == Side::Source {
                    self.all_arrived(&source_ends);
                }
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The copies have all that fenced originals have: nothing is lost of what was measured before.
    fn all_arrived(&mut self, source_ends: &Ends) {
        for (there, end) in source_ends {
            let (source_end, arrived) = (Some(*end), Some(*end));
            self.report.standings.insert(there.clone(), Standing { source_end, arrived, ..Standing::default() });
        }
    }
}
