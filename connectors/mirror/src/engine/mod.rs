//! The engine of a task: which partition is asked next, and what an answer means for it. Pure.
//!
//! Picture: each partition walks from *seeking* (where does it begin) over *homeless* (who leads it) to *asked* (it stands
//! in the fetch of its leader) and stays there while all is well. An answer moves its position at once, before the batches
//! are made ready, so that the next fetch can leave. Trouble sends it back: to homeless when the leader is another, to
//! *doubt* when the position is outside the log, to *rest* when something has to pass first, or to *stopped*. Before all that
//! the target is asked how the topic is copied (*footing*), and mirrors of our brokers have a way of their own when logs part
//! ([`mirrors`]). The rim (`copying`) carries out [`Order`]s, asks the questions, and tells the answers ([`answers`]).
//! Invariants: E1 a position moves forward over records that were handed on, or by a policy that was told as [`News`]; by
//! nothing else; it goes back also to what the target did not take. E2 an answer counts only while its partition is asked at
//! the leader that gave it, and only for the present position. E3 each call costs as much as there are partitions concerned,
//! not as there are partitions. E4 a partition that does not copy has a standing that says why, or is asked again within a
//! pause of at most [`REST_MAX`]. E5 whoever jumps to another position leaves its lane ([`Engine::take_jumps`]), so that what
//! the target says of earlier batches does not move it any more.
//! Not here: clocks (`now` counts from any point), connections, bytes (see `request`).

mod answers; // what the source says
mod mirrors; // partitions that keep the source's offsets
mod partition; // one partition's place in the walk
pub(crate) mod standing; // names of trouble, policies
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use twinstream_model::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};

pub(crate) use answers::{Answer, Found};
pub(crate) use mirrors::Complaint;
pub(crate) use partition::Place;
use partition::{Partition, Phase, Then};
use standing::{Begin, Policies, Standing};

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

    /// Whether it stands in a fetch, or would if not enough of it were under way.
    pub(crate) fn is_asked(&self, at: At) -> bool {
        matches!(self.partitions[at].phase, Phase::Asked { .. })
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

    /// Goes on somewhere else, in another lane; which epoch is before that is not known.
    fn jump(&mut self, at: At, position: Option<Offset>) {
        let partition = &mut self.partitions[at];
        (partition.position, partition.last_epoch) = (position, LeaderEpoch::NONE);
        self.jumps.insert(at);
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
