//! Which brokers may lead, as a decision under way sees it.

use twinstream_model::NodeId;

use crate::image::Image;

/// The brokers of an image, without those that the decision takes out of service.
pub(super) struct BrokersUp {
    image: Image,
    going: Vec<NodeId>,
}

impl BrokersUp {
    pub(super) fn new(image: &Image, going: Vec<NodeId>) -> Self {
        Self { image: image.clone(), going }
    }

    /// Whether it may be elected and may join an ISR.
    pub(super) fn is_eligible(&self, node: NodeId) -> bool {
        !self.going.contains(&node) && self.image.broker(node).is_some_and(|broker| broker.is_eligible())
    }

    /// Whether it serves clients, if perhaps not for long.
    pub(super) fn is_serving(&self, node: NodeId) -> bool {
        !self.going.contains(&node) && self.image.broker(node).is_some_and(|broker| !broker.fenced)
    }
}
