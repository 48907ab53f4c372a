//! What stands in the way of a verb, said before anything is done, with the way out.

use twinstream_connect_api::{ApiRefusal, Wanted};
use twinstream_model::{TopicName, TopicPartition};

use super::asked::without;
use super::ends::{Pair, ends_of};
use super::plan::{Phase, Step, step};
use super::{Operation, Verb};
use crate::words::counted;

impl Operation<'_> {
    /// Says what cannot be done at all before anything is.
    pub(super) async fn refuse(&self, verb: Verb) -> Result<(), ApiRefusal> {
        let source = self.ends.source()?;
        if !source.knows_mirrors().await.map_err(|cause| self.ends.source_unheard(&cause))? {
            return Err(ApiRefusal::conflict(format!(
                "cluster '{}' cannot have mirrors, which {} needs on both sides: it takes brokers of ours with feature twinstream.mirror",
                self.ends.source_alias,
                verb.name()
            )));
        }
        if let Some(name) = self.strange_back_link() {
            return Err(ApiRefusal::conflict(format!(
                "connector {name} of link {} is not the way back of link {} (twinstream.link.returns is not set): delete that link first, and make it again when this is done",
                self.link.back(),
                self.link
            )));
        }
        let refused: Vec<(&TopicName, String)> =
            self.pairs.values().filter_map(|pair| Some((&pair.source, self.why_not(verb, pair)?))).collect();
        let Some((topic, why)) = refused.first() else { return Ok(()) };
        // A topic that was made anew keeps its link from running, with or without the others.
        let stands = self.pairs.values().any(|pair| pair.is_another(self.ends.phase(pair)));
        let others = match refused.len() < self.pairs.len() && !stands {
            true => format!("; the others go on without it: {}", without(refused.iter().map(|(topic, _)| *topic))),
            false => String::new(),
        };
        Err(ApiRefusal::conflict(format!("topic {topic}{why}{others}")))
    }

    fn why_not(&self, verb: Verb, pair: &Pair) -> Option<String> {
        if !pair.is_there {
            return Some(format!(
                " is not at cluster '{}' any more: create it there with {}, it is filled from '{}'",
                self.ends.source_alias,
                counted(pair.copied.len(), "partition"),
                self.ends.target_alias
            ));
        }
        let phase = self.ends.phase(pair);
        let (source, target) = (&self.ends.source_alias, &self.ends.target_alias);
        if pair.is_another(phase) {
            return Some(format!(
                " is another one at cluster '{source}' than '{target}' has a copy of: it was deleted there and made anew; `failover` lets the copy lead, and deleting the copy has it made again from what is there now"
            ));
        }
        if let Step::Refuse(why) = step(verb, phase) {
            return Some(format!(": {why}"));
        }
        let (has, wants) = (pair.originals?, pair.copied.len());
        (verb == Verb::Failback && has < wants).then(|| {
            format!(
                " has {} at cluster '{source}' and {wants} at '{target}': add them there first (kafka-topics --alter --partitions {wants}), they are filled from '{target}'",
                counted(has, "partition")
            )
        })
    }

    /// Nothing is lost by a verb that waits: a topic that is another one by now has no copy at all.
    pub(super) fn refuse_others(&self) -> Result<(), ApiRefusal> {
        let other = self.pairs.values().find(|pair| pair.is_another(self.ends.phase(pair)));
        let Some(pair) = other else { return Ok(()) };
        let why = self.why_not(Verb::Reverse, pair).unwrap_or_default();
        Err(ApiRefusal::conflict(format!("topic {}{why}", pair.source)))
    }

    /// Topics of both sides that were apart, whose original is another one than the copy's mark names; and their partitions there.
    fn strangers(&self) -> (Vec<Pair>, Vec<TopicPartition>) {
        let parted = self.in_phase(&[Phase::Parted]).into_iter();
        let strangers: Vec<Pair> =
            parted.filter(|pair| pair.there.is_none() && pair.is_not_of_mark()).cloned().collect();
        let there = strangers.iter().flat_map(Pair::partitions).map(|(there, _)| there).collect();
        (strangers, there)
    }

    /// What comes home is not mixed with another topic's records, whose offsets say nothing about it. One that was made empty, where a
    /// site was built anew, is filled; one that has a mark is the topic that it was.
    pub(super) async fn refuse_strangers(&self) -> Result<(), ApiRefusal> {
        let (strangers, there) = self.strangers();
        if strangers.is_empty() {
            return Ok(());
        }
        let ends = ends_of(self.ends.source()?, &there).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        let full = ends.into_iter().find(|(_, end)| end.0 > 0).map(|(at, _)| at.topic);
        let Some(pair) = full.and_then(|topic| strangers.into_iter().find(|pair| pair.source == topic)) else {
            return Ok(());
        };
        Err(ApiRefusal::conflict(format!(
            "topic {} of cluster '{}' is another one than '{}' was a copy of, and has records: it was deleted and made anew; delete it and create it empty, with {}, it is filled from '{}'",
            pair.source,
            self.ends.source_alias,
            pair.target,
            counted(pair.copied.len(), "partition"),
            self.ends.target_alias
        )))
    }

    /// Who loses nothing cannot leave a topic behind. A link that leads back was never to copy what began at its source: that
    /// stays there, and is told.
    pub(super) fn refuse_uncopied(&self) -> Result<(), ApiRefusal> {
        let Some(topic) = self.uncopied.first().filter(|_| !self.settings.returns) else { return Ok(()) };
        Err(ApiRefusal::conflict(format!(
            "topic {topic} of '{}' is to be copied and has no copy yet ({} in all): see `twinstream link describe {}` for the reason, wait for it, or leave it out: {}",
            self.ends.source_alias,
            self.uncopied.len(),
            self.link,
            without(&self.uncopied)
        )))
    }

    /// What a reversal has fenced may only lead again where the other side has nothing more, or does not answer any more.
    pub(super) fn refuse_undoing(&self) -> Result<(), ApiRefusal> {
        let forth = self.link.back();
        let (alias, behind) = (&self.ends.source_alias, self.behind());
        if self.ends.source.is_err() || (self.in_phase(&[Phase::Ahead]).is_empty() && behind == 0) {
            return Ok(());
        }
        Err(ApiRefusal::conflict(format!(
            "link {} does not exist, and cluster '{alias}' answers and may have what '{}' lacks: call the verb again that was cut off, `twinstream link reverse {forth}` or `failback {forth}`",
            self.link, self.ends.target_alias
        )))
    }

    /// Whether the link is there to copy what is missing.
    pub(super) fn is_to_run(&self) -> bool {
        self.worker.wanted(&self.name) == Some(Wanted::Running)
    }

    pub(super) fn too_far(&self) -> ApiRefusal {
        let (alias, behind) = (&self.ends.source_alias, self.behind());
        if !self.is_to_run() {
            let state = self.worker.wanted(&self.name).map_or("STOPPED", Wanted::name);
            let records = match behind {
                i64::MAX => "partitions have no copy yet".to_owned(),
                records => format!("{records} records are not copied yet"),
            };
            return ApiRefusal::conflict(format!(
                "link {link} is {state} and copies nothing, and of cluster '{alias}' {records}: `twinstream link resume {link}` first, or use failover, which gives them up",
                link = self.link
            ));
        }
        ApiRefusal::conflict(match behind {
            i64::MAX => format!(
                "of cluster '{alias}' partitions have no copy yet, or do not say how far they are: see `twinstream link describe {}`, wait and call again, or use failover, which gives them up",
                self.link
            ),
            records => format!(
                "cluster '{alias}' is still written to: {records} records are not copied yet; stop its producers and call again, or use failover, which gives them up"
            ),
        })
    }
}
