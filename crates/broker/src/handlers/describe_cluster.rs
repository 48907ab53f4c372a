//! DescribeCluster (key 60), versions 0-2.
//!
//! v1 endpoint type (KIP-919); v2 fenced brokers (KIP-1073).
//!
//! Only brokers can be described over a broker's listener: the type of controllers is MISMATCHED_ENDPOINT_TYPE, an
//! unknown type UNSUPPORTED_ENDPOINT_TYPE, as in Kafka. The controller id is a live broker, as in Metadata.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::Image;
use twinstream_model::ErrorCode;

use super::topic_view::controller_for_clients;
use crate::context::{Broker, OPERATIONS_NOT_ASKED, RequestContext, Resource};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => return error_response(ctx, request, ErrorCode::MismatchedEndpointType),
        _ => return error_response(ctx, request, ErrorCode::UnsupportedEndpointType),
    }
    let image = broker.image.load();
    let operations = match request.include_cluster_authorized_operations {
        true => broker.authorized_operations(ctx, Resource::Cluster),
        false => OPERATIONS_NOT_ASKED,
    };
    let cluster_id = image.cluster_id().map_or("", |id| id.as_str());
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(StrBytes::from_string(cluster_id.to_owned()))
        .with_controller_id(BrokerId(controller_for_clients(&image, &ctx.listener, broker.settings.node.id).0))
        .with_brokers(brokers(&image, &ctx.listener, request.include_fenced_brokers))
        .with_cluster_authorized_operations(operations)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: DescribeClusterRequest,
    code: ErrorCode,
) -> DescribeClusterResponse {
    ctx.count_error(code);
    DescribeClusterResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_string(code.to_string())))
        // As in Kafka, whatever type was asked for.
        .with_endpoint_type(BROKERS)
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn brokers(image: &Image, listener: &str, include_fenced: bool) -> Vec<DescribeClusterBroker> {
    let wanted = image.brokers().filter(|broker| include_fenced || !broker.fenced);
    let answers = wanted.filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        let answer = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.node_id.0))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
            .with_rack(broker.rack.clone().map(StrBytes::from_string))
            .with_is_fenced(broker.fenced);
        Some(answer)
    });
    answers.collect()
}
