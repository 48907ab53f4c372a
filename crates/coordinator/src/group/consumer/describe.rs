//! ConsumerGroupDescribe.

use std::sync::Arc;

use super::super::request::MemberId;
use super::config::ConsumerGroupConfig;
use super::reconcile::without_epochs;
use super::record::Partitions;
use super::request::{ConsumerDescription, DescribedConsumer};
use super::state::{Consumer, ConsumerGroup};
use super::target::assignor_name;

pub(super) fn describe(group: &ConsumerGroup, config: &ConsumerGroupConfig) -> ConsumerDescription {
    ConsumerDescription {
        state: group.state(),
        epoch: group.epoch,
        target_epoch: group.target.epoch,
        assignor: Arc::from(assignor_name(group, &config.assignors)),
        members: group.members.iter().map(|(id, member)| describe_member(group, id, member)).collect(),
    }
}

fn describe_member(group: &ConsumerGroup, id: &MemberId, member: &Consumer) -> DescribedConsumer {
    let target = group.target.members.get(id);
    DescribedConsumer {
        member: id.clone(),
        instance: member.value.instance.clone(),
        rack: member.value.rack.clone(),
        epoch: member.current.epoch,
        client_id: member.value.client_id.clone(),
        client_host: member.value.client_host.clone(),
        topics: member.value.topics.clone(),
        regex: member.value.regex.clone(),
        assigned: without_epochs(&member.current.assigned),
        target: target.map(|target| Partitions::clone(target)).unwrap_or_default(),
        speaks_classic: member.speaks_classic(),
    }
}
