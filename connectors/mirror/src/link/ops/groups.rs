//! Groups change places with the topics that they read: their offsets go over as they are, because the offsets of the records
//! are the same on both sides.
//!
//! Only for topics that are copied at the source's offsets; for others the checkpoint connector translates, each second, as long
//! as it runs. The side that was written to knows best where its groups stand, so its word counts, rewinds included. A group with
//! members on the other side is left alone and told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use twinstream_client::raw::GroupListing;
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::{GroupId, Offset, TopicName, TopicPartition};

use super::ends::ends_of;
use crate::groups::ask;
use crate::groups::decide::is_free;

/// What came of carrying groups over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Groups whose offsets are now, or were already, those of the other side.
    pub groups: BTreeSet<String>,
    pub offsets_written: usize,
    /// Groups that were left, with the reason.
    pub left: BTreeMap<String, String>,
}

impl Carried {
    pub(super) fn json(&self) -> Json {
        json!({"groups": self.groups.len(), "offsets_written": self.offsets_written, "left": self.left})
    }
}

/// Brings the offsets of all groups that `follows` names over; `names` are the topics, by what they are called on either side.
pub(super) async fn carry(
    from: &RawClient,
    to: &RawClient,
    names: &BTreeMap<TopicName, TopicName>,
    follows: impl Fn(&str) -> bool,
) -> Result<Carried, ClientError> {
    let mut carried = Carried::default();
    let listed: Vec<GroupListing> =
        from.list_groups().await?.into_iter().filter(|listing| follows(listing.group.as_ref())).collect();
    let asked: Vec<&GroupListing> = listed.iter().collect();
    let committed = ask::committed(from, &asked).await?;
    for (group, code) in &committed.failed {
        carried.left.insert(group.to_string(), format!("its coordinator there answers {code}"));
    }
    let there: BTreeMap<GroupId, GroupListing> =
        to.list_groups().await?.into_iter().map(|listing| (listing.group.clone(), listing)).collect();
    let present: Vec<&GroupListing> = committed.offsets.keys().filter_map(|group| there.get(group)).collect();
    let present = ask::committed(to, &present).await?;
    for (group, offsets) in committed.offsets {
        let mut wanted: BTreeMap<TopicPartition, CommitOffset> = offsets
            .into_iter()
            .filter_map(|(at, commit)| Some((TopicPartition::new(names.get(&at.topic)?.clone(), at.partition), commit)))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        if let Some(listing) = there.get(&group).filter(|listing| !is_free(&listing.state)) {
            carried.left.insert(group.to_string(), format!("it has members there ({})", listing.state));
            continue;
        }
        let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let ends = ends_of(to, &partitions).await?;
        let has = present.offsets.get(&group);
        wanted.retain(|at, commit| {
            // Never past what is there.
            commit.offset = commit.offset.min(ends.get(at).copied().unwrap_or(Offset(0)));
            has.and_then(|has| has.get(at)).map(|known| known.offset) != Some(commit.offset)
        });
        if !wanted.is_empty()
            && let Err(cause) = to.commit_offsets(&group, &wanted).await
        {
            carried.left.insert(group.to_string(), trace_of(&cause));
            continue;
        }
        carried.offsets_written += wanted.len();
        carried.groups.insert(group.to_string());
    }
    Ok(carried)
}
