//! Leaving, and being removed because nothing was heard or nothing was given back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId};

use super::super::request::MemberId;
use super::super::topics::Topics;
use super::heartbeat::{check_instance, tombstones, unknown_instance, unknown_member};
use super::record::{ConsumerRecord, Epoch, GroupValue, OwnedPartitions};
use super::request::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, Refusal};
use super::state::ConsumerGroup;
use super::subscription::metadata_hash;

/// A member's last heartbeat: the member that it names, if that may leave.
pub(super) fn leaving_member(group: &ConsumerGroup, heartbeat: &ConsumerHeartbeat) -> Result<MemberId, Refusal> {
    let id = &heartbeat.member;
    match &heartbeat.instance {
        None if group.members.contains_key(id) => (),
        None => return Err(unknown_member(&heartbeat.group, id)),
        Some(instance) => {
            let (known, _) = group.member_of(instance).ok_or_else(|| unknown_instance(instance))?;
            check_instance(known, id, instance)?;
        }
    }
    Ok(id.clone())
}

/// A static member goes and will be back before its session ends: it keeps what it owns, and nobody commits for it
/// under its present id any more (the epochs of its partitions are those of its return).
pub(super) fn step_out(group_id: &GroupId, group: &ConsumerGroup, id: &MemberId) -> Vec<ConsumerRecord> {
    let Some(member) = group.members.get(id) else { return Vec::new() };
    let mut current = member.current.clone();
    current.epoch = Epoch::AWAY;
    current.pending_revocation = OwnedPartitions::new();
    for since in current.assigned.values_mut().flat_map(|partitions| partitions.values_mut()) {
        *since = Epoch::JOINING;
    }
    vec![ConsumerRecord::Current { group: group_id.clone(), member: id.clone(), value: Some(current) }]
}

/// The records that remove members. Without a look at the cluster the hash stays as it was, and the next heartbeat
/// finds that it has changed.
pub(super) fn remove(
    group_id: &GroupId,
    group: &ConsumerGroup,
    leaving: &[MemberId],
    cluster: Option<&dyn Topics>,
) -> Vec<ConsumerRecord> {
    let mut records: Vec<ConsumerRecord> = leaving.iter().flat_map(|id| tombstones(group_id, id)).collect();
    let staying = || group.members.iter().filter(|(id, _)| !leaving.contains(id));
    let mut regexes = Cow::Borrowed(&group.regexes);
    let wanted: BTreeSet<&Arc<str>> = staying().filter_map(|(_, member)| member.value.regex.as_ref()).collect();
    for regex in group.regexes.keys().filter(|regex| !wanted.contains(regex)) {
        regexes.to_mut().remove(regex);
        records.push(ConsumerRecord::Regex { group: group_id.clone(), regex: regex.clone(), value: None });
    }
    let metadata_hash = cluster.map_or(group.metadata_hash, |cluster| metadata_hash(staying(), &regexes, cluster));
    let value = Some(GroupValue { epoch: group.epoch.next(), metadata_hash });
    records.push(ConsumerRecord::Group { group: group_id.clone(), value });
    records
}

/// The records that delete a group without members.
pub(super) fn delete(group_id: &GroupId, group: &ConsumerGroup) -> Vec<ConsumerRecord> {
    let group_of = || group_id.clone();
    let mut records: Vec<ConsumerRecord> =
        group.members.keys().flat_map(|member| tombstones(group_id, member)).collect();
    let regexes = group.regexes.keys().cloned();
    records.extend(regexes.map(|regex| ConsumerRecord::Regex { group: group_of(), regex, value: None }));
    records.push(ConsumerRecord::Target { group: group_of(), value: None });
    records.push(ConsumerRecord::TopicMetadata { group: group_of() });
    records.push(ConsumerRecord::Group { group: group_of(), value: None });
    records
}

pub(super) fn farewell(heartbeat: &ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
    ConsumerHeartbeatAnswer {
        error: ErrorCode::None,
        message: None,
        member: heartbeat.member.clone(),
        epoch: heartbeat.epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
}
