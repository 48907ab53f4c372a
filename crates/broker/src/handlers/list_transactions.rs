//! ListTransactions (key 66), versions 0-2 (KIP-664).
//!
//! v1 a filter by duration (KIP-994); v2 a filter by a pattern that ids must match as a whole (KIP-1152).
//!
//! Lists the transactional ids that this broker coordinates; admin clients ask every broker. Names of states that we do
//! not know are given back, and list nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse, ProducerId as WireProducerId};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::transaction::{IdPattern, ListFilter, Listing, TransactionState};
use twinstream_model::{ErrorCode, ProducerId};

use super::transaction_wire::{authorize_transaction, wire_transactional_id};
use crate::context::{Broker, Operation, RequestContext};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let (filter, unknown) = match filter(&request) {
        Ok(filter) => filter,
        Err(code) => return error_response(ctx, request, code),
    };
    let listings = match broker.transactions.list(&filter).await {
        Ok(listings) => listings,
        Err(code) => return error_response(ctx, request, code).with_unknown_state_filters(unknown),
    };
    let is_visible =
        |listing: &&Listing| authorize_transaction(broker, ctx, Operation::Describe, &listing.transactional_id).is_ok();
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown)
        .with_transaction_states(listings.iter().filter(is_visible).map(listed).collect())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: ListTransactionsRequest,
    code: ErrorCode,
) -> ListTransactionsResponse {
    ctx.count_error(code);
    ListTransactionsResponse::default().with_error_code(code.code())
}

/// What the client wants to see, and the names that are no states.
fn filter(request: &ListTransactionsRequest) -> Result<(ListFilter, Vec<StrBytes>), ErrorCode> {
    let mut states = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in &request.state_filters {
        match TransactionState::parse(name) {
            Some(state) => _ = states.insert(state),
            None => unknown.push(name.clone()),
        }
    }
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let id_pattern = pattern.map(IdPattern::parse).transpose().map_err(|fault| {
        tracing::debug!(%fault, "pattern of transactional ids is not understood");
        ErrorCode::InvalidRegularExpression
    })?;
    let filter = ListFilter {
        producer_ids: request.producer_id_filters.iter().map(|id| ProducerId(id.0)).collect(),
        states: (!request.state_filters.is_empty()).then_some(states),
        longer_than_ms: Some(request.duration_filter).filter(|duration| *duration >= 0),
        id_pattern,
    };
    Ok((filter, unknown))
}

fn listed(listing: &Listing) -> ListedTransaction {
    ListedTransaction::default()
        .with_transactional_id(wire_transactional_id(&listing.transactional_id))
        .with_producer_id(WireProducerId(listing.producer_id.0))
        .with_transaction_state(StrBytes::from_static_str(listing.state.name()))
}
