//! Which broker gets a new partition.

use twinstream_model::NodeId;

use super::TopicError;
use crate::image::Image;

/// Replicas for `count` new partitions: round robin over the live brokers, beginning where the cluster's partition count points, so
/// that many small topics spread as evenly as one large one.
pub(super) fn spread(image: &Image, count: usize) -> Result<Vec<Vec<NodeId>>, TopicError> {
    let live: Vec<NodeId> = image.live_brokers().map(|broker| broker.node_id).collect();
    if live.is_empty() {
        return Err(TopicError::NoLiveBroker { fenced: image.brokers().count() });
    }
    let start = image.partition_count();
    Ok((0..count).map(|at| vec![live[(start + at) % live.len()]]).collect())
}
