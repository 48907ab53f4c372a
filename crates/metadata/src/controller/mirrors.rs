//! Topics that are mirrors: promoting them, and leader epochs that follow those of the source.
//!
//! Promotion comes as a config that is set (see `image::mirror`), so that any admin client can do it. It is one record, by which every
//! partition has a leader epoch above all that it had: whoever appended for the link in an older one is fenced.
//!
//! A leader asks for a higher epoch when the source has one; the leader stays who it is. What asks twice gets one epoch.

use std::borrow::Cow;

use thiserror::Error;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};

use super::{
    AlterResource, BrokerError, ConfigOperation, ConfigSetting, Controller, Decision,
    brokers_up::BrokersUp,
    change::{Change, Election},
    draft::Draft,
    rules::Policy,
};
use crate::{
    image::{ConfigResource, Image, Mirror, MirrorState, PartitionImage, TopicImage, mirror},
    record::Record,
};

/// Up to where a link raises epochs. Half of the numbers are left for elections, which a source that is damaged, or made up, must
/// not use up.
pub const MIRROR_EPOCH_MAX: LeaderEpoch = LeaderEpoch(1 << 30);

/// Why the mark of a mirror was not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MirrorError {
    #[error("topic {0} is no mirror")]
    NoMirror(TopicName),
    #[error("config {0} says what the topic is a mirror of and cannot be changed")]
    ReadOnly(String),
    #[error("config {} can only be set to {}, which is for good", mirror::STATE, mirror::PROMOTED)]
    State,
    #[error("topic {0} has no leader epochs left")]
    NoEpochs(TopicName),
}

/// A leader's wish for a higher epoch of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRaise {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    /// The one in which it leads.
    pub leader_epoch: LeaderEpoch,
    pub to: LeaderEpoch,
}

impl Controller {
    /// Decides about each wish of the broker `leader`, in its order. An answer has the partition as it is afterwards.
    pub fn raise_epochs(
        &self,
        leader: NodeId,
        broker_epoch: i64,
        wanted: &[EpochRaise],
    ) -> Decision<Result<Vec<Result<PartitionImage, ErrorCode>>, BrokerError>> {
        self.each_of_leader(leader, broker_epoch, wanted, |draft, policy, brokers, wanted| {
            raise(draft, policy, brokers, leader, wanted)
        })
    }
}

fn raise(
    draft: &mut Draft,
    policy: &Policy,
    brokers: &BrokersUp,
    leader: NodeId,
    wanted: &EpochRaise,
) -> Result<PartitionImage, ErrorCode> {
    let topic = draft.image.topic_by_id(wanted.topic_id).ok_or(ErrorCode::UnknownTopicId)?.clone();
    let partition = topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if wanted.leader_epoch > partition.leader_epoch {
        return Err(ErrorCode::NotController); // it has seen what this node has not
    }
    if partition.leader != Some(leader) {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader_epoch >= wanted.to {
        return Ok(partition.clone());
    }
    if wanted.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    let is_read_only = topic.mirror.as_ref().is_some_and(|mirror| mirror.is_read_only());
    if !is_read_only || wanted.to > MIRROR_EPOCH_MAX {
        return Err(ErrorCode::InvalidRequest);
    }
    if draft.is_full() {
        return Err(ErrorCode::ThrottlingQuotaExceeded);
    }
    let mut change = Change::of(partition);
    change.raise_epoch(wanted.to);
    let rules = policy.of(&draft.image, &topic.name);
    let Some(settled) = change.settle(rules, Election::IfNeeded, brokers) else { return Ok(partition.clone()) };
    let after = settled.image.clone();
    draft.push_change(topic.id, &topic.name, wanted.partition, settled);
    Ok(after)
}

/// Takes the configs of a mark out of a change of configs, and says what they do: nothing, or a promotion. What repeats the value that
/// there is, as tools do that set back all they have read, changes nothing.
pub(super) fn take_mirror_settings<'a>(
    image: &Image,
    change: &'a AlterResource,
) -> Result<(Cow<'a, AlterResource>, Option<Record>), MirrorError> {
    let is_of_mark = |setting: &ConfigSetting| setting.name.starts_with(mirror::PREFIX);
    let ConfigResource::Topic(name) = &change.resource else { return Ok((Cow::Borrowed(change), None)) };
    if !change.settings.iter().any(is_of_mark) {
        return Ok((Cow::Borrowed(change), None));
    }
    let marked = image.topic(name).and_then(|topic| Some((topic, topic.mirror.as_deref()?)));
    let (topic, mark) = marked.ok_or_else(|| MirrorError::NoMirror(name.clone()))?;
    let mut promotion = None;
    for setting in change.settings.iter().filter(|setting| is_of_mark(setting)) {
        let value = setting.value.as_deref().filter(|_| setting.operation == ConfigOperation::Set);
        let is_as_before = mark.shown().iter().any(|(name, shown)| *name == setting.name && value == Some(&**shown));
        match value {
            _ if is_as_before => {}
            Some(mirror::PROMOTED) if setting.name == mirror::STATE => promotion = Some(promote(topic, mark)?),
            _ if setting.name == mirror::STATE => return Err(MirrorError::State),
            _ => return Err(MirrorError::ReadOnly(setting.name.clone())),
        }
    }
    let settings = change.settings.iter().filter(|setting| !is_of_mark(setting)).cloned().collect();
    Ok((Cow::Owned(AlterResource { resource: change.resource.clone(), settings }), promotion))
}

fn promote(topic: &TopicImage, mark: &Mirror) -> Result<Record, MirrorError> {
    let newest = topic.partitions.iter().map(|partition| partition.leader_epoch).max().unwrap_or(LeaderEpoch(0));
    let epoch = newest.0.checked_add(1).map(LeaderEpoch).ok_or_else(|| MirrorError::NoEpochs(topic.name.clone()))?;
    let mirror = Mirror { state: MirrorState::Promoted { epoch }, ..mark.clone() };
    Ok(Record::Mirror { topic_id: topic.id, mirror })
}
