//! The assignor `range`: of each topic, every subscriber gets one run of neighbouring partitions.
//!
//! For whoever joins topics: if all members want the same topics and these have the same number of partitions, a
//! member gets the same partitions of each. Static members come first, by instance id, and then the others, by
//! member id; what everybody had before is not looked at (as in Kafka since 4.0), so only static members keep their
//! runs when they come back.
//!
//! Invariant: R1 of one topic, the runs of two subscribers differ in length by one at most; longer ones come first.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{PartitionIndex, TopicId};

use super::board::same_or_new;
use super::{Assignment, Assignor, GroupSpec, MemberSpec};
use crate::group::consumer::record::Partitions;
use crate::group::request::MemberId;

pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(&self, spec: &GroupSpec) -> Assignment {
        let mut cuts = cuts(spec);
        let mut assignment = Assignment::new();
        for (id, member) in in_order(spec) {
            let mut share = Partitions::new();
            for topic in member.subscribed.iter() {
                let run = cuts.get_mut(topic).map(Cut::next).unwrap_or_default();
                if !run.is_empty() {
                    share.insert(*topic, run);
                }
            }
            assignment.insert(id.clone(), same_or_new(&member.assigned, share));
        }
        assignment
    }
}

/// How a topic is cut, and how far we are.
struct Cut {
    next: usize,
    length: usize,
    /// How many runs to come are longer by one.
    longer: usize,
}

impl Cut {
    fn next(&mut self) -> BTreeSet<PartitionIndex> {
        let end = self.next + self.length + usize::from(self.longer > 0);
        self.longer = self.longer.saturating_sub(1);
        let run = std::mem::replace(&mut self.next, end)..end;
        run.map(|partition| PartitionIndex(partition as i32)).collect()
    }
}

fn cuts(spec: &GroupSpec) -> BTreeMap<TopicId, Cut> {
    let mut subscribers: BTreeMap<TopicId, usize> = BTreeMap::new();
    for topic in spec.members.values().flat_map(|member| member.subscribed.iter()) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    let cut = |(topic, subscribers): (TopicId, usize)| {
        let partitions = spec.topics.get(&topic)?.partitions;
        Some((topic, Cut { next: 0, length: partitions / subscribers, longer: partitions % subscribers }))
    };
    subscribers.into_iter().filter_map(cut).collect()
}

fn in_order(spec: &GroupSpec) -> Vec<(&MemberId, &MemberSpec)> {
    let mut members: Vec<(&MemberId, &MemberSpec)> = spec.members.iter().collect();
    members.sort_by_key(|&(id, member)| (member.instance.is_none(), member.instance.as_ref(), id));
    members
}
