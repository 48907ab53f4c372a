//! EndTxn (key 26), versions 0-5.
//!
//! v1 errors of quotas; v2 PRODUCER_FENCED; v3 flexible; v4 TRANSACTION_ABORTABLE; v5 clients of transaction version 2,
//! which go on with the epoch that the answer names (KIP-890).
//!
//! The answer comes when the outcome is committed in the coordinator's log; the markers in the partitions follow. A request
//! below v5 that comes on a connection which its producer has given up gets none: the connection is closed.

use std::sync::Arc;

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId as WireProducerId};
use twinstream_coordinator::transaction::{Answer, EndTxn, Producer, Request, TransactionVersion};
use twinstream_model::ErrorCode;

use super::transaction_wire::{
    call, connection, fenced_for, mismatched, producer, refused, transactional_id, unless_late,
};
use crate::context::{Broker, Operation, RequestContext};
use crate::server::response::Reply;

const PRODUCER_FENCED_SINCE: i16 = 2;
const EPOCHS_SINCE: i16 = 5;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: EndTxnRequest,
) -> Reply<EndTxnResponse> {
    match end(broker, ctx, &request).await {
        Ok(producer) => Reply::Send(
            EndTxnResponse::default()
                .with_producer_id(WireProducerId(producer.id.0))
                .with_producer_epoch(producer.epoch.0),
        ),
        Err(code) => unless_late(code, error_response(ctx, request, code)),
    }
}

pub(crate) fn error_response(ctx: &RequestContext, _request: EndTxnRequest, code: ErrorCode) -> EndTxnResponse {
    let code = fenced_for(ctx, PRODUCER_FENCED_SINCE, code);
    ctx.count_error(code);
    EndTxnResponse::default()
        .with_error_code(code.code())
        .with_producer_id(WireProducerId(Producer::NONE.id.0))
        .with_producer_epoch(Producer::NONE.epoch.0)
}

async fn end(broker: &Broker, ctx: &RequestContext, request: &EndTxnRequest) -> Result<Producer, ErrorCode> {
    let id = transactional_id(&request.transactional_id);
    let end = EndTxn {
        transactional_id: id.clone(),
        producer: producer(request.producer_id, request.producer_epoch),
        commit: request.committed,
        version: match ctx.api_version {
            EPOCHS_SINCE.. => TransactionVersion::V2,
            _ => TransactionVersion::V0,
        },
        fresh: None,
        connection: connection(ctx),
    };
    match call(broker, ctx, Operation::Write, &id, Request::EndTxn(end)).await? {
        Answer::EndTxn(producer) => producer.map_err(refused),
        other => Err(mismatched(&other)),
    }
}
