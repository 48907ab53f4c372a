//! The topics of the target: made, grown, made again when they are lost, and left alone when they are promoted.
//!
//! Picture: each look gives the topics of the source; what they lack on the target is made here, and what can be copied is dealt out.
//! Invariants: nothing is dealt out that is not on the target. A topic that cannot be grown, or that is promoted, keeps the
//! partitions that it has, and those are dealt out. A topic that is promoted belongs to the target: nothing of it is changed from
//! here, until its mark says otherwise.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tracing::{info, warn};
use twinstream_client::NewTopic;
use twinstream_connect_api::TaskError;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{ErrorCode, TopicId, TopicName};

use super::{Link, Topics, pair};
use crate::aligned::marks::{Marking, TopicMode};
use crate::config::Settings;
use crate::figures;
use crate::observer::now_ms;
use crate::topics::{self, TopicsError, WantedTopic};
use crate::words::counted;

/// Topics of the target, with their names at the source.
pub(super) type Remotes = BTreeMap<TopicName, TopicName>;

impl Link {
    /// Takes note of topics that the source showed before, and does not show now, as long as their copies are there.
    pub(super) async fn miss(&self, before: &Topics, found: &Topics) -> Result<(), TaskError> {
        let gone = || self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone().looked(before, found, now_ms());
        let missed: Vec<TopicName> = gone().topics().keys().cloned().collect();
        if !missed.is_empty() {
            let remotes = self.remotes(missed.iter());
            let names: Vec<TopicName> = remotes.keys().cloned().collect();
            let view = topics::look_up(&self.target, &names).await.map_err(passing)?;
            let there =
                |topic: &TopicName| remotes.iter().any(|(remote, of)| of == topic && view.topics.contains_key(remote));
            gone().keep(there);
        }
        let Settings { source_alias, target_alias, .. } = &self.settings;
        figures::link(source_alias, target_alias).misses(gone().topics().clone());
        Ok(())
    }

    /// Of topics that are copied, those whose copy is not on the target any more with as many partitions, with its name there.
    pub(super) async fn lost(&self) -> Result<Vec<(TopicName, TopicName)>, TaskError> {
        let copied = self.copied().clone();
        let remotes = self.remotes(copied.keys());
        if remotes.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<TopicName> = remotes.keys().cloned().collect();
        let view = self.target.refresh(&names).await;
        let view = view.map_err(|cause| TaskError::retriable("list topics of the target").caused_by(cause))?;
        let is_lost = |topic: &TopicName, remote: &TopicName| match view.topics.get(remote) {
            None => view.topic_error(remote) == ErrorCode::UnknownTopicOrPartition,
            // Somebody made it again, with fewer partitions.
            Some(found) => copied.get(topic).is_some_and(|wanted| found.partitions.len() < *wanted as usize),
        };
        let lost = remotes.into_iter().filter(|(remote, topic)| is_lost(topic, remote));
        Ok(lost.map(|(remote, topic)| (topic, remote)).collect())
    }

    /// Makes the target's topics; returns those that can be copied, with as many partitions as can. One that the target refuses is
    /// tried again later; the others go on, and so do the partitions of one that it does not let grow.
    pub(super) async fn prepare(&self, topics: &Topics) -> Result<Topics, TaskError> {
        let mut sources: BTreeMap<TopicName, TopicName> = BTreeMap::new();
        let mut refused = self.echoes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for topic in topics.keys() {
            match self.remote_topic(topic) {
                Ok(remote) => _ = sources.insert(remote, topic.clone()),
                Err(cause) => {
                    _ = refused.insert(topic.clone(), format!("its name on the target is not legal: {cause}"));
                }
            }
        }
        let remotes: Vec<TopicName> = sources.keys().cloned().collect();
        let present = topics::look_up(&self.target, &remotes).await.map_err(passing)?;
        // A copy is made as its topic is, also where later changes do not follow: one that is compacted, or kept for ever, must
        // not lose its records on the target.
        let new = topics::to_be_made(&sources, &present);
        let excluded = &self.settings.properties_excluded;
        let (configs, unread) = topics::read_configs(&self.source, &new, Some(excluded)).await.map_err(passing)?;
        sources.retain(|_, topic| !unread.contains_key(topic));
        refused.extend(unread.into_iter().map(|(topic, cause)| {
            let cause = trace_of(&cause);
            let hint = "let the link's user DESCRIBE_CONFIGS it, or leave it out of topics";
            (topic, format!("its settings cannot be read at the source: {cause}; {hint}"))
        }));
        let view = self.source.view();
        let replicas = |topic: &TopicName| {
            let partitions = view.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
            partitions.map(|partition| i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX)).max().unwrap_or(0)
        };
        let wanted = |(remote, topic): (&TopicName, &TopicName)| {
            let configs = configs.get(topic).cloned().unwrap_or_default();
            let partitions = topics.get(topic).copied().unwrap_or(0);
            (remote.clone(), WantedTopic { partitions, replicas: replicas(topic), configs })
        };
        let there = sources.iter().filter(|(remote, _)| present.topics.contains_key(*remote)).map(pair).collect();
        self.look_for_promoted(&there).await.map_err(passing)?;
        let is_ours = |(_, topic): &(&TopicName, &TopicName)| !self.apart().is_promoted(topic);
        let wanted: BTreeMap<TopicName, WantedTopic> = sources.iter().filter(is_ours).map(wanted).collect();
        let aliases = (self.settings.source_alias.as_str(), self.settings.target_alias.as_str());
        let marking = Marking::learn(self.settings.link_mode, aliases, &self.target)
            .await
            .map_err(|cause| TaskError::retriable("ask the target for its features").caused_by(cause))?;
        let cluster = self.source.cluster_id();
        let marked = |topic: NewTopic| {
            let Some(source) = sources.get(&topic.name) else { return Ok(topic) };
            let id = view.topics.get(source).map_or(TopicId::NONE, |topic| topic.id);
            marking.new_topic(topic, cluster.as_deref(), source, id)
        };
        let factor = self.settings.replication_factor;
        let ensured = topics::ensure(&self.target, &present, &wanted, factor, marked).await.map_err(passing)?;
        for (remote, cause) in ensured.unmade {
            if let Some(topic) = sources.get(&remote) {
                let hint = "change it there, or replication.factor or topics here";
                let cause = trace_of(&cause);
                refused.insert(topic.clone(), format!("topic {remote} cannot be made on the target: {cause}; {hint}"));
            }
        }
        let present = |remote: &TopicName| {
            let partitions = present.topics.get(remote).map(|found| found.partitions.len());
            partitions.and_then(|partitions| u32::try_from(partitions).ok())
        };
        // Of what stays as it is there, the partitions that it has are copied.
        let mut as_they_are = Topics::new();
        let is_theirs = |topic: &TopicName| self.apart().is_promoted(topic) && !refused.contains_key(topic);
        for (remote, topic) in sources.iter().filter(|(_, topic)| is_theirs(topic)) {
            as_they_are.extend(present(remote).map(|partitions| (topic.clone(), partitions)));
        }
        for (remote, cause) in ensured.ungrown {
            let (Some(topic), Some(partitions)) = (sources.get(&remote), present(&remote)) else { continue };
            as_they_are.insert(topic.clone(), partitions);
            let wanted = topics.get(topic).copied().unwrap_or(partitions);
            let cause = trace_of(&cause);
            refused.insert(topic.clone(), ungrown(&remote, partitions, wanted, &cause));
        }
        let ready = copied(topics, &refused, &as_they_are);
        let news = self.refusals().tried(refused, self.since_start());
        for (topic, cause) in news {
            let partitions = ready.get(&topic).copied().unwrap_or(0);
            warn!(connector = self.context.connector(), %topic, partitions, cause, "topic is not copied, or not with all of its partitions; it is tried again");
        }
        let Settings { source_alias, target_alias, .. } = &self.settings;
        figures::link(source_alias, target_alias).refuses(self.refusals().causes());
        Ok(ready)
    }

    /// What these topics of the source are called on the target; those of which the name is not legal there are left out.
    pub(super) fn remotes<'a>(&self, topics: impl Iterator<Item = &'a TopicName>) -> Remotes {
        topics.filter_map(|topic| Some((self.remote_topic(topic).ok()?, topic.clone()))).collect()
    }

    /// Which of these topics belong to the target now; whether one does no longer, so that its partitions are to be dealt out anew.
    pub(super) async fn look_for_promoted(&self, there: &Remotes) -> Result<bool, TopicsError> {
        let names: Vec<TopicName> = there.keys().cloned().collect();
        let failed = topics::during("ask the target for its mirrors");
        let marks = match names.is_empty()
            || !self.target.knows_mirrors().await.map_err(topics::during("ask the target for its features"))?
        {
            true => BTreeMap::new(),
            false => self.target.mirror_marks(&names).await.map_err(failed)?,
        };
        let promoted = marks.iter().filter(|(_, mark)| mark.promoted);
        let found = promoted.filter_map(|(remote, _)| {
            let cause = format!("{remote} was promoted and belongs to the target: neither its settings nor its partitions follow the source");
            Some((there.get(remote)?.clone(), cause))
        });
        let (news, is_over) = self.apart().promoted(found.collect());
        for (topic, cause) in news {
            info!(connector = self.context.connector(), %topic, cause, "topic is left alone");
        }
        self.show_apart();
        Ok(is_over)
    }

    /// As [`Self::look_for_promoted`], of those that were promoted when they were last looked at: partitions that came at the source
    /// meanwhile are made when one is a mirror again.
    pub(super) async fn is_a_promotion_over(&self) -> Result<bool, TaskError> {
        let promoted = self.apart().promoted_ones();
        if promoted.is_empty() {
            return Ok(false);
        }
        self.look_for_promoted(&self.remotes(promoted.iter())).await.map_err(passing)
    }

    /// Of these topics, by their names at the source, those that the link does not copy and therefore does not change, and why.
    pub(super) async fn apart_there(&self, there: &Remotes) -> Result<BTreeMap<TopicName, String>, TopicsError> {
        if self.look_for_promoted(there).await? {
            self.context.request_task_reconfiguration();
        }
        let aliases = (self.settings.source_alias.as_str(), self.settings.target_alias.as_str());
        let failed = || topics::during("ask the target for its mirrors");
        let marking = Marking::learn(self.settings.link_mode, aliases, &self.target).await.map_err(failed())?;
        let modes = marking.modes(&self.target, there).await.map_err(failed())?;
        let apart = modes.into_iter().filter_map(|(remote, mode)| {
            let TopicMode::Refused(why) = mode else { return None };
            Some((there.get(&remote)?.clone(), format!("settings of {remote} are left alone: {why}")))
        });
        let promoted = there.values().filter(|topic| self.apart().is_promoted(topic));
        let promoted = promoted.map(|topic| (topic.clone(), "it is promoted".to_owned()));
        Ok(apart.chain(promoted.collect::<Vec<_>>()).collect())
    }
}

/// How many partitions of each topic are copied: all of them, those that are there of one that stays as it is, and none of one that
/// was refused. Pure.
fn copied(topics: &Topics, refused: &BTreeMap<TopicName, String>, as_they_are: &Topics) -> Topics {
    let count = |(topic, wanted): (&TopicName, &u32)| match as_they_are.get(topic) {
        Some(there) => Some((topic.clone(), *wanted.min(there))),
        None => (!refused.contains_key(topic)).then(|| (topic.clone(), *wanted)),
    };
    topics.iter().filter_map(count).filter(|(_, partitions)| *partitions > 0).collect()
}

/// The topics that are followed, of those that a look has found. Without `follows_new` those that the first look found stay, with
/// the partitions that they had. Pure.
pub(super) fn followed(known: &Topics, found: Topics, follows_new: bool) -> Topics {
    if follows_new || known.is_empty() { found } else { known.clone() }
}

fn ungrown(remote: &TopicName, there: u32, wanted: u32, cause: &str) -> String {
    format!(
        "topic {remote} cannot be grown on the target: {cause}; {} of {wanted} are copied, the others wait for the link's right to ALTER it, or for what the cause names",
        counted(there, "partition")
    )
}

fn passing(cause: TopicsError) -> TaskError {
    TaskError::retriable("bring topics of the target in step").caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(counts: &[(&str, u32)]) -> Topics {
        counts.iter().map(|(name, count)| (TopicName::parse(name).unwrap(), *count)).collect()
    }

    #[test]
    fn a_topic_that_cannot_be_grown_is_copied_with_the_partitions_that_are_there() {
        let refused = ["short", "unmade"].map(|name| (TopicName::parse(name).unwrap(), "no right".to_owned())).into();
        let found = topics(&[("short", 12), ("unmade", 3), ("whole", 6)]);
        assert_eq!(copied(&found, &refused, &topics(&[("short", 6)])), topics(&[("short", 6), ("whole", 6)]));
        // The target's promoted topic may have more partitions than the source's.
        let promoted = topics(&[("whole", 9)]);
        assert_eq!(copied(&topics(&[("whole", 6)]), &BTreeMap::new(), &promoted), topics(&[("whole", 6)]));
        let cause = ungrown(&TopicName::parse("west.short").unwrap(), 6, 12, "no right");
        assert!(cause.contains("6 partitions of 12 are copied") && cause.contains("no right"), "{cause}");
    }

    #[test]
    fn without_looking_for_new_topics_those_of_the_first_look_stay() {
        let known = topics(&[("a", 2), ("gone", 1)]);
        let found = topics(&[("a", 4), ("new", 1)]);
        assert_eq!(followed(&known, found.clone(), false), known);
        assert_eq!(followed(&known, found.clone(), true), found);
        assert_eq!(followed(&Topics::new(), found.clone(), false), found, "the first look");
    }
}
