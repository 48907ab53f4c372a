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

use super::ends::bounds_of;
use crate::groups::ask;
use crate::groups::decide::{is_free, within};

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
    let mut moves: Vec<(GroupId, BTreeMap<TopicPartition, CommitOffset>)> = Vec::new();
    for (group, offsets) in committed.offsets {
        let wanted: BTreeMap<TopicPartition, CommitOffset> = offsets
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
        moves.push((group, wanted));
    }
    let partitions: BTreeSet<TopicPartition> = moves.iter().flat_map(|(_, wanted)| wanted.keys().cloned()).collect();
    let bounds = bounds_of(to, &partitions.into_iter().collect::<Vec<_>>()).await?;
    for (group, mut wanted) in moves {
        let unknown: Vec<String> =
            wanted.keys().filter(|at| !bounds.contains_key(*at)).map(ToString::to_string).collect();
        let has = present.offsets.get(&group);
        wanted.retain(|at, commit| {
            let Some(offset) = placed(commit.offset, bounds.get(at).copied()) else { return false };
            commit.offset = offset;
            has.and_then(|has| has.get(at)).map(|known| known.offset) != Some(commit.offset)
        });
        if !wanted.is_empty()
            && let Err(cause) = to.commit_offsets(&group, &wanted).await
        {
            carried.left.insert(group.to_string(), trace_of(&cause));
            continue;
        }
        carried.offsets_written += wanted.len();
        if let Some(first) = unknown.first() {
            let why = format!(
                "{first} does not say where it ends ({} partitions), its offsets were not written",
                unknown.len()
            );
            carried.left.insert(group.to_string(), why);
            continue;
        }
        carried.groups.insert(group.to_string());
    }
    Ok(carried)
}

/// Where a group goes on in a log of these bounds: never past its end, nor before its start. Nowhere if those are not known.
fn placed(offset: Offset, bounds: Option<(Offset, Offset)>) -> Option<Offset> {
    bounds.map(|(start, end)| within(offset, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stays_within_the_log_and_is_not_moved_in_one_that_nobody_leads() {
        let place = |offset, bounds: Option<(i64, i64)>| {
            placed(Offset(offset), bounds.map(|(start, end)| (Offset(start), Offset(end)))).map(|offset| offset.0)
        };
        assert_eq!(place(7, Some((0, 10))), Some(7));
        assert_eq!(place(17, Some((0, 10))), Some(10), "never past what is there");
        assert_eq!(place(2, Some((5, 10))), Some(5), "before the start a consumer would be reset");
        assert_eq!(place(7, None), None, "an end that is not known is no zero");
    }
}
