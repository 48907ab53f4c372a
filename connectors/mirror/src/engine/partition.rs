//! One partition of a task: where it is in its log, and where in the engine's walk.
//!
//! Legal steps: `Footing` -> `Seek` -> `Homeless` -> `Asked` -> `Asked`, without `Seek` where the position is known; from
//! `Asked` to `Doubt`, `Rest`, `Seek` (made anew), `Homeless` (truncated, goes on), `Parting` (a mirror) or `Stopped`; from
//! `Doubt` to `Homeless`, `Seek`, `Parting`, `Rest` or `Stopped`; `Parting` -> `Cutting` -> `Footing`; from anywhere to
//! `Footing` when the target refuses; from `Rest` to where it came from. `Stopped` is left only by a restart of the task.

use std::time::Duration;

use twinstream_model::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};

use uuid::Uuid;

use super::standing::{Begin, Standing};
use super::{Desk, REST_FIRST};

/// The mirror that a partition is copied into, at the source's offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tie {
    pub link: Uuid,
    /// The source cluster that its mark names.
    pub cluster: String,
}

/// How far a partition was copied when it was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The next record to copy; `None` if none was copied.
    pub position: Option<Offset>,
    /// Of the record before it, and of the topic; NONE where they are not known.
    pub last_epoch: LeaderEpoch,
    pub topic_id: TopicId,
}

#[cfg(test)]
impl Place {
    /// Nothing is known but the position.
    pub(crate) fn at(position: Option<Offset>) -> Place {
        Place { position, last_epoch: LeaderEpoch::NONE, topic_id: TopicId::NONE }
    }
}

pub(super) struct Partition {
    pub name: TopicPartition,
    /// The next record to copy; unknown until the source was asked.
    pub position: Option<Offset>,
    /// The epoch of the record before it, if this task has copied that one.
    pub last_epoch: LeaderEpoch,
    /// Of the topic that the position belongs to; NONE until it was learned.
    pub topic_id: TopicId,
    /// The source's leader epoch, as it was told with the leader.
    pub source_epoch: LeaderEpoch,
    /// `None` for a partition that is copied as any producer would.
    pub tie: Option<Tie>,
    /// What the target had against a batch, until it is found out what that means.
    pub complaint: Option<String>,
    pub phase: Phase,
    pub standing: Standing,
    /// The next rest.
    pub pause: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// The target is asked how its topic is copied, and how far it is.
    Footing,
    /// The position is asked for.
    Seek(Begin),
    /// The position is outside the log: its bounds are asked for.
    Doubt,
    /// The leader is looked for.
    Homeless,
    /// In the fetches to this leader, unless held back because enough is under way.
    Asked {
        leader: NodeId,
        held: bool,
    },
    /// Source and mirror have parted: it is looked for where.
    Parting,
    /// The mirror is told to give up so many records.
    Cutting {
        records: i64,
    },
    Rest {
        until: Duration,
        then: Then,
    },
    Stopped,
}

/// Where a rest leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Footing,
    Parting,
    Seek(Begin),
    Doubt,
    Homeless,
}

impl Then {
    pub(super) fn phase(self) -> Phase {
        match self {
            Then::Footing => Phase::Footing,
            Then::Parting => Phase::Parting,
            Then::Seek(begin) => Phase::Seek(begin),
            Then::Doubt => Phase::Doubt,
            Then::Homeless => Phase::Homeless,
        }
    }
}

impl Partition {
    pub(super) fn new(name: TopicPartition, place: Place) -> Partition {
        Partition {
            name,
            position: place.position,
            last_epoch: place.last_epoch,
            topic_id: place.topic_id,
            source_epoch: LeaderEpoch::NONE,
            tie: None,
            complaint: None,
            phase: Phase::Stopped,
            standing: Standing::Starting,
            pause: REST_FIRST,
        }
    }

    pub(super) fn desk(&self) -> Desk {
        if self.tie.is_some() { Desk::Aligned } else { Desk::Generic }
    }
}
