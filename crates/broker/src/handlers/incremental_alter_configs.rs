//! IncrementalAlterConfigs (key 44), versions 0-1.
//!
//! KIP-339: set, delete, append to and subtract from single configs. v1 flexible.
//!
//! Every broker answers: one that is not the active controller forwards, but settings of one broker are changed through that
//! broker, as in Kafka. Broker settings are accepted only when they take effect while the broker runs. Log levels (BROKER_LOGGER,
//! KIP-412) belong to the broker that is asked and are not sent on.

use std::sync::Arc;

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use twinstream_metadata::controller::{ConfigOperation, ConfigSetting, Mode};
use twinstream_model::ErrorCode;

use super::by_controller::ByController;
pub(crate) use super::by_controller::error_response;
use super::config_changes::{self, Answer, Change, Wanted};
use super::config_view::{BROKER_LOGGER, text};
use super::{by_controller, loggers};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mode = Mode::of(request.validate_only);
    let mut here = Vec::with_capacity(request.resources.len());
    request.resources.retain(|resource| {
        let decided = match resource.resource_type {
            BROKER_LOGGER => Some(alter_loggers(broker, ctx, resource, mode)),
            of => config_changes::refused_here(broker, ctx, of, || wanted(resource)).map(Err),
        };
        here.push(decided.map(|decided| answer(ctx, resource, decided)));
        matches!(here.last(), Some(None))
    });
    let by_controller = match request.resources.is_empty() && !here.is_empty() {
        true => Vec::new(),
        false => by_controller::handle(broker, ctx, request).await.responses,
    };
    IncrementalAlterConfigsResponse::default().with_responses(config_changes::in_order(here, by_controller))
}

fn alter_loggers(broker: &Broker, ctx: &RequestContext, resource: &AlterConfigsResource, mode: Mode) -> Answer {
    if !broker.authorize(ctx, Operation::AlterConfigs, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return Err((code, code.text().to_owned()));
    }
    let settings = resource.configs.iter().map(setting).collect::<Result<Vec<_>, _>>()?;
    loggers::alter(broker.settings.node.id, resource.resource_name.as_str(), &settings, mode)
}

impl Forwardable for IncrementalAlterConfigsRequest {
    type Response = IncrementalAlterConfigsResponse;
}

impl ByController for IncrementalAlterConfigsRequest {
    const NEEDS: Option<Operation> = None;

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> IncrementalAlterConfigsResponse {
        let wanted = self.resources.iter().map(wanted).collect();
        let mode = Mode::of(self.validate_only);
        let answers = match config_changes::decide(broker, ctx, wanted, mode, Change::Incremental).await {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        let responses = self.resources.iter().zip(answers).map(|(resource, decided)| answer(ctx, resource, decided));
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> IncrementalAlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| response(ctx, resource, code, Some(message)));
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
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
    let operation = match config.config_operation {
        0 => ConfigOperation::Set,
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append,
        3 => ConfigOperation::Subtract,
        other => return Err((ErrorCode::InvalidRequest, format!("config operation {other} is not known"))),
    };
    let value = config.value.as_ref().map(ToString::to_string);
    Ok(ConfigSetting { name: config.name.to_string(), operation, value })
}

fn answer(ctx: &RequestContext, resource: &AlterConfigsResource, answer: Answer) -> AlterConfigsResourceResponse {
    match answer {
        Ok(()) => response(ctx, resource, ErrorCode::None, None),
        Err((code, message)) => response(ctx, resource, code, Some(&message)),
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
