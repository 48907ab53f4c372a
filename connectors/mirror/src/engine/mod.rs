//! The engine of a task: which partition is asked next, and what an answer means for it. Pure.
//!
//! Picture: each partition walks from *seeking* (where does it begin) over *homeless* (who leads it) to *asked* (it stands
//! in the fetch of its leader) and stays there while all is well. An answer moves its position at once, before the batches
//! are made ready, so that the next fetch can leave. Trouble sends it back: to homeless when the leader is another, to
//! *doubt* when the position is outside the log, to *rest* when something has to pass first, or to *stopped*. Before all that
//! the target is asked how the topic is copied (*footing*), and mirrors of our brokers have a way of their own when logs part
//! ([`mirrors`]). The rim (`copying`) carries out [`Order`]s, asks the questions, and tells the answers.
//! Invariants: E1 a position moves forward over records that were handed on, or by a policy that was told as [`News`]; by
//! nothing else; it goes back also to what the target did not take. E2 an answer counts only while its partition is asked at
//! the leader that gave it, and only for the present position. E3 each call costs as much as there are partitions concerned,
//! not as there are partitions. E4 a partition that does not copy has a standing that says why, or is asked again within a
//! pause of at most [`REST_MAX`]. E5 whoever jumps to another position leaves its lane ([`Engine::take_jumps`]), so that what
//! the target says of earlier batches does not move it any more.
//! Not here: clocks (`now` counts from any point), connections, bytes (see `request`).

mod mirrors; // partitions that keep the source's offsets
mod partition; // one partition's place in the walk
pub(crate) mod standing; // names of trouble, policies
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};

pub(crate) use mirrors::Complaint;
pub(crate) use partition::Place;
use partition::{Partition, Phase, Then};
use standing::{Begin, OnTrouble, Policies, Standing, Verdict, judge};

/// Pauses before something is asked again that did not answer as it should.
pub(crate) const REST_FIRST: Duration = Duration::from_millis(200);
pub(crate) const REST_MAX: Duration = Duration::from_secs(2);
/// Elections take less; beyond this the partition counts as away.
const AWAY_AFTER: Duration = Duration::from_secs(1);
/// How often a topic that is gone, or closed to us, is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A partition of the engine, for the time of a task.
pub(crate) type At = usize;

/// What the fetches to a leader ask for from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Want { leader: NodeId, at: At, offset: Offset, last_epoch: LeaderEpoch, topic_id: TopicId, desk: Desk },
    Unwant { leader: NodeId, at: At, desk: Desk },
}

/// Which fetches a partition stands in: a mirror gets everything that its source has committed, whatever readers may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Desk {
    Generic,
    Aligned,
}

impl Order {
    pub(crate) fn at(&self) -> At {
        match self {
            Order::Want { at, .. } | Order::Unwant { at, .. } => *at,
        }
    }
}

/// A partition stands differently, or had to leave something out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub at: At,
    pub standing: Standing,
    pub cause: String,
    /// Records of the source that are not copied.
    pub lost: i64,
    /// Records that were copied and that the source does not have any more.
    pub diverged: i64,
}

/// The task cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source partition {partition}{}: {why}", is(.standing))]
pub(crate) struct Stop {
    pub partition: TopicPartition,
    /// None for what has no policy.
    pub standing: Option<Standing>,
    pub why: String,
}

fn is(standing: &Option<Standing>) -> String {
    standing.map(|standing| format!(" is {standing}")).unwrap_or_default()
}

/// One partition's part of a fetch's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The offset that was asked for.
    pub asked: Offset,
    pub error: ErrorCode,
    pub topic_id: TopicId,
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The replica that is to be read instead, because it is nearer (KIP-392).
    pub read_from: Option<NodeId>,
    /// The position after the batches that it brought, and the last one's epoch.
    pub reached: Option<(Offset, LeaderEpoch)>,
}

/// What the source says of a partition's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub topic_id: TopicId,
}

pub(crate) struct Engine {
    policies: Policies,
    partitions: Vec<Partition>,
    by_name: BTreeMap<TopicPartition, At>,
    unfooted: BTreeSet<At>,
    parting: BTreeSet<At>,
    cutting: BTreeSet<At>,
    seeking: BTreeSet<At>,
    doubtful: BTreeSet<At>,
    homeless: BTreeSet<At>,
    resting: BTreeSet<(Duration, At)>,
    orders: Vec<Order>,
    news: Vec<News>,
    jumps: BTreeSet<At>,
}

impl Engine {
    pub(crate) fn new(policies: Policies) -> Engine {
        Engine {
            policies,
            partitions: Vec::new(),
            by_name: BTreeMap::new(),
            unfooted: BTreeSet::new(),
            parting: BTreeSet::new(),
            cutting: BTreeSet::new(),
            seeking: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            homeless: BTreeSet::new(),
            resting: BTreeSet::new(),
            orders: Vec::new(),
            news: Vec::new(),
            jumps: BTreeSet::new(),
        }
    }

    /// Takes a partition on; its number is the next one.
    pub(crate) fn add(&mut self, name: TopicPartition, place: Place) -> At {
        let at = self.partitions.len();
        self.by_name.insert(name.clone(), at);
        self.partitions.push(Partition::new(name, place));
        self.enter(at, Phase::Footing);
        at
    }

    /// Lets go of a partition for good; its number is not used again.
    pub(crate) fn remove(&mut self, at: At) {
        self.enter(at, Phase::Stopped);
        let name = &self.partitions[at].name;
        if self.by_name.get(name) == Some(&at) {
            self.by_name.remove(name);
        }
        self.news.retain(|news| news.at != at);
        self.jumps.remove(&at);
    }

    /// Partitions that are copied, or wait for it.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&TopicPartition, At)> {
        self.by_name.iter().map(|(name, at)| (name, *at))
    }

    pub(crate) fn at(&self, name: &TopicPartition) -> Option<At> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, at: At) -> &TopicPartition {
        &self.partitions[at].name
    }

    pub(crate) fn position(&self, at: At) -> Option<Offset> {
        self.partitions[at].position
    }

    /// Of the record before the position.
    pub(crate) fn last_epoch(&self, at: At) -> LeaderEpoch {
        self.partitions[at].last_epoch
    }

    pub(crate) fn topic_id(&self, at: At) -> TopicId {
        self.partitions[at].topic_id
    }

    pub(crate) fn standing(&self, at: At) -> Standing {
        self.partitions[at].standing
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Partitions whose beginning is to be asked for, and which one.
    pub(crate) fn seeking(&self) -> impl Iterator<Item = (At, Begin)> {
        self.seeking.iter().filter_map(|at| match self.partitions[*at].phase {
            Phase::Seek(begin) => Some((*at, begin)),
            _ => None,
        })
    }

    /// Partitions whose log's bounds are to be asked for.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = At> {
        self.doubtful.iter().copied()
    }

    /// Partitions whose leader is to be found.
    pub(crate) fn homeless(&self) -> impl Iterator<Item = At> {
        self.homeless.iter().copied()
    }

    /// What fetches are to ask for, in order.
    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Partitions that go on somewhere else than behind what was handed on.
    pub(crate) fn take_jumps(&mut self) -> BTreeSet<At> {
        std::mem::take(&mut self.jumps)
    }

    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Ends rests that are over.
    pub(crate) fn tick(&mut self, now: Duration) {
        while let Some((until, at)) = self.resting.first().copied()
            && until <= now
        {
            let Phase::Rest { then, .. } = self.partitions[at].phase else { break };
            self.enter(at, then.phase());
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Where a seeking partition begins.
    pub(crate) fn began(
        &mut self,
        at: At,
        found: Result<Offset, (ErrorCode, String)>,
        now: Duration,
    ) -> Result<(), Stop> {
        let Phase::Seek(begin) = self.partitions[at].phase else { return Ok(()) };
        match found {
            Ok(offset) => {
                self.jump(at, Some(offset));
                self.enter(at, Phase::Homeless);
                Ok(())
            }
            Err((code, cause)) => self.trouble(at, judge(code), cause, Then::Seek(begin), now),
        }
    }

    /// Who leads a homeless partition.
    pub(crate) fn placed(
        &mut self,
        at: At,
        found: Result<Found, (ErrorCode, String)>,
        now: Duration,
    ) -> Result<(), Stop> {
        if !matches!(self.partitions[at].phase, Phase::Homeless) {
            return Ok(());
        }
        let found = match found {
            Ok(found) => found,
            Err((code, cause)) => return self.trouble(at, judge(code), cause, Then::Homeless, now),
        };
        if self.is_another(at, found.topic_id) {
            return self.recreated(at, found.topic_id, now);
        }
        self.partitions[at].source_epoch = found.leader_epoch;
        match found.leader {
            Some(leader) => self.enter(at, Phase::Asked { leader, held: false }),
            None => self.trouble(at, Verdict::LookAgain, "it has no leader".to_owned(), Then::Homeless, now)?,
        }
        Ok(())
    }

    /// Takes in what a leader answered; whether its batches are to be copied, and from which position on.
    pub(crate) fn answered(
        &mut self,
        at: At,
        leader: NodeId,
        answer: &Answer,
        now: Duration,
    ) -> Result<Option<Offset>, Stop> {
        let partition = &mut self.partitions[at];
        let Phase::Asked { leader: asked, held } = partition.phase else { return Ok(None) };
        let (Some(position), true) = (partition.position, asked == leader) else { return Ok(None) };
        if answer.asked != position {
            return Ok(None);
        }
        let verdict = judge(answer.error);
        if verdict == Verdict::OutOfRange {
            self.enter(at, Phase::Doubt);
            return Ok(None);
        }
        if verdict != Verdict::Fine {
            let cause = format!("broker {leader} answers: {}", answer.error);
            return self.trouble(at, verdict, cause, Then::Homeless, now).map(|()| None);
        }
        if self.is_another(at, answer.topic_id) {
            return self.recreated(at, answer.topic_id, now).map(|()| None);
        }
        if let Some((epoch, end)) = answer.diverging {
            let cause = format!("its log parts from the copied one at offset {end}, where epoch {epoch} ended");
            return self.truncated(at, end, position.0 - end.0, cause).map(|()| None);
        }
        self.well(at);
        if let Some(nearer) = answer.read_from.filter(|nearer| *nearer != leader) {
            self.enter(at, Phase::Asked { leader: nearer, held });
            return Ok(None);
        }
        let Some((next, epoch)) = answer.reached.filter(|(next, _)| *next > position) else { return Ok(None) };
        let partition = &mut self.partitions[at];
        (partition.position, partition.last_epoch) = (Some(next), epoch);
        if !held {
            let (topic_id, desk) = (partition.topic_id, partition.desk());
            self.orders.push(Order::Want { leader, at, offset: next, last_epoch: epoch, topic_id, desk });
        }
        Ok(Some(position))
    }

    /// Where the log of a doubtful partition begins and ends.
    pub(crate) fn bounded(
        &mut self,
        at: At,
        found: Result<(Offset, Offset, TopicId), (ErrorCode, String)>,
        now: Duration,
    ) -> Result<(), Stop> {
        let partition = &self.partitions[at];
        let (Phase::Doubt, Some(position)) = (&partition.phase, partition.position) else { return Ok(()) };
        let (start, end, topic_id) = match found {
            Ok(bounds) => bounds,
            Err((code, cause)) => return self.trouble(at, judge(code), cause, Then::Doubt, now),
        };
        if self.is_another(at, topic_id) {
            return self.recreated(at, topic_id, now);
        }
        if position < start {
            return self.overtaken(at, position, start, end);
        }
        if position > end {
            let cause = format!(
                "its log ends at offset {end}, before the position {position}; or the topic was deleted and made anew while the task was down"
            );
            return self.truncated(at, start, position.0 - end.0, cause);
        }
        // A follower's answer, or a leader that had not caught up with itself.
        self.rest(at, Then::Homeless, now);
        Ok(())
    }

    /// A broker does not answer: its partitions wait, and their leaders are looked for.
    pub(crate) fn leader_lost(&mut self, leader: NodeId, cause: &str, now: Duration) {
        for at in 0..self.partitions.len() {
            if matches!(self.partitions[at].phase, Phase::Asked { leader: asked, .. } if asked == leader) {
                self.stands(at, Standing::Away, format!("broker {leader} does not answer: {cause}"));
                self.rest(at, Then::Homeless, now);
            }
        }
    }

    /// A question about these partitions came to nothing.
    pub(crate) fn unanswered(&mut self, partitions: &[At], cause: &str, now: Duration) {
        for at in partitions {
            let then = match self.partitions[*at].phase {
                Phase::Footing => Then::Footing,
                Phase::Parting => Then::Parting,
                Phase::Seek(begin) => Then::Seek(begin),
                Phase::Doubt => Then::Doubt,
                Phase::Homeless => Then::Homeless,
                _ => continue,
            };
            self.stands(*at, Standing::Away, cause.to_owned());
            self.rest(*at, then, now);
        }
    }

    /// What was handed on from here on has not arrived, and never will: it is fetched again.
    pub(crate) fn go_back(&mut self, at: At, position: Offset) {
        match self.partitions[at].phase {
            Phase::Stopped => self.jump(at, Some(position)),
            Phase::Footing | Phase::Rest { then: Then::Footing, .. } => self.jump(at, Some(position)),
            _ => {
                self.jump(at, Some(position));
                self.enter(at, Phase::Homeless);
            }
        }
    }

    /// Stops asking for a partition of which enough is under way.
    pub(crate) fn hold(&mut self, at: At) {
        if let Phase::Asked { leader, held: false } = self.partitions[at].phase {
            self.enter(at, Phase::Asked { leader, held: true });
        }
    }

    /// Asks for it again.
    pub(crate) fn release(&mut self, at: At) {
        if let Phase::Asked { leader, held: true } = self.partitions[at].phase {
            self.enter(at, Phase::Asked { leader, held: false });
        }
    }

    /// Learns the id, or tells that the topic is not the one that was copied.
    fn is_another(&mut self, at: At, id: TopicId) -> bool {
        let partition = &mut self.partitions[at];
        if id == TopicId::NONE || partition.topic_id == id {
            return false;
        }
        // A mirror's mark names one topic for good.
        let nothing_copied = partition.tie.is_none() && partition.position.is_none_or(|position| position.0 == 0);
        if partition.topic_id == TopicId::NONE || nothing_copied {
            partition.topic_id = id;
            return false;
        }
        true
    }

    fn recreated(&mut self, at: At, id: TopicId, now: Duration) -> Result<(), Stop> {
        let partition = &mut self.partitions[at];
        let cause = format!("the topic was deleted and made anew, its id was {} and is {id}", partition.topic_id);
        if partition.tie.is_some() {
            return self.recreated_mirror(at, cause, now);
        }
        let Some(begin) = self.decide(at, Standing::Recreated, cause, 0, 0)? else { return Ok(()) };
        self.partitions[at].topic_id = id;
        self.jump(at, None);
        self.enter(at, Phase::Seek(begin));
        Ok(())
    }

    fn truncated(&mut self, at: At, resume: Offset, diverged: i64, cause: String) -> Result<(), Stop> {
        let cause = format!("records that were copied are gone from the source, {cause}");
        if self.partitions[at].tie.is_some() {
            self.partitions[at].complaint = None;
            self.enter(at, Phase::Parting);
            return Ok(());
        }
        match self.decide(at, Standing::Truncated, cause, 0, diverged.max(0))? {
            None => return Ok(()),
            Some(Begin::Earliest) => {
                self.jump(at, Some(resume));
                self.enter(at, Phase::Homeless);
            }
            Some(Begin::Latest) => {
                self.jump(at, None);
                self.enter(at, Phase::Seek(Begin::Latest));
            }
        }
        Ok(())
    }

    fn overtaken(&mut self, at: At, position: Offset, start: Offset, end: Offset) -> Result<(), Stop> {
        // A mirror has no way to leave out what the source has.
        let latest = self.policies.retention == OnTrouble::Latest && self.partitions[at].tie.is_none();
        let resume = if latest { end } else { start };
        let cause = format!("records {position} to {} were removed at the source before they were copied", start.0 - 1);
        if self.decide(at, Standing::Overtaken, cause, resume.0 - position.0, 0)?.is_some() {
            self.jump(at, Some(resume));
            self.enter(at, Phase::Homeless);
        }
        Ok(())
    }

    /// Goes on somewhere else, in another lane; which epoch is before that is not known.
    fn jump(&mut self, at: At, position: Option<Offset>) {
        let partition = &mut self.partitions[at];
        (partition.position, partition.last_epoch) = (position, LeaderEpoch::NONE);
        self.jumps.insert(at);
    }

    /// Applies the policy: where to go on, if the partition goes on. The loss is told only when it comes about.
    fn decide(
        &mut self,
        at: At,
        standing: Standing,
        cause: String,
        lost: i64,
        diverged: i64,
    ) -> Result<Option<Begin>, Stop> {
        let (policy, setting) = self.policies.of(standing);
        let begin = match policy {
            OnTrouble::Fail => {
                let partition = self.partitions[at].name.clone();
                let why = format!("{cause}; {setting} decides what is done (pause, resume, latest), it is fail now");
                return Err(Stop { partition, standing: Some(standing), why });
            }
            OnTrouble::Pause => {
                self.tell(at, standing, format!("{cause}; {setting}=pause"), 0, diverged);
                self.enter(at, Phase::Stopped);
                return Ok(None);
            }
            OnTrouble::Resume => Begin::Earliest,
            OnTrouble::Latest => Begin::Latest,
        };
        self.tell(at, standing, format!("{cause}; {setting} lets the copy go on"), lost, diverged);
        Ok(Some(begin))
    }

    fn trouble(&mut self, at: At, verdict: Verdict, cause: String, then: Then, now: Duration) -> Result<(), Stop> {
        match verdict {
            Verdict::Fine | Verdict::LookAgain | Verdict::OutOfRange => {
                if self.partitions[at].pause > AWAY_AFTER {
                    self.stands(at, Standing::Away, cause);
                }
                self.rest(at, then, now);
            }
            Verdict::Gone => {
                self.stands(at, Standing::Gone, cause);
                self.rest_for(at, LOOK_AGAIN, then, now);
            }
            Verdict::Unauthorized if self.policies.unauthorized != OnTrouble::Fail => {
                self.stands(at, Standing::Unauthorized, cause);
                self.rest_for(at, LOOK_AGAIN, then, now);
            }
            Verdict::Unauthorized => {
                let why = format!(
                    "{cause}; grant READ and DESCRIBE, then restart the task (twinstream.on.source.unauthorized=pause waits for it)"
                );
                let partition = self.partitions[at].name.clone();
                return Err(Stop { partition, standing: Some(Standing::Unauthorized), why });
            }
            Verdict::Fatal => {
                return Err(Stop { partition: self.partitions[at].name.clone(), standing: None, why: cause });
            }
        }
        Ok(())
    }

    /// It copies, whatever was before.
    fn well(&mut self, at: At) {
        self.partitions[at].pause = REST_FIRST;
        if self.partitions[at].standing != Standing::Copying {
            self.stands(at, Standing::Copying, String::new());
        }
    }

    /// Tells a standing that is new.
    fn stands(&mut self, at: At, standing: Standing, cause: String) {
        if self.partitions[at].standing != standing {
            self.tell(at, standing, cause, 0, 0);
        }
    }

    fn tell(&mut self, at: At, standing: Standing, cause: String, lost: i64, diverged: i64) {
        self.partitions[at].standing = standing;
        self.news.push(News { at, standing, cause, lost, diverged });
    }

    fn rest(&mut self, at: At, then: Then, now: Duration) {
        let pause = self.partitions[at].pause;
        self.partitions[at].pause = (pause * 2).min(REST_MAX);
        self.rest_for(at, pause, then, now);
    }

    fn rest_for(&mut self, at: At, pause: Duration, then: Then, now: Duration) {
        self.enter(at, Phase::Rest { until: now + pause, then });
    }

    /// The one place where a phase changes.
    fn enter(&mut self, at: At, phase: Phase) {
        let before = std::mem::replace(&mut self.partitions[at].phase, phase.clone());
        match before {
            Phase::Footing => _ = self.unfooted.remove(&at),
            Phase::Parting => _ = self.parting.remove(&at),
            Phase::Cutting { .. } => _ = self.cutting.remove(&at),
            Phase::Seek(_) => _ = self.seeking.remove(&at),
            Phase::Doubt => _ = self.doubtful.remove(&at),
            Phase::Homeless => _ = self.homeless.remove(&at),
            Phase::Rest { until, .. } => _ = self.resting.remove(&(until, at)),
            Phase::Asked { leader, held: false } => {
                let desk = self.partitions[at].desk();
                self.orders.push(Order::Unwant { leader, at, desk });
            }
            Phase::Asked { held: true, .. } | Phase::Stopped => {}
        }
        match phase {
            Phase::Footing => _ = self.unfooted.insert(at),
            Phase::Parting => _ = self.parting.insert(at),
            Phase::Cutting { .. } => _ = self.cutting.insert(at),
            Phase::Seek(_) => _ = self.seeking.insert(at),
            Phase::Doubt => _ = self.doubtful.insert(at),
            Phase::Homeless => _ = self.homeless.insert(at),
            Phase::Rest { until, .. } => _ = self.resting.insert((until, at)),
            Phase::Asked { leader, held: false } => {
                let partition = &self.partitions[at];
                let offset = partition.position.unwrap_or(Offset(0));
                let (last_epoch, topic_id, desk) = (partition.last_epoch, partition.topic_id, partition.desk());
                self.orders.push(Order::Want { leader, at, offset, last_epoch, topic_id, desk });
            }
            Phase::Asked { held: true, .. } | Phase::Stopped => {}
        }
    }
}
