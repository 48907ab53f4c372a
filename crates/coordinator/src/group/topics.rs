//! What a group must know of the cluster: which topics there are, how large, and where they are.
//!
//! Picture: a snapshot of the metadata image that comes with each request that may need it, so that the shard
//! neither keeps a copy nor has to be told of changes: a group compares versions when somebody asks.
//!
//! Not here: where the snapshot comes from (the broker's image implements [`Topics`]).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use twinstream_model::{TopicId, TopicName};

/// A view of all topics at one moment; cheap to pass around, never changes.
pub trait Topics: fmt::Debug + Send + Sync {
    /// Grows whenever anything that this view tells may have changed; equal versions tell the same.
    fn version(&self) -> u64;

    /// The id of a topic that exists.
    fn id(&self, name: &str) -> Option<TopicId>;

    fn topic(&self, name: &str) -> Option<TopicFacts>;

    fn name(&self, id: TopicId) -> Option<TopicName>;

    /// Every topic's name, in any order; for regular expressions.
    fn for_each_name(&self, visit: &mut dyn FnMut(&TopicName));
}

/// What an assignment needs to know of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub id: TopicId,
    pub partitions: usize,
    /// The racks of each partition's replicas, by partition; empty if no broker has a rack.
    pub racks: Vec<BTreeSet<Arc<str>>>,
}
