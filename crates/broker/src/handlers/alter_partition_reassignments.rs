//! AlterPartitionReassignments (key 45), versions 0-1: moves partitions to other brokers (KIP-455).
//!
//! v1 lets the client refuse a changed replication factor (KIP-860). A partition without replicas cancels what is under way.
//!
//! Every broker answers: one that is not the active controller forwards. Deviation: `timeout_ms` bounds nothing, because the answer
//! does not wait for more than the commit of the metadata; how far a reassignment is says ListPartitionReassignments.

use std::sync::Arc;

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicName, TopicPartition};

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

type Target = (TopicPartition, Option<Vec<NodeId>>);

impl Forwardable for AlterPartitionReassignmentsRequest {
    type Response = AlterPartitionReassignmentsResponse;
}

impl ByController for AlterPartitionReassignmentsRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> AlterPartitionReassignmentsResponse {
        if self.topics.is_empty() {
            return AlterPartitionReassignmentsResponse::default();
        }
        let wanted = targets(&self);
        let named = wanted.clone();
        let may_change = self.allow_replication_factor_change;
        let decided =
            broker.controller.decide(move |controller, _| controller.alter_reassignments(&wanted, may_change)).await;
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        // A name that can be no topic's was not asked for.
        let mut answers = named.iter().map(|(at, _)| at).zip(answers).peekable();
        let response = answer(ctx, &self, |topic, partition| {
            let is_this = |at: &TopicPartition| at.topic.as_str() == topic && at.partition.0 == partition;
            match answers.next_if(|(at, _)| is_this(at)) {
                Some((_, Ok(()))) => (ErrorCode::None, None),
                Some((_, Err(error))) => (error.code(), Some(error.to_string())),
                None => {
                    (ErrorCode::UnknownTopicOrPartition, Some(format!("there is no partition {topic}-{partition}")))
                }
            }
        });
        response.with_allow_replication_factor_change(may_change)
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> AlterPartitionReassignmentsResponse {
        answer(ctx, self, |_, _| (code, Some(message.to_owned())))
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
            .with_allow_replication_factor_change(self.allow_replication_factor_change)
    }
}

fn targets(request: &AlterPartitionReassignmentsRequest) -> Vec<Target> {
    let mut targets = Vec::new();
    for topic in &request.topics {
        let Ok(name) = TopicName::parse(topic.name.as_str()) else { continue };
        for partition in &topic.partitions {
            let replicas = partition.replicas.as_ref();
            let replicas = replicas.map(|nodes| nodes.iter().map(|node| NodeId(node.0)).collect());
            targets.push((TopicPartition::new(name.clone(), PartitionIndex(partition.partition_index)), replicas));
        }
    }
    targets
}

fn answer(
    ctx: &RequestContext,
    request: &AlterPartitionReassignmentsRequest,
    mut outcome: impl FnMut(&str, i32) -> (ErrorCode, Option<String>),
) -> AlterPartitionReassignmentsResponse {
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let (code, message) = outcome(topic.name.as_str(), partition.partition_index);
            ctx.count_error(code);
            partitions.push(
                ReassignablePartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.code())
                    .with_error_message(message.as_deref().map(text)),
            );
        }
        responses.push(ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    AlterPartitionReassignmentsResponse::default().with_responses(responses)
}
