//! The topic itself: made if it is missing, refused if it could lose schemas.

use tracing::{info, warn};
use twinstream_client::raw::kafka_protocol::messages::DescribeConfigsRequest;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, TopicInfo};
use twinstream_client::{Admin, ClientError, NewTopic};
use twinstream_model::{ErrorCode, TopicName};

use crate::settings::Settings;

const TOPIC_RESOURCE: i8 = 2;

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("schemas topic {topic}: {source}")]
    Client { topic: TopicName, source: ClientError },
    #[error(
        "schemas topic {topic} is not there yet, and a link should make it (`twinstream.kafkastore.mirrored=true`); start the link first"
    )]
    NoMirror { topic: TopicName },
    #[error(
        "schemas topic {topic} cannot be created with {factor} replicas: {source}; set `kafkastore.topic.replication.factor`"
    )]
    Replication { topic: TopicName, factor: i16, source: ClientError },
    #[error(
        "schemas topic {topic} has {count} partitions and must have 1, or the order of schemas is lost; choose another `kafkastore.topic`"
    )]
    Partitions { topic: TopicName, count: usize },
    #[error(
        "schemas topic {topic} has cleanup.policy={policy} and must have compact, or schemas are lost; set it with kafka-configs"
    )]
    Cleanup { topic: TopicName, policy: String },
}

/// Creates the topic if it is missing, else checks it.
pub(super) async fn ensure(admin: &Admin, settings: &Settings) -> Result<(), TopicError> {
    let topic = &settings.topic;
    let failed = |source| TopicError::Client { topic: topic.clone(), source };
    let found = admin.topic(topic).await.map_err(failed)?;
    match found {
        Some(info) if settings.skip_topic_validation => {
            info!(%topic, partitions = info.partitions.len(), "schemas topic taken as it is");
            Ok(())
        }
        Some(info) => check(admin, &info).await,
        None if settings.mirrored == Some(true) => Err(TopicError::NoMirror { topic: topic.clone() }),
        None => create(admin, settings).await,
    }
}

async fn create(admin: &Admin, settings: &Settings) -> Result<(), TopicError> {
    let topic = &settings.topic;
    let failed = |source| TopicError::Client { topic: topic.clone(), source };
    let brokers = i16::try_from(admin.brokers().await.map_err(failed)?.len()).unwrap_or(i16::MAX);
    let wanted = settings.replication_factor;
    let factor = wanted.min(brokers.max(1));
    if factor < wanted {
        warn!(%topic, wanted, brokers, "fewer brokers than replicas: creating the schemas topic with one per broker");
    }
    let new = NewTopic::new(topic.clone(), 1, factor).with_config("cleanup.policy", "compact");
    match admin.ensure_topic(&new).await {
        Ok(created) => {
            info!(%topic, replicas = factor, created, "schemas topic is there");
            Ok(())
        }
        Err(source) if source.code() == Some(ErrorCode::InvalidReplicationFactor) => {
            Err(TopicError::Replication { topic: topic.clone(), factor, source })
        }
        Err(source) => Err(failed(source)),
    }
}

async fn check(admin: &Admin, info: &TopicInfo) -> Result<(), TopicError> {
    let topic = &info.name;
    if info.partitions.len() != 1 {
        return Err(TopicError::Partitions { topic: topic.clone(), count: info.partitions.len() });
    }
    let policy = cleanup_policy(admin, topic).await;
    match policy.map_err(|source| TopicError::Client { topic: topic.clone(), source })? {
        Some(policy) if policy != "compact" => Err(TopicError::Cleanup { topic: topic.clone(), policy }),
        Some(_) => Ok(()),
        None => {
            warn!(%topic, "the cluster does not tell the topic's cleanup.policy; it must be compact");
            Ok(())
        }
    }
}

async fn cleanup_policy(admin: &Admin, topic: &TopicName) -> Result<Option<String>, ClientError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(StrBytes::from_string(topic.to_string()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str("cleanup.policy")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let raw = admin.raw();
    let answer = raw.retry(|| raw.request(Node::Any, &request)).await?;
    let configs = answer.results.into_iter().flat_map(|result| result.configs);
    let policy = configs.filter(|config| config.name.as_str() == "cleanup.policy").find_map(|config| config.value);
    Ok(policy.map(|policy| policy.to_string()))
}
