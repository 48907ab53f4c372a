//! How an internal topic comes into being.
//!
//! It is made with as many replicas as its setting says or not at all, as Kafka does: until that many brokers have
//! registered, clients hear COORDINATOR_NOT_AVAILABLE and ask again. A topic that began with fewer replicas would keep
//! them, and nobody would notice until the one broker that holds all of it is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, TopicName};

use crate::context::{Broker, RequestContext};
use crate::handlers::create_topics;

const CREATE_TOPICS_VERSION: i16 = 7;
const CREATE_TIMEOUT_MS: i32 = 5_000;

/// Pause after a creation that failed, so that a thousand clients in a cluster that is too small do not each ask
/// the controller.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// An internal topic as it is made.
pub(crate) struct InternalTopic {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Vec<(&'static str, String)>,
    /// The setting that says how many replicas it has.
    pub(crate) replication_setting: &'static str,
    /// Who waits for it, as in "no consumer group can be served yet".
    pub(crate) nobody: &'static str,
}

/// Creates one internal topic; one creation at a time, because a whole application that starts asks at once.
#[derive(Debug, Default)]
pub(crate) struct Creation {
    state: tokio::sync::Mutex<State>,
}

/// How the creation went so far; whoever holds it creates.
#[derive(Debug, Default)]
struct State {
    failed_at: Option<Instant>,
    /// The error that was logged, so that it is logged once and not with each try.
    complained: Option<ErrorCode>,
}

impl Creation {
    /// Brings the topic into being, as long as the controller takes, and says whether it exists then. Failing is no error
    /// here: the client hears COORDINATOR_NOT_AVAILABLE and asks again.
    pub(crate) async fn create(&self, broker: &Arc<Broker>, ctx: &RequestContext, topic: &InternalTopic) -> bool {
        let mut state = self.state.lock().await;
        if TopicName::parse(topic.name).is_ok_and(|name| broker.image.load().topic(&name).is_some()) {
            return true;
        }
        if state.failed_at.is_some_and(|at| at.elapsed() < RETRY_PAUSE) {
            return false;
        }
        let own = ctx.as_broker(ApiKey::CreateTopics, "CreateTopics", CREATE_TOPICS_VERSION);
        let response = create_topics::handle(broker, &own, request(topic)).await;
        let created = response.topics.first().is_some_and(|result| state.judge(broker, topic, result));
        state.failed_at = (!created).then(Instant::now);
        created
    }
}

impl State {
    /// Logs what the controller said, a failure once.
    fn judge(&mut self, broker: &Broker, wanted: &InternalTopic, result: &CreatableTopicResult) -> bool {
        let code = ErrorCode::from_code(result.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let reason = result.error_message.as_deref().unwrap_or("");
        let topic = wanted.name;
        match code {
            ErrorCode::None => {
                let (partitions, replicas) = (result.num_partitions, result.replication_factor);
                tracing::info!(topic, partitions, replicas, "created topic");
            }
            ErrorCode::TopicAlreadyExists => {} // another broker was asked at the same time
            code if self.complained.replace(code) == Some(code) => {
                tracing::debug!(topic, error = code.name(), reason, "still cannot create the topic");
            }
            ErrorCode::InvalidReplicationFactor => {
                let InternalTopic { replication_factor, replication_setting, nobody, .. } = wanted;
                let brokers = broker.image.load().brokers().count();
                tracing::warn!(
                    topic,
                    replication_factor,
                    brokers,
                    reason,
                    "no {nobody} can be served yet: start more brokers, or set {replication_setting} to the number of \
                     brokers that there are"
                );
            }
            code => tracing::warn!(topic, error = code.name(), reason, "cannot create the topic"),
        }
        let exists = matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists);
        if exists {
            self.complained = None;
        }
        exists
    }
}

fn request(topic: &InternalTopic) -> CreateTopicsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = |(name, value): &(&str, String)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let creatable = CreatableTopic::default()
        .with_name(WireTopicName(text(topic.name)))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(topic.configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(CREATE_TIMEOUT_MS)
}
