//! ListConfigResources (key 74), versions 0-1.
//!
//! KIP-1000 as ListClientMetricsResources; v1 any type of resource (KIP-1142).
//!
//! Every broker answers from its own image: topics and brokers that there are, groups and subscriptions to client metrics that have
//! configs. v0 lists subscriptions only.

use std::sync::Arc;

use kafka_protocol::messages::list_config_resources_response::ConfigResource as Listed;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use twinstream_metadata::{ConfigResource, Image};
use twinstream_model::ErrorCode;

use super::config_view::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC, text};
use crate::context::{Broker, Operation, RequestContext, Resource};

/// What can be listed, in the order in which it is.
const ALL: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let wanted = match (ctx.api_version, &request.resource_types[..]) {
        (0, _) => vec![CLIENT_METRICS],
        (_, []) => ALL.to_vec(),
        (_, some) => some.to_vec(),
    };
    if wanted.iter().any(|kind| !ALL.contains(kind)) {
        return error_response(ctx, request, ErrorCode::UnsupportedVersion);
    }
    let image = broker.image.load();
    let mut listed = Vec::new();
    for kind in ALL.into_iter().filter(|kind| wanted.contains(kind)) {
        let names = names(&image, &ctx.listener, kind);
        listed
            .extend(names.iter().map(|name| Listed::default().with_resource_name(text(name)).with_resource_type(kind)));
    }
    ListConfigResourcesResponse::default().with_config_resources(listed)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: ListConfigResourcesRequest,
    code: ErrorCode,
) -> ListConfigResourcesResponse {
    ctx.count_error(code);
    ListConfigResourcesResponse::default().with_error_code(code.code())
}

fn names(image: &Image, listener: &str, kind: i8) -> Vec<String> {
    let configured = image.config_resources().filter_map(|resource| match resource {
        ConfigResource::Group(group) if kind == GROUP => Some(group.clone()),
        ConfigResource::ClientMetrics(subscription) if kind == CLIENT_METRICS => Some(subscription.clone()),
        _ => None,
    });
    match kind {
        TOPIC => image.topics().map(|topic| topic.name.as_str().to_owned()).collect(),
        BROKER | BROKER_LOGGER => {
            let reachable = image.live_brokers().filter(|broker| broker.endpoint(listener).is_some());
            reachable.map(|broker| broker.node_id.to_string()).collect()
        }
        _ => configured.collect(),
    }
}
