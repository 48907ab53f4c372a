//! Both ends of a link while a verb works: which topics it copies, how they stand, how far both logs go.
//!
//! The target's marks say which topics are copied at the source's offsets, also when the source is away; other topics are those
//! whose positions the worker has stored, or that its tasks copy and have not stored yet. Nothing here is kept: every verb looks
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::JoinSet;
use twinstream_client::raw::{EpochQuestion, MirrorMark, Node, OffsetAt, TopicInfo};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiRefusal, OffsetMap};
use twinstream_model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::Verb;
use super::origin::way_out;
use super::plan::Phase;
use crate::config::Settings;
use crate::engine::standing::Standing;
use crate::figures;
use crate::link_id::link_id;
use crate::policy::{HEARTBEATS, Policy};

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
    verb: Verb,
    /// Brokers of the source that did not answer in time: a fail-over waits for each of them once.
    silent: BTreeSet<NodeId>,
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
    /// Of the original, as far as the source answers.
    pub originals: Option<usize>,
    /// The copy's mark over this link.
    pub here: Option<MirrorMark>,
    /// The original's mark.
    pub there: Option<MirrorMark>,
    /// The source has it; unknown counts as yes.
    pub is_there: bool,
    pub source_id: TopicId,
    pub target_id: TopicId,
    /// Its tasks have found another topic at the source than they had copied.
    pub is_recreated: bool,
}

impl Ends {
    /// Connects to both; the target must answer. A fail-over has no patience with the source, not even with one broker of it.
    pub(super) async fn connect(settings: &Settings, verb: Verb) -> Result<Ends, ApiRefusal> {
        let mut source_settings = settings.source.clone();
        if verb == Verb::Failover {
            let limit = ANSWERS_WITHIN.as_millis().to_string();
            for name in ["request.timeout.ms", "default.api.timeout.ms"] {
                source_settings.set(name, &limit).map_err(|cause| ApiRefusal::new(500, format!("{name}: {cause}")))?;
            }
        }
        let source = tokio::time::timeout(ANSWERS_WITHIN, RawClient::connect(&source_settings));
        let (source, target) = tokio::join!(source, RawClient::connect(&settings.target));
        let what = || format!("connect to source cluster '{}'", settings.source_alias);
        let source = source.unwrap_or_else(|_| Err(ClientError::Timeout { what: what(), after: ANSWERS_WITHIN }));
        let target = target.map_err(|cause| away(&cause, verb, (&settings.target_alias, &settings.source_alias)))?;
        let (source_alias, target_alias) = (settings.source_alias.clone(), settings.target_alias.clone());
        Ok(Ends { source, target, source_alias, target_alias, verb, silent: BTreeSet::new() })
    }

    /// Goes on without the source.
    pub(super) fn give_up_source(&mut self) {
        if self.source.is_ok() {
            let what = format!("ask source cluster '{}'", self.source_alias);
            self.source = Err(ClientError::Timeout { what, after: ANSWERS_WITHIN });
        }
    }

    /// Where partitions of the source end at present. Each leader is asked by itself, and those that do not answer in time keep
    /// nobody waiting: what they lead is missing, now and as long as this verb works. An error if nobody answers.
    pub(super) async fn source_ends(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let late = || ClientError::Timeout { what: "ask where logs end".to_owned(), after: ANSWERS_WITHIN };
        let source = self.source.as_ref().map_err(Clone::clone)?;
        let led = tokio::time::timeout(ANSWERS_WITHIN, source.by_leader(partitions)).await;
        let (led, _) = led.unwrap_or_else(|_| Err(late()))?;
        let mut asking = JoinSet::new();
        let asked = led.len();
        for (leader, partitions) in led.into_iter().filter(|(leader, _)| !self.silent.contains(leader)) {
            let source = source.clone();
            asking.spawn(async move {
                let ends = tokio::time::timeout(ANSWERS_WITHIN, ends_of_leader(&source, &partitions)).await;
                (leader, ends.unwrap_or_else(|_| Err(late())))
            });
        }
        let (mut ends, mut answered) = (BTreeMap::new(), 0);
        while let Some(Ok((leader, answer))) = asking.join_next().await {
            match answer {
                Ok(some) => {
                    answered += 1;
                    ends.extend(some);
                }
                Err(_) => _ = self.silent.insert(leader),
            }
        }
        if answered == 0 && asked > 0 { Err(late()) } else { Ok(ends) }
    }

    /// Brokers of the source that did not answer, by name; `None` if all did that were asked.
    pub(super) fn silent_brokers(&self) -> Option<String> {
        let names: Vec<String> = self.silent.iter().map(|broker| format!("broker {broker}")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    pub(super) fn add_silent(&mut self, brokers: impl IntoIterator<Item = NodeId>) {
        self.silent.extend(brokers);
    }

    /// The source, for verbs that need it.
    pub(super) fn source(&self) -> Result<&RawClient, ApiRefusal> {
        self.source.as_ref().map_err(|cause| self.source_unheard(cause))
    }

    /// Reports a question to the target that came to nothing.
    pub(super) fn unheard(&self, cause: &ClientError) -> ApiRefusal {
        away(cause, self.verb, (&self.target_alias, &self.source_alias))
    }

    pub(super) fn source_unheard(&self, cause: &ClientError) -> ApiRefusal {
        away(cause, self.verb, (&self.source_alias, &self.target_alias))
    }

    /// Reports a question to both that came to nothing.
    pub(super) fn either_unheard(&self, cause: &ClientError) -> ApiRefusal {
        let (source, target) = (&self.source_alias, &self.target_alias);
        ApiRefusal::new(
            502,
            format!("clusters '{source}' and '{target}' cannot be compared: {}; call again", trace_of(cause)),
        )
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
        let seen = figures::link(&self.source_alias, &self.target_alias).partitions();
        let recreated = seen.iter().filter(|seen| seen.standing == Standing::Recreated);
        let recreated: BTreeSet<TopicName> = recreated.map(|seen| seen.source.topic.clone()).collect();
        let copied = seen.into_iter().map(|seen| seen.source.topic);
        for source in topics_of(stored, &self.source_alias).into_iter().chain(copied) {
            let Ok(remote) = settings.remote_topic(&source) else { continue };
            if view.topics.contains_key(&remote) && !marks.contains_key(&remote) {
                pairs.entry(source).or_insert((remote, None));
            }
        }
        let (there, originals) = self.originals(pairs.keys()).await?;
        let back = self.back_id();
        pairs.retain(|source, _| !is_sign_of_life(source, there.get(source), back, &settings.policy));
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
                originals: original.map(|topic| topic.partitions.len()),
                is_there: original.is_some() || self.source.is_err(),
                source_id: original.map_or(TopicId::NONE, |topic| topic.id),
                is_recreated: recreated.contains(&source),
                source: source.clone(),
                target,
                here,
            };
            (source, pair)
        };
        Ok(pairs.into_iter().map(pair).collect())
    }

    /// Topics of the source that the link is to copy and that have no copy, as far as the source answers, or as its tasks last
    /// knew. A link that leads back copies only what has one: the others are told all the same.
    pub(super) async fn uncopied(
        &self,
        settings: &Settings,
        pairs: &BTreeMap<TopicName, Pair>,
    ) -> Result<BTreeSet<TopicName>, ApiRefusal> {
        let Ok(source) = &self.source else {
            let refused = figures::link(&self.source_alias, &self.target_alias).refused();
            return Ok(refused.into_keys().filter(|topic| !pairs.contains_key(topic)).collect());
        };
        let view = source.refresh_all().await.map_err(|cause| self.source_unheard(&cause))?;
        let is_wanted = |topic: &TopicInfo| {
            let copies = settings.filter.copies(topic.name.as_str(), &settings.policy, &self.target_alias);
            let is_data = !topic.internal && topic.name.as_str() != HEARTBEATS;
            copies && is_data && !topic.partitions.is_empty() && !pairs.contains_key(&topic.name)
        };
        Ok(view.topics.values().filter(|topic| is_wanted(topic)).map(|topic| topic.name.clone()).collect())
    }

    /// Topics of the target that the link's settings name and that are copies of nothing: a link that leads back leaves them.
    pub(super) async fn own_topics_of_target(
        &self,
        settings: &Settings,
        pairs: &BTreeMap<TopicName, Pair>,
    ) -> Result<Vec<TopicName>, ApiRefusal> {
        let view = self.target.refresh_all().await.map_err(|cause| self.unheard(&cause))?;
        let is_own = |topic: &&Arc<TopicInfo>| {
            let named = settings.filter.copies(topic.name.as_str(), &settings.policy, &self.source_alias);
            let is_data = !topic.internal && !settings.policy.is_heartbeats(topic.name.as_str());
            named && is_data && !pairs.values().any(|pair| pair.target == topic.name)
        };
        Ok(view.topics.values().filter(is_own).map(|topic| topic.name.clone()).collect())
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
    /// Whether the source has another topic by now than the one that this is a mirror of: that one was deleted, and made anew. While
    /// sites are apart the mark is older than what a former source was set up with. Of copies without a mark their tasks know it.
    pub(super) fn is_another(&self, phase: Phase) -> bool {
        match phase {
            Phase::Ahead => self.is_not_of_mark(),
            Phase::Plain => self.is_recreated,
            Phase::Between | Phase::Behind | Phase::Parted => false,
        }
    }

    /// Whether the source's topic is another one than the mark names, as far as both have ids.
    pub(super) fn is_not_of_mark(&self) -> bool {
        let made_from = self.here.as_ref().map_or(TopicId::NONE, |mark| mark.source_topic_id);
        made_from != TopicId::NONE && self.source_id != TopicId::NONE && made_from != self.source_id
    }

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

/// Whether nobody's data is in it: the topic into which heartbeat connectors write at the source, whom a fence would stop, and what
/// other links brought there of such topics. Users' topics may end in the same word.
fn is_sign_of_life(source: &TopicName, there: Option<&MirrorMark>, back: Option<Uuid>, policy: &Policy) -> bool {
    let is_brought = || there.is_some_and(|mark| Some(mark.link) != back && policy.is_heartbeats(source.as_str()));
    source.as_str() == HEARTBEATS || is_brought()
}

/// Where readers of these partitions end at present; those that nobody leads are missing.
pub(super) async fn ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    offsets_of(client, partitions, OffsetAt::Latest).await
}

/// Of partitions of one leader: an error if that does not answer.
async fn ends_of_leader(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    let found = client.list_offsets_now(partitions, OffsetAt::Latest).await?;
    if let Some(Err(cause @ (ClientError::Connection { .. } | ClientError::Timeout { .. }))) =
        found.values().find(|end| end.is_err())
    {
        return Err(cause.clone());
    }
    Ok(found.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?))).collect())
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
    let ends = mirror_ends_of(client, partitions).await?;
    Ok(ends.into_iter().map(|(partition, (end, log_end))| (partition, log_end.unwrap_or(end))).collect())
}

/// Where the logs of fenced topics end, committed or not. A leader that has not heard yet that it leads a mirror may take one
/// more record, so what it leads is missing.
pub(super) async fn fenced_ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    // Before the ends: what was taken until then is among them.
    let fenced = fenced_at_leaders(client, partitions).await?;
    let told = mirror_ends_of(client, partitions).await?;
    let untold: Vec<TopicPartition> =
        told.iter().filter(|(_, (_, log_end))| log_end.is_none()).map(|(partition, _)| partition.clone()).collect();
    let starts = offsets_of(client, &untold, OffsetAt::Earliest).await?;
    let end = |(partition, (end, log_end)): (TopicPartition, (Offset, Option<Offset>))| {
        // Only an empty log has no epoch to tell.
        let is_empty = starts.get(&partition) == Some(&end);
        let end = log_end.or(is_empty.then_some(end)).filter(|_| fenced.contains(&partition))?;
        Some((partition, end))
    };
    Ok(told.into_iter().filter_map(end).collect())
}

/// Partitions whose leaders know of the mark that makes mirrors of them.
async fn fenced_at_leaders(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeSet<TopicPartition>, ClientError> {
    let names: BTreeSet<TopicName> = partitions.iter().map(|partition| partition.topic.clone()).collect();
    let view = client.refresh(&names.into_iter().collect::<Vec<_>>()).await?;
    let mut led: BTreeMap<NodeId, Vec<&TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        let found = view.topics.get(&partition.topic).and_then(|topic| topic.partitions.get(&partition.partition));
        if let Some(leader) = found.and_then(|found| found.leader) {
            led.entry(leader).or_default().push(partition);
        }
    }
    let mut fenced = BTreeSet::new();
    for (leader, partitions) in led {
        let names: BTreeSet<TopicName> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        let marks = client.mirror_marks_at(Node::Id(leader), &names.into_iter().collect::<Vec<_>>()).await?;
        let is_fenced = |at: &&&TopicPartition| marks.get(&at.topic).is_some_and(|mark| !mark.promoted);
        fenced.extend(partitions.iter().filter(is_fenced).map(|at| (*at).clone()));
    }
    Ok(fenced)
}

/// Where mirrors end for readers, and where their logs end; a leader that leads no mirror, or an empty one, tells only the first.
async fn mirror_ends_of(
    client: &RawClient,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, (Offset, Option<Offset>)>, ClientError> {
    let committed = ends_of(client, partitions).await?;
    let questions: Vec<EpochQuestion> =
        partitions.iter().map(|partition| EpochQuestion::new(partition.clone(), ANY_EPOCH)).collect();
    let ends = if questions.is_empty() { BTreeMap::new() } else { client.epoch_ends(&questions).await? };
    let both = |(partition, end): (TopicPartition, Offset)| {
        let log_end = ends.get(&partition).and_then(|found| found.as_ref().ok()).copied().flatten();
        (partition, (end, log_end.map(|log_end| log_end.end.max(end))))
    };
    Ok(committed.into_iter().map(both).collect())
}

/// The source topics that have stored positions.
fn topics_of(stored: &[(OffsetMap, OffsetMap)], alias: &str) -> BTreeSet<TopicName> {
    let topic = |(partition, _): &(OffsetMap, OffsetMap)| {
        let is_ours = partition.get("cluster").and_then(Json::as_str) == Some(alias);
        partition.get("topic").and_then(Json::as_str).filter(|_| is_ours).and_then(|name| TopicName::parse(name).ok())
    };
    stored.iter().filter_map(topic).collect()
}

/// A planned verb that cannot ask one site says what helps when that one does not come back: the other may be fenced.
fn away(cause: &ClientError, verb: Verb, (alias, stays): (&str, &str)) -> ApiRefusal {
    let told = format!("cluster '{alias}' cannot be asked: {}", trace_of(cause));
    ApiRefusal::new(
        502,
        match verb {
            Verb::Reverse | Verb::Failback => format!("{told}; {}", way_out(alias, stays)),
            Verb::Failover | Verb::Promote => told,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_verb_that_cannot_ask_a_site_says_how_the_other_one_leads() {
        let cause = ClientError::Timeout { what: "ask".to_owned(), after: ANSWERS_WITHIN };
        let told = |verb, ends| away(&cause, verb, ends).message;
        assert!(told(Verb::Reverse, ("west", "east")).contains("`twinstream link failover west:east` lets them lead"));
        assert!(told(Verb::Failback, ("east", "west")).contains("`twinstream link failover east:west` lets them lead"));
        assert!(!told(Verb::Failover, ("west", "east")).contains("twinstream link"));
    }

    #[test]
    fn heartbeats_take_no_part_in_changes_of_places_and_topics_that_are_called_so_do() {
        let topic = |name: &str| TopicName::parse(name).unwrap();
        let (back, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let policy = Policy::default_named("east", ".");
        let is_sign = |name: &str, there: Option<Uuid>| {
            let mark = there.map(|link| MirrorMark {
                link,
                source_cluster: "other".to_owned(),
                source_topic: topic("heartbeats"),
                source_topic_id: TopicId::NONE,
                promoted: false,
            });
            is_sign_of_life(&topic(name), mark.as_ref(), Some(back), &policy)
        };
        assert!(is_sign("heartbeats", None), "a connector writes to it");
        assert!(is_sign("heartbeats", Some(back)), "also where an older release has fenced it");
        assert!(is_sign("north.heartbeats", Some(other)), "a third site's");
        assert!(!is_sign("sensors.heartbeats", None) && !is_sign("sensors.heartbeats", Some(back)), "a user's");
        assert!(!is_sign("north.orders", Some(other)));
    }
}
