//! Topics that come into being because somebody asks for them.
//!
//! Picture: the same CreateTopics that a client would send, made by the broker itself, and then a short wait until the
//! new topic has leaders in this broker's image, so that who asked can be answered at once.
//!
//! A topic is made with all replicas that the settings ask for, or not at all, as in Kafka. Until that many brokers
//! have registered, who asked is told to come back, and the log says once per topic what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use twinstream_model::{ErrorCode, TopicName};

use crate::context::{Broker, RequestContext};
use crate::groups::OFFSETS_TOPIC;
use crate::handlers::create_topics;
use crate::transactions::TRANSACTIONS_TOPIC;

/// The version in which the broker asks itself.
const CREATE_TOPICS_VERSION: i16 = 7;

/// How long the controller may take. Clients ask again by themselves.
const CREATE_LIMIT_MS: i32 = 5_000;

/// How long the new topic's leaders may take to appear.
const LEADERS_LIMIT: Duration = Duration::from_secs(2);

/// Topics whose failure is remembered, so that it is logged once; a client asks for a missing topic every 100 ms.
const COMPLAINTS_MAX: usize = 1_000;

/// What was logged about topics that could not be made.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    by_topic: Mutex<BTreeMap<String, ErrorCode>>,
}

impl Complaints {
    /// Whether this is news that the log should have.
    fn is_new(&self, topic: &str, code: ErrorCode) -> bool {
        let mut by_topic = self.by_topic.lock();
        if by_topic.get(topic) == Some(&code) {
            return false;
        }
        if by_topic.len() >= COMPLAINTS_MAX {
            by_topic.clear();
        }
        by_topic.insert(topic.to_owned(), code);
        true
    }

    fn settle(&self, topic: &str) {
        self.by_topic.lock().remove(topic);
    }
}

/// Creates topics that do not exist yet, as `num.partitions` and the other defaults say, and waits for their leaders.
/// What fails is logged; who asked sees it from the topic's absence.
pub(crate) async fn create(broker: &Arc<Broker>, ctx: &RequestContext, names: Vec<TopicName>) {
    let (mut created, mut others) = (Vec::new(), Vec::new());
    for name in names {
        let exists = match name.as_str() {
            OFFSETS_TOPIC => broker.groups.create_topic(broker, ctx).await,
            TRANSACTIONS_TOPIC => broker.transactions.create_topic(broker, ctx).await,
            _ => {
                others.push(name);
                continue;
            }
        };
        if exists {
            created.push(name);
        }
    }
    if !others.is_empty() {
        created.extend(create_plain(broker, ctx, &others).await);
    }
    if !created.is_empty() {
        wait_for_leaders(broker, &created).await;
    }
}

/// Creates an internal topic, if need be, and waits for its leaders.
pub(crate) async fn create_internal(broker: &Arc<Broker>, ctx: &RequestContext, name: &str) {
    create(broker, ctx, TopicName::parse(name).into_iter().collect()).await;
}

/// Asks for the topics and returns those that exist then.
async fn create_plain(broker: &Arc<Broker>, ctx: &RequestContext, names: &[TopicName]) -> Vec<TopicName> {
    let topics = names.iter().map(|name| creatable(broker, name)).collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(CREATE_LIMIT_MS);
    let own = ctx.as_broker(ApiKey::CreateTopics, "CreateTopics", CREATE_TOPICS_VERSION);
    let answer = create_topics::handle(broker, &own, request).await;
    let existing = answer.topics.iter().filter(|topic| judge(broker, topic));
    existing.filter_map(|topic| TopicName::parse(topic.name.as_str()).ok()).collect()
}

fn creatable(broker: &Broker, name: &TopicName) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(WireTopicName(StrBytes::from_string(name.as_str().to_owned())))
        .with_num_partitions(broker.settings.topics.partitions)
        .with_replication_factor(broker.settings.topics.replication_factor)
}

/// Logs what became of a topic, a failure once, and says whether the topic exists.
fn judge(broker: &Broker, topic: &CreatableTopicResult) -> bool {
    let code = ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError);
    let name = topic.name.as_str();
    let reason = topic.error_message.as_ref().map_or("", |message| message.as_str());
    let complaints = &broker.complaints;
    match code {
        ErrorCode::None => {
            let (partitions, replicas) = (topic.num_partitions, topic.replication_factor);
            tracing::info!(topic = name, partitions, replicas, "created topic on demand");
        }
        ErrorCode::TopicAlreadyExists => {} // somebody else asked at the same time
        code if !complaints.is_new(name, code) => {
            tracing::debug!(topic = name, error = code.name(), reason, "still cannot create topic on demand");
        }
        ErrorCode::InvalidReplicationFactor => {
            let replication_factor = broker.settings.topics.replication_factor;
            let brokers = broker.image.load().brokers().count();
            tracing::warn!(
                topic = name,
                replication_factor,
                brokers,
                reason,
                "cannot create topic on demand: start more brokers, or set default.replication.factor to the number of \
                 brokers that there are"
            );
        }
        code => tracing::warn!(topic = name, error = code.name(), reason, "cannot create topic on demand"),
    }
    let exists = matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists);
    if exists {
        complaints.settle(name);
    }
    exists
}

async fn wait_for_leaders(broker: &Broker, names: &[TopicName]) {
    let mut changes = broker.controller.watch_image();
    let is_led = |name: &TopicName| {
        let image = broker.image.load();
        image.topic(name).is_some_and(|topic| topic.partitions.iter().all(|partition| partition.leader.is_some()))
    };
    let all_led = changes.wait_for(|_| names.iter().all(is_led));
    if tokio::time::timeout(LEADERS_LIMIT, all_led).await.is_err() {
        tracing::debug!(?names, "created topics have no leaders yet");
    }
}
