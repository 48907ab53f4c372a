//! Metadata (key 3), versions 0-13.
//!
//! v1 controller, rack, internal flag, null for all topics; v2 cluster id; v3 throttle time; v4 the client may forbid
//! auto-creation; v5 offline replicas (KIP-112); v7 leader epochs (KIP-320); v8 authorized operations (KIP-430);
//! v9 flexible; v10 topic ids; v11 no cluster operations; v12 topics by id (KIP-516); v13 a top-level error (KIP-1102).
//!
//! All topics are meant by an empty list in v0 and by null from v1 on; from v1 on an empty list means none.
//! A topic that is named twice is answered once. Before v10 a topic has a name, and one without ends its connection; ids
//! count from v12 on, and one before is INVALID_REQUEST.
//! An unknown topic comes into being when both the client and `auto.create.topics.enable` allow it. Unlike Kafka we
//! wait for the creation (bounded by the controller client) and answer with the leader, which saves clients a round.
//! The controller id is a live broker, because every broker forwards administrative requests.
//! When the connection to a broker has just broken, the answer waits a moment for the new leaders: clients that lost
//! theirs ask at once, and would otherwise hear of the dead one again (`controller::suspects`). A broker that has just
//! left stays in the list of brokers for as long as such answers are under way (`controller::departed`).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, NodeId, TopicId, TopicName};

use super::topic_view::{PartitionView, controller_for_clients, reachable_brokers};
use crate::auto_create;
use crate::context::{Broker, OPERATIONS_NOT_ASKED, Operation, RequestContext, Resource};
use crate::server::response::Reply;

const TOPICS_BY_ID_SINCE: i16 = 12;
/// Before, null is no name on the wire.
const NULL_NAMES_SINCE: i16 = 10;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: MetadataRequest,
) -> Reply<MetadataResponse> {
    let has_null_name = request.topics.iter().flatten().any(|topic| topic.name.is_none());
    if has_null_name && ctx.api_version < NULL_NAMES_SINCE {
        return Reply::Close;
    }
    if has_bad_topic(ctx, &request) {
        return Reply::Send(error_response(ctx, request, ErrorCode::InvalidRequest));
    }
    Reply::Send(answer(broker, ctx, request).await)
}

async fn answer(broker: &Arc<Broker>, ctx: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    broker.controller.until_suspects_are_settled().await;
    let include_operations = request.include_topic_authorized_operations;
    let topics = match wanted_topics(ctx, request.topics) {
        None => all_topics(broker, ctx, include_operations),
        Some(wanted) => {
            if request.allow_auto_topic_creation && broker.settings.topics.auto_create {
                create_missing(broker, ctx, &wanted).await;
            }
            let image = broker.image.load();
            wanted.iter().map(|topic| topic_answer(broker, ctx, &image, topic, include_operations)).collect()
        }
    };
    let image = broker.image.load();
    let cluster_operations = match request.include_cluster_authorized_operations {
        true => broker.authorized_operations(ctx, Resource::Cluster),
        false => OPERATIONS_NOT_ASKED,
    };
    MetadataResponse::default()
        .with_brokers(brokers(&image, &ctx.listener, &broker.controller.recently_departed()))
        .with_cluster_id(image.cluster_id().map(|id| wire_text(id.as_str())))
        .with_controller_id(wire_node(controller_for_clients(&image, &ctx.listener, broker.settings.node.id)))
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations)
}

pub(crate) fn error_response(ctx: &RequestContext, request: MetadataRequest, code: ErrorCode) -> MetadataResponse {
    ctx.count_error(code);
    let failed = |topic: MetadataRequestTopic| {
        // Before v12 the name is not nullable.
        let name = topic.name.or_else(|| (ctx.api_version < TOPICS_BY_ID_SINCE).then(WireTopicName::default));
        failed_topic(name, TopicId(topic.topic_id), code)
    };
    let response =
        MetadataResponse::default().with_topics(request.topics.unwrap_or_default().into_iter().map(failed).collect());
    if ctx.api_version >= 13 { response.with_error_code(code.code()) } else { response }
}

/// A topic needs a name, or from v12 on an id instead.
fn has_bad_topic(ctx: &RequestContext, request: &MetadataRequest) -> bool {
    let by_id = ctx.api_version >= TOPICS_BY_ID_SINCE;
    request.topics.iter().flatten().any(|topic| match (&topic.name, topic.topic_id.is_nil()) {
        (Some(_), is_nil) => !is_nil && !by_id,
        (None, is_nil) => is_nil || !by_id,
    })
}

/// What the client asks for; `None` for all topics.
fn wanted_topics(ctx: &RequestContext, topics: Option<Vec<MetadataRequestTopic>>) -> Option<Vec<Wanted>> {
    let topics = topics.filter(|topics| !(ctx.api_version == 0 && topics.is_empty()))?;
    let mut named = HashSet::with_capacity(topics.len());
    let topics = topics.into_iter().filter(|topic| named.insert((topic.name.clone(), topic.topic_id)));
    let wanted = topics.map(|topic| match topic.name {
        Some(name) => match TopicName::parse(&name) {
            Ok(name) => Wanted::Name(name),
            Err(_) => Wanted::Invalid(name),
        },
        None => Wanted::Id(TopicId(topic.topic_id)),
    });
    Some(wanted.collect())
}

enum Wanted {
    Name(TopicName),
    Id(TopicId),
    /// A name that no topic can have.
    Invalid(WireTopicName),
}

async fn create_missing(broker: &Arc<Broker>, ctx: &RequestContext, wanted: &[Wanted]) {
    let image = broker.image.load_full();
    let missing: Vec<TopicName> = wanted
        .iter()
        .filter_map(|topic| match topic {
            Wanted::Name(name) if image.topic(name).is_none() => Some(name.clone()),
            _ => None,
        })
        .filter(|name| broker.authorize(ctx, Operation::Create, Resource::Topic(name.as_str())))
        .collect();
    if !missing.is_empty() {
        auto_create::create(broker, ctx, missing).await;
    }
}

fn all_topics(broker: &Broker, ctx: &RequestContext, include_operations: bool) -> Vec<MetadataResponseTopic> {
    let image = broker.image.load();
    let visible =
        |topic: &&Arc<TopicImage>| broker.authorize(ctx, Operation::Describe, Resource::Topic(topic.name.as_str()));
    image.topics().filter(visible).map(|topic| described(broker, ctx, &image, topic, include_operations)).collect()
}

fn topic_answer(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    wanted: &Wanted,
    include_operations: bool,
) -> MetadataResponseTopic {
    let fail = |name: Option<WireTopicName>, id: TopicId, code: ErrorCode| {
        ctx.count_error(code);
        failed_topic(name, id, code)
    };
    let may_describe = |name: &TopicName| broker.authorize(ctx, Operation::Describe, Resource::Topic(name.as_str()));
    match wanted {
        Wanted::Invalid(name) => fail(Some(name.clone()), TopicId::NONE, ErrorCode::InvalidTopicException),
        Wanted::Id(id) => match image.topic_by_id(*id).filter(|topic| may_describe(&topic.name)) {
            Some(topic) => described(broker, ctx, image, topic, include_operations),
            None => fail(None, *id, ErrorCode::UnknownTopicId),
        },
        Wanted::Name(name) if !may_describe(name) => {
            fail(Some(wire_topic(name)), TopicId::NONE, ErrorCode::TopicAuthorizationFailed)
        }
        Wanted::Name(name) => match image.topic(name) {
            Some(topic) => described(broker, ctx, image, topic, include_operations),
            None => fail(Some(wire_topic(name)), TopicId::NONE, ErrorCode::UnknownTopicOrPartition),
        },
    }
}

fn described(
    broker: &Broker,
    ctx: &RequestContext,
    image: &Image,
    topic: &TopicImage,
    include_operations: bool,
) -> MetadataResponseTopic {
    let operations = match include_operations {
        true => broker.authorized_operations(ctx, Resource::Topic(topic.name.as_str())),
        false => OPERATIONS_NOT_ASKED,
    };
    let partitions = topic
        .iter()
        .map(|(index, partition)| partition_answer(ctx, index.0, PartitionView::new(image, &ctx.listener, partition)));
    MetadataResponseTopic::default()
        .with_name(Some(wire_topic(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.name.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations)
}

fn partition_answer(ctx: &RequestContext, index: i32, mut view: PartitionView) -> MetadataResponsePartition {
    // Clients of v0 look up every replica among the brokers that they are told.
    if ctx.api_version == 0 {
        view.replicas.retain(|node| !view.offline_replicas.contains(node));
        view.isr.retain(|node| !view.offline_replicas.contains(node));
    }
    // LISTENER_NOT_FOUND is newer than v5 clients (KIP-205).
    let error = match view.error {
        ErrorCode::ListenerNotFound if ctx.api_version < 6 => ErrorCode::LeaderNotAvailable,
        other => other,
    };
    ctx.count_error(error);
    MetadataResponsePartition::default()
        .with_error_code(error.code())
        .with_partition_index(index)
        .with_leader_id(wire_node(view.leader))
        .with_leader_epoch(view.leader_epoch)
        .with_replica_nodes(wire_nodes(&view.replicas))
        .with_isr_nodes(wire_nodes(&view.isr))
        .with_offline_replicas(wire_nodes(&view.offline_replicas))
}

fn failed_topic(name: Option<WireTopicName>, id: TopicId, code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_is_internal(
            name.as_ref().and_then(|name| TopicName::parse(name).ok()).is_some_and(|name| name.is_internal()),
        )
        .with_name(name)
        .with_topic_id(id.0)
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn brokers(image: &Image, listener: &str, departed: &[NodeId]) -> Vec<MetadataResponseBroker> {
    let departed = departed.iter().filter_map(|node| image.broker(*node)).filter(|broker| broker.fenced);
    let departed = departed.filter_map(|broker| Some((&**broker, broker.endpoint(listener)?)));
    let answers = reachable_brokers(image, listener).chain(departed).map(|(broker, endpoint)| {
        MetadataResponseBroker::default()
            .with_node_id(wire_node(broker.node_id))
            .with_host(wire_text(&endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.as_deref().map(wire_text))
    });
    answers.collect()
}

fn wire_topic(name: &TopicName) -> WireTopicName {
    WireTopicName(wire_text(name.as_str()))
}

fn wire_text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn wire_node(node: NodeId) -> BrokerId {
    BrokerId(node.0)
}

fn wire_nodes(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().copied().map(wire_node).collect()
}
