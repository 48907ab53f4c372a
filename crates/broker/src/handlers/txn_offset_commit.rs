//! TxnOffsetCommit (key 28), versions 0-5.
//!
//! v2 leader epoch (KIP-320); v3 flexible, and the member with its generation, by which the group fences (KIP-447); v4
//! TRANSACTION_ABORTABLE; v5 the group's partition is added to the transaction here instead of with AddOffsetsToTxn (both
//! KIP-890). v6 (topic ids) is newer than our codec.
//!
//! Offsets of topics and partitions that do not exist are UNKNOWN_TOPIC_OR_PARTITION, each for itself. The first commit of
//! a transaction in a group's partition is stored when the transaction's coordinator says that the partition belongs to
//! the transaction, unless `transaction.partition.verification.enable` is off and the client adds partitions by itself.
//!
//! Deviations: a coordinator that still ends the transaction before is COORDINATOR_LOAD_IN_PROGRESS for clients before v5,
//! which try again upon that, where Kafka lets them fail with CONCURRENT_TRANSACTIONS.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TopicName as WireTopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use twinstream_coordinator::group::{
    Answer, CommitAnswer, CommitTransactionalOffsets, Generation, OffsetToCommit, Request, Verification,
};
use twinstream_coordinator::transaction::Producer;
use twinstream_metadata::Image;
use twinstream_model::{
    ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicPartition,
    TransactionalId,
};

use super::group_wire::{
    Commits, authorize_group, call, group_id, instance_id, member_id, mismatched, offset_to_commit,
};
use crate::context::{Broker, Operation as Acl, RequestContext, Resource};
use crate::coordinators::partition_of;
use crate::groups::offsets_topic;
use crate::verification::{self, Operation, Question};

const ABORTABLE_SINCE: i16 = 4;
const ADDS_SINCE: i16 = 5;
/// Producers before this version crash upon COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOAD_IN_PROGRESS_SINCE: i16 = 2;

/// Once without knowing whether the transaction is verified, once with the answer of its coordinator.
const ROUNDS_MAX: usize = 2;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    if !broker.authorize(ctx, Acl::Write, Resource::TransactionalId(request.transactional_id.as_str())) {
        return error_response(ctx, request, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if let Err(error) = authorize_group(broker, ctx, Acl::Read, request.group_id.as_str()) {
        return error_response(ctx, request, error);
    }
    let image = broker.image.load_full();
    let mut commits = Commits::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            commits.add(check(broker, ctx, &image, &topic.name, partition));
        }
    }
    if let Some(accepted) = commits.take_accepted() {
        let answer = commit(broker, ctx, &image, &request, accepted).await;
        commits.settle(answer);
    }
    respond(ctx, request, commits.into_codes())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: TxnOffsetCommitRequest,
    code: ErrorCode,
) -> TxnOffsetCommitResponse {
    respond(ctx, request, std::iter::repeat(code))
}

fn check(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &WireTopicName,
    partition: &TxnOffsetCommitRequestPartition,
) -> Result<OffsetToCommit, ErrorCode> {
    let TxnOffsetCommitRequestPartition { partition_index, committed_offset, committed_leader_epoch, .. } = *partition;
    let metadata = partition.committed_metadata.as_ref();
    let committed = (Offset(committed_offset), LeaderEpoch(committed_leader_epoch), metadata);
    let offset = offset_to_commit(broker, ctx, image, topic, PartitionIndex(partition_index), committed)?;
    Ok(OffsetToCommit { topic_id: TopicId::NONE, ..offset }) // what Kafka stores, before version 6
}

async fn commit(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    image: &Image,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> Result<CommitAnswer, ErrorCode> {
    let group = group_id(&request.group_id);
    let producer = Producer { id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
    let operation = operation(ctx.api_version);
    let needs_verification = verification::is_needed(broker, image, operation);
    let mut commit = CommitTransactionalOffsets {
        group: group.clone(),
        producer,
        verification: if needs_verification { Verification::Missing } else { Verification::SwitchedOff },
        generation: Generation(request.generation_id),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        offsets,
    };
    for _ in 0..ROUNDS_MAX {
        let asked = Request::CommitTransactionalOffsets(commit.clone());
        let guard = match call(broker, ctx, Acl::Read, &group, asked).await? {
            Answer::CommitTransactionalOffsets(answer) => return Ok(answer),
            Answer::Unverified(guard) => guard,
            other => return Err(mismatched(&other)),
        };
        let id = TransactionalId::from(request.transactional_id.as_str());
        verify(broker, image, id, producer, &group, operation).await?;
        commit.verification = match operation {
            Operation::Add => Verification::Added(guard),
            Operation::Verify | Operation::VerifyForOld => Verification::LookedUp(guard),
        };
    }
    Err(ErrorCode::CoordinatorLoadInProgress) // the shard began anew meanwhile
}

fn operation(version: i16) -> Operation {
    match version {
        ADDS_SINCE.. => Operation::Add,
        ABORTABLE_SINCE.. => Operation::Verify,
        _ => Operation::VerifyForOld,
    }
}

/// Asks the transaction's coordinator whether the group's partition belongs to the transaction.
async fn verify(
    broker: &Arc<Broker>,
    image: &Image,
    transactional_id: TransactionalId,
    producer: Producer,
    group: &GroupId,
    operation: Operation,
) -> Result<(), ErrorCode> {
    let topic = offsets_topic(image).ok_or(ErrorCode::NotCoordinator)?;
    let partition = partition_of(group.as_str(), topic.partitions.len() as i32);
    let question = Question {
        transactional_id,
        producer_id: producer.id,
        epoch: producer.epoch,
        partitions: BTreeSet::from([TopicPartition::new(topic.name.clone(), partition)]),
        operation,
    };
    match verification::ask(broker, image, &question).await.into_values().next() {
        None => Ok(()),
        // Clients try again upon this one, and without looking for the coordinator of the group.
        Some(ErrorCode::NetworkException) => Err(ErrorCode::CoordinatorLoadInProgress),
        Some(ErrorCode::ConcurrentTransactions) if operation != Operation::Add => {
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
        Some(code) => Err(code),
    }
}

/// Answers with one code per partition, in the order of the request.
fn respond(
    ctx: &RequestContext,
    request: TxnOffsetCommitRequest,
    mut codes: impl Iterator<Item = ErrorCode>,
) -> TxnOffsetCommitResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let code = known_code(ctx.api_version, codes.next().unwrap_or(ErrorCode::UnknownServerError));
            ctx.count_error(code);
            partitions.push(
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.code()),
            );
        }
        topics.push(TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}

fn known_code(version: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::CoordinatorLoadInProgress if version < LOAD_IN_PROGRESS_SINCE => ErrorCode::CoordinatorNotAvailable,
        code => code,
    }
}

#[cfg(test)]
mod tests;
