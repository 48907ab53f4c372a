//! Words of the wire for operator commands: requests that the client has no call for, and their codes.
//!
//! Invariant: a code that is not 0 becomes a [`ClientError`] with the broker's own words.

use std::collections::BTreeMap;

use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, TopicName as WireTopic,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{Admin, ClientError};
use twinstream_model::{ErrorCode, NodeId, TopicName};

use crate::arguments::Cluster;
use crate::bootstrap::{failed, tried};
use crate::failure::Failure;

/// Kafka's numbers of resources.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
/// Kafka's numbers of what is done to a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// How long a broker may work on a request.
pub(crate) const TIMEOUT_MS: i32 = 15_000;

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(crate) fn wire_topic(topic: &TopicName) -> WireTopic {
    WireTopic(text(topic.to_string()))
}

/// `Ok` for code 0.
pub(crate) fn check(what: impl FnOnce() -> String, code: i16, detail: Option<&StrBytes>) -> Result<(), ClientError> {
    match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Broker { what: what(), code, detail: detail.map(StrBytes::to_string) }),
    }
}

/// A topic that is not there, with the one that was probably meant.
pub(crate) async fn no_such_topic(cluster: &Cluster, admin: &Admin, name: &TopicName) -> Failure {
    let known = admin.topics().await.unwrap_or_default();
    Failure::not_found(format!("topic {name} does not exist"))
        .did_you_mean(name.as_str(), known.keys().map(TopicName::to_string))
        .tried(tried(cluster))
        .next(format!("`twinstream topic list`, or `twinstream topic create {name}`"))
}

/// A group that is not there, with the one that was probably meant.
pub(crate) async fn no_such_group(cluster: &Cluster, admin: &Admin, name: &str) -> Failure {
    let known = admin.groups().await.unwrap_or_default();
    Failure::not_found(format!("group {name} does not exist"))
        .did_you_mean(name, known.iter().map(|group| group.group.to_string()))
        .tried(format!("its coordinator in {}", tried(cluster)))
        .next("`twinstream group list`")
}

/// A broker's error about one topic.
pub(crate) async fn topic_failed(cluster: &Cluster, admin: &Admin, name: &TopicName, error: &ClientError) -> Failure {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => no_such_topic(cluster, admin, name).await,
        _ => failed(cluster, error),
    }
}

/// Settings of resources, by their names. Brokers tell of themselves only.
pub(crate) async fn configs(
    admin: &Admin,
    kind: i8,
    names: &[String],
    keys: Option<&[&str]>,
) -> Result<BTreeMap<String, Vec<DescribeConfigsResourceResult>>, ClientError> {
    let keys = keys.map(|keys| keys.iter().map(|key| text(*key)).collect::<Vec<_>>());
    let resource = |name: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys.clone())
    };
    let mut found = BTreeMap::new();
    let by_node = |name: &String| match (kind, name.parse()) {
        (BROKER, Ok(id)) => Node::Id(NodeId(id)),
        _ => Node::Any,
    };
    let requests: Vec<(Node, Vec<DescribeConfigsResource>)> = match kind {
        BROKER => names.iter().map(|name| (by_node(name), vec![resource(name)])).collect(),
        _ => vec![(Node::Any, names.iter().map(resource).collect())],
    };
    for (node, resources) in requests {
        let request = DescribeConfigsRequest::default().with_resources(resources).with_include_synonyms(true);
        let answer = admin.raw().request(node, &request).await?;
        for result in answer.results {
            let name = result.resource_name.to_string();
            check(|| format!("read the settings of {name}"), result.error_code, result.error_message.as_ref())?;
            found.insert(name, result.configs);
        }
    }
    Ok(found)
}

/// Sets and takes away settings of one resource; the others stay.
pub(crate) async fn alter_configs(
    admin: &Admin,
    kind: i8,
    name: &str,
    changes: &BTreeMap<String, Option<String>>,
    is_dry: bool,
) -> Result<(), ClientError> {
    let change = |(name, value): (&String, &Option<String>)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.as_ref().map(text))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(is_dry);
    // A change of one broker is checked by that broker.
    let node = match name.parse() {
        Ok(id) if kind == BROKER => Node::Id(NodeId(id)),
        _ => Node::Controller,
    };
    let answer = admin.raw().request(node, &request).await?;
    answer.responses.iter().try_for_each(|response| {
        check(|| format!("change the settings of {name}"), response.error_code, response.error_message.as_ref())
    })
}
