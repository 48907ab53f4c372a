//! Topics whose offsets are the same on both sides, so that positions of groups need no map.
//!
//! Picture: marks tell which topic is a mirror of which. A mirror on the target of a topic of the source takes the groups of the
//! source as they are; so does the target's own topic for groups that read its mirror on the source (two sites that mirror each
//! other, or a link that leads back). A position is never told beyond what the target has of the partition: it follows as the
//! mirror does.
//! Invariants: a mirror that was promoted is none any more; its offsets go on by themselves. A topic that was deleted and made anew
//! is another one: positions in it say nothing about the mirror of the one before. So each topic in which somebody has moved is
//! asked for its id, after the positions were read: whoever moved in the new one is known by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;
use twinstream_client::raw::{MirrorMark, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{Offset, TopicId, TopicName, TopicPartition};

use super::settings::CheckpointSettings;

/// How long an answer about a topic counts.
const ASK_AGAIN: Duration = Duration::from_secs(5);

type Marks = BTreeMap<TopicName, MirrorMark>;
type Ids = BTreeMap<TopicName, TopicId>;

pub(super) struct Identity {
    source: RawClient,
    target: RawClient,
    asked_at: Option<Instant>,
    /// By topics of the source that were asked about: the topic of the target with the same offsets.
    same: HashMap<TopicName, Option<TopicName>>,
    /// Ids of topics of the source, and of their originals on the target.
    ids: (Ids, Ids),
    /// Of the positions in each topic of the source, as they were when its id was asked for.
    seen: HashMap<TopicName, u64>,
    /// Log ends of partitions of the target, as of when a group was further.
    ends: HashMap<TopicPartition, Offset>,
}

impl Identity {
    pub(super) fn new(source: RawClient, target: RawClient) -> Self {
        Self {
            source,
            target,
            asked_at: None,
            same: HashMap::new(),
            ids: Default::default(),
            seen: HashMap::new(),
            ends: HashMap::new(),
        }
    }

    /// Learns of these topics of the source, and of ends that the positions have passed.
    pub(super) async fn learn(
        &mut self,
        positions: impl Iterator<Item = (&TopicPartition, Offset)> + Clone,
        settings: &CheckpointSettings,
    ) -> Result<(), ClientError> {
        let seen = seen(positions.clone());
        let is_due = self.asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN);
        let is_known = seen.keys().all(|topic| self.same.contains_key(topic));
        if is_due || !is_known || self.is_made_anew(&seen).await? {
            self.ask(seen.keys().collect(), settings).await?;
        }
        self.seen = seen;
        let mut passed: Vec<TopicPartition> = positions
            .filter_map(|(partition, offset)| {
                let there = TopicPartition::new(self.of(&partition.topic)?.clone(), partition.partition);
                self.ends.get(&there).is_none_or(|end| *end < offset).then_some(there)
            })
            .collect();
        passed.sort();
        passed.dedup();
        if !passed.is_empty() {
            let ends = self.target.list_offsets_now(&passed, OffsetAt::Latest).await?;
            self.ends.extend(ends.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?))));
        }
        Ok(())
    }

    /// Whether one of the topics in which somebody has moved is another one than it was.
    async fn is_made_anew(&self, seen: &HashMap<TopicName, u64>) -> Result<bool, ClientError> {
        let moved = seen.iter().filter(|(topic, positions)| self.seen.get(*topic) != Some(positions));
        let moved: Vec<TopicName> = moved.map(|(topic, _)| topic.clone()).collect();
        let now = ids(&self.source, &moved).await?;
        Ok(now.iter().any(|(topic, id)| self.ids.0.get(topic) != Some(id)))
    }

    /// The id of a topic of the source, NONE if it is not known.
    pub(super) fn id(&self, topic: &TopicName) -> TopicId {
        self.ids.0.get(topic).copied().unwrap_or(TopicId::NONE)
    }

    /// The id of the target's own topic of which the source has a copy, NONE if it is not known.
    pub(super) fn id_on_target(&self, original: &TopicName) -> TopicId {
        self.ids.1.get(original).copied().unwrap_or(TopicId::NONE)
    }

    /// The topic of the target that has the offsets of this one of the source.
    pub(super) fn of(&self, topic: &TopicName) -> Option<&TopicName> {
        self.same.get(topic)?.as_ref()
    }

    /// Where a position of the source is on the target; `None` if the target has not told how far it is.
    pub(super) fn position(&self, there: &TopicPartition, upstream: Offset) -> Option<Offset> {
        self.ends.get(there).map(|end| upstream.min(*end))
    }

    async fn ask(&mut self, topics: BTreeSet<&TopicName>, settings: &CheckpointSettings) -> Result<(), ClientError> {
        let CheckpointSettings { topics: filter, policy, target_alias, .. } = settings;
        let theirs: Vec<TopicName> = topics.iter().map(|topic| (*topic).clone()).collect();
        let there = marks(&self.source, &theirs).await?;
        // A mirror of the target's own topic may have any name, its mark says of which.
        let named = theirs.iter().filter_map(|topic| policy.remote_topic(topic).ok());
        let candidates: BTreeSet<TopicName> =
            named.chain(there.values().map(|mark| mark.source_topic.clone())).collect();
        let here = marks(&self.target, &candidates.into_iter().collect::<Vec<_>>()).await?;
        let clusters = (self.source.cluster_id(), self.target.cluster_id());
        let clusters = (clusters.0.as_deref(), clusters.1.as_deref());
        let copied_there = theirs.iter().filter_map(|topic| policy.upstream_of(topic, target_alias));
        let originals: BTreeSet<TopicName> =
            there.values().map(|mark| mark.source_topic.clone()).chain(copied_there).collect();
        let originals: Vec<TopicName> = originals.into_iter().collect();
        self.ids = (ids(&self.source, &theirs).await?, ids(&self.target, &originals).await?);
        let same = |topic: &TopicName| {
            let found = same_offsets(topic, &there, &here, clusters, (&self.ids.0, &self.ids.1))?;
            // What is wanted may be named by either side's name.
            let is_wanted = filter.follows_back(topic.as_str(), policy) || filter.follows_back(found.as_str(), policy);
            is_wanted.then_some(found)
        };
        self.same = theirs.iter().map(|topic| (topic.clone(), same(topic))).collect();
        self.asked_at = Some(Instant::now());
        Ok(())
    }
}

/// By topics, what tells the positions in them from others. Pure.
fn seen<'a>(positions: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> HashMap<TopicName, u64> {
    let mut hashers: HashMap<&TopicName, DefaultHasher> = HashMap::new();
    for (partition, offset) in positions {
        (partition.partition, offset).hash(hashers.entry(&partition.topic).or_default());
    }
    hashers.into_iter().map(|(topic, hasher)| (topic.clone(), hasher.finish())).collect()
}

async fn ids(client: &RawClient, topics: &[TopicName]) -> Result<Ids, ClientError> {
    if topics.is_empty() {
        return Ok(Ids::new());
    }
    let view = client.refresh(topics).await?;
    Ok(topics.iter().filter_map(|topic| Some((topic.clone(), view.topics.get(topic)?.id))).collect())
}

async fn marks(client: &RawClient, topics: &[TopicName]) -> Result<Marks, ClientError> {
    // A cluster that does not know marks has none.
    if topics.is_empty() || !client.knows_mirrors().await? {
        Ok(Marks::new())
    } else {
        client.mirror_marks(topics).await
    }
}

/// The target's topic with the offsets of a topic of the source, by the marks of both sides and the ids of what they are mirrors of.
/// Pure.
fn same_offsets(
    topic: &TopicName,
    there: &Marks,
    here: &Marks,
    (source, target): (Option<&str>, Option<&str>),
    (originals_there, originals_here): (&Ids, &Ids),
) -> Option<TopicName> {
    let is_of = |mark: &MirrorMark, cluster: Option<&str>, ids: &Ids| {
        let is_that_one = mark.source_topic_id == TopicId::NONE
            || ids.get(&mark.source_topic).is_none_or(|id| *id == TopicId::NONE || *id == mark.source_topic_id);
        !mark.promoted && cluster == Some(&mark.source_cluster) && is_that_one
    };
    let mirror = here.iter().find(|(_, mark)| is_of(mark, source, originals_there) && mark.source_topic == *topic);
    if let Some((mirror, _)) = mirror {
        return Some(mirror.clone());
    }
    there.get(topic).filter(|mark| is_of(mark, target, originals_here)).map(|mark| mark.source_topic.clone())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn marks(of: &[(&str, &str, &str, bool)]) -> Marks {
        let mark = |(name, cluster, source, promoted): &(&str, &str, &str, bool)| {
            let mark = MirrorMark {
                link: Uuid::from_u128(1),
                source_cluster: (*cluster).to_owned(),
                source_topic: topic(source),
                source_topic_id: TopicId::NONE,
                promoted: *promoted,
            };
            (topic(name), mark)
        };
        of.iter().map(mark).collect()
    }

    const CLUSTERS: (Option<&str>, Option<&str>) = (Some("E"), Some("W"));

    #[test]
    fn groups_of_the_source_stand_where_they_are_in_its_mirror() {
        let here = marks(&[("east.orders", "E", "orders", false), ("other", "X", "orders", false)]);
        let none = Ids::new();
        let same = |name: &str, here: &Marks| same_offsets(&topic(name), &Marks::new(), here, CLUSTERS, (&none, &none));
        assert_eq!(same("orders", &here), Some(topic("east.orders")));
        assert_eq!(same("else", &here), None);
        assert_eq!(same("orders", &marks(&[("east.orders", "E", "orders", true)])), None, "it was promoted");
        let unknown = (None, Some("W"));
        assert_eq!(same_offsets(&topic("orders"), &Marks::new(), &here, unknown, (&none, &none)), None);
    }

    #[test]
    fn a_topic_that_was_made_anew_says_nothing_about_the_mirror_of_the_one_before() {
        let made_from = |mut marks: Marks| {
            marks.values_mut().for_each(|mark| mark.source_topic_id = TopicId(Uuid::from_u128(7)));
            marks
        };
        let here = made_from(marks(&[("orders", "E", "orders", false)]));
        let none = Ids::new();
        let same = |id: TopicId| {
            let ids = Ids::from([(topic("orders"), id)]);
            same_offsets(&topic("orders"), &Marks::new(), &here, CLUSTERS, (&ids, &none))
        };
        assert_eq!(same(TopicId(Uuid::from_u128(7))), Some(topic("orders")), "the one of the mark");
        assert_eq!(same(TopicId::NONE), Some(topic("orders")), "the source tells no ids");
        assert_eq!(same(TopicId(Uuid::from_u128(9))), None);
        let there = made_from(marks(&[("orders", "W", "orders", false)]));
        let ids = Ids::from([(topic("orders"), TopicId(Uuid::from_u128(9)))]);
        assert_eq!(same_offsets(&topic("orders"), &there, &Marks::new(), CLUSTERS, (&none, &ids)), None);
    }

    #[test]
    fn readers_of_a_mirror_on_the_source_stand_in_the_original() {
        let there = marks(&[("west.orders", "W", "orders", false), ("west.old", "W", "old", true)]);
        let none = Ids::new();
        let same = |name: &str, here: &Marks| same_offsets(&topic(name), &there, here, CLUSTERS, (&none, &none));
        assert_eq!(same("west.orders", &Marks::new()), Some(topic("orders")));
        assert_eq!(same("west.old", &Marks::new()), None, "it has gone its own way");
        // The way back: what was promoted is mirrored into the topic that it came from.
        let here = marks(&[("old", "E", "west.old", false)]);
        assert_eq!(same("west.old", &here), Some(topic("old")));
    }
}
