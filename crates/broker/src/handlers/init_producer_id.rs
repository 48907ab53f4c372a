//! InitProducerId (key 22), versions 0-5.
//!
//! v2 flexible; v3 the producer's last id and epoch (KIP-360); v4 PRODUCER_FENCED; v5 TRANSACTION_ABORTABLE (KIP-890).
//! v6 (two-phase commit, KIP-939) is not stable in Kafka either.
//!
//! Idempotent producers get an id of their own and epoch 0, whatever id they had; ids come from blocks of the
//! controller. While no block can be had the answer is COORDINATOR_LOAD_IN_PROGRESS, upon which every client asks
//! again without looking for a coordinator. Those with a transactional id are initialized by its coordinator, which
//! fences the one before and aborts what it left behind.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId};
use twinstream_coordinator::transaction::{Answer, InitProducerId, Producer, Request};
use twinstream_model::{ErrorCode, ProducerEpoch, TransactionalId};

use super::transaction_wire::{call, fenced_for, mismatched, producer, refused, transactional_id};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::transactions::fresh_producer_id;

const PRODUCER_FENCED_SINCE: i16 = 4;
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let given = match &request.transactional_id {
        Some(id) => initialize(broker, ctx, &transactional_id(id), &request).await,
        None => give(broker, ctx, &request).await,
    };
    match given {
        Ok(producer) => InitProducerIdResponse::default()
            .with_producer_id(WireProducerId(producer.id.0))
            .with_producer_epoch(producer.epoch.0),
        Err(code) => error_response(ctx, request, code),
    }
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: InitProducerIdRequest,
    code: ErrorCode,
) -> InitProducerIdResponse {
    let code = fenced_for(ctx, PRODUCER_FENCED_SINCE, code);
    ctx.count_error(code);
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(WireProducerId(Producer::NONE.id.0))
        .with_producer_epoch(Producer::NONE.epoch.0)
}

/// A producer without transactions.
async fn give(broker: &Broker, ctx: &RequestContext, request: &InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    if !broker.authorize(ctx, Operation::IdempotentWrite, Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    known_producer(request)?;
    let id = fresh_producer_id(broker).await?;
    Ok(Producer { id, epoch: ProducerEpoch(0) })
}

/// A producer with a transactional id.
async fn initialize(
    broker: &Broker,
    ctx: &RequestContext,
    id: &TransactionalId,
    request: &InitProducerIdRequest,
) -> Result<Producer, ErrorCode> {
    let init = InitProducerId {
        transactional_id: id.clone(),
        timeout_ms: request.transaction_timeout_ms,
        producer: known_producer(request)?,
        fresh: None,
    };
    match call(broker, ctx, Operation::Write, id, Request::InitProducerId(init)).await? {
        Answer::InitProducerId(producer) => producer.map_err(refused),
        other => Err(mismatched(&other)),
    }
}

/// What the producer has and wants to go on with.
fn known_producer(request: &InitProducerIdRequest) -> Result<Option<Producer>, ErrorCode> {
    match (request.producer_id.0, request.producer_epoch) {
        (NO_ID, NO_EPOCH) => Ok(None),
        (NO_ID, _) | (_, NO_EPOCH) => Err(ErrorCode::InvalidRequest),
        (_, epoch) => Ok(Some(producer(request.producer_id, epoch))),
    }
}
