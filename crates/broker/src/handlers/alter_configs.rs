//! AlterConfigs (key 33), versions 0-2.
//!
//! v2 flexible. Deprecated by KIP-339, still sent by librdkafka and older tools: what the request names is set, everything else of
//! the resource goes back to its default.
//!
//! Every broker answers: one that is not the active controller forwards, but settings of one broker are changed through that
//! broker, as in Kafka. Broker settings are accepted only when they take effect while the broker runs.

use std::sync::Arc;

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use twinstream_metadata::controller::{ConfigOperation, ConfigSetting, Mode};
use twinstream_model::ErrorCode;

pub(crate) use super::by_controller::error_response;
use super::by_controller::{self, ByController};
use super::config_changes::{self, Change, Wanted};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mut here = Vec::with_capacity(request.resources.len());
    request.resources.retain(|resource| {
        let refusal = config_changes::refused_here(broker, ctx, resource.resource_type, || wanted(resource));
        here.push(refusal.map(|(code, message)| response(ctx, resource, code, Some(&message))));
        matches!(here.last(), Some(None))
    });
    let by_controller = match request.resources.is_empty() && !here.is_empty() {
        true => Vec::new(),
        false => by_controller::handle(broker, ctx, request).await.responses,
    };
    AlterConfigsResponse::default().with_responses(config_changes::in_order(here, by_controller))
}

impl Forwardable for AlterConfigsRequest {
    type Response = AlterConfigsResponse;
}

impl ByController for AlterConfigsRequest {
    const NEEDS: Option<Operation> = None;

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> AlterConfigsResponse {
        let wanted = self.resources.iter().map(wanted).collect();
        let mode = Mode::of(self.validate_only);
        let answers = match config_changes::decide(broker, ctx, wanted, mode, Change::Replace).await {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        let responses = self.resources.iter().zip(answers).map(|(resource, answer)| match answer {
            Ok(()) => response(ctx, resource, ErrorCode::None, None),
            Err((code, message)) => response(ctx, resource, code, Some(&message)),
        });
        AlterConfigsResponse::default().with_responses(responses.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> AlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| response(ctx, resource, code, Some(message)));
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn wanted(resource: &AlterConfigsResource) -> Wanted {
    Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string(),
        settings: resource.configs.iter().map(setting).collect(),
    }
}

fn setting(config: &AlterableConfig) -> Result<ConfigSetting, (ErrorCode, String)> {
    let name = config.name.to_string();
    match &config.value {
        Some(value) => Ok(ConfigSetting { name, operation: ConfigOperation::Set, value: Some(value.to_string()) }),
        // What goes back to its default is left out.
        None => Err((ErrorCode::InvalidRequest, format!("Null value not supported for : {name}"))),
    }
}

fn response(
    ctx: &RequestContext,
    resource: &AlterConfigsResource,
    code: ErrorCode,
    message: Option<&str>,
) -> AlterConfigsResourceResponse {
    ctx.count_error(code);
    AlterConfigsResourceResponse::default()
        .with_error_code(code.code())
        .with_error_message(message.map(text))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}
