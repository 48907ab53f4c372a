//! ElectLeaders (key 43), versions 0-2.
//!
//! v0 preferred leaders only (KIP-183); v1 the kind of election, unclean among them, and an error for the whole (KIP-460); v2
//! flexible. No partitions means all; of those, the ones that need no election are left out of the answer.
//!
//! Every broker answers: one that is not the active controller forwards. Deviation: `timeout_ms` bounds nothing, because the answer
//! does not wait for more than the commit of the metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName as WireTopicName};
use twinstream_metadata::controller::ElectionKind;
use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition};

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
/// From here on the answer has an error of its own.
const ERROR_SINCE: i16 = 1;

impl Forwardable for ElectLeadersRequest {
    type Response = ElectLeadersResponse;
}

impl ByController for ElectLeadersRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> ElectLeadersResponse {
        if self.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
            return ElectLeadersResponse::default();
        }
        let kind = match self.election_type {
            PREFERRED => ElectionKind::Preferred,
            UNCLEAN => ElectionKind::Unclean,
            other => {
                let message = format!("election type {other} is unknown; 0 is preferred, 1 is unclean");
                return self.failed(ctx, ErrorCode::InvalidRequest, &message);
            }
        };
        let mut results = Results::of(&self);
        let wanted = self.topic_partitions.as_ref().map(|_| wanted(ctx, &self, &mut results));
        let decided =
            broker.controller.decide(move |controller, _| controller.elect_leaders(kind, wanted.as_deref())).await;
        match decided {
            Ok(answers) => {
                for (at, answer) in answers {
                    let (code, message) = match &answer {
                        Ok(()) => (ErrorCode::None, None),
                        Err(error) => (error.code(), Some(error.to_string())),
                    };
                    results.add(ctx, at.topic.as_str(), at.partition.0, code, message.as_deref());
                }
                ElectLeadersResponse::default().with_replica_election_results(results.finish())
            }
            Err(error) => self.failed(ctx, error.code(), &error.to_string()),
        }
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> ElectLeadersResponse {
        let mut results = Results::of(self);
        for (topic, partition) in named(self) {
            results.add(ctx, topic, partition, code, Some(message));
        }
        ctx.count_error(code);
        let whole = if ctx.api_version >= ERROR_SINCE { code.code() } else { 0 };
        ElectLeadersResponse::default().with_error_code(whole).with_replica_election_results(results.finish())
    }
}

/// The partitions whose names can be names; the others are answered here.
fn wanted(ctx: &RequestContext, request: &ElectLeadersRequest, results: &mut Results) -> Vec<TopicPartition> {
    let mut wanted = Vec::new();
    for (topic, partition) in named(request) {
        match TopicName::parse(topic) {
            Ok(name) => wanted.push(TopicPartition::new(name, PartitionIndex(partition))),
            Err(_) => {
                let code = ErrorCode::UnknownTopicOrPartition;
                results.add(ctx, topic, partition, code, Some(code.text()));
            }
        }
    }
    wanted
}

fn named(request: &ElectLeadersRequest) -> impl Iterator<Item = (&str, i32)> {
    let topics = request.topic_partitions.iter().flatten();
    topics.flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.as_str(), *partition)))
}

/// Answers by topic.
#[derive(Default)]
struct Results(BTreeMap<String, Vec<PartitionResult>>);

impl Results {
    /// Every topic that is named, also without partitions.
    fn of(request: &ElectLeadersRequest) -> Self {
        let topics = request.topic_partitions.iter().flatten();
        Self(topics.map(|topic| (topic.topic.to_string(), Vec::new())).collect())
    }

    fn add(&mut self, ctx: &RequestContext, topic: &str, partition: i32, code: ErrorCode, message: Option<&str>) {
        ctx.count_error(code);
        let result = PartitionResult::default()
            .with_partition_id(partition)
            .with_error_code(code.code())
            .with_error_message(message.map(text));
        self.0.entry(topic.to_owned()).or_default().push(result);
    }

    fn finish(self) -> Vec<ReplicaElectionResult> {
        let result = |(topic, partitions): (String, Vec<PartitionResult>)| {
            ReplicaElectionResult::default().with_topic(WireTopicName(text(&topic))).with_partition_result(partitions)
        };
        self.0.into_iter().map(result).collect()
    }
}
