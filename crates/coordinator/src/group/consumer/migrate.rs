//! A live group from the classic protocol to the newer one and back (KIP-848, `group.consumer.migration.policy`).
//!
//! Up: the first member of the newer protocol that comes to a classic group of consumers turns it into a consumer
//! group in which everybody else still speaks the classic protocol (see `classic`); generation and assignments go on
//! as epoch and target. Down: when the last member of the newer protocol goes, the classic ones go on among themselves,
//! with the epoch as generation, and rebalance; also when a classic static member takes the place of the last one.

use std::sync::Arc;

use twinstream_model::{ErrorCode, GroupId};

use super::super::record::{GroupMetadata, StoredMember};
use super::super::request::{Answer, Generation, JoinAnswer, MemberId, SyncAnswer};
use super::super::state::Group;
use super::super::subscription::CONSUMER_PROTOCOL_TYPE;
use super::super::{Decision, Event, GroupConfig, GroupShard, Record, Then, rebalance};
use super::classic::{by_id, named};
use super::config::ConsumerGroupConfig;
use super::embedded;
use super::leave::delete;
use super::record::{
    ClassicMember, ConsumerRecord, CurrentValue, Epoch, GroupValue, MemberState, MemberValue, OwnedPartitions,
    Partitions, TargetValue,
};
use super::request::{ConsumerHeartbeat, Refusal};
use super::state::{Consumer, ConsumerGroup};
use crate::Now;

/// Assignors that come with clients. The data that they keep with an assignment says who owned what in which generation,
/// which the group knows itself. librdkafka's `cooperative-sticky` keeps some from its second generation on, so where every
/// assignor's data counts, as in Kafka, its groups cannot go up.
const KNOWN_ASSIGNORS: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];

/// The records that turn a classic group into a consumer group, and that group.
pub(super) fn upgrade(
    group: &Group,
    heartbeat: &ConsumerHeartbeat,
    config: &ConsumerGroupConfig,
) -> Result<(Vec<Record>, ConsumerGroup), Refusal> {
    let id = &group.id;
    let refuse = |reason: &'static str| {
        let message = format!("Cannot upgrade classic group {id} to consumer group because {reason}.");
        let event = Event::NotUpgraded { group: id.clone(), reason };
        Err(Refusal::new(ErrorCode::GroupIdNotFound, message).with_event(event))
    };
    if !config.migration.allows_upgrade() {
        return refuse("online upgrade is disabled");
    }
    if !group.is_consumer_group() {
        return refuse("the group does not use the consumer embedded protocol");
    }
    if group.members.len() > config.members_max {
        return refuse("the group size exceeds the consumer group maximum size");
    }
    let mut heirs = Vec::with_capacity(group.members.len());
    for member in group.members.values() {
        match heir(group, member, heartbeat) {
            Some((_, _, true)) => return refuse("an unsupported custom assignor is in use"),
            Some((value, owned, false)) => heirs.push((member.id.clone(), value, owned)),
            None => return refuse("the embedded consumer protocol is malformed"),
        }
    }
    let epoch = Epoch(group.generation.0);
    let records = consumer_records(id, epoch, heirs);
    let mut consumers = ConsumerGroup::default();
    records.iter().for_each(|record| {
        consumers.replay(record);
    });
    let tombstone = Record::GroupMetadata { group: id.clone(), value: None };
    Ok((std::iter::once(tombstone).chain(records.into_iter().map(Record::Consumer)).collect(), consumers))
}

/// What a classic member is in a consumer group: what it wants, what it owns, and whether an assignor that we do not know
/// keeps something with it.
fn heir(
    group: &Group,
    member: &super::super::member::Member,
    heartbeat: &ConsumerHeartbeat,
) -> Option<(MemberValue, Partitions, bool)> {
    let chosen = group.protocol.as_deref().filter(|protocol| member.supports(protocol));
    let protocol = chosen.or(member.protocols.first().map(|protocol| &*protocol.name));
    let subscription = embedded::subscription(&member.metadata(protocol))?;
    let assignment = embedded::assignment(&member.assignment)?;
    let value = MemberValue {
        instance: member.instance.clone(),
        rack: subscription.rack,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: subscription.topics,
        regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: None,
        classic: Some(ClassicMember {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    };
    let is_known = chosen.is_some_and(|name| KNOWN_ASSIGNORS.contains(&name));
    let owned = by_id(&assignment.partitions, &*heartbeat.cluster);
    Some((value, owned, assignment.has_user_data && !is_known))
}

fn consumer_records(
    id: &GroupId,
    epoch: Epoch,
    heirs: Vec<(MemberId, MemberValue, Partitions)>,
) -> Vec<ConsumerRecord> {
    let group = || id.clone();
    let (mut members, mut targets, mut currents) = (Vec::new(), Vec::new(), Vec::new());
    for (member, value, owned) in heirs {
        let since = |partitions: &std::collections::BTreeSet<_>| partitions.iter().map(|p| (*p, epoch)).collect();
        let assigned: OwnedPartitions = owned.iter().map(|(topic, partitions)| (*topic, since(partitions))).collect();
        let current = CurrentValue {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned,
            pending_revocation: OwnedPartitions::new(),
        };
        members.push(ConsumerRecord::Member { group: group(), member: member.clone(), value: Some(value) });
        targets.push(ConsumerRecord::TargetMember { group: group(), member: member.clone(), value: Some(owned) });
        currents.push(ConsumerRecord::Current { group: group(), member, value: Some(current) });
    }
    // The hash is that of no topic: the heartbeat that brought this about raises the epoch anyway.
    let value = Some(GroupValue { epoch, metadata_hash: 0 });
    // No assignor computed it, so the next one need not wait.
    let target = Some(TargetValue { epoch, timestamp_ms: 0 });
    members.push(ConsumerRecord::Group { group: group(), value });
    members.extend(targets);
    members.push(ConsumerRecord::Target { group: group(), value: target });
    members.extend(currents);
    members
}

/// Whether the group may go back to the classic protocol when these members are gone.
pub(super) fn may_downgrade_without(group: &ConsumerGroup, leaving: &[MemberId], config: &GroupConfig) -> bool {
    let staying = || group.members.iter().filter(|(id, _)| !leaving.contains(id));
    let has_last_gone = leaving.iter().all(|id| group.members.get(id).is_some_and(|member| !member.speaks_classic()));
    config.consumer.migration.allows_downgrade()
        && has_last_gone
        && (1..=config.members_max).contains(&staying().count())
        && staying().all(|(_, member)| member.speaks_classic())
}

impl GroupShard {
    /// Everybody who waits in the classic group joins the consumer group that it becomes.
    pub(super) fn send_away_classics(&mut self, id: &GroupId, decision: &mut Decision) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let members: Vec<MemberId> = group.members.keys().cloned().collect();
        for member in members {
            if let Some(token) = group.take_join(&member) {
                let answer = JoinAnswer::failed(member.clone(), ErrorCode::RebalanceInProgress);
                decision.answers.push((token, Answer::Join(answer)));
            }
            if let Some(token) = group.members.get_mut(&member).and_then(|member| member.awaiting_sync.take()) {
                let answer = SyncAnswer::failed(ErrorCode::RebalanceInProgress);
                decision.answers.push((token, Answer::Sync(answer)));
            }
        }
    }

    /// The records of [`upgrade`] were replayed: the classic members have a full session.
    pub(crate) fn finish_upgrade(&mut self, now: Now, id: &GroupId) -> Decision {
        self.resume_group(now, id);
        Decision::default()
    }

    /// `None` if the members that stay have no protocol in common, or the names of topics are not known yet.
    pub(super) fn downgrade_without(&self, now: Now, id: &GroupId, leaving: &[MemberId]) -> Option<Decision> {
        let group = self.consumers.get(id)?;
        let cluster = self.cluster.as_deref()?;
        let staying: Vec<(&MemberId, &Consumer)> =
            group.members.iter().filter(|(member, _)| !leaving.contains(member)).collect();
        let protocol = common_protocol(&staying)?;
        let members = staying.iter().map(|(member, known)| {
            let classic = known.value.classic.as_ref()?;
            let subscription = classic.protocols.iter().find(|offered| offered.name == protocol)?.metadata.clone();
            let target = group.target.members.get(*member).map(|target| named(target, cluster)).unwrap_or_default();
            Some(StoredMember {
                member: (*member).clone(),
                instance: known.value.instance.clone(),
                client_id: known.value.client_id.clone(),
                client_host: known.value.client_host.clone(),
                rebalance_timeout_ms: known.value.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                assignment: embedded::assignment_bytes(&subscription, &target),
                subscription,
            })
        });
        let value = GroupMetadata {
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.into()),
            generation: Generation(group.epoch.0),
            protocol: Some(protocol.clone()),
            leader: staying.first().map(|(member, _)| (*member).clone()),
            current_state_timestamp_ms: Some(now.wall_ms),
            members: members.collect::<Option<Vec<_>>>()?,
        };
        let mut records: Vec<Record> = delete(id, group).into_iter().map(Record::Consumer).collect();
        records.push(Record::GroupMetadata { group: id.clone(), value: Some(value) });
        let then = Some(Then::Downgrade(id.clone(), leaving.to_vec()));
        Some(Decision { records, then, ..Decision::default() })
    }

    /// After a classic static member has taken the place of a member of the newer protocol.
    pub(crate) fn downgrade_if_all_are_classic(&mut self, now: Now, id: &GroupId) -> Decision {
        let may = self.consumers.get(id).is_some_and(|group| may_downgrade_without(group, &[], &self.config));
        may.then(|| self.downgrade_without(now, id, &[])).flatten().unwrap_or_default()
    }

    /// The group is a classic one again: its members share the work anew.
    pub(crate) fn finish_downgrade(&mut self, now: Now, id: &GroupId) -> Decision {
        let decision = self.with_group(now, id, |cx, group| {
            rebalance::resume(cx, group);
            if group.is_in(super::super::GroupState::Stable) {
                rebalance::prepare(cx, group, "the last member of the newer protocol has gone".to_owned());
            }
        });
        decision.unwrap_or_default()
    }
}

fn common_protocol(members: &[(&MemberId, &Consumer)]) -> Option<Arc<str>> {
    let offers = |member: &Consumer, name: &str| {
        let classic = member.value.classic.as_ref();
        classic.is_some_and(|classic| classic.protocols.iter().any(|protocol| &*protocol.name == name))
    };
    let first = members.first()?.1.value.classic.as_ref()?;
    let suits_all = |name: &Arc<str>| members.iter().all(|(_, member)| offers(member, name));
    first.protocols.iter().map(|protocol| protocol.name.clone()).find(suits_all)
}
