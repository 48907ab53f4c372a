//! DescribeGroups (key 15), versions 0-6.
//!
//! v1 throttle time; v3 authorized operations (KIP-430); v4 static members (KIP-345); v5 flexible; v6 a group that
//! does not exist is GROUP_ID_NOT_FOUND with a message (KIP-1043). Before v6 such a group is "Dead" without error.
//!
//! What is described in one answer is bounded, see [`super::described`].

use std::sync::Arc;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId as WireGroupId};
use twinstream_coordinator::group::{Answer, DescribedMember, Description, GroupState, Request};
use twinstream_model::ErrorCode;

use super::described::{ANSWER_BYTES_MAX, described};
use super::group_wire::{call, group_id, mismatched, wire};
use crate::context::{Broker, OPERATIONS_NOT_ASKED, Operation, RequestContext, Resource};

const NOT_FOUND_SINCE: i16 = 6;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations = |group: &str| match request.include_authorized_operations {
        true => broker.authorized_operations(ctx, Resource::Group(group)),
        false => OPERATIONS_NOT_ASKED,
    };
    let describe = |group| describe(broker, ctx, group);
    let refuse = |group| failed(ctx, group, ErrorCode::InvalidRequest);
    let groups = described(request.groups, ctx.api_version, ANSWER_BYTES_MAX, describe, refuse).await;
    let groups = groups.into_iter().map(|group| match ErrorCode::from_code(group.error_code) {
        Some(ErrorCode::None) => {
            let operations = operations(group.group_id.as_str());
            group.with_authorized_operations(operations)
        }
        _ => group,
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DescribeGroupsRequest,
    code: ErrorCode,
) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|group| failed(ctx, group, code));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

async fn describe(broker: &Arc<Broker>, ctx: &RequestContext, id: WireGroupId) -> DescribedGroup {
    let group = group_id(&id);
    match call(broker, ctx, Operation::Describe, &group, Request::Describe(group.clone())).await {
        Ok(Answer::Describe(Ok(description))) => shown(id, description),
        Ok(Answer::Describe(Err(ErrorCode::GroupIdNotFound))) => not_found(ctx, id),
        Ok(Answer::Describe(Err(error))) => failed(ctx, id, error),
        Ok(other) => failed(ctx, id, mismatched(&other)),
        Err(error) => failed(ctx, id, error),
    }
}

fn shown(id: WireGroupId, description: Description) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(wire(description.state.name()))
        .with_protocol_type(wire(description.protocol_type.as_deref().unwrap_or("")))
        .with_protocol_data(wire(description.protocol.as_deref().unwrap_or("")))
        .with_members(description.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(wire(member.member.as_str()))
        .with_group_instance_id(member.instance.map(|instance| wire(instance.as_str())))
        .with_client_id(wire(&member.client_id))
        .with_client_host(wire(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn not_found(ctx: &RequestContext, id: WireGroupId) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(wire(GroupState::Dead.name()));
    if ctx.api_version < NOT_FOUND_SINCE {
        return dead.with_group_id(id);
    }
    ctx.count_error(ErrorCode::GroupIdNotFound);
    let message = format!("Group {} not found.", id.as_str());
    dead.with_group_id(id).with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(wire(&message)))
}

fn failed(ctx: &RequestContext, id: WireGroupId, code: ErrorCode) -> DescribedGroup {
    ctx.count_error(code);
    DescribedGroup::default().with_group_id(id).with_error_code(code.code())
}
