//! Topics that come into being because somebody asks for them.
//!
//! Picture: the same CreateTopics that a client would send, made by the broker itself, and then a short wait until the
//! new topic has leaders in this broker's image, so that who asked can be answered at once.
//!
//! This release keeps one replica of each partition. A topic that the broker makes by itself therefore gets one, even
//! where the settings ask for more; that is logged once. A topic that a client asks for with more is refused.

use std::sync::Arc;
use std::sync::Once;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, TopicName};

use crate::context::{Broker, RequestContext};
use crate::groups;
use crate::handlers::create_topics;

/// The version in which the broker asks itself.
const CREATE_TOPICS_VERSION: i16 = 7;

/// How long the controller may take. Clients ask again by themselves.
const CREATE_LIMIT_MS: i32 = 5_000;

/// How long the new topic's leaders may take to appear.
const LEADERS_LIMIT: Duration = Duration::from_secs(2);

const REPLICAS: i16 = 1;

/// Creates topics that do not exist yet, as `num.partitions` and the other defaults say, and waits for their leaders.
/// What fails is logged; who asked sees it from the topic's absence.
pub(crate) async fn create(broker: &Arc<Broker>, ctx: &RequestContext, names: Vec<TopicName>) {
    let (offsets, others): (Vec<&TopicName>, Vec<&TopicName>) =
        names.iter().partition(|name| name.as_str() == groups::OFFSETS_TOPIC);
    if !offsets.is_empty() {
        groups::create_offsets_topic(broker, ctx).await;
    }
    if !others.is_empty() {
        create_plain(broker, ctx, &others).await;
    }
    wait_for_leaders(broker, &names).await;
}

async fn create_plain(broker: &Arc<Broker>, ctx: &RequestContext, names: &[&TopicName]) {
    note_replication(broker);
    let topics = names.iter().map(|name| creatable(name)).collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(CREATE_LIMIT_MS);
    let own = ctx.as_broker(ApiKey::CreateTopics, "CreateTopics", CREATE_TOPICS_VERSION);
    let answer = create_topics::handle(broker, &own, request).await;
    for topic in &answer.topics {
        let code = ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let name = topic.name.as_str();
        let reason = topic.error_message.as_ref().map_or("", |message| message.as_str());
        match code {
            ErrorCode::None => {
                tracing::info!(topic = name, partitions = topic.num_partitions, "created topic on demand")
            }
            ErrorCode::TopicAlreadyExists => {} // somebody else asked at the same time
            code => tracing::warn!(topic = name, error = code.name(), reason, "cannot create topic on demand"),
        }
    }
}

fn creatable(name: &TopicName) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(WireTopicName(StrBytes::from_string(name.as_str().to_owned())))
        .with_num_partitions(-1)
        .with_replication_factor(REPLICAS)
}

/// Says once that settings which ask for more replicas are not followed.
fn note_replication(broker: &Broker) {
    static NOTED: Once = Once::new();
    let asked = broker.settings.topics.replication_factor;
    if asked > REPLICAS {
        NOTED.call_once(|| {
            let used = REPLICAS;
            tracing::warn!(asked, used, "default.replication.factor: topics created on demand get one replica");
        });
    }
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
