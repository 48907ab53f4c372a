//! DeleteTopics (key 20), versions 1-6.
//!
//! v4 flexible; v5 error messages and a quota error; v6 topics by id (KIP-516).
//!
//! What is named twice, or by its name and by its id, is refused once and not deleted.
//!
//! Every broker answers: one that is not the active controller forwards. With `delete.topic.enable=false` each topic is answered
//! TOPIC_DELETION_DISABLED.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName as WireTopicName};
use twinstream_metadata::Image;
use twinstream_metadata::controller::{DeleteTarget, TopicError};
use twinstream_model::{ErrorCode, TopicId, TopicName};
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
        let named = Named::of(&broker.image.load(), &states);
        let mut told = HashSet::new();
        for (at, state) in states.iter().enumerate() {
            if let Some(refused) = named.refusal(ctx, state) {
                let is_news = told.insert((refused.name.clone(), refused.topic_id));
                results[at] = is_news.then_some(refused);
                continue;
            }
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

/// What a request names, and what of it more than once.
struct Named {
    twice: HashSet<(Option<WireTopicName>, Uuid)>,
    /// Topics that are named by both; only one answer tells of them.
    ids: HashMap<WireTopicName, Uuid>,
    names: HashMap<Uuid, WireTopicName>,
}

impl Named {
    fn of(image: &Image, states: &[DeleteTopicState]) -> Named {
        let mut seen = HashSet::with_capacity(states.len());
        let key = |state: &DeleteTopicState| (state.name.clone(), state.topic_id);
        let twice = states.iter().map(key).filter(|key| !seen.insert(key.clone())).collect();
        let id_of = |name: &WireTopicName| Some(image.topic(&TopicName::parse(name).ok()?)?.id.0);
        let names = states.iter().filter(|state| state.topic_id.is_nil()).filter_map(|state| state.name.as_ref());
        let both = names.filter_map(|name| Some((name.clone(), id_of(name)?)));
        let ids: HashMap<_, _> = both.filter(|(_, id)| seen.contains(&(None, *id))).collect();
        let names = ids.iter().map(|(name, id)| (*id, name.clone())).collect();
        Named { twice, ids, names }
    }

    /// The answer to what is not looked at because the request names it again.
    fn refusal(&self, ctx: &RequestContext, state: &DeleteTopicState) -> Option<DeletableTopicResult> {
        let code = ErrorCode::InvalidRequest;
        if self.twice.contains(&(state.name.clone(), state.topic_id)) {
            let what = if state.name.is_some() { "Duplicate topic name." } else { "Duplicate topic id." };
            return Some(refusal(ctx, state, code, what));
        }
        let (name, id) = match &state.name {
            Some(name) if state.topic_id.is_nil() => self.ids.get_key_value(name)?,
            Some(_) => return None,
            None => self.names.get_key_value(&state.topic_id).map(|(id, name)| (name, id))?,
        };
        let state = DeleteTopicState::default().with_name(Some(name.clone())).with_topic_id(*id);
        let what = "The provided topic name maps to an ID that was already supplied.";
        Some(refusal(ctx, &state, code, what))
    }
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
        .with_topic_id(state.topic_id)
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
}
