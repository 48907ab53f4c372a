//! Which topics a link copies at the source's offsets: decided by the setting, by what the target can, and by the topic's mark.
//!
//! Picture: a topic that is missing on the target is made with a mark that names this link. A topic that is there is judged by
//! the mark that it has: this link's and mirroring, promoted, another link's, or none.
//! Invariants: the decision for a topic follows from the target alone, so the connector that makes topics and the tasks that
//! copy them cannot disagree. A topic that is there and has no mark is never marked from here: it may have records.
//! A link knows its own mark by computing the link's id from the source cluster that the mark names.

use std::collections::BTreeMap;

use twinstream_client::raw::{MirrorMark, MirrorSource};
use twinstream_client::{ClientError, NewTopic, RawClient};
use twinstream_model::{TopicId, TopicName};
use uuid::Uuid;

use crate::link_id::link_id;

/// `twinstream.link.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LinkMode {
    #[default]
    Auto,
    Aligned,
    Generic,
}

impl LinkMode {
    pub(crate) const NAMES: [&str; 3] = ["auto", "aligned", "generic"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            LinkMode::Auto => "auto",
            LinkMode::Aligned => "aligned",
            LinkMode::Generic => "generic",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<LinkMode> {
        match name {
            "auto" => Some(LinkMode::Auto),
            "aligned" => Some(LinkMode::Aligned),
            "generic" => Some(LinkMode::Generic),
            _ => None,
        }
    }
}

/// How a topic that is there is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicMode {
    /// As any producer would, and why.
    Generic(&'static str),
    /// At the source's offsets.
    Aligned(Mirrored),
    /// It was promoted: producers write to it now, and the link does not.
    Promoted,
    /// It cannot be copied as the settings say.
    Refused(String),
}

/// What a mark says of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrored {
    pub link: Uuid,
    pub cluster: String,
    pub topic: TopicName,
    /// NONE if the source told none when the topic was marked.
    pub topic_id: TopicId,
}

/// What decisions of one link rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marking {
    mode: LinkMode,
    /// The target has the feature, and an id.
    able: bool,
    target_cluster: String,
    source_alias: String,
    target_alias: String,
}

impl Marking {
    /// Asks the target what it can.
    pub(crate) async fn learn(
        mode: LinkMode,
        aliases: (&str, &str),
        target: &RawClient,
    ) -> Result<Marking, ClientError> {
        let able = mode != LinkMode::Generic && target.knows_mirrors().await?;
        Ok(Marking::new(mode, aliases, able, target.cluster_id()))
    }

    fn new(mode: LinkMode, aliases: (&str, &str), able: bool, target_cluster: Option<String>) -> Marking {
        Marking {
            mode,
            able: able && target_cluster.is_some(),
            target_cluster: target_cluster.unwrap_or_default(),
            source_alias: aliases.0.to_owned(),
            target_alias: aliases.1.to_owned(),
        }
    }

    /// Whether topics that are missing become mirrors.
    pub(crate) fn marks_new_topics(&self) -> bool {
        self.able && self.mode != LinkMode::Generic
    }

    /// The id of this link when it reads from this cluster.
    pub(crate) fn link(&self, source_cluster: &str) -> Uuid {
        link_id(source_cluster, &self.target_cluster, &self.source_alias, &self.target_alias)
    }

    /// A topic that is to be made on the target, with the mark if it is to have one; why it cannot be made as the settings say.
    pub(crate) fn new_topic(
        &self,
        topic: NewTopic,
        source_cluster: Option<&str>,
        source_topic: &TopicName,
        source_topic_id: TopicId,
    ) -> Result<NewTopic, String> {
        match source_cluster.filter(|_| self.marks_new_topics()) {
            Some(cluster) => Ok(topic.mirroring(MirrorSource {
                link: self.link(cluster),
                cluster: cluster.to_owned(),
                topic: source_topic.clone(),
                topic_id: source_topic_id,
            })),
            None if self.mode == LinkMode::Aligned => Err(self.cannot()),
            None => Ok(topic),
        }
    }

    fn cannot(&self) -> String {
        "twinstream.link.mode=aligned needs a target that knows the feature twinstream.mirror, and ids of both clusters; upgrade the target (kafka-features upgrade --feature twinstream.mirror=1) or use auto".to_owned()
    }

    /// How a topic that is there is copied. `source_topic` is the one that is copied into it.
    pub(crate) fn judge(&self, source_topic: &TopicName, mark: Option<&MirrorMark>) -> TopicMode {
        if self.mode == LinkMode::Generic {
            return match mark {
                Some(mark) if !mark.promoted => TopicMode::Refused(format!(
                    "it is a mirror of {} over link {}, which takes records from nobody else, and this link copies as any producer does (twinstream.link.mode=generic, or auto with twinstream.provenance.headers.enabled, or auto on a worker with exactly.once.source.support=enabled, whose transactions cannot hold mirrors): run the link on a worker without that setting and with mode auto, which goes on with its own mirrors exactly once all the same; or delete the topic on the target, it is made again as such a copy; or promote it, if it is to be written to there",
                    mark.source_topic, mark.link
                )),
                _ => TopicMode::Generic("twinstream.link.mode=generic"),
            };
        }
        if !self.able {
            return match self.mode {
                LinkMode::Aligned => TopicMode::Refused(self.cannot()),
                _ => TopicMode::Generic("the target does not know the feature twinstream.mirror"),
            };
        }
        let Some(mark) = mark else {
            return match self.mode {
                LinkMode::Aligned => TopicMode::Refused(
                    "it is there on the target and is no mirror; delete or rename it there, or use twinstream.link.mode=auto, which copies it as a producer would".to_owned(),
                ),
                _ => TopicMode::Generic("it was there on the target before it could be made a mirror"),
            };
        };
        let link = self.link(&mark.source_cluster);
        if mark.link != link {
            return TopicMode::Refused(format!(
                "it is a mirror of {} of cluster {} over another link, {} (this one is {link}); promote it, or delete that link and the topic",
                mark.source_topic, mark.source_cluster, mark.link
            ));
        }
        if mark.source_topic != *source_topic {
            return TopicMode::Refused(format!(
                "it is a mirror of topic {}, and {source_topic} has the same name on the target",
                mark.source_topic
            ));
        }
        if mark.promoted {
            return TopicMode::Promoted;
        }
        TopicMode::Aligned(Mirrored {
            link,
            cluster: mark.source_cluster.clone(),
            topic: mark.source_topic.clone(),
            topic_id: mark.source_topic_id,
        })
    }

    /// How topics of the target are copied that are there: by their names, each with the source's.
    pub(crate) async fn modes(
        &self,
        target: &RawClient,
        topics: &BTreeMap<TopicName, TopicName>,
    ) -> Result<BTreeMap<TopicName, TopicMode>, ClientError> {
        let names: Vec<TopicName> = topics.keys().cloned().collect();
        // A target that does not know marks has none.
        let marks = if target.knows_mirrors().await? { target.mirror_marks(&names).await? } else { BTreeMap::new() };
        Ok(topics.iter().map(|(remote, source)| (remote.clone(), self.judge(source, marks.get(remote)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIASES: (&str, &str) = ("east", "west");

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn marking(mode: LinkMode) -> Marking {
        Marking::new(mode, ALIASES, mode != LinkMode::Generic, Some("cluster-w".to_owned()))
    }

    fn mark(link: Uuid) -> MirrorMark {
        MirrorMark {
            link,
            source_cluster: "cluster-e".to_owned(),
            source_topic: topic("orders"),
            source_topic_id: TopicId::NONE,
            promoted: false,
        }
    }

    fn own_mark() -> MirrorMark {
        mark(link_id("cluster-e", "cluster-w", "east", "west"))
    }

    #[test]
    fn a_new_topic_is_marked_where_the_target_can() {
        let make = |marking: &Marking, cluster: Option<&str>| {
            marking.new_topic(NewTopic::new(topic("orders"), 1, 1), cluster, &topic("orders"), TopicId::NONE)
        };
        for mode in [LinkMode::Auto, LinkMode::Aligned] {
            let made = make(&marking(mode), Some("cluster-e")).unwrap().mirror.unwrap();
            assert_eq!((made.link, made.topic), (own_mark().link, topic("orders")));
        }
        assert_eq!(make(&marking(LinkMode::Generic), Some("cluster-e")).unwrap().mirror, None);
        let unable = |mode| Marking::new(mode, ALIASES, false, Some("cluster-w".to_owned()));
        assert_eq!(make(&unable(LinkMode::Auto), Some("cluster-e")).unwrap().mirror, None);
        assert!(make(&unable(LinkMode::Aligned), Some("cluster-e")).unwrap_err().contains("twinstream.mirror"));
        assert_eq!(make(&marking(LinkMode::Auto), None).unwrap().mirror, None, "a source without an id");
    }

    #[test]
    fn a_topic_without_a_mark_is_never_taken_over() {
        let judged = |mode| marking(mode).judge(&topic("orders"), None);
        assert!(matches!(judged(LinkMode::Auto), TopicMode::Generic(_)));
        assert!(matches!(judged(LinkMode::Generic), TopicMode::Generic(_)));
        assert!(matches!(judged(LinkMode::Aligned), TopicMode::Refused(why) if why.contains("no mirror")));
    }

    #[test]
    fn a_mark_decides_who_copies() {
        let auto = marking(LinkMode::Auto);
        let orders = topic("orders");
        assert!(matches!(auto.judge(&orders, Some(&own_mark())), TopicMode::Aligned(_)));
        assert!(
            matches!(auto.judge(&orders, Some(&mark(Uuid::from_u128(7)))), TopicMode::Refused(why) if why.contains("another link"))
        );
        assert!(
            matches!(auto.judge(&topic("x"), Some(&own_mark())), TopicMode::Refused(why) if why.contains("orders"))
        );
        let promoted = MirrorMark { promoted: true, ..own_mark() };
        assert_eq!(auto.judge(&orders, Some(&promoted)), TopicMode::Promoted);
        let generic = marking(LinkMode::Generic);
        let TopicMode::Refused(why) = generic.judge(&orders, Some(&own_mark())) else { panic!("it is a mirror") };
        for named in ["exactly.once.source.support", "twinstream.link.mode=generic", "delete the topic", "promote it"] {
            assert!(why.contains(named), "{named}: {why}");
        }
        assert!(matches!(generic.judge(&orders, Some(&promoted)), TopicMode::Generic(_)));
    }
}
