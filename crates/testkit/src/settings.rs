//! Settings of topics, as an administrator changes and reads them.

use twinstream_client::RawClient;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;

const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
const DYNAMIC_TOPIC_CONFIG: i8 = 1;

/// Changes a setting of a topic, or takes it back to its default.
pub async fn set(client: &RawClient, topic: &str, name: &str, value: Option<&str>) {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_config_operation(if value.is_some() { SET } else { DELETE })
        .with_value(value.map(|value| StrBytes::from_string(value.to_owned())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// A setting that somebody has changed on the topic itself.
pub async fn own_setting(client: &RawClient, topic: &str, name: &str) -> Option<String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Any, &request).await.expect("an answer");
    let mut configs = answer.results[0].configs.iter();
    let found = configs.find(|config| config.name.as_str() == name && config.config_source == DYNAMIC_TOPIC_CONFIG)?;
    found.value.as_ref().map(ToString::to_string)
}
