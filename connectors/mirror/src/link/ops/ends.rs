//! Both ends of a link while a verb works: which topics it copies, how they stand, how far both logs go.
//!
//! The target's marks say which topics are copied at the source's offsets, also when the source is away; other topics are those
//! whose positions the worker has stored, or that its tasks copy and have not stored yet. Nothing here is kept: every verb looks
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use twinstream_client::raw::{EpochQuestion, MirrorMark, OffsetAt, TopicInfo};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiRefusal, OffsetMap};
use twinstream_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::Verb;
use super::plan::Phase;
use crate::config::Settings;
use crate::figures;
use crate::link_id::link_id;

/// A site that is asked for what it knows before it is given up.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How often partitions without a leader are asked where they end, and the pause between two questions.
const BOUNDS_TRIES: u32 = 10;
const BOUNDS_PAUSE: Duration = Duration::from_millis(500);
/// Above every epoch: a mirror tells its log end.
const ANY_EPOCH: LeaderEpoch = LeaderEpoch(i32::MAX - 1);

/// The two clusters of a link.
pub(super) struct Ends {
    pub source: Result<RawClient, ClientError>,
    pub target: RawClient,
    pub source_alias: String,
    pub target_alias: String,
}

/// A topic and its copy.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub source: TopicName,
    pub target: TopicName,
    /// Of either side.
    pub partitions: BTreeSet<PartitionIndex>,
    /// Of the copy.
    pub copied: BTreeSet<PartitionIndex>,
    /// The copy's mark over this link.
    pub here: Option<MirrorMark>,
    /// The original's mark.
    pub there: Option<MirrorMark>,
    /// The source has it; unknown counts as yes.
    pub is_there: bool,
    pub source_id: TopicId,
    pub target_id: TopicId,
}

impl Ends {
    /// Connects to both; the target must answer.
    pub(super) async fn connect(settings: &Settings) -> Result<Ends, ApiRefusal> {
        let source = tokio::time::timeout(ANSWERS_WITHIN, RawClient::connect(&settings.source));
        let (source, target) = tokio::join!(source, RawClient::connect(&settings.target));
        let what = || format!("connect to source cluster '{}'", settings.source_alias);
        let source = source.unwrap_or_else(|_| Err(ClientError::Timeout { what: what(), after: ANSWERS_WITHIN }));
        let target = target.map_err(|cause| away(&settings.target_alias, &cause))?;
        let (source_alias, target_alias) = (settings.source_alias.clone(), settings.target_alias.clone());
        Ok(Ends { source, target, source_alias, target_alias })
    }

    /// Goes on without the source.
    pub(super) fn give_up_source(&mut self) {
        if self.source.is_ok() {
            let what = format!("ask source cluster '{}'", self.source_alias);
            self.source = Err(ClientError::Timeout { what, after: ANSWERS_WITHIN });
        }
    }

    /// The source, for verbs that need it.
    pub(super) fn source(&self) -> Result<&RawClient, ApiRefusal> {
        self.source.as_ref().map_err(|cause| away(&self.source_alias, cause))
    }

    /// Reports a question to the target that came to nothing.
    pub(super) fn unheard(&self, cause: &ClientError) -> ApiRefusal {
        away(&self.target_alias, cause)
    }

    pub(super) fn source_unheard(&self, cause: &ClientError) -> ApiRefusal {
        away(&self.source_alias, cause)
    }

    /// The id of the link that leads the other way; `None` while the source is away.
    pub(super) fn back_id(&self) -> Option<Uuid> {
        let source = self.source.as_ref().ok()?.cluster_id()?;
        Some(link_id(&self.target.cluster_id()?, &source, &self.target_alias, &self.source_alias))
    }

    /// The id of this link; `None` while the source is away.
    pub(super) fn id(&self) -> Option<Uuid> {
        let source = self.source.as_ref().ok()?.cluster_id()?;
        Some(link_id(&source, &self.target.cluster_id()?, &self.source_alias, &self.target_alias))
    }

    /// What the link copies, for a verb: a fail-over goes on without a source that does not answer. One that answers some
    /// questions and not others is lost as well.
    pub(super) async fn pairs_for(
        &mut self,
        verb: Verb,
        settings: &Settings,
        stored: &[(OffsetMap, OffsetMap)],
    ) -> Result<BTreeMap<TopicName, Pair>, ApiRefusal> {
        if verb == Verb::Failover {
            if let Ok(Ok(pairs)) = tokio::time::timeout(ANSWERS_WITHIN, self.pairs(settings, stored)).await {
                return Ok(pairs);
            }
            self.give_up_source();
        }
        self.pairs(settings, stored).await
    }

    /// What the link copies, by the source's names.
    async fn pairs(
        &self,
        settings: &Settings,
        stored: &[(OffsetMap, OffsetMap)],
    ) -> Result<BTreeMap<TopicName, Pair>, ApiRefusal> {
        let target_cluster = self.target.cluster_id().unwrap_or_default();
        let view = self.target.refresh_all().await.map_err(|cause| self.unheard(&cause))?;
        let names: Vec<TopicName> = view.topics.keys().cloned().collect();
        let marks = match self.target.knows_mirrors().await.map_err(|cause| self.unheard(&cause))? {
            true => self.target.mirror_marks(&names).await.map_err(|cause| self.unheard(&cause))?,
            false => BTreeMap::new(),
        };
        let is_ours = |mark: &MirrorMark| {
            mark.link == link_id(&mark.source_cluster, &target_cluster, &self.source_alias, &self.target_alias)
        };
        let mut pairs = BTreeMap::new();
        for (target, mark) in marks.iter().filter(|(_, mark)| is_ours(mark)) {
            pairs.insert(mark.source_topic.clone(), (target.clone(), Some(mark.clone())));
        }
        let copied = figures::link(&self.source_alias, &self.target_alias).partitions();
        let copied = copied.into_iter().map(|seen| seen.source.topic);
        for source in topics_of(stored, &self.source_alias).into_iter().chain(copied) {
            let Ok(remote) = settings.remote_topic(&source) else { continue };
            if view.topics.contains_key(&remote) && !marks.contains_key(&remote) {
                pairs.entry(source).or_insert((remote, None));
            }
        }
        let (there, originals) = self.originals(pairs.keys()).await?;
        let pair = |(source, (target, here)): (TopicName, (TopicName, Option<MirrorMark>))| {
            let topic = view.topics.get(&target);
            let original = originals.get(&source);
            // One that only the source has yet is to be copied as well.
            let both = topic.into_iter().chain(original).flat_map(|topic| topic.partitions.keys().copied());
            let pair = Pair {
                partitions: both.collect(),
                copied: topic.map(|topic| topic.partitions.keys().copied().collect()).unwrap_or_default(),
                target_id: topic.map_or(TopicId::NONE, |topic| topic.id),
                there: there.get(&source).cloned(),
                is_there: original.is_some() || self.source.is_err(),
                source_id: original.map_or(TopicId::NONE, |topic| topic.id),
                source: source.clone(),
                target,
                here,
            };
            (source, pair)
        };
        Ok(pairs.into_iter().map(pair).collect())
    }

    /// Topics of the source that the link is to copy and that have no copy, as far as the source answers. A link that leads
    /// back copies only what has one.
    pub(super) async fn uncopied(
        &self,
        settings: &Settings,
        pairs: &BTreeMap<TopicName, Pair>,
    ) -> Result<BTreeSet<TopicName>, ApiRefusal> {
        let Ok(source) = &self.source else { return Ok(BTreeSet::new()) };
        if settings.returns {
            return Ok(BTreeSet::new());
        }
        let view = source.refresh_all().await.map_err(|cause| self.source_unheard(&cause))?;
        let is_wanted = |topic: &TopicInfo| {
            let copies = settings.filter.copies(topic.name.as_str(), &settings.policy, &self.target_alias);
            copies && !topic.internal && !topic.partitions.is_empty() && !pairs.contains_key(&topic.name)
        };
        Ok(view.topics.values().filter(|topic| is_wanted(topic)).map(|topic| topic.name.clone()).collect())
    }

    /// The source has not said a word in time.
    pub(super) fn source_silent(&self) -> ApiRefusal {
        let what = "ask for its topics".to_owned();
        self.source_unheard(&ClientError::Timeout { what, after: ANSWERS_WITHIN })
    }

    /// Marks of the originals and what they are like, as far as the source answers.
    async fn originals(
        &self,
        topics: impl Iterator<Item = &TopicName>,
    ) -> Result<(BTreeMap<TopicName, MirrorMark>, BTreeMap<TopicName, Arc<TopicInfo>>), ApiRefusal> {
        let Ok(source) = &self.source else { return Ok(Default::default()) };
        let names: Vec<TopicName> = topics.cloned().collect();
        let view = source.refresh(&names).await.map_err(|cause| self.source_unheard(&cause))?;
        let marks = match source.knows_mirrors().await.map_err(|cause| self.source_unheard(&cause))? {
            true => source.mirror_marks(&names).await.map_err(|cause| self.source_unheard(&cause))?,
            false => BTreeMap::new(),
        };
        let asked = names.iter().filter_map(|name| Some((name.clone(), view.topics.get(name)?.clone())));
        Ok((marks, asked.collect()))
    }

    pub(super) fn phase(&self, pair: &Pair) -> Phase {
        Phase::of(pair.here.as_ref(), pair.there.as_ref(), self.back_id())
    }
}

impl Pair {
    /// Each partition, at the source and on the target; one of them may be missing.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (TopicPartition, TopicPartition)> + '_ {
        self.named(&self.partitions)
    }

    /// Each partition that the copy has.
    pub(super) fn copied(&self) -> impl Iterator<Item = (TopicPartition, TopicPartition)> + '_ {
        self.named(&self.copied)
    }

    fn named<'a>(
        &'a self,
        partitions: &'a BTreeSet<PartitionIndex>,
    ) -> impl Iterator<Item = (TopicPartition, TopicPartition)> + 'a {
        partitions.iter().map(|index| {
            (TopicPartition::new(self.source.clone(), *index), TopicPartition::new(self.target.clone(), *index))
        })
    }
}

/// Where readers of these partitions end at present; those that nobody leads are missing.
pub(super) async fn ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    offsets_of(client, partitions, OffsetAt::Latest).await
}

/// Where these partitions begin and end for readers, asked again for a while for those that do not say. Who stays unknown is
/// missing.
pub(super) async fn bounds_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, (Offset, Offset)>, ClientError> {
    let mut tries = 0;
    loop {
        let starts = offsets_of(client, partitions, OffsetAt::Earliest).await?;
        let ends = ends_of(client, partitions).await?;
        let bounds: BTreeMap<TopicPartition, (Offset, Offset)> =
            starts.into_iter().filter_map(|(at, start)| Some((at.clone(), (start, *ends.get(&at)?)))).collect();
        tries += 1;
        if bounds.len() == partitions.len() || tries == BOUNDS_TRIES {
            return Ok(bounds);
        }
        tokio::time::sleep(BOUNDS_PAUSE).await;
    }
}

/// Before which no transaction is open.
pub(super) async fn stable_ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    offsets_of(client, partitions, OffsetAt::LastStable).await
}

async fn offsets_of(
    client: &RawClient,
    partitions: &[TopicPartition],
    at: OffsetAt,
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ends = client.list_offsets_now(partitions, at).await?;
    Ok(ends.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?))).collect())
}

/// Where the logs of mirrors end, committed or not.
pub(super) async fn log_ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    let committed = ends_of(client, partitions).await?;
    let questions: Vec<EpochQuestion> =
        partitions.iter().map(|partition| EpochQuestion::new(partition.clone(), ANY_EPOCH)).collect();
    if questions.is_empty() {
        return Ok(committed);
    }
    let ends = client.epoch_ends(&questions).await?;
    let furthest = |(partition, end): (TopicPartition, Offset)| {
        let log_end = ends.get(&partition).and_then(|found| found.as_ref().ok()).copied().flatten();
        (partition, log_end.map_or(end, |log_end| log_end.end.max(end)))
    };
    Ok(committed.into_iter().map(furthest).collect())
}

/// The source topics that have stored positions.
fn topics_of(stored: &[(OffsetMap, OffsetMap)], alias: &str) -> BTreeSet<TopicName> {
    let topic = |(partition, _): &(OffsetMap, OffsetMap)| {
        let is_ours = partition.get("cluster").and_then(Json::as_str) == Some(alias);
        partition.get("topic").and_then(Json::as_str).filter(|_| is_ours).and_then(|name| TopicName::parse(name).ok())
    };
    stored.iter().filter_map(topic).collect()
}

fn away(alias: &str, cause: &ClientError) -> ApiRefusal {
    ApiRefusal::new(502, format!("cluster '{alias}' cannot be asked: {}", trace_of(cause)))
}
