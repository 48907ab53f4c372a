//! What a task asks beside its fetches: who leads a partition, where its log begins and ends, how large a batch the target
//! takes. Each question is a tokio task of its own, so that one that takes long keeps nobody waiting; each asks once, the
//! engine has the pauses.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_client::raw::kafka_protocol::messages::DescribeConfigsRequest;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{ClusterView, Node, OffsetAt};
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_model::{ErrorCode, Offset, TopicId, TopicName, TopicPartition};

use crate::engine::standing::Begin;
use crate::engine::{At, Found};

/// Resource type of topics in config requests.
const TOPIC: i8 = 2;
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Topics in one question for settings; an answer takes about 100 bytes for each.
const TOPICS_AT_ONCE: usize = 500;

pub(crate) type Named = Vec<(At, TopicPartition)>;
/// What a broker said instead of an answer, or what stood in the way of one.
pub(crate) type Refused = (ErrorCode, String);
/// Log start, log end, topic id.
pub(crate) type Bounds = (Offset, Offset, TopicId);

/// An answer, or why there is none; `asked` are the partitions that it is about.
pub(crate) struct Answered<T> {
    pub asked: Vec<At>,
    pub result: Result<Vec<(At, T)>, ClientError>,
}

fn answered<T>(asked: &Named, result: Result<Vec<(At, T)>, ClientError>) -> Answered<T> {
    Answered { asked: asked.iter().map(|(at, _)| *at).collect(), result }
}

fn topics_of(asked: &Named) -> Vec<TopicName> {
    let topics: BTreeSet<&TopicName> = asked.iter().map(|(_, name)| &name.topic).collect();
    topics.into_iter().cloned().collect()
}

/// Who leads these partitions.
pub(crate) async fn leaders(client: RawClient, asked: Named) -> Answered<Result<Found, Refused>> {
    let view = client.refresh(&topics_of(&asked)).await;
    let find = |view: &ClusterView, name: &TopicPartition| {
        let Some(topic) = view.topics.get(&name.topic) else {
            let code = view.topic_error(&name.topic);
            return Err((code, format!("the source does not show its topic: {code}")));
        };
        let no_partition = || (ErrorCode::UnknownTopicOrPartition, "its topic has fewer partitions".to_owned());
        let partition = topic.partitions.get(&name.partition).ok_or_else(no_partition)?;
        Ok(Found { leader: partition.leader, leader_epoch: partition.leader_epoch, topic_id: topic.id })
    };
    let found = view.map(|view| asked.iter().map(|(at, name)| (*at, find(&view, name))).collect());
    answered(&asked, found)
}

/// Where these partitions begin that were never copied.
pub(crate) async fn beginnings(client: RawClient, asked: Named, begin: Begin) -> Answered<Result<Offset, Refused>> {
    let at = match begin {
        Begin::Earliest => OffsetAt::Earliest,
        Begin::Latest => OffsetAt::Latest,
    };
    let found = offsets(&client, &asked, at).await;
    answered(&asked, found.map(|found| found.into_iter().collect()))
}

/// Log start, log end and topic id of partitions whose position is in doubt.
pub(crate) async fn bounds(client: RawClient, asked: Named) -> Answered<Result<Bounds, Refused>> {
    let found = async {
        let view = client.refresh(&topics_of(&asked)).await?;
        let mut starts = offsets(&client, &asked, OffsetAt::Earliest).await?;
        let mut ends = offsets(&client, &asked, OffsetAt::Latest).await?;
        let both = asked.iter().filter_map(|(at, name)| {
            let id = view.topics.get(&name.topic).map_or(TopicId::NONE, |topic| topic.id);
            let bounds = match (starts.remove(at)?, ends.remove(at)?) {
                (Ok(start), Ok(end)) => Ok((start, end, id)),
                (Err(refused), _) | (_, Err(refused)) => Err(refused),
            };
            Some((*at, bounds))
        });
        Ok(both.collect())
    };
    let found = found.await;
    answered(&asked, found)
}

async fn offsets(
    client: &RawClient,
    asked: &Named,
    offset: OffsetAt,
) -> Result<BTreeMap<At, Result<Offset, Refused>>, ClientError> {
    let names: Vec<TopicPartition> = asked.iter().map(|(_, name)| name.clone()).collect();
    let mut found = client.list_offsets_now(&names, offset).await?;
    let refused = |error: ClientError| {
        // What is no answer of a broker passes, as far as one partition is concerned.
        let code = error.code().unwrap_or(ErrorCode::LeaderNotAvailable);
        (code, error.to_string())
    };
    let unanswered = || Err((ErrorCode::LeaderNotAvailable, "the leader did not answer for it".to_owned()));
    let each = asked.iter().map(|(at, name)| {
        let result = found.remove(name).map_or_else(unanswered, |result| result.map_err(refused));
        (*at, result)
    });
    Ok(each.collect())
}

/// How large a batch each topic of the target takes. What cannot be asked is left out.
pub(crate) async fn limits(
    settings: ClientSettings,
    topics: BTreeSet<TopicName>,
) -> Result<BTreeMap<TopicName, usize>, ClientError> {
    let client = RawClient::connect(&settings).await?;
    let topics: Vec<TopicName> = topics.into_iter().collect();
    let mut limits = BTreeMap::new();
    for some in topics.chunks(TOPICS_AT_ONCE) {
        let resource = |topic: &TopicName| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string(topic.to_string()))
                .with_configuration_keys(Some(vec![StrBytes::from_static_str(MAX_MESSAGE_BYTES)]))
        };
        let request = DescribeConfigsRequest::default().with_resources(some.iter().map(resource).collect());
        let answer = client.request(Node::Any, &request).await?;
        for result in answer.results.iter().filter(|result| result.error_code == 0) {
            let config = result.configs.iter().find(|config| &*config.name == MAX_MESSAGE_BYTES);
            let bytes = config.and_then(|config| config.value.as_ref()?.parse::<usize>().ok());
            if let (Some(bytes), Ok(topic)) = (bytes, TopicName::parse(&result.resource_name)) {
                limits.insert(topic, bytes);
            }
        }
    }
    Ok(limits)
}
