//! Copies whose topic is gone from the source, and when they are deleted (`twinstream.sync.topic.deletes.enabled`). Pure.
//!
//! Picture: each look at both sides gives the topics of the target that this link made and whose source is gone. One that is
//! among them in every look for the whole grace is due.
//! Invariants: D1 only what certainly is this link's is ever deleted: a mirror that carries its mark and was not promoted, from
//! the cluster that answers now; or a copy that tasks here have made under a name of the link's own. D2 a look that failed proves
//! nothing, a look in which the source has the topic begins the grace anew. D3 a topic that was deleted and made anew is not the
//! one that was mirrored: its mirror is gone with the former. D4 a source that has lost most of what the link copied was wiped, or set
//! up anew under its old id, rather than tidied: then nothing is deleted, for the copies are what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use twinstream_client::raw::MirrorMark;
use twinstream_model::{TopicId, TopicName};
use uuid::Uuid;

/// What the source answered.
pub(super) struct Source<'a> {
    pub cluster: &'a str,
    /// All of its topics.
    pub topics: &'a BTreeMap<TopicName, TopicId>,
}

/// Mirrors of this link whose topic is gone.
pub(super) fn mirrors_gone(
    source: &Source<'_>,
    marks: &BTreeMap<TopicName, MirrorMark>,
    link: Uuid,
) -> BTreeSet<TopicName> {
    let is_gone = |mark: &MirrorMark| match source.topics.get(&mark.source_topic) {
        None => true,
        Some(id) => !id.is_none() && !mark.source_topic_id.is_none() && *id != mark.source_topic_id,
    };
    let gone = marks.iter().filter(|(_, mark)| {
        mark.link == link && !mark.promoted && mark.source_cluster == source.cluster && is_gone(mark)
    });
    gone.map(|(topic, _)| topic.clone()).collect()
}

/// Whether so many copies, of all that the link has, are gone at the source that nobody can have meant it. Pure.
pub(super) fn looks_wiped(gone: usize, all: usize) -> bool {
    gone > all / 2
}

/// Since when each is gone.
#[derive(Debug, Default)]
pub(super) struct Grace(BTreeMap<TopicName, Duration>);

impl Grace {
    /// Both sides were looked at, these are gone. Returns those of which this is news, and those that are due.
    pub(super) fn looked(
        &mut self,
        gone: &BTreeSet<TopicName>,
        now: Duration,
        grace: Duration,
    ) -> (Vec<TopicName>, Vec<TopicName>) {
        self.0.retain(|topic, _| gone.contains(topic));
        let news: Vec<TopicName> = gone.iter().filter(|topic| !self.0.contains_key(*topic)).cloned().collect();
        self.0.extend(news.iter().map(|topic| (topic.clone(), now)));
        let due = self.0.iter().filter(|(_, since)| now.saturating_sub(**since) >= grace);
        (news, due.map(|(topic, _)| topic.clone()).collect())
    }

    /// Its deletion was asked for.
    pub(super) fn deleted(&mut self, topic: &TopicName) {
        self.0.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Uuid = Uuid::from_u128(7);

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn id(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn mark(source: &str, number: u128) -> MirrorMark {
        MirrorMark {
            link: LINK,
            source_cluster: "east".to_owned(),
            source_topic: topic(source),
            source_topic_id: id(number),
            promoted: false,
        }
    }

    fn gone(marks: &[(&str, MirrorMark)]) -> Vec<String> {
        let topics = BTreeMap::from([(topic("kept"), id(1)), (topic("anew"), id(3))]);
        let source = Source { cluster: "east", topics: &topics };
        let marks = marks.iter().map(|(name, mark)| (topic(name), mark.clone())).collect();
        mirrors_gone(&source, &marks, LINK).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_mirrors_of_this_link_whose_topic_is_gone_count() {
        assert_eq!(
            gone(&[("kept", mark("kept", 1)), ("gone", mark("gone", 2)), ("anew", mark("anew", 2))]),
            ["anew", "gone"]
        );
        let promoted = MirrorMark { promoted: true, ..mark("gone", 2) };
        let of_another_link = MirrorMark { link: Uuid::from_u128(8), ..mark("gone", 2) };
        let of_another_cluster = MirrorMark { source_cluster: "restored".to_owned(), ..mark("gone", 2) };
        assert!(gone(&[("a", promoted), ("b", of_another_link), ("c", of_another_cluster)]).is_empty());
        let unknown = MirrorMark { source_topic_id: TopicId::NONE, ..mark("anew", 2) };
        assert!(gone(&[("anew", unknown)]).is_empty(), "who cannot tell does not delete");
    }

    #[test]
    fn a_source_that_has_lost_most_of_its_topics_makes_no_copy_go() {
        // (1, 1): of a link with one topic nobody can tell the two apart.
        for (gone, all) in [(1, 1), (2, 3), (51, 100), (7, 7), (3, 2)] {
            assert!(looks_wiped(gone, all), "{gone} of {all}");
        }
        for (gone, all) in [(1, 2), (1, 3), (50, 100), (0, 0), (0, 9)] {
            assert!(!looks_wiped(gone, all), "{gone} of {all}");
        }
    }

    #[test]
    fn a_topic_is_due_after_it_was_gone_for_the_whole_grace() {
        let (mut looks, grace) = (Grace::default(), Duration::from_secs(10));
        let both: BTreeSet<TopicName> = [topic("a"), topic("b")].into();
        let only_a: BTreeSet<TopicName> = [topic("a")].into();
        let mut look = |gone: &BTreeSet<TopicName>, second| {
            let (news, due) = looks.looked(gone, Duration::from_secs(second), grace);
            let names = |topics: Vec<TopicName>| topics.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            (names(news), names(due))
        };
        let told = |news: &str, due: &str| (news.to_owned(), due.to_owned());
        assert_eq!(look(&both, 0), told("a,b", ""));
        assert_eq!(look(&only_a, 5), told("", ""), "b is back");
        assert_eq!(look(&both, 9), told("b", ""));
        assert_eq!(look(&both, 10), told("", "a"));
        assert_eq!(look(&both, 19), told("", "a,b"));
    }
}
