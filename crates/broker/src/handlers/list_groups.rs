//! ListGroups (key 16), versions 0-5.
//!
//! v1 throttle time; v3 flexible; v4 states, and a filter by them (KIP-518); v5 types, and a filter by them (KIP-848).
//!
//! Lists the groups that this broker coordinates; admin clients ask every broker.

use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use twinstream_coordinator::group::{ListFilter, Listing};
use twinstream_model::ErrorCode;

use super::group_wire::{wire, wire_group};
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let texts = |words: &[StrBytes]| words.iter().map(|word| word.to_string()).collect();
    let filter = ListFilter { states: texts(&request.states_filter), types: texts(&request.types_filter) };
    let listings = match broker.groups.list(&filter).await {
        Ok(listings) => listings,
        Err(code) => return error_response(ctx, request, code),
    };
    let sees_all = broker.authorize(ctx, Operation::Describe, Resource::Cluster);
    let is_visible = |listing: &Listing| {
        sees_all || broker.authorize(ctx, Operation::Describe, Resource::Group(listing.group.as_str()))
    };
    let groups = listings.iter().filter(|listing| is_visible(listing)).map(listed);
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub(crate) fn error_response(ctx: &RequestContext, _request: ListGroupsRequest, code: ErrorCode) -> ListGroupsResponse {
    ctx.count_error(code);
    ListGroupsResponse::default().with_error_code(code.code())
}

fn listed(listing: &Listing) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(wire_group(&listing.group))
        .with_protocol_type(wire(listing.protocol_type.as_deref().unwrap_or("")))
        .with_group_state(wire(listing.state))
        .with_group_type(wire(listing.kind.name()))
}
