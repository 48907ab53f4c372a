//! Topics become mirrors of the other side, and mirrors topics like any other. Every change is one request for all topics that are
//! due by their phase, so what was changed before is not changed again.

use twinstream_client::raw::{Marked, MirrorSource};
use twinstream_connect_api::ApiRefusal;
use twinstream_connect_api::error::trace_of;
use twinstream_model::TopicName;

use super::Operation;
use super::ends::Pair;
use super::plan::Phase;
use crate::words::counted;

impl Operation<'_> {
    /// Makes ordinary topics of the copies; how many are left.
    pub(super) async fn promote_copies(&mut self) -> Result<usize, ApiRefusal> {
        let topics: Vec<TopicName> =
            self.in_phase(&[Phase::Ahead, Phase::Between]).iter().map(|pair| pair.target.clone()).collect();
        let marked =
            self.ends.target.promote_mirrors(&topics, false).await.map_err(|cause| self.ends.unheard(&cause))?;
        let left = self.tell_marked("promoted", marked);
        self.look().await?;
        Ok(left)
    }

    pub(super) async fn promote_originals(&mut self) -> Result<(), ApiRefusal> {
        let topics: Vec<TopicName> = self.in_phase(&[Phase::Between]).iter().map(|pair| pair.source.clone()).collect();
        let source = self.ends.source()?;
        let marked = source.promote_mirrors(&topics, false).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        self.all_or_refuse("promoted at home", marked)
    }

    /// Makes mirrors of the originals, over the link that leads back: from then on nobody else writes to them. A dry run only
    /// asks whether it could be done.
    pub(super) async fn mark_originals(&mut self, phase: Phase, dry_run: bool) -> Result<(), ApiRefusal> {
        let cluster = self.ends.target.cluster_id().unwrap_or_default();
        let Some(link) = self.ends.back_id() else { return Err(self.no_id()) };
        let mark = |pair: &&Pair| {
            let (topic, topic_id) = (pair.target.clone(), pair.target_id);
            (pair.source.clone(), MirrorSource { link, cluster: cluster.clone(), topic, topic_id })
        };
        let wanted = self.in_phase(&[phase]).iter().map(mark).collect();
        let source = self.ends.source()?;
        let marked = source.mark_mirrors(&wanted, dry_run).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        let what = if dry_run { "could be fenced" } else { "fenced" };
        self.all_or_refuse(&format!("{what} at '{}'", self.ends.source_alias), marked)
    }

    /// Makes mirrors of the copies again.
    pub(super) async fn mark_copies(&mut self) -> Result<(), ApiRefusal> {
        let cluster = self.ends.source()?.cluster_id().unwrap_or_default();
        let Some(link) = self.ends.id() else { return Err(self.no_id()) };
        let mark = |pair: &&Pair| {
            let (topic, topic_id) = (pair.source.clone(), pair.source_id);
            (pair.target.clone(), MirrorSource { link, cluster: cluster.clone(), topic, topic_id })
        };
        let wanted = self.in_phase(&[Phase::Behind]).iter().map(mark).collect();
        let marked = self.ends.target.mark_mirrors(&wanted, false).await.map_err(|cause| self.ends.unheard(&cause))?;
        self.all_or_refuse(&format!("fenced at '{}'", self.ends.target_alias), marked)
    }

    fn no_id(&self) -> ApiRefusal {
        ApiRefusal::conflict(format!("a cluster of link {} tells no id, so its topics cannot be marked", self.link))
    }

    /// Tells what was done; how many topics are left, each with its cause in the report.
    fn tell_marked(&mut self, what: &str, marked: Marked) -> usize {
        let (done, failed): (Vec<_>, Vec<_>) = marked.into_iter().partition(|(_, result)| result.is_ok());
        if !done.is_empty() {
            self.report.step(format!("{} {what}", counted(done.len(), "topic")));
        }
        for (topic, result) in &failed {
            if let Err(cause) = result {
                self.report.left.push(format!("topic {topic} is not {what}: {}", trace_of(cause)));
            }
        }
        failed.len()
    }

    fn all_or_refuse(&mut self, what: &str, marked: Marked) -> Result<(), ApiRefusal> {
        match self.tell_marked(what, marked) {
            0 => Ok(()),
            _ => Err(ApiRefusal::conflict(self.report.left.join("; "))),
        }
    }
}
