//! InitProducerId (key 22), versions 0-5.
//!
//! v2 flexible; v3 the producer's last id and epoch (KIP-360); v4 PRODUCER_FENCED; v5 TRANSACTION_ABORTABLE.
//!
//! Idempotent producers get an id of their own and epoch 0, whatever id they had; ids come from blocks of the
//! controller. While no block can be had the answer is COORDINATOR_LOAD_IN_PROGRESS, upon which every client asks
//! again without looking for a coordinator.
//!
//! Deviations: transactional ids are refused with INVALID_REQUEST, upon which clients fail at once instead of
//! trying until their time is over. A transaction timeout out of bounds is INVALID_TRANSACTION_TIMEOUT as in Kafka.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId};
use twinstream_model::{ErrorCode, ProducerId};

use crate::context::{Broker, Operation, RequestContext, Resource};

const NO_EPOCH: i16 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match give(broker, ctx, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(WireProducerId(id.0)).with_producer_epoch(0),
        Err(code) => error_response(ctx, request, code),
    }
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: InitProducerIdRequest,
    code: ErrorCode,
) -> InitProducerIdResponse {
    ctx.count_error(code);
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(WireProducerId(ProducerId::NONE.0))
        .with_producer_epoch(NO_EPOCH)
}

async fn give(broker: &Broker, ctx: &RequestContext, request: &InitProducerIdRequest) -> Result<ProducerId, ErrorCode> {
    if let Some(id) = &request.transactional_id {
        return Err(refuse_transactional(broker, ctx, id.as_str(), request.transaction_timeout_ms));
    }
    if !broker.authorize(ctx, Operation::IdempotentWrite, Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    let allocate = || async {
        broker.controller.allocate_producer_ids().await.map_err(|error| {
            tracing::warn!(%error, "no producer ids from the controller");
            ErrorCode::CoordinatorLoadInProgress
        })
    };
    broker.producer_ids.next(allocate).await
}

fn refuse_transactional(broker: &Broker, ctx: &RequestContext, id: &str, timeout_ms: i32) -> ErrorCode {
    if !broker.authorize(ctx, Operation::Write, Resource::TransactionalId(id)) {
        return ErrorCode::TransactionalIdAuthorizationFailed;
    }
    if id.is_empty() {
        return ErrorCode::InvalidRequest;
    }
    let timeout_max = broker.settings.transactions.timeout_max.as_millis();
    match u128::try_from(timeout_ms) {
        Ok(timeout) if timeout > 0 && timeout <= timeout_max => {
            tracing::warn!(
                transactional_id = id,
                client = ctx.client_id(),
                "transactions are not served by this release, see GAPS.md"
            );
            ErrorCode::InvalidRequest
        }
        _ => ErrorCode::InvalidTransactionTimeout,
    }
}
