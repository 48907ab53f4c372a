//! When this node last heard of the leader of the quorum.
//!
//! A controller that hangs takes the partitions that it leads along. The one that follows it cannot have got heartbeats of it, but every
//! message of the quorum was a sign of life: its session began with the last one.

use std::time::Instant;

use parking_lot::Mutex;
use twinstream_model::NodeId;

/// A message of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) node: NodeId,
    pub(super) at: Instant,
}

/// The last message of the leader.
#[derive(Debug, Default)]
pub(super) struct Sightings(Mutex<Option<Sighting>>);

impl Sightings {
    /// A message of the quorum came from this node, which leads as far as this one knows.
    pub(super) fn note(&self, node: NodeId, at: Instant) {
        *self.0.lock() = Some(Sighting { node, at });
    }

    /// The leader before this node, if it was another one.
    pub(super) fn last_of_another(&self, own: NodeId) -> Option<Sighting> {
        self.0.lock().filter(|sighting| sighting.node != own)
    }
}
