//! Topics that are mirrors: promoting them, and leader epochs that follow those of the source.
//!
//! Promotion comes as a config that is set (see `image::mirror`), so that any admin client can do it. It is one record, by which every
//! partition has a leader epoch above all that it had: whoever appended for the link in an older one is fenced. A topic with records of
//! its own becomes a mirror in the same way, by the whole mark in one request, and so fences its producers.
//!
//! A promotion begins an *era*, a multiple of [`PROMOTION_STEP`]: the site that was cut off goes on electing leaders without knowing
//! of it, and must not come to an epoch in which something else was written here. Of two sites one has the odd eras and one the even
//! ones, by their ids, so they never lead in the same one, however little they have heard of each other: an epoch has one history.
//!
//! A leader asks for a higher epoch when the source has one; the leader stays who it is. What asks twice gets one epoch.

use std::borrow::Cow;

use thiserror::Error;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use super::{
    AlterResource, BrokerError, ConfigOperation, ConfigSetting, Controller, Decision,
    brokers_up::BrokersUp,
    change::{Change, Election},
    draft::Draft,
    rules::Policy,
};
use crate::{
    features,
    image::{ConfigResource, Image, Mirror, MirrorState, PartitionImage, TopicImage, mirror},
    record::Record,
};

/// Up to where a link raises epochs. Half of the numbers are left for elections, which a source that is damaged, or made up, must
/// not use up.
pub const MIRROR_EPOCH_MAX: LeaderEpoch = LeaderEpoch(1 << 30);

/// So many elections a source may have had, between being cut off and coming back, that no mirror has seen.
pub const PROMOTION_STEP: i32 = 1 << 10;

/// Why the mark of a mirror was not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MirrorError {
    #[error("topic {0} is no mirror")]
    NoMirror(TopicName),
    #[error("config {0} says what the topic is a mirror of and cannot be changed")]
    ReadOnly(String),
    #[error(
        "config {} can only be set to {}, or with all others of a mark to {}",
        mirror::STATE,
        mirror::PROMOTED,
        mirror::MIRRORING
    )]
    State,
    #[error("topic {topic} is a mirror over link {link} already, promote it first")]
    Busy { topic: TopicName, link: Uuid },
    #[error("to make a mirror of a topic that exists set config {0} as well, in the same request")]
    Incomplete(&'static str),
    #[error("config {name} cannot be {value}")]
    Value { name: &'static str, value: String },
    #[error("topic {0} is one of the cluster itself and no mirror")]
    Internal(TopicName),
    #[error("this cluster does not have the feature {} yet", features::MIRROR)]
    NotServed,
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

/// Takes the configs of a mark out of a change of configs, and says what they do: nothing, a promotion, or a new mark. What repeats the value that
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
    let topic = image.topic(name).ok_or_else(|| MirrorError::NoMirror(name.clone()))?;
    let record = match wanted_mark(&topic.name, topic.mirror.as_deref(), change)? {
        Some(wanted) => Some(mark_again(image, topic, wanted)?),
        None => promotion(image, topic, change)?,
    };
    let settings = change.settings.iter().filter(|setting| !is_of_mark(setting)).cloned().collect();
    Ok((Cow::Owned(AlterResource { resource: change.resource.clone(), settings }), record))
}

/// The promotion that a change asks for, if it asks for one.
fn promotion(image: &Image, topic: &TopicImage, change: &AlterResource) -> Result<Option<Record>, MirrorError> {
    let mark = topic.mirror.as_deref().ok_or_else(|| MirrorError::NoMirror(topic.name.clone()))?;
    let mut promotion = None;
    for setting in change.settings.iter().filter(|setting| setting.name.starts_with(mirror::PREFIX)) {
        let value = set_to(setting);
        match value {
            _ if is_as_before(mark, setting) => {}
            Some(mirror::PROMOTED) if setting.name == mirror::STATE => promotion = Some(promote(image, topic, mark)?),
            _ if setting.name == mirror::STATE => return Err(MirrorError::State),
            _ => return Err(MirrorError::ReadOnly(setting.name.clone())),
        }
    }
    Ok(promotion)
}

fn set_to(setting: &ConfigSetting) -> Option<&str> {
    setting.value.as_deref().filter(|_| setting.operation == ConfigOperation::Set)
}

fn is_as_before(mark: &Mirror, setting: &ConfigSetting) -> bool {
    mark.shown().iter().any(|(name, shown)| *name == setting.name && set_to(setting) == Some(&**shown))
}

/// The mark that a topic which is no mirror at present is to get; `None` if the change asks for something else.
fn wanted_mark(
    topic: &TopicName,
    mark: Option<&Mirror>,
    change: &AlterResource,
) -> Result<Option<Mirror>, MirrorError> {
    let value = |name: &'static str| {
        let setting = change.settings.iter().find(|setting| setting.name == name);
        setting.and_then(set_to).ok_or(MirrorError::Incomplete(name))
    };
    let is_wanted = value(mirror::STATE).is_ok_and(|state| state == mirror::MIRRORING);
    let changes = |mark: &Mirror| {
        change.settings.iter().any(|setting| setting.name.starts_with(mirror::PREFIX) && !is_as_before(mark, setting))
    };
    match mark {
        _ if !is_wanted => return Ok(None),
        Some(mark) if !changes(mark) => return Ok(None),
        Some(mark) if mark.is_read_only() => return Err(MirrorError::Busy { topic: topic.clone(), link: mark.link }),
        _ => {}
    }
    let unfit =
        |name: &'static str| move || MirrorError::Value { name, value: value(name).unwrap_or_default().to_owned() };
    let link = Uuid::parse_str(value(mirror::LINK)?).ok().filter(|link| !link.is_nil());
    let cluster = value(mirror::SOURCE_CLUSTER)?;
    let source = TopicName::parse(value(mirror::SOURCE_TOPIC)?).ok();
    let topic_id = TopicId::parse(value(mirror::SOURCE_TOPIC_ID)?);
    Ok(Some(Mirror {
        link: link.ok_or_else(unfit(mirror::LINK))?,
        cluster: Some(cluster).filter(|id| !id.is_empty()).ok_or_else(unfit(mirror::SOURCE_CLUSTER))?.into(),
        topic: source.ok_or_else(unfit(mirror::SOURCE_TOPIC))?,
        topic_id: topic_id.ok_or_else(unfit(mirror::SOURCE_TOPIC_ID))?,
        state: MirrorState::Mirroring,
    }))
}

fn mark_again(image: &Image, topic: &TopicImage, wanted: Mirror) -> Result<Record, MirrorError> {
    if image.feature_level(features::MIRROR) < 1 {
        return Err(MirrorError::NotServed);
    }
    if topic.name.is_internal() {
        return Err(MirrorError::Internal(topic.name.clone()));
    }
    let epoch = newest_epoch(topic).0.checked_add(1).map(LeaderEpoch);
    let epoch = epoch.ok_or_else(|| MirrorError::NoEpochs(topic.name.clone()))?;
    Ok(Record::Mirror { topic_id: topic.id, mirror: Mirror { state: MirrorState::MirroringAgain { epoch }, ..wanted } })
}

fn promote(image: &Image, topic: &TopicImage, mark: &Mirror) -> Result<Record, MirrorError> {
    let next = newest_epoch(topic).0 / PROMOTION_STEP + 1;
    let is_odd = image.cluster_id().is_some_and(|own| own.as_str() < &*mark.cluster);
    let era = if next % 2 == i32::from(is_odd) { next } else { next + 1 };
    let epoch =
        era.checked_mul(PROMOTION_STEP).map(LeaderEpoch).ok_or_else(|| MirrorError::NoEpochs(topic.name.clone()))?;
    let mirror = Mirror { state: MirrorState::Promoted { epoch, own: own_below(topic, mark) }, ..mark.clone() };
    Ok(Record::Mirror { topic_id: topic.id, mirror })
}

/// Below which epoch everything is the topic's own: where it became a mirror again, unless one of its leaders has heard of its new source,
/// whose epochs are of a later era. From then on leaders refuse the markers of its own transactions, so that their ends may be unknown here.
fn own_below(topic: &TopicImage, mark: &Mirror) -> Option<LeaderEpoch> {
    match mark.state {
        MirrorState::MirroringAgain { epoch } => {
            (newest_epoch(topic).0 / PROMOTION_STEP == epoch.0 / PROMOTION_STEP).then_some(epoch)
        }
        MirrorState::Mirroring | MirrorState::Promoted { .. } => None,
    }
}

fn newest_epoch(topic: &TopicImage) -> LeaderEpoch {
    topic.partitions.iter().map(|partition| partition.leader_epoch).max().unwrap_or(LeaderEpoch(0))
}
