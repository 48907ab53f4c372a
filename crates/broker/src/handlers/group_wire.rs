//! What the handlers of the group APIs share: texts of the wire as the coordinator's values, and the call itself.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{GroupId as WireGroupId, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::group::{Answer, CommitAnswer, InstanceId, MemberId, OffsetToCommit, Request};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, TopicName};

use crate::context::{Broker, Operation, RequestContext, Resource};

pub(super) fn group_id(wire: &WireGroupId) -> GroupId {
    GroupId::from(wire.as_str())
}

pub(super) fn member_id(wire: &StrBytes) -> MemberId {
    MemberId::from(wire.as_str())
}

pub(super) fn instance_id(wire: Option<&StrBytes>) -> Option<InstanceId> {
    wire.map(|text| InstanceId::from(text.as_str()))
}

pub(super) fn text(wire: &StrBytes) -> Arc<str> {
    Arc::from(wire.as_str())
}

/// Bytes that outlive their request: a slice of the frame would hold all of it in memory for as long as a group lives.
pub(super) fn kept_bytes(wire: &Bytes) -> Bytes {
    Bytes::copy_from_slice(wire)
}

pub(super) fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn wire_group(group: &GroupId) -> WireGroupId {
    WireGroupId(wire(group.as_str()))
}

pub(super) fn wire_topic(topic: &TopicName) -> WireTopicName {
    WireTopicName(wire(topic.as_str()))
}

/// Whether the client may do this with the group, with the error to answer if not.
pub(super) fn authorize_group(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    group: &str,
) -> Result<(), ErrorCode> {
    if broker.authorize(ctx, operation, Resource::Group(group)) {
        Ok(())
    } else {
        Err(ErrorCode::GroupAuthorizationFailed)
    }
}

/// Authorizes and asks the group's coordinator.
pub(super) async fn call(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    group: &GroupId,
    request: Request,
) -> Result<Answer, ErrorCode> {
    authorize_group(broker, ctx, operation, group.as_str())?;
    let image = broker.image.load_full();
    broker.groups.call(&image, group, request).await
}

/// As [`call`], for what waits for other members. Who has gone waits no longer; the member stays in the group until its
/// session or the rebalance ends, as in Kafka.
pub(super) async fn call_while_there(
    broker: &Broker,
    ctx: &RequestContext,
    operation: Operation,
    group: &GroupId,
    request: Request,
) -> Result<Answer, ErrorCode> {
    tokio::select! {
        biased;
        answer = call(broker, ctx, operation, group, request) => answer,
        () = ctx.departed.cancelled() => Err(ErrorCode::NetworkException),
    }
}

/// An offset that a client commits, if the client may and the partition exists.
pub(super) fn offset_to_commit(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &WireTopicName,
    partition: PartitionIndex,
    (offset, leader_epoch, metadata): (Offset, LeaderEpoch, Option<&StrBytes>),
) -> Result<OffsetToCommit, ErrorCode> {
    if !broker.authorize(ctx, Operation::Read, Resource::Topic(topic.as_str())) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let name = TopicName::parse(topic.as_str()).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let known = image.topic(&name).filter(|topic| topic.partition(partition).is_some());
    let topic_now = known.ok_or(ErrorCode::UnknownTopicOrPartition)?.id;
    Ok(OffsetToCommit {
        topic: name,
        topic_id: topic_now,
        topic_now,
        partition,
        offset,
        leader_epoch,
        metadata: metadata.map(text).unwrap_or_default(),
    })
}

/// The offsets of one request: those that the coordinator is asked to commit, and one code for each, in their order.
#[derive(Default)]
pub(super) struct Commits {
    accepted: Vec<OffsetToCommit>,
    codes: Vec<ErrorCode>,
}

impl Commits {
    /// The next offset of the request, or why it is not committed.
    pub(super) fn add(&mut self, offset: Result<OffsetToCommit, ErrorCode>) {
        self.codes.push(offset.as_ref().err().copied().unwrap_or(ErrorCode::None));
        self.accepted.extend(offset);
    }

    /// What to commit, if there is anything.
    pub(super) fn take_accepted(&mut self) -> Option<Vec<OffsetToCommit>> {
        Some(std::mem::take(&mut self.accepted)).filter(|accepted| !accepted.is_empty())
    }

    /// What the coordinator says to the accepted ones.
    pub(super) fn settle(&mut self, answer: Result<CommitAnswer, ErrorCode>) {
        let CommitAnswer { error, offsets } =
            answer.unwrap_or_else(|error| CommitAnswer { error, offsets: Vec::new() });
        let mut outcomes = offsets.into_iter();
        for code in self.codes.iter_mut().filter(|code| code.is_none()) {
            *code = if error.is_error() { error } else { outcomes.next().unwrap_or(ErrorCode::None) };
        }
    }

    pub(super) fn into_codes(self) -> impl Iterator<Item = ErrorCode> {
        self.codes.into_iter()
    }
}

/// An answer of another kind than its request: the shard broke its contract.
pub(super) fn mismatched(answer: &Answer) -> ErrorCode {
    tracing::error!(?answer, "group coordinator answered another question");
    ErrorCode::UnknownServerError
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_keeps_does_not_hold_the_frame() {
        let frame = Bytes::from(b"header, metadata and a megabyte behind them".to_vec());
        let kept = kept_bytes(&frame.slice(8..16));
        assert!(frame.is_unique());
        assert_eq!(kept, b"metadata"[..]);
    }
}
