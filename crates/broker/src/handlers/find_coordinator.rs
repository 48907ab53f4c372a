//! FindCoordinator (key 10), versions 0-6.
//!
//! v1 key type, error message, throttle time; v3 flexible; v4 many keys (KIP-699); v5 is v4 for transactions of
//! KIP-890; v6 share groups (KIP-932).
//!
//! The first question for a group brings `__consumer_offsets` into being, the first for a transactional id
//! `__transaction_state`. Unlike Kafka we wait for it (a bounded time) instead of sending the client round again.
//! Deviation: share groups are not served, their key type is INVALID_REQUEST with a message.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, NodeId, TopicName, TransactionalId};

use super::group_wire::{authorize_group, wire};
use super::topic_view::reachable;
use super::transaction_wire::authorize_transaction;
use crate::auto_create;
use crate::context::{Broker, Operation, RequestContext};
use crate::coordinators::partition_of;
use crate::groups::OFFSETS_TOPIC;
use crate::transactions::TRANSACTIONS_TOPIC;

const MANY_KEYS_SINCE: i16 = 4;
const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;

/// A broker that can be reached, or why there is none.
struct Found {
    node: NodeId,
    host: String,
    port: i32,
}

struct NotFound {
    code: ErrorCode,
    message: String,
}

impl From<ErrorCode> for NotFound {
    fn from(code: ErrorCode) -> NotFound {
        NotFound { code, message: code.to_string() }
    }
}

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if let Some(name) = internal_topic(request.key_type)
        && topic_in(&broker.image.load(), name).is_none()
    {
        auto_create::create_internal(broker, ctx, name).await;
    }
    let image = broker.image.load_full();
    let find = |key: &StrBytes| find(broker, ctx, &image, request.key_type, key.as_str());
    if ctx.api_version < MANY_KEYS_SINCE {
        return single(ctx, find(&request.key));
    }
    let coordinators = request.coordinator_keys.iter().map(|key| one_of_many(ctx, key.clone(), find(key)));
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
    code: ErrorCode,
) -> FindCoordinatorResponse {
    if ctx.api_version < MANY_KEYS_SINCE {
        return single(ctx, Err(code.into()));
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| one_of_many(ctx, key, Err(code.into())));
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

fn find(broker: &Broker, ctx: &RequestContext, image: &Image, key_type: i8, key: &str) -> Result<Found, NotFound> {
    let name = internal_topic(key_type).ok_or_else(|| not_served(key_type))?;
    authorize(broker, ctx, key_type, key)?;
    let topic = topic_in(image, name).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let partition = partition_of(key, topic.partitions.len() as i32);
    let leader = topic.partition(partition).and_then(|partition| partition.leader);
    let leader = leader.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let endpoint = reachable(image, &ctx.listener, leader).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok(Found { node: leader, host: endpoint.host.clone(), port: i32::from(endpoint.port) })
}

/// The topic whose leaders coordinate keys of this type, if they are served.
fn internal_topic(key_type: i8) -> Option<&'static str> {
    match key_type {
        KEY_TYPE_GROUP => Some(OFFSETS_TOPIC),
        KEY_TYPE_TRANSACTION => Some(TRANSACTIONS_TOPIC),
        _ => None,
    }
}

fn topic_in<'a>(image: &'a Image, name: &str) -> Option<&'a Arc<TopicImage>> {
    image.topic(&TopicName::parse(name).ok()?)
}

fn authorize(broker: &Broker, ctx: &RequestContext, key_type: i8, key: &str) -> Result<(), ErrorCode> {
    match key_type {
        KEY_TYPE_TRANSACTION => authorize_transaction(broker, ctx, Operation::Describe, &TransactionalId::from(key)),
        _ => authorize_group(broker, ctx, Operation::Describe, key),
    }
}

fn not_served(key_type: i8) -> NotFound {
    let message = format!("coordinator key type {key_type} is not served by this release, see GAPS.md");
    NotFound { code: ErrorCode::InvalidRequest, message }
}

fn single(ctx: &RequestContext, found: Result<Found, NotFound>) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(found) => response.with_node_id(BrokerId(found.node.0)).with_host(wire(&found.host)).with_port(found.port),
        Err(error) => {
            ctx.count_error(error.code);
            response
                .with_error_code(error.code.code())
                .with_error_message(Some(wire(&error.message)))
                .with_node_id(BrokerId(NodeId::NONE.0))
                .with_port(-1)
        }
    }
}

fn one_of_many(ctx: &RequestContext, key: StrBytes, found: Result<Found, NotFound>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(found) => {
            coordinator.with_node_id(BrokerId(found.node.0)).with_host(wire(&found.host)).with_port(found.port)
        }
        Err(error) => {
            ctx.count_error(error.code);
            coordinator
                .with_error_code(error.code.code())
                .with_error_message(Some(wire(&error.message)))
                .with_node_id(BrokerId(NodeId::NONE.0))
                .with_port(-1)
        }
    }
}
