//! One partition of a task: where it is in its log, and where in the engine's walk.
//!
//! Legal steps: `Seek` -> `Homeless` -> `Asked` -> `Asked`; from `Asked` to `Doubt`, `Rest`, `Seek` (made anew), `Homeless`
//! (truncated, goes on) or `Stopped`; from `Doubt` to `Homeless`, `Seek`, `Rest` or `Stopped`; from `Rest` to where it came
//! from. `Stopped` is left only by a restart of the task.

use std::time::Duration;

use twinstream_model::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};

use super::REST_FIRST;
use super::standing::{Begin, Standing};

pub(super) struct Partition {
    pub name: TopicPartition,
    /// The next record to copy; unknown until the source was asked.
    pub position: Option<Offset>,
    /// The epoch of the record before it, if this task has copied that one.
    pub last_epoch: LeaderEpoch,
    /// Of the topic that the position belongs to; NONE until it was learned.
    pub topic_id: TopicId,
    pub phase: Phase,
    pub standing: Standing,
    /// The next rest.
    pub pause: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
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
    Rest {
        until: Duration,
        then: Then,
    },
    Stopped,
}

/// Where a rest leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Seek(Begin),
    Doubt,
    Homeless,
}

impl Then {
    pub(super) fn phase(self) -> Phase {
        match self {
            Then::Seek(begin) => Phase::Seek(begin),
            Then::Doubt => Phase::Doubt,
            Then::Homeless => Phase::Homeless,
        }
    }
}

impl Partition {
    pub(super) fn new(name: TopicPartition, position: Option<Offset>) -> Partition {
        Partition {
            name,
            position,
            last_epoch: LeaderEpoch::NONE,
            topic_id: TopicId::NONE,
            phase: Phase::Stopped,
            standing: Standing::Starting,
            pause: REST_FIRST,
        }
    }

    /// Goes on somewhere else; which epoch is before that is not known.
    pub(super) fn go_to(&mut self, offset: Offset) {
        self.position = Some(offset);
        self.last_epoch = LeaderEpoch::NONE;
    }
}
