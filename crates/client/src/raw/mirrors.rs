//! Topics that are mirrors of another cluster's: what they are a mirror of, making one of a topic, and promoting it.
//!
//! Only brokers of ours know such topics. A mark is shown and changed as configs of the topic (`twinstream.mirror.*`), so that
//! any admin client can do it; this puts the five of them together and takes them apart.
//!
//! Invariants: a mark that lacks a part is an error and never half believed; requests are bounded in topics, answers are for each
//! topic. Not here: appending to a mirror (`sender`), making a topic that is one from the start ([`NewTopic::mirroring`]).
//!
//! [`NewTopic::mirroring`]: super::NewTopic::mirroring

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{ApiVersionsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, TopicId, TopicName};
use twinstream_protocol::mirror::MirrorSource;
use uuid::Uuid;

use super::{Node, RawClient};
use crate::error::ClientError;

/// The feature of clusters that take mirrors.
const FEATURE: &str = "twinstream.mirror";

const LINK: &str = "twinstream.mirror.link";
const SOURCE_CLUSTER: &str = "twinstream.mirror.source.cluster";
const SOURCE_TOPIC: &str = "twinstream.mirror.source.topic";
const SOURCE_TOPIC_ID: &str = "twinstream.mirror.source.topic.id";
const STATE: &str = "twinstream.mirror.state";
const MIRRORING: &str = "mirroring";
const PROMOTED: &str = "promoted";

/// Resource type of topics in config requests.
const TOPIC: i8 = 2;
const SET: i8 = 0;
/// Topics of one request.
const TOPICS_AT_ONCE: usize = 500;

/// What a topic is a mirror of, or was until it was promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorMark {
    pub link: Uuid,
    pub source_cluster: String,
    pub source_topic: TopicName,
    pub source_topic_id: TopicId,
    /// It is an ordinary topic now.
    pub promoted: bool,
}

/// What became of each topic.
pub type Marked = BTreeMap<TopicName, Result<(), ClientError>>;

impl RawClient {
    /// Whether the cluster takes mirrors: its feature `twinstream.mirror` is finalized at level 1 or above.
    pub async fn knows_mirrors(&self) -> Result<bool, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("twinstream"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.request(Node::Any, &request).await?;
        ClientError::check(|| "ask for features".to_owned(), answer.error_code, None)?;
        Ok(answer.finalized_features.iter().any(|feature| &*feature.name == FEATURE && feature.max_version_level >= 1))
    }

    /// The marks of those topics that have one. A topic that does not exist has none.
    pub async fn mirror_marks(&self, topics: &[TopicName]) -> Result<BTreeMap<TopicName, MirrorMark>, ClientError> {
        self.mirror_marks_at(Node::Any, topics).await
    }

    /// As [`Self::mirror_marks`], but as this broker knows them: one that has not heard of a mark yet does not act on it.
    pub async fn mirror_marks_at(
        &self,
        node: Node,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, MirrorMark>, ClientError> {
        let mut marks = BTreeMap::new();
        let keys = [LINK, SOURCE_CLUSTER, SOURCE_TOPIC, SOURCE_TOPIC_ID, STATE].map(StrBytes::from_static_str);
        for some in topics.chunks(TOPICS_AT_ONCE) {
            let resource = |topic: &TopicName| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(StrBytes::from_string(topic.to_string()))
                    .with_configuration_keys(Some(keys.to_vec()))
            };
            let request = DescribeConfigsRequest::default().with_resources(some.iter().map(resource).collect());
            let answer = self.request(node, &request).await?;
            for result in &answer.results {
                let Ok(name) = TopicName::parse(&result.resource_name) else { continue };
                if result.error_code == ErrorCode::UnknownTopicOrPartition.code() {
                    continue;
                }
                let what = || format!("read what topic {name} is a mirror of");
                ClientError::check(what, result.error_code, result.error_message.as_deref())?;
                if let Some(mark) = mark(&name, result)? {
                    marks.insert(name, mark);
                }
            }
        }
        Ok(marks)
    }

    /// Makes ordinary topics of mirrors, for good; with `dry_run` only says whether that could be done.
    pub async fn promote_mirrors(&self, topics: &[TopicName], dry_run: bool) -> Result<Marked, ClientError> {
        let changes: Vec<_> = topics.iter().map(|topic| (topic, vec![(STATE, PROMOTED.to_owned())])).collect();
        self.change_marks("promote mirror", &changes, dry_run).await
    }

    /// Makes mirrors of topics that exist: from then on only the link writes to them.
    pub async fn mark_mirrors(
        &self,
        topics: &BTreeMap<TopicName, MirrorSource>,
        dry_run: bool,
    ) -> Result<Marked, ClientError> {
        let values = |source: &MirrorSource| {
            vec![
                (LINK, source.link.to_string()),
                (SOURCE_CLUSTER, source.cluster.clone()),
                (SOURCE_TOPIC, source.topic.to_string()),
                (SOURCE_TOPIC_ID, source.topic_id.to_string()),
                (STATE, MIRRORING.to_owned()),
            ]
        };
        let changes: Vec<_> = topics.iter().map(|(topic, source)| (topic, values(source))).collect();
        self.change_marks("make a mirror of topic", &changes, dry_run).await
    }

    async fn change_marks(
        &self,
        what: &str,
        changes: &[(&TopicName, Vec<(&'static str, String)>)],
        dry_run: bool,
    ) -> Result<Marked, ClientError> {
        let mut marked = Marked::new();
        for some in changes.chunks(TOPICS_AT_ONCE) {
            let resources = some.iter().map(|(topic, values)| {
                let config = |(name, value): &(&'static str, String)| {
                    AlterableConfig::default()
                        .with_name(StrBytes::from_static_str(name))
                        .with_config_operation(SET)
                        .with_value(Some(StrBytes::from_string(value.clone())))
                };
                AlterConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(StrBytes::from_string(topic.to_string()))
                    .with_configs(values.iter().map(config).collect())
            });
            let request = IncrementalAlterConfigsRequest::default()
                .with_resources(resources.collect())
                .with_validate_only(dry_run);
            let answer = self.to_controller(&request).await?;
            for result in &answer.responses {
                let Ok(name) = TopicName::parse(&result.resource_name) else { continue };
                let about = || format!("{what} {name}");
                let result = ClientError::check(about, result.error_code, result.error_message.as_deref());
                marked.insert(name, result);
            }
        }
        Ok(marked)
    }
}

/// The mark of a topic, `None` if it has none.
fn mark(topic: &TopicName, described: &DescribeConfigsResult) -> Result<Option<MirrorMark>, ClientError> {
    let value = |name: &str| {
        let config = described.configs.iter().find(|config| &*config.name == name);
        config.and_then(|config| config.value.as_deref())
    };
    let Some(state) = value(STATE) else { return Ok(None) };
    let read = || {
        Some(MirrorMark {
            link: Uuid::parse_str(value(LINK)?).ok()?,
            source_cluster: value(SOURCE_CLUSTER)?.to_owned(),
            source_topic: TopicName::parse(value(SOURCE_TOPIC)?).ok()?,
            source_topic_id: TopicId::parse(value(SOURCE_TOPIC_ID)?)?,
            promoted: match state {
                MIRRORING => false,
                PROMOTED => true,
                _ => return None,
            },
        })
    };
    read().map(Some).ok_or_else(|| ClientError::Broker {
        what: format!("read what topic {topic} is a mirror of"),
        code: ErrorCode::InvalidConfig,
        detail: Some(format!("its configs {LINK}, .source.* and .state are not a whole mark ({STATE}={state})")),
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

    use super::*;

    fn described(configs: &[(&'static str, &'static str)]) -> DescribeConfigsResult {
        let config = |(name, value): &(&'static str, &'static str)| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        DescribeConfigsResult::default().with_configs(configs.iter().map(config).collect())
    }

    const WHOLE: [(&str, &str); 5] = [
        (LINK, "00000000-0000-0000-0000-000000000007"),
        (SOURCE_CLUSTER, "upstream"),
        (SOURCE_TOPIC, "orders"),
        (SOURCE_TOPIC_ID, "AAAAAAAAAAAAAAAAAAAACA"),
        (STATE, MIRRORING),
    ];

    #[test]
    fn a_mark_is_read_whole_or_not_at_all() {
        let topic = TopicName::parse("orders").unwrap();
        assert_eq!(mark(&topic, &described(&[("retention.ms", "1")])).unwrap(), None);
        let whole = mark(&topic, &described(&WHOLE)).unwrap().unwrap();
        assert_eq!((whole.link, whole.promoted), (Uuid::from_u128(7), false));
        assert_eq!((whole.source_topic, whole.source_topic_id), (topic.clone(), TopicId(Uuid::from_u128(8))));
        for left_out in 0..WHOLE.len() - 1 {
            let mut some = WHOLE.to_vec();
            some.remove(left_out);
            let error = mark(&topic, &described(&some)).unwrap_err().to_string();
            assert!(error.contains("orders"), "{error}");
        }
        let promoted = [&WHOLE[..4], &[(STATE, PROMOTED)]].concat();
        assert!(mark(&topic, &described(&promoted)).unwrap().unwrap().promoted);
        let unheard_of = [&WHOLE[..4], &[(STATE, "resting")]].concat();
        assert!(mark(&topic, &described(&unheard_of)).is_err());
    }
}
