//! What the source says of a partition, and what that means for its walk.
//!
//! Picture: one function for each question of the rim (where does it begin, who leads it, what did a fetch bring, where are
//! its log's bounds) and for no answer at all. What does not fit what was copied is judged here by the policies, each loss
//! told as [`super::News`] when it comes about.
//! Invariant: an answer to a question that the partition does not have any more changes nothing.

use std::time::Duration;

use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId};

use super::partition::{Phase, Then};
use super::standing::{Begin, OnTrouble, Standing, Verdict, judge};
use super::{AWAY_AFTER, At, Engine, LOOK_AGAIN, Order, Stop};

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

impl Engine {
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

    /// The source cannot be reached at all, and nothing was asked yet.
    pub(crate) fn none_begins(&mut self, cause: &str) {
        for at in 0..self.partitions.len() {
            let partition = &self.partitions[at];
            if partition.standing == Standing::Starting && partition.phase != Phase::Stopped {
                self.stands(at, Standing::Away, cause.to_owned());
            }
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

    /// Applies the policy: where to go on, if the partition goes on. The loss is told only when it comes about.
    pub(super) fn decide(
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
}
