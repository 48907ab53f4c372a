//! What groups have committed, for who looks at all of them now and then.
//!
//! Invariants: bounded by a number of groups and by time, since offsets are told only when they are committed for good, for
//! which too few replicas may be in sync; a shard that loads or fails is left out as a whole, since what its groups
//! committed is not known here.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};
use twinstream_coordinator::group::{Answer, Epoch, FetchOffsets, FetchedOffset, ListFilter, Listing, Request};
use twinstream_model::{GroupId, TopicName};

use super::GroupService;
use super::kind::GroupKind;
use crate::coordinators::ShardHandle;

/// For all groups of all shards.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A member epoch of who is no member.
const NOBODY: Epoch = Epoch(-1);

/// A group that this broker coordinates.
#[derive(Debug)]
pub(crate) struct CommittedGroup {
    pub(crate) group: GroupId,
    pub(crate) members: usize,
    pub(crate) offsets: Vec<(TopicName, Vec<FetchedOffset>)>,
}

impl GroupService {
    /// The offsets of at most so many groups of this broker, in the order of their names, and how many groups are left out.
    pub(crate) async fn committed(&self, groups_max: usize) -> (Vec<CommittedGroup>, usize) {
        let deadline = Instant::now() + LOOK_LIMIT;
        let lists = self.shards.handles().into_iter().map(|handle| async move {
            let groups = timeout_at(deadline, listed(&handle)).await.ok().flatten()?;
            Some(groups.into_iter().map(move |group| (handle.clone(), group)))
        });
        let mut listed: Vec<_> = join_all(lists).await.into_iter().flatten().flatten().collect();
        listed.sort_by(|(_, a), (_, b)| a.group.cmp(&b.group));
        let mut left_out = listed.len().saturating_sub(groups_max);
        listed.truncate(groups_max);
        let mut found = Vec::with_capacity(listed.len());
        for (handle, listing) in listed {
            let offsets = timeout_at(deadline, offsets_of(&handle, &listing.group)).await.ok().flatten();
            let Listing { group, members, .. } = listing;
            match offsets {
                Some(offsets) => found.push(CommittedGroup { group, members, offsets }),
                None => left_out += 1,
            }
        }
        (found, left_out)
    }
}

async fn listed(handle: &ShardHandle<GroupKind>) -> Option<Vec<Listing>> {
    match handle.call(Request::List(ListFilter::default())).await {
        Ok(Answer::List(Ok(groups))) => Some(groups),
        _ => None,
    }
}

async fn offsets_of(handle: &ShardHandle<GroupKind>, group: &GroupId) -> Option<Vec<(TopicName, Vec<FetchedOffset>)>> {
    let fetch =
        FetchOffsets { group: group.clone(), member: None, epoch: NOBODY, partitions: None, require_stable: false };
    match handle.call(Request::FetchOffsets(fetch)).await {
        Ok(Answer::FetchOffsets(answer)) if answer.error.is_none() => Some(answer.topics),
        _ => None,
    }
}
