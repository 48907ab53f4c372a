//! DeleteTopics (key 20), versions 1-6.
//!
//! v4 flexible; v5 error messages and a quota error; v6 topics by id (KIP-516).
//!
//! Every broker answers: one that is not the active controller forwards. With `delete.topic.enable=false` each topic is answered
//! TOPIC_DELETION_DISABLED.

use std::sync::Arc;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName as WireTopicName};
use twinstream_metadata::controller::{DeleteTarget, TopicError};
use twinstream_model::{ErrorCode, TopicId};
use uuid::Uuid;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

const STATES_SINCE: i16 = 6;

impl Forwardable for DeleteTopicsRequest {
    type Response = DeleteTopicsResponse;
}

impl ByController for DeleteTopicsRequest {
    const NEEDS: Option<Operation> = None;

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> DeleteTopicsResponse {
        let states = states(ctx, &self);
        let mut results: Vec<Option<DeletableTopicResult>> = vec![None; states.len()];
        let mut wanted = Vec::new();
        for (at, state) in states.iter().enumerate() {
            match check(broker, ctx, state) {
                Ok(target) => wanted.push((at, target)),
                Err((code, message)) => results[at] = Some(refusal(ctx, state, code, &message)),
            }
        }
        let targets: Vec<DeleteTarget> = wanted.iter().map(|(_, target)| target.clone()).collect();
        let decided = broker.controller.decide(move |controller, _| controller.delete_topics(&targets)).await;
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        for ((at, _), answer) in wanted.into_iter().zip(answers) {
            results[at] = Some(match answer {
                Ok(deleted) => DeletableTopicResult::default()
                    .with_name(Some(WireTopicName(text(deleted.name.as_str()))))
                    .with_topic_id(deleted.topic_id.0),
                Err(error) => refusal(ctx, &states[at], error.code(), &error.to_string()),
            });
        }
        DeleteTopicsResponse::default().with_responses(results.into_iter().flatten().collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> DeleteTopicsResponse {
        let states = states(ctx, self);
        let responses = states.iter().map(|state| refusal(ctx, state, code, message)).collect();
        DeleteTopicsResponse::default().with_responses(responses)
    }
}

/// Older versions list names only.
fn states(ctx: &RequestContext, request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    if ctx.api_version >= STATES_SINCE {
        return request.topics.clone();
    }
    let state = |name: &WireTopicName| DeleteTopicState::default().with_name(Some(name.clone()));
    request.topic_names.iter().map(state).collect()
}

fn check(broker: &Broker, ctx: &RequestContext, state: &DeleteTopicState) -> Result<DeleteTarget, (ErrorCode, String)> {
    let (target, name) = match (&state.name, state.topic_id) {
        (Some(name), id) if id.is_nil() => (DeleteTarget::Name(name.to_string()), Some(name.to_string())),
        (None, id) if !id.is_nil() => {
            let image = broker.image.load();
            let known = image.topic_by_id(TopicId(id)).map(|topic| topic.name.to_string());
            (DeleteTarget::Id(TopicId(id)), known)
        }
        _ => {
            let message = "name a topic either by its name or by its id".to_owned();
            return Err((ErrorCode::InvalidRequest, message));
        }
    };
    if let Some(name) = name
        && !broker.authorize(ctx, Operation::Delete, Resource::Topic(&name))
    {
        let code = ErrorCode::TopicAuthorizationFailed;
        return Err((code, code.text().to_owned()));
    }
    if !broker.settings.topics.delete_enabled {
        let message = "topics cannot be deleted while delete.topic.enable=false".to_owned();
        return Err((ErrorCode::TopicDeletionDisabled, message));
    }
    if let DeleteTarget::Id(id) = &target
        && broker.image.load().topic_by_id(*id).is_none()
    {
        let error = TopicError::UnknownId(*id);
        return Err((error.code(), error.to_string()));
    }
    Ok(target)
}

fn refusal(ctx: &RequestContext, state: &DeleteTopicState, code: ErrorCode, message: &str) -> DeletableTopicResult {
    ctx.count_error(code);
    // Before v6 the name is not nullable, and there a topic always has one.
    DeletableTopicResult::default()
        .with_name(state.name.clone())
        .with_topic_id(if state.name.is_some() { Uuid::nil() } else { state.topic_id })
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
}
