//! CreateTopics (key 19), versions 2-7.
//!
//! v1 validate only; v4 partition count and replication factor -1 for the defaults (KIP-464), which Kafka serves in the versions
//! before, too; v5 flexible, the answer has partition
//! count, replication factor and configs (KIP-525); v6 may answer a quota error; v7 topic ids (KIP-516).
//!
//! Every broker answers: one that is not the active controller forwards. Deviation: `timeout_ms` bounds nothing, because the answer
//! does not wait for more than the commit of the metadata. Replicas are placed by the controller, spread over brokers and racks; more of
//! them than brokers are registered is INVALID_REPLICATION_FACTOR.
//!
//! Ours: a topic with the tagged field of `protocol::mirror` is a mirror of another cluster's from its first moment
//! (docs/008-aligned-links.md); UNSUPPORTED_VERSION below level 1 of the feature `twinstream.mirror`.

use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName as WireTopicName};
use twinstream_metadata::controller::{CreatedTopic, Mode, NewTopic};
use twinstream_metadata::{Mirror, MirrorState};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicId};
use twinstream_protocol::mirror::{self, MirrorSource};
use uuid::Uuid;

use super::by_controller::{ByController, once_each};
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::{self, text};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::Forwardable;

impl Forwardable for CreateTopicsRequest {
    type Response = CreateTopicsResponse;
}

impl ByController for CreateTopicsRequest {
    const NEEDS: Option<Operation> = None;

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> CreateTopicsResponse {
        let mut results: Vec<Option<CreatableTopicResult>> = vec![None; self.topics.len()];
        let mut wanted = Vec::new();
        for (at, topic) in self.topics.iter().enumerate() {
            match check(broker, ctx, topic) {
                Ok(new) => wanted.push((at, new)),
                Err((code, message)) => results[at] = Some(refusal(ctx, &topic.name, code, &message)),
            }
        }
        let topics: Vec<NewTopic> = wanted.iter().map(|(_, topic)| topic.clone()).collect();
        let mode = Mode::of(self.validate_only);
        let decided = broker
            .controller
            .decide(move |controller, defaults| {
                let mut new_id = || TopicId(Uuid::new_v4());
                controller.create_topics(&topics, mode, defaults, &mut new_id)
            })
            .await;
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        for ((at, _), answer) in wanted.into_iter().zip(answers) {
            results[at] = Some(match answer {
                Ok(created) => success(broker, ctx, &created),
                Err(error) => refusal(ctx, &self.topics[at].name, error.code(), &error.to_string()),
            });
        }
        // Whoever is named twice is refused, by the controller.
        let results = once_each(results.into_iter().flatten().collect(), |result| result.name.clone());
        CreateTopicsResponse::default().with_topics(results)
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> CreateTopicsResponse {
        let topics = self.topics.iter().map(|topic| refusal(ctx, &topic.name, code, message));
        CreateTopicsResponse::default().with_topics(topics.collect())
    }
}

fn check(broker: &Broker, ctx: &RequestContext, topic: &CreatableTopic) -> Result<NewTopic, (ErrorCode, String)> {
    let may_create = broker.authorize(ctx, Operation::Create, Resource::Cluster)
        || broker.authorize(ctx, Operation::Create, Resource::Topic(&topic.name));
    if !may_create {
        let code = ErrorCode::TopicAuthorizationFailed;
        return Err((code, code.text().to_owned()));
    }
    let assignments = topic.assignments.iter().map(|assignment| {
        let nodes = assignment.broker_ids.iter().map(|node| NodeId(node.0)).collect();
        (PartitionIndex(assignment.partition_index), nodes)
    });
    let configs =
        topic.configs.iter().map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)));
    Ok(NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
        mirror: mirror(topic)?,
    })
}

/// What the topic is to be a mirror of, if a link asks for it.
fn mirror(topic: &CreatableTopic) -> Result<Option<Mirror>, (ErrorCode, String)> {
    let source = mirror::source_of(topic).map_err(|error| (ErrorCode::InvalidRequest, error.to_string()))?;
    Ok(source.map(|MirrorSource { link, cluster, topic, topic_id }| Mirror {
        link,
        cluster,
        topic,
        topic_id,
        state: MirrorState::Mirroring,
    }))
}

fn success(broker: &Broker, ctx: &RequestContext, created: &CreatedTopic) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(WireTopicName(text(created.name.as_str())))
        // A request that is only validated has the id of a topic that never comes, as in Kafka.
        .with_topic_id(created.topic_id.0)
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor);
    if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Topic(created.name.as_str())) {
        return result
            .with_topic_config_error_code(ErrorCode::TopicAuthorizationFailed.code())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(None);
    }
    let image = broker.image.load();
    let shown = config_view::of_new_topic(&broker.settings, &image, &created.configs);
    let configs = shown.into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(text(&config.name))
            .with_value(config.value.as_deref().map(text))
            .with_config_source(config.source)
    });
    result.with_configs(Some(configs.collect()))
}

fn refusal(ctx: &RequestContext, name: &WireTopicName, code: ErrorCode, message: &str) -> CreatableTopicResult {
    ctx.count_error(code);
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
}
