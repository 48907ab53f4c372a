//! Makes sure that the three topics exist and are compacted.

use twinstream_client::{Admin, ClientError, NewTopic};
use twinstream_model::TopicName;

use crate::settings::Settings;
use crate::worker::WorkerError;

/// The three topics of a worker.
pub(crate) struct StateTopics {
    pub(crate) configs: TopicName,
    pub(crate) offsets: TopicName,
    pub(crate) statuses: TopicName,
}

/// Creates what is missing, compacted, with the configured partitions and replicas. The config topic must have exactly one
/// partition, because the order of its records is their meaning.
pub(crate) async fn ensure_state_topics(admin: &Admin, settings: &Settings) -> Result<StateTopics, WorkerError> {
    let offsets = i32::try_from(settings.int("offset.storage.partitions")).unwrap_or(i32::MAX);
    let statuses = i32::try_from(settings.int("status.storage.partitions")).unwrap_or(i32::MAX);
    let topics = StateTopics {
        configs: ensure(admin, settings, "config", 1).await?,
        offsets: ensure(admin, settings, "offset", offsets).await?,
        statuses: ensure(admin, settings, "status", statuses).await?,
    };
    let found = admin.topic(&topics.configs).await.map_err(|source| failed(topics.configs.as_str(), source))?;
    match found.map_or(1, |info| info.partitions.len()) {
        1 => Ok(topics),
        count => Err(WorkerError::ConfigTopicPartitions { topic: topics.configs.to_string(), count }),
    }
}

async fn ensure(admin: &Admin, settings: &Settings, kind: &str, partitions: i32) -> Result<TopicName, WorkerError> {
    let setting = format!("{kind}.storage.topic");
    let name = TopicName::parse(settings.string(&setting))
        .map_err(|error| WorkerError::Settings { problems: vec![format!("{setting}: {error}")] })?;
    let replicas = settings.int(&format!("{kind}.storage.replication.factor"));
    let replicas = i16::try_from(replicas).unwrap_or(i16::MAX);
    let topic = NewTopic::new(name.clone(), partitions, replicas).with_config("cleanup.policy", "compact");
    // Look first: who may not create topics may still use those that are there.
    if admin.topic(&name).await.map_err(|source| failed(name.as_str(), source))?.is_some() {
        return Ok(name);
    }
    match admin.ensure_topic(&topic).await {
        Ok(true) => tracing::info!(topic = %name, partitions, replicas, "created topic"),
        Ok(false) => {}
        Err(source) => return Err(failed(name.as_str(), source)),
    }
    wait_until_visible(admin, &name).await?;
    Ok(name)
}

/// A topic just created may take a moment to be known by every broker.
async fn wait_until_visible(admin: &Admin, name: &TopicName) -> Result<(), WorkerError> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        let found = admin.topic(name).await.map_err(|source| failed(name.as_str(), source))?;
        if found.is_some_and(|info| !info.partitions.is_empty()) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(WorkerError::TopicInvisible { topic: name.to_string() })
}

fn failed(topic: &str, source: ClientError) -> WorkerError {
    WorkerError::Topic { topic: topic.to_owned(), source }
}
