//! CreatePartitions (key 37), versions 0-3.
//!
//! v2 flexible; v3 may answer a quota error. The answer names every topic of the request.
//!
//! Every broker answers: one that is not the active controller forwards. `timeout_ms` bounds nothing, as in CreateTopics.

use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName as WireTopicName};
use twinstream_metadata::controller::{Mode, NewPartitions};
use twinstream_model::{ErrorCode, NodeId};

use super::by_controller::{ByController, once_each};
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

impl Forwardable for CreatePartitionsRequest {
    type Response = CreatePartitionsResponse;
}

impl ByController for CreatePartitionsRequest {
    const NEEDS: Option<Operation> = None;

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> CreatePartitionsResponse {
        let may_alter =
            |topic: &&CreatePartitionsTopic| broker.authorize(ctx, Operation::Alter, Resource::Topic(&topic.name));
        let (allowed, denied): (Vec<_>, Vec<_>) = self.topics.iter().partition(may_alter);
        let wanted: Vec<NewPartitions> = allowed.iter().map(|topic| new_partitions(topic)).collect();
        let mode = Mode::of(self.validate_only);
        let decided = broker.controller.decide(move |controller, _| controller.create_partitions(&wanted, mode)).await;
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        let code = ErrorCode::TopicAuthorizationFailed;
        let denied = denied.iter().map(|topic| result(ctx, &topic.name, code, Some(code.text())));
        let decided = allowed.iter().zip(answers).map(|(topic, answer)| match answer {
            Ok(()) => result(ctx, &topic.name, ErrorCode::None, None),
            Err(error) => result(ctx, &topic.name, error.code(), Some(&error.to_string())),
        });
        let results = once_each(decided.chain(denied).collect(), |result| result.name.clone());
        CreatePartitionsResponse::default().with_results(results)
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> CreatePartitionsResponse {
        let results = self.topics.iter().map(|topic| result(ctx, &topic.name, code, Some(message)));
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

fn new_partitions(topic: &CreatePartitionsTopic) -> NewPartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let nodes =
            assignments.iter().map(|assignment| assignment.broker_ids.iter().map(|node| NodeId(node.0)).collect());
        nodes.collect()
    });
    NewPartitions { topic: topic.name.to_string(), count: topic.count, assignments }
}

fn result(
    ctx: &RequestContext,
    name: &WireTopicName,
    code: ErrorCode,
    message: Option<&str>,
) -> CreatePartitionsTopicResult {
    ctx.count_error(code);
    CreatePartitionsTopicResult::default()
        .with_name(name.clone())
        .with_error_code(code.code())
        .with_error_message(message.map(text))
}
