//! Topics that are a mirror of another cluster's.
//!
//! Picture: a mark on a topic. While it says *mirroring*, only its link appends, at the offsets of the source. Once *promoted* the
//! topic is like any other, and the mark says in which epoch that began. A topic with records of its own may become a mirror
//! *again*, as the former source does when sites change places: what it has beyond its new source is then cut.
//!
//! ```text
//!   none ──▶ mirroring ──▶ promoted ──▶ mirroring again ──▶ promoted ──▶ ..      a new topic begins anywhere on the left
//!     ╰────────────────────────────────────▲
//! ```
//! Invariants: link and source change only when a topic becomes a mirror again; the epoch in which that happens, or a promotion, is
//! above every leader epoch that the topic had before, so that whoever wrote until then is fenced.

use std::borrow::Cow;

use twinstream_model::{LeaderEpoch, TopicId, TopicName};
use uuid::Uuid;

/// The configs that show a mark, all but [`STATE`] for reading only.
pub const LINK: &str = "twinstream.mirror.link";
pub const SOURCE_CLUSTER: &str = "twinstream.mirror.source.cluster";
pub const SOURCE_TOPIC: &str = "twinstream.mirror.source.topic";
pub const SOURCE_TOPIC_ID: &str = "twinstream.mirror.source.topic.id";
/// [`MIRRORING`] or [`PROMOTED`]; setting it to the latter promotes.
pub const STATE: &str = "twinstream.mirror.state";
/// What all of them begin with.
pub const PREFIX: &str = "twinstream.mirror.";
pub const MIRRORING: &str = "mirroring";
pub const PROMOTED: &str = "promoted";

/// What a topic is a mirror of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Whoever knows it may append.
    pub link: Uuid,
    /// The id of the source's cluster.
    pub cluster: String,
    pub topic: TopicName,
    pub topic_id: TopicId,
    pub state: MirrorState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// From its first moment.
    Mirroring,
    /// It had records of its own before.
    MirroringAgain {
        /// What was written in an older one is its own, or came over an earlier link.
        epoch: LeaderEpoch,
    },
    Promoted {
        /// The leader epoch that all partitions had at least from then on. What was written in an older one came over the link.
        epoch: LeaderEpoch,
        /// But for what was written below this one, which is its own: it became a mirror again, and no partition had heard of its new
        /// source's epochs by the promotion. Its coordinators end what was open then.
        own: Option<LeaderEpoch>,
    },
}

impl Mirror {
    /// Whether nobody but the link may write.
    pub fn is_read_only(&self) -> bool {
        self.promoted_in().is_none()
    }

    /// The epoch that all partitions have at least since this state began.
    pub(super) fn since(&self) -> Option<LeaderEpoch> {
        match self.state {
            MirrorState::Mirroring => None,
            MirrorState::MirroringAgain { epoch } | MirrorState::Promoted { epoch, .. } => Some(epoch),
        }
    }

    /// The epoch of the promotion, if there was one.
    pub fn promoted_in(&self) -> Option<LeaderEpoch> {
        match self.state {
            MirrorState::Mirroring | MirrorState::MirroringAgain { .. } => None,
            MirrorState::Promoted { epoch, .. } => Some(epoch),
        }
    }

    /// Below which epoch the topic's records were its own when it was promoted, if they were.
    pub fn own_below(&self) -> Option<LeaderEpoch> {
        match self.state {
            MirrorState::Promoted { own, .. } => own,
            MirrorState::Mirroring | MirrorState::MirroringAgain { .. } => None,
        }
    }

    /// The mark as configs, by name.
    pub fn shown(&self) -> [(&'static str, Cow<'static, str>); 5] {
        let state = if self.is_read_only() { MIRRORING } else { PROMOTED };
        [
            (LINK, self.link.to_string().into()),
            (SOURCE_CLUSTER, self.cluster.clone().into()),
            (SOURCE_TOPIC, self.topic.to_string().into()),
            (SOURCE_TOPIC_ID, self.topic_id.to_string().into()),
            (STATE, state.into()),
        ]
    }

    /// Whether a topic with this mark may get the other one.
    pub(super) fn may_become(&self, next: &Mirror) -> bool {
        let same_source = Mirror { state: self.state, ..next.clone() } == *self;
        match (self.state, next.state) {
            (before, after) if before == after => same_source,
            (MirrorState::Promoted { epoch, .. }, MirrorState::MirroringAgain { epoch: again }) => again > epoch,
            (MirrorState::Promoted { .. }, _) | (_, MirrorState::Mirroring | MirrorState::MirroringAgain { .. }) => {
                false
            }
            (_, MirrorState::Promoted { .. }) => same_source,
        }
    }
}
