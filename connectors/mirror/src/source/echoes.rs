//! Which topics of the source are copied, and which are not because they came from the target.
//!
//! Picture: the source's list goes through the filter, or for a link that leads back through the marks of what it brings home. Where
//! both sites use the same names, a mirror of the target's own topic is an echo: copied back, its records would go round.
//! Invariants: an echo is told with its cause among the topics that are refused. A look that fails changes nothing.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tracing::warn;
use twinstream_client::raw::{ClusterView, MirrorMark};
use twinstream_connect_api::TaskError;
use twinstream_model::TopicName;

use super::{Link, Topics};
use crate::config::Settings;
use crate::returns::{self, Names};

impl Link {
    /// The topics of the source that are copied.
    pub(super) async fn look(&self) -> Result<Topics, TaskError> {
        let view = self
            .source
            .refresh_all()
            .await
            .map_err(|cause| TaskError::retriable("list topics of the source").caused_by(cause))?;
        let Settings { filter, policy, target_alias, returns, .. } = &self.settings;
        let names = if *returns { self.coming_home(&view).await? } else { Names::new() };
        let copied = view.topics.values().filter(|topic| {
            let copies = |name: &TopicName| match returns {
                true => names.contains_key(name),
                false => filter.copies(name.as_str(), policy, target_alias),
            };
            !topic.internal && !topic.partitions.is_empty() && copies(&topic.name)
        });
        let copied: Vec<_> = copied.collect();
        let echoes = match !returns && policy.is_identity() {
            true => {
                let names: Vec<TopicName> = copied.iter().map(|topic| topic.name.clone()).collect();
                let mut echoes = self.came_from_the_target(names.clone()).await?;
                echoes.extend(self.would_come_round(names).await?);
                echoes
            }
            false => BTreeMap::new(),
        };
        let copied = copied.into_iter().filter(|topic| !echoes.contains_key(&topic.name));
        let copied: Topics = copied
            .map(|topic| (topic.name.clone(), u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)))
            .collect();
        *self.echoes.lock().unwrap_or_else(PoisonError::into_inner) = echoes;
        Ok(copied)
    }

    /// Which of these topics of the source are mirrors of the target's own topics of the same name, promoted or not: copied back,
    /// their records would go round. Where the target's topic is a mirror, too, sites change places or did, and the marks say who
    /// leads. Only clusters of ours know that of their topics.
    async fn came_from_the_target(&self, topics: Vec<TopicName>) -> Result<BTreeMap<TopicName, String>, TaskError> {
        let failed = |cause| TaskError::retriable("ask both sides for mirrors").caused_by(cause);
        let (Some(source), Some(target)) = (self.source.cluster_id(), self.target.cluster_id()) else {
            return Ok(BTreeMap::new());
        };
        if topics.is_empty() || !self.source.knows_mirrors().await.map_err(failed)? {
            return Ok(BTreeMap::new());
        }
        let there = self.source.mirror_marks(&topics).await.map_err(failed)?;
        let is_theirs =
            |(topic, mark): &(&TopicName, &MirrorMark)| mark.source_cluster == target && mark.source_topic == **topic;
        let theirs: Vec<TopicName> = there.iter().filter(is_theirs).map(|(topic, _)| topic.clone()).collect();
        let here = match theirs.is_empty() {
            true => BTreeMap::new(),
            false => self.target.mirror_marks(&theirs).await.map_err(failed)?,
        };
        let why = |topic: &TopicName| {
            format!(
                "topic {topic} of the source is a mirror of the target's own topic, or was until it was promoted: its records would go round; use `twinstream link failback`, or leave it out of topics"
            )
        };
        let goes_round = |topic: &TopicName| here.get(topic).is_none_or(|mark| mark.source_cluster != source);
        Ok(theirs.into_iter().filter(goes_round).map(|topic| (topic.clone(), why(&topic))).collect())
    }

    /// Which of these topics other links of this process lead back to the source. Where either side's topic is a mirror the marks say
    /// what is copied, and nothing goes round.
    async fn would_come_round(&self, topics: Vec<TopicName>) -> Result<BTreeMap<TopicName, String>, TaskError> {
        let failed = |cause| TaskError::retriable("ask both sides for mirrors").caused_by(cause);
        let round = topics.into_iter().filter_map(|topic| Some((topic.clone(), self.road.comes_round(&topic)?)));
        let mut round: BTreeMap<TopicName, String> = round.collect();
        for side in [&self.source, &self.target] {
            let names: Vec<TopicName> = round.keys().cloned().collect();
            if !names.is_empty() && side.knows_mirrors().await.map_err(failed)? {
                let marks = side.mirror_marks(&names).await.map_err(failed)?;
                round.retain(|topic, _| !marks.contains_key(topic));
            }
        }
        Ok(round)
    }

    /// Looks which topics of the source come home.
    async fn coming_home(&self, view: &ClusterView) -> Result<Names, TaskError> {
        let topics: Vec<TopicName> = view.topics.keys().cloned().collect();
        let marks = self.source.mirror_marks(&topics).await;
        let marks = marks.map_err(|cause| TaskError::retriable("ask the source for its mirrors").caused_by(cause))?;
        let Settings { filter, policy, .. } = &self.settings;
        let (names, left) = returns::coming_home(&marks, self.target.cluster_id().as_deref(), filter, policy);
        for topic in left {
            warn!(connector = self.context.connector(), %topic, "another mirror of the same topic comes home, this one does not");
        }
        self.names().clone_from(&names);
        Ok(names)
    }
}
