//! Brokers that stopped serving a moment ago and still stand in the list of brokers that clients are given.
//!
//! Why: a client that is told in one answer that its leader has changed and that the old leader's broker is gone may take
//! the broker away from under the partition before it has moved it (librdkafka then serves the partition again at its
//! next tick, up to a second later). While the broker stays in the list for a while, only the leader changes, which
//! every client does well.
//!
//! Invariants: only brokers of the image that were unfenced before are kept, and for [`KEPT`] at most. They lead nothing
//! and are offline replicas in the same answer; a client that tries one finds a closed port and takes another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use twinstream_metadata::Image;
use twinstream_model::NodeId;

/// Long enough for the answers to clients that asked at once, and to those that were told of the dead leader once more and asked
/// again at their next tick, a second later. Later answers do not have the broker: a client that kept it would try to reach it with
/// a growing pause, and wait for the rest of that pause when the broker is back and leads again.
const KEPT: Duration = Duration::from_millis(1500);

/// When brokers were fenced, as this node's images say.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    since: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Departed {
    /// Takes in the next image.
    pub(crate) fn note(&self, before: &Image, after: &Image, now: Instant) {
        let is_fenced = |node: NodeId| after.broker(node).is_some_and(|broker| broker.fenced);
        let left = before.live_brokers().map(|broker| broker.node_id).filter(|node| is_fenced(*node));
        let mut since = self.since.lock();
        since.extend(left.map(|node| (node, now)));
        since.retain(|_, at| now.saturating_duration_since(*at) < KEPT);
    }

    /// Those who left less than [`KEPT`] ago.
    pub(crate) fn recent(&self, now: Instant) -> Vec<NodeId> {
        let since = self.since.lock();
        since.iter().filter(|(_, at)| now.saturating_duration_since(**at) < KEPT).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use twinstream_metadata::Record;
    use uuid::Uuid;

    use super::*;

    fn image(fenced: bool) -> Image {
        let (node_id, epoch) = (NodeId(2), 0);
        let mut image = Image::default();
        let registration = Record::RegisterBroker {
            node_id,
            incarnation: Uuid::nil(),
            epoch,
            endpoints: Vec::new(),
            rack: None,
            controller: false,
            directories: Vec::new(),
            metadata_directory: None,
            boot_id: String::new(),
        };
        image.apply(&registration).expect("a first registration");
        let fencing = Record::FenceBroker { node_id, epoch, fenced, shutting_down: false };
        image.apply(&fencing).expect("a registered broker");
        image
    }

    #[test]
    fn broker_that_was_fenced_is_kept_for_a_while_and_one_that_never_served_is_not() {
        let (departed, now) = (Departed::default(), Instant::now());
        departed.note(&Image::default(), &image(true), now);
        assert_eq!(departed.recent(now), []);
        departed.note(&image(false), &image(true), now);
        assert_eq!(departed.recent(now), [NodeId(2)]);
        assert_eq!(departed.recent(now + KEPT), []);
    }
}
