//! `__consumer_offsets` itself: how it comes into being; and which other topics cease to be.

use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, TopicName};

use super::{OFFSETS_TOPIC, offsets_topic};
use crate::context::{Broker, RequestContext};
use crate::handlers::create_topics;
use crate::settings::OffsetsSettings;

/// All that there is in this release, whatever `offsets.topic.replication.factor` says.
const REPLICATION_FACTOR: i16 = 1;

const CREATE_TOPICS_VERSION: i16 = 7;
const CREATE_TIMEOUT_MS: i32 = 5_000;

/// Brings the topic into being and waits until this broker's image has it, as long as the controller takes.
/// Failing is no error here: the client hears COORDINATOR_NOT_AVAILABLE and asks again.
pub(crate) async fn create_offsets_topic(broker: &Arc<Broker>, ctx: &RequestContext) {
    // One at a time: a whole application that starts asks at once.
    let _turn = broker.groups.creating.lock().await;
    if offsets_topic(&broker.image.load()).is_some() {
        return;
    }
    let settings = &broker.settings.offsets;
    if settings.topic_replication_factor != REPLICATION_FACTOR {
        tracing::info!(
            topic = OFFSETS_TOPIC,
            asked = settings.topic_replication_factor,
            used = REPLICATION_FACTOR,
            "partitions have one replica in this release"
        );
    }
    let own = ctx.as_broker(ApiKey::CreateTopics, "CreateTopics", CREATE_TOPICS_VERSION);
    let response = create_topics::handle(broker, &own, request(settings)).await;
    for topic in response.topics {
        match ErrorCode::from_code(topic.error_code) {
            Some(ErrorCode::None) => {
                tracing::info!(topic = OFFSETS_TOPIC, partitions = topic.num_partitions, "created topic")
            }
            Some(ErrorCode::TopicAlreadyExists) => (), // another broker was asked at the same time
            _ => {
                let message = topic.error_message.as_deref().unwrap_or("");
                tracing::warn!(topic = OFFSETS_TOPIC, code = topic.error_code, message, "cannot create the topic");
            }
        }
    }
}

fn request(settings: &OffsetsSettings) -> CreateTopicsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config =
        |name: &str, value: &str| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let topic = CreatableTopic::default()
        .with_name(WireTopicName(text(OFFSETS_TOPIC)))
        .with_num_partitions(settings.topic_partitions)
        .with_replication_factor(REPLICATION_FACTOR)
        .with_configs(vec![
            config("cleanup.policy", "compact"),
            config("compression.type", "producer"),
            config("segment.bytes", &settings.topic_segment_bytes.to_string()),
        ]);
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(CREATE_TIMEOUT_MS)
}

/// The topics of `before` that `after` does not have; a topic of the same name made since is another topic.
pub(super) fn gone(before: &Image, after: &Image) -> Vec<TopicName> {
    let gone = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none());
    gone.map(|topic| topic.name.clone()).collect()
}
