//! Server-side assignors: who is to own which partition (KIP-848).
//!
//! Picture: a pure function from members, their subscriptions, what each was to own until now, and the topics, to
//! what each is to own from now on. Sticky: a partition changes its owner only if balance or a change of
//! subscription asks for it.
//!
//! Invariants: A1 every partition of every subscribed topic is assigned, to exactly one member that subscribes to
//! the topic. A2 the answer depends on nothing but the input.
//!
//! Not here: how members get from the old assignment to the new one (`consumer::reconcile`).

mod board;
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{TopicId, TopicName};

use super::consumer::record::Partitions;
use super::request::{InstanceId, MemberId};
pub use range::Range;
pub use uniform::Uniform;

/// The work to share.
#[derive(Clone, Debug, Default)]
pub struct GroupSpec {
    pub members: BTreeMap<MemberId, MemberSpec>,
    /// Every topic that any member subscribes to and that exists.
    pub topics: BTreeMap<TopicId, TopicSpec>,
}

#[derive(Clone, Debug, Default)]
pub struct MemberSpec {
    pub instance: Option<InstanceId>,
    pub rack: Option<Arc<str>>,
    /// Topics that exist; members with equal subscriptions share one set where it is easy (`Arc::ptr_eq`).
    pub subscribed: Arc<BTreeSet<TopicId>>,
    /// The target assignment until now.
    pub assigned: Arc<Partitions>,
}

#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub name: TopicName,
    pub partitions: usize,
    /// The racks of each partition's replicas, by partition; empty if no broker has a rack.
    pub racks: Vec<BTreeSet<Arc<str>>>,
}

/// Every member of the input, with what it is to own. A member whose assignment did not change should have the
/// same `Arc` as in the input, which saves a comparison.
pub type Assignment = BTreeMap<MemberId, Arc<Partitions>>;

/// A way to share partitions.
pub trait Assignor {
    /// As in `group.consumer.assignors` and in heartbeats.
    fn name(&self) -> &'static str;

    fn assign(&self, spec: &GroupSpec) -> Assignment;
}

/// The assignors of Kafka, by name, with the one first that a group gets whose members name none.
pub const ASSIGNORS: [&(dyn Assignor + Sync); 2] = [&Uniform, &Range];

/// The assignor of that name, if there is one.
pub fn assignor(name: &str) -> Option<&'static (dyn Assignor + Sync)> {
    ASSIGNORS.into_iter().find(|assignor| assignor.name() == name)
}

#[cfg(test)]
mod tests;
