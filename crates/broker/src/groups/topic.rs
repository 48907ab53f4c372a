//! `__consumer_offsets` itself: how it comes into being; and which other topics cease to be.
//!
//! It is made with `offsets.topic.replication.factor` replicas or not at all, as Kafka does: until that many brokers have
//! registered, clients hear COORDINATOR_NOT_AVAILABLE and ask again. A topic that began with fewer replicas would keep
//! them, and nobody would notice until the one broker that holds all offsets is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, TopicName};

use super::{OFFSETS_TOPIC, offsets_topic};
use crate::context::{Broker, RequestContext};
use crate::handlers::create_topics;
use crate::settings::OffsetsSettings;

const CREATE_TOPICS_VERSION: i16 = 7;
const CREATE_TIMEOUT_MS: i32 = 5_000;

/// Pause after a creation that failed, so that a thousand consumers in a cluster that is too small do not each ask
/// the controller.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How the creation went so far; whoever holds it creates.
#[derive(Debug, Default)]
pub(super) struct Creation {
    failed_at: Option<Instant>,
    /// The error that was logged, so that it is logged once and not with each try.
    complained: Option<ErrorCode>,
}

/// Brings the topic into being, as long as the controller takes, and says whether it exists then. Failing is no error
/// here: the client hears COORDINATOR_NOT_AVAILABLE and asks again.
pub(crate) async fn create_offsets_topic(broker: &Arc<Broker>, ctx: &RequestContext) -> bool {
    // One at a time: a whole application that starts asks at once.
    let mut creation = broker.groups.creating.lock().await;
    if offsets_topic(&broker.image.load()).is_some() {
        return true;
    }
    if creation.failed_at.is_some_and(|at| at.elapsed() < RETRY_PAUSE) {
        return false;
    }
    let own = ctx.as_broker(ApiKey::CreateTopics, "CreateTopics", CREATE_TOPICS_VERSION);
    let response = create_topics::handle(broker, &own, request(&broker.settings.offsets)).await;
    let created = response.topics.first().is_some_and(|result| creation.judge(broker, result));
    creation.failed_at = (!created).then(Instant::now);
    created
}

impl Creation {
    /// Logs what the controller said, a failure once.
    fn judge(&mut self, broker: &Broker, result: &CreatableTopicResult) -> bool {
        let code = ErrorCode::from_code(result.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let reason = result.error_message.as_deref().unwrap_or("");
        match code {
            ErrorCode::None => {
                let (partitions, replicas) = (result.num_partitions, result.replication_factor);
                tracing::info!(topic = OFFSETS_TOPIC, partitions, replicas, "created topic");
            }
            ErrorCode::TopicAlreadyExists => {} // another broker was asked at the same time
            code if self.complained.replace(code) == Some(code) => {
                tracing::debug!(topic = OFFSETS_TOPIC, error = code.name(), reason, "still cannot create the topic");
            }
            ErrorCode::InvalidReplicationFactor => {
                let replication_factor = broker.settings.offsets.topic_replication_factor;
                let brokers = broker.image.load().brokers().count();
                tracing::warn!(
                    topic = OFFSETS_TOPIC,
                    replication_factor,
                    brokers,
                    reason,
                    "no consumer group can be served yet: start more brokers, or set offsets.topic.replication.factor \
                     to the number of brokers that there are"
                );
            }
            code => tracing::warn!(topic = OFFSETS_TOPIC, error = code.name(), reason, "cannot create the topic"),
        }
        let exists = matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists);
        if exists {
            self.complained = None;
        }
        exists
    }
}

fn request(settings: &OffsetsSettings) -> CreateTopicsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config =
        |name: &str, value: &str| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let topic = CreatableTopic::default()
        .with_name(WireTopicName(text(OFFSETS_TOPIC)))
        .with_num_partitions(settings.topic_partitions)
        .with_replication_factor(settings.topic_replication_factor)
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
