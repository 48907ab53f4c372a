//! The cluster as consumer groups see it: topics with their partitions and racks, and a number that says when to look
//! again.
//!
//! Picture: the metadata image behind the coordinator's [`Topics`]. A new view is made for each image; its version
//! grows only when topics or racks changed, so that the heartbeats in between have nothing to compare.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use twinstream_coordinator::group::{TopicFacts, Topics};
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::{NodeId, TopicId, TopicName};

#[derive(Debug, Default)]
pub(super) struct ClusterView {
    version: u64,
    image: Image,
}

impl ClusterView {
    /// The view after this one.
    pub(super) fn next(&self, image: &Image) -> ClusterView {
        let has_news = !self.image.same_topics(image) || racks(&self.image) != racks(image);
        ClusterView { version: self.version + u64::from(has_news), image: image.clone() }
    }
}

impl Topics for ClusterView {
    fn version(&self) -> u64 {
        self.version
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        Some(self.image.topic(&TopicName::parse(name).ok()?)?.id)
    }

    fn topic(&self, name: &str) -> Option<TopicFacts> {
        let topic = self.image.topic(&TopicName::parse(name).ok()?)?;
        let racks = racks(&self.image);
        let racks_of = |partition: &PartitionImage| -> BTreeSet<Arc<str>> {
            partition.replicas.iter().filter_map(|node| racks.get(node)).map(|rack| Arc::from(*rack)).collect()
        };
        Some(TopicFacts {
            id: topic.id,
            partitions: topic.partitions.len(),
            racks: if racks.is_empty() { Vec::new() } else { topic.partitions.iter().map(racks_of).collect() },
        })
    }

    fn name(&self, id: TopicId) -> Option<TopicName> {
        Some(self.image.topic_by_id(id)?.name.clone())
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(&TopicName)) {
        self.image.topics().for_each(|topic| visit(&topic.name));
    }
}

fn racks(image: &Image) -> HashMap<NodeId, &str> {
    image.brokers().filter_map(|broker| Some((broker.node_id, broker.rack.as_deref()?))).collect()
}
