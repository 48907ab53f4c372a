//! Topics: create and delete, by the wire protocol, because only its answers carry the broker's own error text.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{TopicId, TopicName};
use twinstream_protocol::mirror::{self, MirrorSource};
use twinstream_protocol::shape::Shaped;

use super::batches::{millis, wire_topic};
use super::{Node, RawClient};
use crate::error::ClientError;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: TopicName,
    /// -1 takes the cluster's default.
    pub partitions: i32,
    /// -1 takes the cluster's default.
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
    /// Set for a topic that is to be a mirror of another cluster's, at the same offsets. Only for a target that has the
    /// feature `twinstream.mirror`: another one makes an ordinary topic of it.
    pub mirror: Option<MirrorSource>,
}

impl NewTopic {
    pub fn new(name: TopicName, partitions: i32, replication_factor: i16) -> Self {
        Self { name, partitions, replication_factor, configs: BTreeMap::new(), mirror: None }
    }

    pub fn mirroring(self, source: MirrorSource) -> Self {
        Self { mirror: Some(source), ..self }
    }

    pub fn with_config(mut self, name: &str, value: &str) -> Self {
        self.configs.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// What became of one topic to create; older brokers leave out the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub id: TopicId,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
}

impl RawClient {
    /// Creates topics through the controller. Each has its own result; the call fails only as a whole.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<TopicName, Result<CreatedTopic, ClientError>>, ClientError> {
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_timeout_ms(millis(self.shared.request_timeout))
            .with_validate_only(validate_only);
        let answer = self.to_controller(&request).await?;
        let mut created = BTreeMap::new();
        for topic in &answer.topics {
            let Ok(name) = TopicName::parse(&topic.name) else { continue };
            let what = || format!("create topic {name}");
            let result = ClientError::check(what, topic.error_code, topic.error_message.as_deref());
            let made = CreatedTopic {
                id: TopicId(topic.topic_id),
                partitions: Some(topic.num_partitions).filter(|count| *count >= 0),
                replication_factor: Some(topic.replication_factor).filter(|count| *count >= 0),
            };
            created.insert(name, result.map(|()| made));
        }
        Ok(created)
    }

    /// Deletes topics through the controller. Each has its own result.
    pub async fn delete_topics(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<(), ClientError>>, ClientError> {
        let state = |topic: &TopicName| DeleteTopicState::default().with_name(Some(wire_topic(topic)));
        let request = DeleteTopicsRequest::default()
            .with_topics(topics.iter().map(state).collect())
            .with_topic_names(topics.iter().map(wire_topic).collect())
            .with_timeout_ms(millis(self.shared.request_timeout));
        let request = if self.names_in_list().await? {
            request.with_topics(Vec::new())
        } else {
            request.with_topic_names(Vec::new())
        };
        let answer = self.to_controller(&request).await?;
        let mut deleted = BTreeMap::new();
        for response in &answer.responses {
            let Some(name) = response.name.as_ref().and_then(|name| TopicName::parse(name).ok()) else { continue };
            let what = || format!("delete topic {name}");
            let result = ClientError::check(what, response.error_code, response.error_message.as_deref());
            deleted.insert(name, result);
        }
        Ok(deleted)
    }

    /// Whether the broker is so old that DeleteTopics takes bare names.
    async fn names_in_list(&self) -> Result<bool, ClientError> {
        use kafka_protocol::protocol::Request as _;
        let served = self.versions(Node::Controller, DeleteTopicsRequest::KEY).await?;
        Ok(served.is_some_and(|(_, max)| max < 6))
    }

    /// Sends to the controller; after a failed connection the controller is looked up again.
    pub(super) async fn to_controller<R: kafka_protocol::protocol::Request<Response: Shaped>>(
        &self,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        match self.request(Node::Controller, request).await {
            Err(ClientError::Connection { .. }) => {
                self.refresh(&[]).await?;
                self.request(Node::Controller, request).await
            }
            done => done,
        }
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    let mut creatable = CreatableTopic::default()
        .with_name(wire_topic(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(topic.configs.iter().map(config).collect());
    if let Some(source) = &topic.mirror {
        mirror::tell_source(&mut creatable, source);
    }
    creatable
}
