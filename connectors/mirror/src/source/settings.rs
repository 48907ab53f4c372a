//! Settings of topics that follow the source (`sync.topic.configs.enabled`).
//!
//! Invariants: a topic whose settings one side does not tell or does not take stops no other one; it is told once with its cause,
//! stands in the link's status, and is asked for again in the next round. What the link does not copy it does not change: promoted
//! topics, other links' mirrors, and topics that are none where only mirrors are wanted.

use std::collections::BTreeMap;

use tracing::warn;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{TopicId, TopicName};

use super::Link;
use super::copies::Remotes;
use crate::config::Settings;
use crate::engine::standing::Standing;
use crate::figures;
use crate::topics::{self, Changed, TopicsError, during};

impl Link {
    /// Brings changed settings of copied topics over.
    pub(super) async fn sync(&self) -> Result<(), TopicsError> {
        let sources = self.remotes(self.copied().keys());
        let mut apart = self.apart_there(&sources).await?;
        apart.extend(self.made_anew(&sources).await?);
        let names: Vec<TopicName> = sources.values().filter(|topic| !apart.contains_key(*topic)).cloned().collect();
        let excluded = &self.settings.properties_excluded;
        let (wanted, unread) = topics::read_configs(&self.source, &names, Some(excluded)).await?;
        let mut left = apart;
        left.extend(unread.into_iter().map(|(topic, cause)| {
            (topic, format!("its settings cannot be read at the source and do not follow: {}", trace_of(&cause)))
        }));
        let remotes: BTreeMap<&TopicName, &Changed> =
            sources.iter().filter_map(|(remote, topic)| Some((remote, wanted.get(topic)?))).collect();
        let remote_names: Vec<TopicName> = remotes.keys().copied().cloned().collect();
        let (present, unread) = topics::read_configs(&self.target, &remote_names, None).await?;
        let source_of = |remote: &TopicName| sources.get(remote).cloned();
        left.extend(unread.into_iter().filter_map(|(remote, cause)| {
            let cause = trace_of(&cause);
            Some((
                source_of(&remote)?,
                format!("settings of {remote} cannot be read on the target and do not follow: {cause}"),
            ))
        }));
        let mut changes = BTreeMap::new();
        for (remote, wanted) in remotes {
            if let Some(present) = present.get(remote) {
                let steps = topics::difference(wanted, present, excluded);
                if !steps.is_empty() {
                    changes.insert(remote.clone(), steps);
                }
            }
        }
        if !changes.is_empty() {
            left.extend(topics::alter(&self.target, &changes).await?.into_iter().filter_map(|(remote, cause)| {
                let cause = trace_of(&cause);
                Some((source_of(&remote)?, format!("the target does not take the settings of {remote}: {cause}")))
            }));
        }
        // What is promoted is told by whoever noticed that first.
        left.retain(|topic, _| !self.apart().is_promoted(topic));
        let news = self.apart().settings(left);
        for (topic, cause) in news {
            warn!(connector = self.context.connector(), %topic, cause, "settings are not copied, tried again in the next round");
        }
        self.show_apart();
        Ok(())
    }

    /// Topics that somebody deleted at the source and made anew: what they are set to says nothing about the copies, which may be the
    /// last ones.
    async fn made_anew(&self, sources: &Remotes) -> Result<BTreeMap<TopicName, String>, TopicsError> {
        let why = |remote: &TopicName| {
            format!("settings of {remote} are left alone: the source's topic is another one than it was made from")
        };
        let Settings { source_alias, target_alias, .. } = &self.settings;
        let seen = figures::link(source_alias, target_alias).partitions();
        let stand = seen.into_iter().filter(|seen| seen.is_live && seen.standing == Standing::Recreated);
        let mut found: BTreeMap<TopicName, String> =
            stand.map(|seen| (seen.source.topic.clone(), why(&seen.target.topic))).collect();
        if sources.is_empty() || !self.target.knows_mirrors().await.map_err(during("ask for features"))? {
            return Ok(found);
        }
        let remotes: Vec<TopicName> = sources.keys().cloned().collect();
        let marks = self.target.mirror_marks(&remotes).await.map_err(during("ask the target for its mirrors"))?;
        let topics: Vec<TopicName> = sources.values().cloned().collect();
        let view = self.source.refresh(&topics).await.map_err(during("look for topics of the source"))?;
        for (remote, mark) in marks.iter().filter(|(_, mark)| !mark.promoted) {
            let Some(topic) = sources.get(remote) else { continue };
            let id = view.topics.get(topic).map_or(TopicId::NONE, |topic| topic.id);
            let both_known = id != TopicId::NONE && mark.source_topic_id != TopicId::NONE;
            let is_other = view.cluster_id.as_ref().is_some_and(|cluster| *cluster != mark.source_cluster)
                || (both_known && id != mark.source_topic_id);
            if is_other {
                found.insert(topic.clone(), why(remote));
            }
        }
        Ok(found)
    }
}
