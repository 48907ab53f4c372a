//! AddOffsetsToTxn (key 25), versions 0-4.
//!
//! v1 errors of quotas; v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE (KIP-890).
//!
//! Adds the partition of `__consumer_offsets` that has the group's offsets to the transaction, before the client commits
//! them with TxnOffsetCommit. Clients of transaction version 2 leave this out.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use twinstream_coordinator::transaction::{AddPartitions, Answer, Request, TransactionVersion};
use twinstream_model::{ErrorCode, TopicPartition};

use super::group_wire::authorize_group;
use super::transaction_wire::{
    authorize_transaction, call, connection, fenced_for, mismatched, producer, transactional_id, unless_late,
};
use crate::auto_create;
use crate::context::{Broker, Operation, RequestContext};
use crate::coordinators::partition_of;
use crate::groups::{OFFSETS_TOPIC, offsets_topic};
use crate::server::response::Reply;

const PRODUCER_FENCED_SINCE: i16 = 2;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AddOffsetsToTxnRequest,
) -> Reply<AddOffsetsToTxnResponse> {
    match add(broker, ctx, &request).await {
        Ok(()) => Reply::Send(AddOffsetsToTxnResponse::default()),
        Err(code) => unless_late(code, error_response(ctx, request, code)),
    }
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: AddOffsetsToTxnRequest,
    code: ErrorCode,
) -> AddOffsetsToTxnResponse {
    let code = fenced_for(ctx, PRODUCER_FENCED_SINCE, code);
    ctx.count_error(code);
    AddOffsetsToTxnResponse::default().with_error_code(code.code())
}

async fn add(broker: &Arc<Broker>, ctx: &RequestContext, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let id = transactional_id(&request.transactional_id);
    authorize_transaction(broker, ctx, Operation::Write, &id)?;
    authorize_group(broker, ctx, Operation::Read, request.group_id.as_str())?;
    let add = AddPartitions {
        transactional_id: id.clone(),
        producer: producer(request.producer_id, request.producer_epoch),
        partitions: BTreeSet::from([partition_of_group(broker, ctx, request.group_id.as_str()).await?]),
        verify_only: false,
        version: TransactionVersion::V0,
        connection: connection(ctx),
    };
    match call(broker, ctx, Operation::Write, &id, Request::AddPartitions(add)).await? {
        Answer::AddPartitions(answer) if answer.error.is_error() => Err(answer.error),
        Answer::AddPartitions(_) => Ok(()),
        other => Err(mismatched(&other)),
    }
}

/// Where the group's offsets are, or will be.
async fn partition_of_group(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    group: &str,
) -> Result<TopicPartition, ErrorCode> {
    if offsets_topic(&broker.image.load()).is_none() {
        auto_create::create_internal(broker, ctx, OFFSETS_TOPIC).await;
    }
    let image = broker.image.load();
    let topic = offsets_topic(&image).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok(TopicPartition::new(topic.name.clone(), partition_of(group, topic.partitions.len() as i32)))
}
