//! When groups go over in the course of a verb, and whose word counts.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::ApiRefusal;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{Offset, TopicName, TopicPartition};

use super::super::Part;
use super::groups::{Patience, Way, Word};
use super::plan::Phase;
use super::report::Standing;
use super::{GROUPS_WITHIN, Operation, Side, Verb, groups, members};
use crate::checkpoint::settings::CheckpointSettings;
use crate::words::counted;

/// Groups that are told by name.
const GROUPS_TOLD_MAX: usize = 20;

impl Operation<'_> {
    /// Brings offsets of groups over from this side, if the link follows groups; of topics that are about to change places, and
    /// of no others: where they did already, groups have gone on.
    pub(super) async fn carry_groups(&mut self, from: Side) -> Result<(), ApiRefusal> {
        let leaving = match from {
            Side::Source => [Phase::Ahead, Phase::Between].as_slice(),
            Side::Target => &[Phase::Between],
        };
        let Some(settings) = self.checkpoint_settings()? else { return Ok(()) };
        if settings.sync_every.is_none() {
            self.report.step("offsets of groups stay as they are: sync.group.offsets.enabled=false");
            return Ok(());
        }
        // On the way home groups live where the copies are: what the source knows of them is from before the fail-over.
        let comes_home = from == Side::Source && self.comes_home();
        let names: BTreeMap<TopicName, TopicName> = self
            .in_phase(leaving)
            .into_iter()
            .filter(|pair| !comes_home || self.ends.phase(pair) == Phase::Ahead)
            // Positions in a topic that was made anew say nothing about the copy of the one before.
            .filter(|pair| !pair.is_another(self.ends.phase(pair)))
            .map(|pair| match from {
                Side::Source => (&pair.source, &pair.target),
                Side::Target => (&pair.target, &pair.source),
            })
            .map(|(from, to)| (from.clone(), to.clone()))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let there: (&RawClient, &str) = (self.ends.source()?, &self.ends.source_alias);
        let here: (&RawClient, &str) = (&self.ends.target, &self.ends.target_alias);
        let (from, to, word) = match from {
            Side::Source => (there, here.0, Word::WhoIsFurther),
            Side::Target => (here, there.0, Word::Theirs),
        };
        let patience = match self.report.verb {
            Verb::Failover => Patience::WithNobody,
            _ => Patience::WithAll,
        };
        let follows = |group: &str| settings.groups.follows(group);
        let way = Way { from, to, names: &names, word, patience };
        let carried = tokio::time::timeout(GROUPS_WITHIN, groups::carry(way, follows)).await;
        let late = || ClientError::Timeout { what: "carry groups over".to_owned(), after: GROUPS_WITHIN };
        match carried.unwrap_or_else(|_| Err(late())) {
            Ok(carried) => {
                self.ends.add_silent(carried.silent.iter().copied());
                self.report.groups = Some(carried);
            }
            // Topics matter more: what groups read again is told, and nothing waits for it.
            Err(cause) => self
                .report
                .left
                .push(format!("offsets of groups are as the checkpoint connector left them: {}", trace_of(&cause))),
        }
        Ok(())
    }

    /// Before originals are cut: groups that have read there what is given up. Whether the link follows groups or not, their offsets
    /// mean something else from then on.
    pub(super) async fn set_groups_back(&mut self) -> Result<(), ApiRefusal> {
        let at = |standing: &Standing| {
            standing.given_up.filter(|given_up| *given_up > 0)?;
            Some(Offset(standing.arrived?.0 - standing.to_copy?))
        };
        let standings = self.report.standings.iter();
        let cuts: BTreeMap<TopicPartition, Offset> =
            standings.filter_map(|(partition, standing)| Some((partition.clone(), at(standing)?))).collect();
        if cuts.is_empty() {
            return Ok(());
        }
        let setting = groups::set_back(self.ends.source()?, &cuts);
        let done = tokio::time::timeout(GROUPS_WITHIN, setting).await;
        let late = || ClientError::Timeout { what: "set groups back".to_owned(), after: GROUPS_WITHIN };
        match done.unwrap_or_else(|_| Err(late())) {
            Ok(done) => {
                if !done.groups.is_empty() {
                    let names: Vec<&str> = done.groups.iter().map(String::as_str).take(GROUPS_TOLD_MAX).collect();
                    let told = format!(
                        "{} of '{}' stood beyond where both part and were set back to that point: {}{}",
                        counted(done.groups.len(), "group"),
                        self.ends.source_alias,
                        names.join(", "),
                        if done.groups.len() > names.len() { ", .." } else { "" }
                    );
                    self.report.step(told);
                }
                let alias = &self.ends.source_alias;
                let told = done.left.into_iter().map(|(group, why)| format!("group {group} of '{alias}': {why}"));
                self.report.left.extend(told);
            }
            Err(cause) => self.report.left.push(format!(
                "groups of '{}' that stand beyond where both part were not set back, and pass over what comes there: {}",
                self.ends.source_alias,
                trace_of(&cause)
            )),
        }
        Ok(())
    }

    /// After the change of places: what groups have on the side that `led` is for the link that leads there now to move. Who waits
    /// for the change waits for this no more.
    pub(super) async fn hand_groups_over(&self, led: Side, topics: &BTreeSet<TopicName>) {
        let Ok(Some(settings)) = self.checkpoint_settings() else { return };
        let (Ok(source), true) = (&self.ends.source, settings.sync_every.is_some() && !topics.is_empty()) else {
            return;
        };
        let (from, to) = match led {
            Side::Source => (source, &self.ends.target_alias),
            Side::Target => (&self.ends.target, &self.ends.source_alias),
        };
        // Who was left alone stands right on the other side: what is here must not be written over that.
        let left = |group: &str| self.report.groups.as_ref().is_some_and(|carried| carried.left.contains_key(group));
        let follows = |group: &str| settings.groups.follows(group) && !left(group);
        let handing = groups::hand_over(from, to, topics, follows);
        let done = tokio::time::timeout(GROUPS_WITHIN, handing).await;
        let late = || ClientError::Timeout { what: "hand groups over".to_owned(), after: GROUPS_WITHIN };
        if let Err(cause) = done.unwrap_or_else(|_| Err(late())) {
            let cause = trace_of(&cause);
            warn!(link = %self.link, cause, "the way back leaves groups as they stand where they led, until they have gone on");
        }
    }

    /// Copies that do not keep the source's offsets: their groups are translated by the checkpoint connector, which gets two
    /// more rounds.
    pub(super) async fn let_groups_arrive(&mut self) -> Result<(), ApiRefusal> {
        let settings = self.checkpoint_settings()?;
        let Some(every) = settings.and_then(|settings| settings.sync_every) else { return Ok(()) };
        if self.in_phase(&[Phase::Plain]).is_empty() {
            return Ok(());
        }
        if 2 * every > GROUPS_WITHIN {
            self.report.left.push(format!(
                "offsets of groups are as old as sync.group.offsets.interval.seconds lets them be, up to {every:?}"
            ));
        }
        tokio::time::sleep((2 * every).min(GROUPS_WITHIN)).await;
        Ok(())
    }

    /// Of the link's checkpoint connector, if it has one.
    fn checkpoint_settings(&self) -> Result<Option<CheckpointSettings>, ApiRefusal> {
        let members = members(self.worker, &self.link);
        let Some((_, name)) = members.iter().find(|(part, _)| *part == Part::Checkpoint) else { return Ok(None) };
        let settings = CheckpointSettings::parse(&self.worker.config(name).unwrap_or_default());
        settings.map(Some).map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))
    }
}
