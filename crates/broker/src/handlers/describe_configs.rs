//! DescribeConfigs (key 32), versions 1-4.
//!
//! v1 synonyms and sources (KIP-226); v3 types and documentation (KIP-569); v4 flexible.
//!
//! Answers every config with its default, not only those that are set. A broker knows its own settings only, so a question about
//! another broker is INVALID_REQUEST, as in Kafka; the empty broker name means what was set on the default of all brokers.
//! Groups and subscriptions to client metrics show all their configs under any name (KIP-848, KIP-714). What is described in one
//! answer is bounded, see [`super::described`].

use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use twinstream_model::{ErrorCode, TopicName};

use super::config_view::{self, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, ShownConfig, TOPIC, text};
use super::described::{ANSWER_BYTES_MAX, TOO_MUCH, described};
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let resources = std::mem::take(&mut request.resources);
    let request = &request;
    let answer = async |resource: DescribeConfigsResource| match describe(broker, ctx, &resource) {
        Ok(configs) => success(request, &resource, configs),
        Err((code, message)) => refusal(ctx, &resource, code, &message),
    };
    let refuse = |resource| refusal(ctx, &resource, ErrorCode::InvalidRequest, TOO_MUCH);
    let results = described(resources, ctx.api_version, ANSWER_BYTES_MAX, answer, refuse).await;
    DescribeConfigsResponse::default().with_results(results)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DescribeConfigsRequest,
    code: ErrorCode,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| refusal(ctx, resource, code, code.text()));
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    broker: &Broker,
    ctx: &RequestContext,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ShownConfig>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    let image = broker.image.load();
    let own = broker.settings.node.id;
    match resource.resource_type {
        TOPIC => {
            if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Topic(name)) {
                return Err(denied(ErrorCode::TopicAuthorizationFailed));
            }
            let topic =
                TopicName::parse(name).map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
            if image.topic(&topic).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, format!("no topic is called {topic}")));
            }
            Ok(config_view::of_topic(&broker.settings, &image, &topic))
        }
        GROUP if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Group(name)) => {
            Err(denied(ErrorCode::GroupAuthorizationFailed))
        }
        BROKER | BROKER_LOGGER | CLIENT_METRICS
            if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Cluster) =>
        {
            Err(denied(ErrorCode::ClusterAuthorizationFailed))
        }
        GROUP | CLIENT_METRICS if name.is_empty() => {
            let what = if resource.resource_type == GROUP { "Group" } else { "Client metrics subscription" };
            Err((ErrorCode::InvalidRequest, format!("{what} name must not be empty")))
        }
        GROUP => Ok(config_view::of_group(&broker.settings, &image, name)),
        CLIENT_METRICS => Ok(config_view::of_client_metrics(&image, name)),
        BROKER if name.is_empty() => Ok(config_view::of_all_brokers(&image)),
        BROKER | BROKER_LOGGER => {
            let node: i32 = name.parse().map_err(|_| {
                (ErrorCode::InvalidRequest, format!("broker id must be a whole number, {name:?} is not"))
            })?;
            if node != own.0 {
                let message = format!("this is broker {own}; ask broker {node} itself about its configs");
                return Err((ErrorCode::InvalidRequest, message));
            }
            match resource.resource_type {
                BROKER => Ok(config_view::of_broker(&broker.settings, &image, own)),
                _ => Ok(config_view::of_loggers()),
            }
        }
        other => {
            let message = format!("configs of resource type {other} are not served by this release");
            Err((ErrorCode::InvalidRequest, message))
        }
    }
}

fn denied(code: ErrorCode) -> (ErrorCode, String) {
    (code, code.text().to_owned())
}

fn success(
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
    configs: Vec<ShownConfig>,
) -> DescribeConfigsResult {
    let names = resource.configuration_keys.as_ref().filter(|names| !names.is_empty());
    let is_asked =
        |config: &ShownConfig| names.is_none_or(|names| names.iter().any(|name| name.as_str() == config.name));
    let configs = configs.into_iter().filter(is_asked).map(|config| shown(request, config));
    DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_configs(configs.collect())
}

fn shown(request: &DescribeConfigsRequest, config: ShownConfig) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.iter().filter(|_| request.include_synonyms).map(|(name, value, source)| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(value.as_deref().map(text))
            .with_source(*source)
    });
    DescribeConfigsResourceResult::default()
        .with_name(text(&config.name))
        .with_value(config.value.as_deref().map(text))
        .with_read_only(config.read_only)
        .with_config_source(config.source)
        .with_is_sensitive(config.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(config.kind)
        .with_documentation(request.include_documentation.then(|| text(config.doc)))
}

fn refusal(
    ctx: &RequestContext,
    resource: &DescribeConfigsResource,
    code: ErrorCode,
    message: &str,
) -> DescribeConfigsResult {
    ctx.count_error(code);
    DescribeConfigsResult::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}
