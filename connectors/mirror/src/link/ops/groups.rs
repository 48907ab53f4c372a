//! Groups change places with the topics that they read: their offsets go over as they are, because the offsets of the records
//! are the same on both sides.
//!
//! Only for topics that are copied at the source's offsets; for others the checkpoint connector translates, each second, as long
//! as it runs. As that connector does, a group is not moved that is further on the other side by its own doing, nor one that has
//! members there: both are told. On the way home the side that was written to knows best where its groups stand, so its word counts,
//! rewinds included. Once sites have changed places, offsets on the side that led are the way back's to move.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use twinstream_client::raw::GroupListing;
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::{GroupId, NodeId, Offset, TopicName, TopicPartition};

use super::ends::bounds_of;
use crate::groups::ask;
use crate::groups::decide::{Position, Step, is_free, note_of, noted, step, within};
use crate::words::counted;

/// What came of carrying groups over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Groups whose offsets are now, or were already, those of the other side.
    pub groups: BTreeSet<String>,
    pub offsets_written: usize,
    /// Groups that were left, with the reason.
    pub left: BTreeMap<String, String>,
    /// Brokers that did not tell which groups they coordinate.
    pub silent: BTreeSet<NodeId>,
}

/// With brokers that do not tell their groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// They are asked until they answer: no group is left.
    WithAll,
    /// Groups of the others go over, and who is silent is told.
    WithNobody,
}

/// Whose word counts where both sides have an offset of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The target's is only moved back if a link wrote it.
    WhoIsFurther,
    /// What the target has is from before a fail-over.
    Theirs,
}

/// One direction of a link, for groups.
pub(super) struct Way<'a> {
    /// With its alias, by which the link notes what it writes.
    pub from: (&'a RawClient, &'a str),
    pub to: &'a RawClient,
    /// The topics, by what they are called on either side.
    pub names: &'a BTreeMap<TopicName, TopicName>,
    pub word: Word,
    pub patience: Patience,
}

impl Carried {
    pub(super) fn json(&self) -> Json {
        json!({"groups": self.groups.len(), "offsets_written": self.offsets_written, "left": self.left})
    }
}

/// Brings the offsets of all groups that `follows` names over.
pub(super) async fn carry(way: Way<'_>, follows: impl Fn(&str) -> bool) -> Result<Carried, ClientError> {
    let Way { from: (from, alias), to, names, word, patience } = way;
    let note = note_of(alias);
    let mut carried = Carried::default();
    let listed = match patience {
        Patience::WithAll => from.list_groups().await?,
        Patience::WithNobody => {
            let (listed, silent) = from.list_groups_now().await?;
            carried.silent = silent.into_keys().collect();
            listed
        }
    };
    let listed: Vec<GroupListing> = listed.into_iter().filter(|listing| follows(listing.group.as_ref())).collect();
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
        let mut further = Vec::new();
        wanted.retain(|at, commit| {
            let Some(offset) = placed(commit.offset, bounds.get(at).copied()) else { return false };
            commit.offset = offset;
            commit.metadata = noted(&commit.metadata, &note);
            let present = has.and_then(|has| has.get(at));
            let step = judged(word, offset, present, &note);
            if let (Step::Leave, Some(present)) = (step, present) {
                further.push(format!("{at} at {}, where it would go on at {offset}", present.offset));
            }
            step == Step::Write
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
        if let Some(first) = further.first() {
            let more = if further.len() > 1 { format!(" and {} more", further.len() - 1) } else { String::new() };
            let why = format!("it is further there by its own doing, and was not moved back: {first}{more}");
            carried.left.insert(group.to_string(), why);
            continue;
        }
        carried.groups.insert(group.to_string());
    }
    Ok(carried)
}

/// What becomes of an offset; `note` goes with those that a link wrote.
fn judged(word: Word, wanted: Offset, present: Option<&CommitOffset>, note: &str) -> Step {
    let ours = match word {
        Word::WhoIsFurther => present.filter(|commit| commit.metadata == note).map(|commit| commit.offset),
        Word::Theirs => present.map(|commit| commit.offset),
    };
    step(Position { wanted, present: present.map(|commit| commit.offset), ours })
}

/// What came of setting groups back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SetBack {
    pub groups: BTreeSet<String>,
    /// Groups that were left, with the reason.
    pub left: BTreeMap<String, String>,
}

/// Sets groups that stand beyond the point where a log is about to be cut back to that point: what comes there instead would be passed
/// over in silence. Whoever has members is told of, because they would say where the group stands.
pub(super) async fn set_back(
    cluster: &RawClient,
    cuts: &BTreeMap<TopicPartition, Offset>,
) -> Result<SetBack, ClientError> {
    let listed = cluster.list_groups().await?;
    let asked: Vec<&GroupListing> = listed.iter().collect();
    let committed = ask::committed(cluster, &asked).await?;
    let mut done = SetBack::default();
    for (group, code) in &committed.failed {
        done.left.insert(group.to_string(), format!("its coordinator answers {code}"));
    }
    for (group, offsets) in committed.offsets {
        let beyond = beyond(&offsets, cuts);
        let Some((first, to)) = beyond.first_key_value() else { continue };
        let state = listed.iter().find(|listing| listing.group == group).map(|listing| &listing.state);
        if let Some(state) = state.filter(|state| !is_free(state)) {
            let why = format!(
                "it has members ({state}) and stands beyond where both sites part, in {first} and {} in all; stop them, and set it back to {} there",
                counted(beyond.len(), "partition"),
                to.offset
            );
            done.left.insert(group.to_string(), why);
        } else if let Err(cause) = cluster.commit_offsets(&group, &beyond).await {
            done.left.insert(group.to_string(), trace_of(&cause));
        } else {
            done.groups.insert(group.to_string());
        }
    }
    Ok(done)
}

/// Of a group's offsets those that lie beyond a cut, as they are to be. Pure.
fn beyond(
    offsets: &BTreeMap<TopicPartition, CommitOffset>,
    cuts: &BTreeMap<TopicPartition, Offset>,
) -> BTreeMap<TopicPartition, CommitOffset> {
    let cut = |(at, commit): (&TopicPartition, &CommitOffset)| {
        let cut = cuts.get(at).filter(|cut| commit.offset > **cut)?;
        Some((at.clone(), CommitOffset { offset: *cut, metadata: commit.metadata.clone() }))
    };
    offsets.iter().filter_map(cut).collect()
}

/// After sites have changed places: offsets of groups on the side that led get the note of the link from `leads`, which leads there
/// now, so that it moves them, rewinds included, until somebody commits there again. Groups with notes of their own, or with members,
/// stay as they are.
pub(super) async fn hand_over(
    led: &RawClient,
    leads: &str,
    topics: &BTreeSet<TopicName>,
    follows: impl Fn(&str) -> bool,
) -> Result<(), ClientError> {
    let note = note_of(leads);
    let (listed, _) = led.list_groups_now().await?;
    let free: Vec<&GroupListing> =
        listed.iter().filter(|listing| follows(listing.group.as_ref()) && is_free(&listing.state)).collect();
    for (group, offsets) in ask::committed(led, &free).await?.offsets {
        let ours: BTreeMap<TopicPartition, CommitOffset> = offsets
            .into_iter()
            .filter(|(at, commit)| topics.contains(&at.topic) && commit.metadata.is_empty())
            .map(|(at, commit)| (at, CommitOffset { offset: commit.offset, metadata: note.clone() }))
            .collect();
        if !ours.is_empty() {
            led.commit_offsets(&group, &ours).await?;
        }
    }
    Ok(())
}

/// Where a group goes on in a log of these bounds: never past its end, nor before its start. Nowhere if those are not known.
fn placed(offset: Offset, bounds: Option<(Offset, Offset)>) -> Option<Offset> {
    bounds.map(|(start, end)| within(offset, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_went_on_by_itself_is_not_moved_back_unless_it_comes_home() {
        let judge = |word, wanted, present: Option<(i64, &str)>| {
            let present =
                present.map(|(offset, note)| CommitOffset { offset: Offset(offset), metadata: note.to_owned() });
            judged(word, Offset(wanted), present.as_ref(), &note_of("east"))
        };
        let further = Word::WhoIsFurther;
        assert_eq!(judge(further, 1_000, Some((900_000, ""))), Step::Leave, "it runs on the copy each night");
        assert_eq!(judge(further, 300, Some((700, "mirrored from east"))), Step::Write, "rewound at the source");
        assert_eq!(judge(further, 300, Some((700, "mirrored from west"))), Step::Leave, "another link's");
        assert_eq!(judge(further, 800, Some((700, ""))), Step::Write);
        assert_eq!(judge(further, 700, Some((700, "mine"))), Step::Same);
        assert_eq!(judge(further, 5, None), Step::Write);
        assert_eq!(judge(Word::Theirs, 300, Some((700, "mine"))), Step::Write, "from before the fail-over");
    }

    #[test]
    fn only_what_lies_beyond_a_cut_is_set_back() {
        let at =
            |index| TopicPartition::new(TopicName::parse("orders").unwrap(), twinstream_model::PartitionIndex(index));
        let commit = |offset| CommitOffset { offset: Offset(offset), metadata: "mine".to_owned() };
        let offsets = BTreeMap::from([(at(0), commit(130)), (at(1), commit(100)), (at(2), commit(500))]);
        let cuts = BTreeMap::from([(at(0), Offset(100)), (at(1), Offset(100))]);
        assert_eq!(beyond(&offsets, &cuts), BTreeMap::from([(at(0), commit(100))]));
    }

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
